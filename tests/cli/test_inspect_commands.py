"""``fourfold recipes``, ``fourfold data``, help, versions, exit statuses."""

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import fourfold
from fourfold.cli import main
from fourfold.data import CATALOG
from fourfold.recipes import TABLE


def test_recipes_are_listed(capsys: pytest.CaptureFixture):
    assert main(["recipes"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[: len(TABLE)]] == list(TABLE)
    assert main(["recipes", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)] == list(TABLE)


def test_a_recipe_tells_all_of_itself(capsys: pytest.CaptureFixture):
    assert main(["recipes", "beta_vae"]) == 0
    said = capsys.readouterr().out
    assert "Higgins" in said and "--beta-schedule" in said and "standard normal" in said
    assert said.rstrip().splitlines()[-1].startswith("ours: on the recipe's page in the documentation")
    assert main(["recipes", "vae", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["choices"]) == {"posterior", "prior", "likelihood", "objective"}
    latent = next(one for one in told["arguments"] if one["name"] == "latent")
    assert latent == {"name": "latent", "type": "int", "default": 20, "help": "size of z."}
    assert [one["name"] for one in told["python_arguments"]] == ["encoder", "decoder"]


def test_data_says_what_is_missing_and_how_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture):
    assert main(["data", "--data-dir", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in CATALOG) and str(tmp_path / "mnist") in said
    assert main(["data", "--json", "--data-dir", str(tmp_path)]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == list(CATALOG)
    assert rows["digits"]["present"] and not rows["mnist"]["present"]


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["evaluate", "--help"], ["recipes", "--help"], ["data"]])
def test_what_needs_no_torch_answers_at_once(words: list[str]):
    program = f"""
import sys
from fourfold.cli import main
assert main({words!r}) == 0
assert "torch" not in sys.modules, "torch"
"""

    def worked() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    before = worked()
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    # Processor seconds, not those of a clock: the tests may share the machine with others.
    assert worked() - before < 0.5


def test_the_program_can_be_called_as_a_module():
    ran = subprocess.run([sys.executable, "-m", "fourfold", "--version"], capture_output=True, text=True, check=True)
    assert ran.stdout == f"fourfold {fourfold.__version__}\n"


def test_no_command_is_wrong_usage_and_shows_the_commands(capsys: pytest.CaptureFixture):
    assert main([]) == 2
    assert "evaluate" in capsys.readouterr().out


def test_an_unexpected_failure_is_status_1_in_one_line(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    def broken(*arguments: object, **more: object) -> None:
        raise RuntimeError("a fuse\nblew")

    monkeypatch.setattr("fourfold.runs.Run.open", broken)
    assert main(["evaluate", str(run)]) == 1
    assert capsys.readouterr().err == "fourfold: error: RuntimeError: a fuse blew (--debug shows where.)\n"
    assert main(["--debug", "evaluate", str(run)]) == 1
    said = capsys.readouterr().err
    assert "Traceback" in said and said.endswith("fourfold: error: RuntimeError: a fuse blew (--debug shows where.)\n")


def test_an_interrupt_is_status_130(run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    def interrupted(*arguments: object, **more: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("fourfold.runs.Run.open", interrupted)
    assert main(["evaluate", str(run)]) == 130
    assert capsys.readouterr().err == "fourfold: interrupted.\n"


def test_a_loss_that_is_not_finite_is_a_failure_that_names_causes(tmp_path: Path, capsys: pytest.CaptureFixture):
    words = ["--hidden", "8", "--lr", "1e30", "-q", "--no-report", "--out", str(tmp_path / "run")]
    assert main(["train", "vae", *words]) == 1
    said = capsys.readouterr().err
    assert "step" in said and "learning rate" in said and "--debug" not in said
    assert len(said.splitlines()) == 1


def test_warnings_are_lines_of_ours(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    import warnings

    def warned(*arguments: object) -> int:
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            warnings.warn("mind\nthe gap", UserWarning, stacklevel=1)
        return 0

    monkeypatch.setattr("fourfold.cli.inspect.data", warned)
    assert main(["data"]) == 0
    assert capsys.readouterr().err == "fourfold: warning: mind the gap\n"
