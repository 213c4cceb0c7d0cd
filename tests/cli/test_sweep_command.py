"""``fourfold sweep`` as a user meets it: processes, interrupts, kills, a table and a picture at the end."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fourfold.cli import main

SMALL = ["sweep", "beta_vae", "--grid", "beta=1,4", "--seeds", "2", "--hidden", "8", "--latent", "2"]
Program = Callable[..., subprocess.Popen[str]]


def members(folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    capsys.readouterr()
    assert main(["results", str(folder), "--json"]) == 0
    return {row["member"]: row for row in json.loads(capsys.readouterr().out)["members"]}


def once(found: Callable[[], bool], seconds: float = 60.0) -> None:
    """Waits until it is so."""
    end = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)


def saved(folder: Path, step: int = 1) -> bool:
    """Whether every member has a checkpoint."""
    return len(list(folder.glob("*/checkpoints/last.safetensors"))) == 4


def test_a_table_a_picture_and_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    home = tmp_path / "s"
    assert main([*SMALL, "--epochs", "1", "--out", str(home), "--processes", "1"]) == 0
    shown = capsys.readouterr().out
    lines = shown.splitlines()
    assert lines[0].split()[:2] == ["beta", "seeds"] and [line.split()[:2] for line in lines[1:3]] == [
        ["1", "2"],
        ["4", "2"],
    ]
    assert f"picture: {home / 'sweep.png'}" in lines and (home / "sweep.png").stat().st_size > 5000
    found = members(home, capsys)
    assert list(found) == ["beta=1,seed=0", "beta=1,seed=1", "beta=4,seed=0", "beta=4,seed=1"]
    assert {row["state"] for row in found.values()} == {"finished"}
    assert main(["evaluate", str(home / "beta=4,seed=1"), "--quiet"]) == 0  # each is a run like any other
    capsys.readouterr()
    assert main(["results", str(home), "--metric", "rate", "--sort", "rate", "--format", "csv"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("beta,seed,member,state")
    assert main(["results", str(home), "--metric", "rate", "--sort", "rate"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[:3]] == ["beta", "4", "1"]
    assert main(["results", str(home), "--columns", "run,latent"]) == 0  # its members as the runs that they are
    assert "beta=4,seed=1" in capsys.readouterr().out
    assert main(["sweep", "--resume", str(home), "--quiet"]) == 0
    assert capsys.readouterr().out.split() == [str(home)]


def test_processes_make_what_one_makes(tmp_path: Path, program: Program, capsys: pytest.CaptureFixture[str]) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    assert main([*SMALL, "--epochs", "2", "--out", str(one), "--processes", "1", "-q"]) == 0
    ran = program(*SMALL, "--epochs", "2", "--out", str(two), "--processes", "2")
    _, said = ran.communicate(timeout=120)
    assert ran.returncode == 0, said
    assert "process 1 of 2" in said and "process 2 of 2" in said and "4 done" in said
    first, second = members(one, capsys), members(two, capsys)
    assert first.keys() == second.keys()
    for name, row in first.items():
        assert second[name]["elbo"] == pytest.approx(row["elbo"], rel=1e-4)


def test_a_recipe_of_ones_own_in_processes(
    here: Path, program: Program, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It was named by the user: nobody has to say once more that it may be imported. What it prints is no report."""
    (here / "chatty.py").write_text(
        "import fourfold as ff\n\n\n"
        '@ff.recipe(posterior="dense", likelihood="dense")\n'
        "def talks(data: ff.data.DataSpec, *, beta: float = 1.0) -> ff.Recipe:\n"
        '    """Prints what could be read as JSON."""\n'
        "    print(3)\n"
        "    return ff.recipes.beta_vae.function(data, beta=beta, latent=2, hidden=(8,))\n"
    )
    ran = program("sweep", "chatty:talks", "--grid", "beta=1,4", "--epochs", "1", "--out", "s", "--processes", "2")
    _, said = ran.communicate(timeout=120)
    assert ran.returncode == 0, said
    assert {row["state"] for row in members(here / "s", capsys).values()} == {"finished"}


@pytest.mark.slow
@pytest.mark.parametrize("processes", ["1", "2"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_stopped_and_taken_up(
    tmp_path: Path, program: Program, capsys: pytest.CaptureFixture[str], processes: str, how: signal.Signals
) -> None:
    """Killed or interrupted in the middle: nobody is left behind, and the end is that of an undisturbed sweep."""
    whole, home = tmp_path / "whole", tmp_path / "s"
    long = [*SMALL, "--epochs", "30", "--checkpoint-seconds", "0.2", "--processes", processes]
    assert main([*long[:-1], "1", "--out", str(whole), "--quiet"]) == 0
    ran = program(*long, "--out", str(home))
    once(lambda: saved(home))
    ran.send_signal(how)
    _, said = ran.communicate(timeout=60)
    if how == signal.SIGINT:
        assert ran.returncode == 130, said
        assert f"Continue with: fourfold sweep --resume {home}" in " ".join(said.split())
    else:
        assert ran.returncode == -signal.SIGKILL
        once(lambda: _quiet(home))
    before = members(home, capsys)
    assert any(row["state"] != "finished" for row in before.values())
    assert all(row["step"] > 0 for row in before.values())
    assert main(["sweep", "--resume", str(home), "--processes", "1", "--quiet"]) == 0
    after, wanted = members(home, capsys), members(whole, capsys)
    for name, row in wanted.items():
        assert after[name]["state"] == "finished" and after[name]["step"] == row["step"]
        assert after[name]["elbo"] == pytest.approx(row["elbo"], rel=2e-3)


def _quiet(home: Path) -> bool:
    """Whether no process has the sweep's folder in its words any more."""
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(home).encode() in path.read_bytes() and int(path.parent.name) != os.getpid():
                return False
        except OSError:
            continue
    return True


def test_who_diverges_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "sweep",
        "vae",
        "--grid",
        "lr=1e-3,1e30",
        "--latent",
        "2",
        "--hidden",
        "8",
        "--epochs",
        "1",
        "--processes",
        "1",
    ]
    assert main([*words, "--out", str(tmp_path / "s")]) == 0
    told = capsys.readouterr()
    assert "lr=1e+30,seed=0 is frozen: step" in told.err and "the others go on" in told.err
    assert "[a] lr=1e+30,seed=0: step" in told.out
    assert main([*words[:3], "lr=1e29,1e30", *words[4:], "--out", str(tmp_path / "t")]) == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["sweep"], "the recipe comes first, as in: fourfold sweep beta_vae --grid beta=1,2,4,8"),
        (["sweep", "beta_vae", "--grid", "beta"], "--grid: wanted NAME=VALUES, such as beta=1,2,4, got 'beta'"),
        (
            ["sweep", "beta_vae", "--grid", "beta=1,,2"],
            "such as beta=1,2,4, got 'beta=1,,2'",
        ),
        (["sweep", "--epochs", "1", "beta_vae"], "the recipe comes first, and it begins with '--epochs'; '1' is none"),
        (["sweep", "beta_vae", "--grid", "beta=a,b"], "--beta: wanted float, got a"),
        (["sweep", "beta_vae", "--grid", "bet=1"], "unknown flag --bet. Did you mean --beta"),
        (["sweep", "beta_vae", "--grid", "beta=1", "beta=2"], "beta is there twice"),
        (["sweep", "beta_vae", "--grid", "beta=1", "--beta", "2"], "beta has values in the grid, and is 2.0"),
        (["sweep", "beta_vae", "--seeds", "none"], "--seeds: wanted how many, such as 10, or which, such as 0,3,5"),
        (["sweep", "beta_vae", "--seeds", "0"], "--seeds: wanted how many"),
        (["sweep", "beta_vae", "--seed", "3"], "--seed is no flag of a sweep. Say --seeds 10"),
        (["sweep", "beta_vae", "--latnet", "3"], "unknown flag --latnet. Did you mean --latent"),
        (["sweep", "beta_vae", "--processes", "0"], "--processes: wanted at least 1, got 0"),
        (["sweep", "--resume", "nowhere"], "nowhere: not the folder of a sweep"),
        (["sweep", "--resume", "nowhere", "--grid", "beta=1"], "--resume goes on with nowhere as it was begun"),
        (["sweep", "--resume", "nowhere", "--share", "3/2"], "--share: wanted I/N"),
    ],
)
def test_wrong_words(here: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str) -> None:
    assert main(words) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not any(here.iterdir())


def test_lists_and_switches_are_values_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sweep", "vae", "--grid", "hidden=[8],[8,6]", "dequantize=false", "--latent", "2", "--epochs", "0.1"]
    assert main([*words, "--out", str(tmp_path / "s"), "--processes", "1", "-q"]) == 0
    assert list(members(tmp_path / "s", capsys)) == [
        "hidden=8,dequantize=False,seed=0",
        "hidden=8-6,dequantize=False,seed=0",
    ]
