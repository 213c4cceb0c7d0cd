"""The scripts of reproductions/: slices that lose nothing, lines made once, differences that are what they say."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
import torch

import fourfold as ff
from fourfold.evaluation import Row
from fourfold.training import load_tensors

ROOT = Path(__file__).parents[2]
if not (ROOT / "reproductions").is_dir():
    pytest.skip("reproductions/ is not part of this copy", allow_module_level=True)
sys.path.insert(0, str(ROOT))
from reproductions import burda, compare, flat_table, measure  # noqa: E402
from reproductions.slices import Limit, OutOfTime, held, trained  # noqa: E402
from reproductions.store import keep, kept  # noqa: E402

SMALL = ["--data", "digits", "--samples", "10"]
FLAT = [*SMALL, "--epochs", "2", "--images", "150"]
# A script, killed in the training step of this number; checkpoints are written at every reading of the numbers.
PROGRAM = """
import os, signal, sys
from fourfold.training import Step
from importlib import import_module
script, die_at, *arguments = sys.argv[1:]
module, seen, forward = import_module(f"reproductions.{script}"), 0, Step.forward
module.TRAINING |= {"checkpoint_seconds": 0, "log_steps": 15}

def counted(self, *args):
    global seen
    seen += self.training
    if self.training and seen == int(die_at):
        os.kill(os.getpid(), signal.SIGKILL)
    return forward(self, *args)

Step.forward = counted
sys.exit(module.main(arguments))
"""


def start(script: str, runs: Path, *arguments: str, die_at: int = 0) -> int:
    """The exit status of a script."""
    command = [sys.executable, "-c", PROGRAM, script, str(die_at), *arguments, "--runs", str(runs)]
    return subprocess.run(command, cwd=ROOT, timeout=120, stdout=subprocess.DEVNULL).returncode


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "checkpoints" / "last.safetensors")[0]


def values(rows: list[dict[str, Any]]) -> list[tuple[str, float]]:
    return [(row["metric"], row["value"]) for row in rows]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two lines of the table, made by a process that nobody disturbed."""
    runs = tmp_path_factory.mktemp("flat")
    assert start("flat_table", runs, *FLAT, "--only", "vae", "autoencoder") == 0
    return runs


def test_a_line_has_its_numbers_and_its_protocol(made: Path) -> None:
    rows = {row["metric"]: row for row in kept("flat_table", made) if row["protocol"]["entry"] == "vae"}
    assert rows.keys() >= {"elbo", "rate", "distortion", "active_units", "nll_is"}
    assert rows["elbo"]["n"] == 179
    assert rows["nll_is"]["n"] == 150
    assert rows["nll_is"]["estimator"] == "importance sampling, K = 10, z ~ q(z|x)"
    protocol = rows["nll_is"]["protocol"]
    assert protocol["importance_data"] == "the first 150 test images"
    assert protocol["binarize"] == "dynamic"
    assert (protocol["epochs"], protocol["batch_size"], protocol["lr"]) == (2, 100, 1e-3)
    assert protocol["arguments"]["latent"] == 50 and protocol["arguments"]["hidden"] == [200, 200]
    with np.load(made / "flat" / "vae.npz") as compact, np.load(made / "vae" / "per_datum.npz") as arrays:
        assert compact["nll_is"].dtype == np.float32
        assert compact["nll_is"].mean() == pytest.approx(rows["nll_is"]["value"], rel=1e-6)
        assert arrays["nll_is"].mean() == pytest.approx(rows["nll_is"]["value"], rel=1e-12)
        assert arrays["elbo"].mean() == pytest.approx(rows["elbo"]["value"], rel=1e-12)
        assert -rows["elbo"]["value"] > rows["nll_is"]["value"]


def test_a_point_posterior_has_no_rate_and_says_why(made: Path) -> None:
    rows = {row["metric"]: row for row in kept("flat_table", made) if row["protocol"]["entry"] == "autoencoder"}
    assert rows.keys() == {"distortion", "reconstruction_mse"}
    assert "no rate" in rows["distortion"]["protocol"]["no_rate"]
    page = (made / "flat_table.md").read_text()
    line = next(line for line in page.splitlines() if line.startswith("| autoencoder"))
    assert line.split(" | ")[1:5] == ["–", "–", "–", "–"]
    assert "– of autoencoder: " in page


def test_what_is_in_the_table_is_not_done_again(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}
    assert flat_table.main([*FLAT, "--only", "vae", "autoencoder", "--runs", str(made)]) == 0
    assert capsys.readouterr().out == ""
    assert before == {path: path.read_bytes() for path in made.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_killed_and_resumed_is_the_whole_line(made: Path, tmp_path: Path) -> None:
    arguments = [*FLAT, "--only", "vae"]
    assert start("flat_table", tmp_path, *arguments, die_at=18) == -signal.SIGKILL
    assert kept("flat_table", tmp_path) == []
    assert (tmp_path / "vae" / "checkpoints" / "last.safetensors").exists()
    assert start("flat_table", tmp_path, *arguments) == 0
    rows, whole = kept("flat_table", tmp_path), kept("flat_table", made)
    assert values(rows) == values(whole[: len(rows)])


def test_a_folder_killed_while_it_was_made_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "vae").mkdir()
    (tmp_path / "vae" / "run.json").touch()
    assert flat_table.main([*SMALL, "--epochs", "0.1", "--images", "5", "--only", "vae", "--runs", str(tmp_path)]) == 0
    assert kept("flat_table", tmp_path)


def test_time_that_is_up_stops_cleanly_and_the_next_slice_goes_on(tmp_path: Path) -> None:
    arguments = ["--data", "digits", "--epochs", "3000", "--only", "vae", "--minutes", "0.02", "--runs", str(tmp_path)]
    before, steps = signal.getsignal(signal.SIGINT), []
    for _ in range(2):
        assert flat_table.main(arguments) == flat_table.STOPPED
        steps.append(load_tensors(tmp_path / "vae" / "checkpoints" / "last.safetensors")[1]["step"])
    assert 0 < steps[0] < steps[1] < 3000 * 14
    assert signal.getsignal(signal.SIGINT) is before


def test_another_ctrl_c_is_a_ctrl_c() -> None:
    with pytest.raises(KeyboardInterrupt) as caught, Limit(1).stopping():
        signal.raise_signal(signal.SIGINT)
    assert not isinstance(caught.value, OutOfTime)


def test_the_nll_does_not_depend_on_where_it_was_cut(made: Path, tmp_path: Path) -> None:
    class Twice(Limit):
        """Over after the first piece of every slice."""

        def check(self) -> None:
            self.asked = getattr(self, "asked", 0) + 1
            if self.asked > 1:
                raise OutOfTime

    run = ff.runs.Run.open(made / "vae")
    whole = measure.nll(run, tmp_path / "whole.npz", Limit(), 150, 10)
    file = tmp_path / "cut.npz"
    with pytest.raises(OutOfTime):
        measure.nll(run, file, Twice(), 150, 10)
    with np.load(file) as part:
        assert len(part["nll_is"]) == 100
    assert np.array_equal(measure.nll(run, file, Twice(), 150, 10), whole)
    assert len(whole) == 150
    assert not np.array_equal(measure.nll(run, file, Limit(), 150, 11), whole)  # another budget begins anew


def test_a_missing_recipe_is_reported_and_a_failing_one_does_not_stop_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entries = {"gone": flat_table.Entry("no_such"), "bad": flat_table.Entry("conv_vae", {"latent": -1})}
    for name, entry in entries.items():
        monkeypatch.setitem(flat_table.PLAN, name, entry)
    arguments = [*SMALL, "--epochs", "0.1", "--images", "5", "--only", "gone", "bad", "vae", "--runs", str(tmp_path)]
    assert flat_table.main(arguments) == 1
    said = capsys.readouterr()
    assert "gone: there is no recipe no_such" in said.out
    assert "latent" in said.err
    assert {row["protocol"]["entry"] for row in kept("flat_table", tmp_path)} == {"vae"}


@pytest.mark.skipif(os.name == "nt", reason="no such locks on Windows")
def test_what_another_process_is_at_is_left_to_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with held(tmp_path / "vae.lock") as mine:
        assert mine
        assert flat_table.main([*FLAT, "--only", "vae", "--runs", str(tmp_path)]) == flat_table.STOPPED
    assert "another process" in capsys.readouterr().out
    assert not (tmp_path / "vae").exists()
    with held(tmp_path / "vae.lock") as mine:
        assert mine


@pytest.mark.skipif(os.name == "nt", reason="no such locks on Windows")
def test_rows_kept_at_the_same_time_are_all_kept(tmp_path: Path) -> None:
    def put(number: int) -> None:
        keep("t", [Row("elbo", 1.0, "nats", None, "e", 1, {"entry": str(number)})], tmp_path)

    threads = [Thread(target=put, args=[number % 8]) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(row["protocol"]["entry"] for row in kept("t", tmp_path)) == list("01234567")


def test_parts_are_disjoint_and_together_everything() -> None:
    cut = [list(flat_table.PLAN)[first - 1 :: step] for first, step in map(flat_table._part, ("1/3", "2/3", "3/3"))]
    assert sorted(name for part in cut for name in part) == sorted(flat_table.PLAN)
    with pytest.raises(SystemExit):
        flat_table.main(["--part", "3/2"])


def test_a_trial_never_reaches_the_table() -> None:
    assert not flat_table.Options().trial
    for change in ({"epochs": 29}, {"samples": 10}, {"images": 10}, {"data": "digits"}):
        assert flat_table.Options(**change).home == flat_table.Options().runs


def test_other_epochs_in_the_same_folder_are_refused(made: Path) -> None:
    plan = flat_table.plan_of(flat_table.PLAN["vae"])
    with pytest.raises(ValueError, match=r"trained for 2\.0 epochs, wanted 3"):
        trained(made / "vae", plan, ff.data.digits(), Limit(), 3)


def test_the_plan_knows_every_flat_recipe() -> None:
    """A recipe that takes nothing but data and has one group of latents belongs into the table."""
    apart = {"conv_vae", "cvae", "hvae", "lvae", "pixel_cnn", "pixel_vae", "structured_cvae", "variational_ladder"}
    assert set(ff.recipes.TABLE) - apart <= {entry.recipe for entry in flat_table.PLAN.values()}


def line(home: Path, name: str, nll: np.ndarray, rate: float = 20.0, **more: Any) -> None:
    """A made-up line of the table."""
    protocol = {"entry": name, "images": "same", "arguments": {}, **more}
    rows = [Row("nll_is", float(nll.mean()), "nats", 0.1, "K", len(nll), protocol)]
    keep("flat_table", [*rows, Row("rate", rate, "nats", 0.1, "e", len(nll), protocol)], home)
    (home / "flat").mkdir(exist_ok=True)
    np.savez(home / "flat" / f"{name}.npz", nll_is=nll.astype(np.float32))


def test_differences_are_paired_and_the_other_order_is_told(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    base = rng.normal(90, 20, 400)  # images differ far more than models
    line(tmp_path, "vae", base)
    line(tmp_path, "iwae5", base - 0.5 + rng.normal(0, 0.5, 400))
    line(tmp_path, "iwae50", base + 0.5 + rng.normal(0, 0.5, 400))
    line(tmp_path, "iaf_vae", base + rng.normal(0, 0.5, 400))
    found = compare.compared("iwae5", "vae", tmp_path)
    assert found["difference"] == pytest.approx(-0.5, abs=0.1)
    assert found["standard_error"] == pytest.approx(0.5 / 20, rel=0.15)
    assert found["verdict"] == "as expected"
    assert compare.compared("iwae50", "iwae5", tmp_path)["verdict"] == "the other way round"
    assert compare.compared("iaf_vae", "vae", tmp_path)["verdict"] == "not told apart"
    assert compare.compared("vamp_vae", "vae", tmp_path)["verdict"] == "not there yet: vamp_vae"
    compare.main(["--home", str(tmp_path)])
    told = json.loads((tmp_path / "flat_compare.json").read_text())
    assert [one["verdict"] for one in told["claims"]].count("the other way round") == 1
    assert "the other way round" in (tmp_path / "flat_compare.md").read_text()
    assert [one["lower"] for one in told["against_vae"]] == ["iwae5", "iaf_vae", "iwae50"]


def test_lines_of_other_images_are_not_compared(tmp_path: Path) -> None:
    line(tmp_path, "vae", np.ones(5))
    line(tmp_path, "iwae5", np.ones(5), images="other")
    with pytest.raises(ValueError, match="same images"):
        compare.compared("iwae5", "vae", tmp_path)


@pytest.mark.parametrize(("rate", "verdict"), [(9.7, "not kept"), (9.9, "kept"), (10.9, "kept"), (11.1, "not kept")])
def test_a_promised_rate_is_kept_or_not(tmp_path: Path, rate: float, verdict: str) -> None:
    line(tmp_path, "vae", np.ones(5), rate, arguments={"target": 10})
    promise = compare.Promise(lambda arguments: arguments["target"], below=0.2, above=1.0, said="target")
    assert compare.promised("vae", promise, tmp_path)["verdict"] == verdict


@pytest.mark.slow
def test_the_schedule_of_burda_killed_and_resumed_is_the_whole_one(tmp_path: Path) -> None:
    arguments = [*SMALL, "--scale", "0.0005", "--only", "vae"]
    assert start("burda", tmp_path / "whole", *arguments) == 0
    for die_at in (40, 50):  # of 118 steps; the second time, so many after a checkpoint
        assert start("burda", tmp_path / "cut", *arguments, die_at=die_at) == -signal.SIGKILL
    assert start("burda", tmp_path / "cut", *arguments) == 0
    found, wanted = weights(tmp_path / "cut" / "vae"), weights(tmp_path / "whole" / "vae")
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []
    rows = kept("burda", tmp_path / "cut")
    assert values(rows) == values(kept("burda", tmp_path / "whole"))
    assert {"nll_is", "active_units"} <= {row["metric"] for row in rows}
    assert rows[0]["protocol"]["eps"] == 1e-4
    rates = [json.loads(text)["lr"] for text in (tmp_path / "cut" / "vae" / "metrics.jsonl").read_text().splitlines()]
    assert rates[-1] == pytest.approx(1e-4)
    assert rates == sorted(rates, reverse=True)


def test_burda_stops_when_time_is_up(tmp_path: Path) -> None:
    arguments = [*SMALL, "--scale", "1", "--only", "vae", "--minutes", "0.02", "--runs", str(tmp_path)]
    assert burda.main(arguments) == burda.STOPPED
    assert load_tensors(tmp_path / "vae" / "checkpoints" / "last.safetensors")[1]["step"] > 0
