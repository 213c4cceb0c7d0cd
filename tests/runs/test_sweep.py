"""A sweep's members are the runs trained alone; what it is and what it found stand in its folder."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import fourfold as ff
from fourfold.runs import RunError, RunFolder, read_sweep, resume_sweep, workers
from fourfold.runs.grid import Grid, grid_of
from fourfold.runs.sweep_folder import SweepFolder
from fourfold.runs.sweeping import Listener
from fourfold.runs.trust import packages_of
from fourfold.training import Training, load_tensors

DIGITS = ff.data.digits()
SMALL = ff.recipes.beta_vae(latent=2, hidden=(8,))
OPTIONS: dict[str, Any] = {"epochs": 2, "quiet": True, "batch_size": 72}


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_tensors(RunFolder(folder).checkpoint("last"))[0]


@pytest.mark.parametrize("vectorize", ["on", "off"])
def test_members_are_the_runs_trained_alone(tmp_path: Path, vectorize: str) -> None:
    """The same record, the same weights, the same numbers of validation, but for rounding."""
    grid = {"beta": [1.0, 4.0], "lr": [1e-3, 4e-3]}
    found = ff.sweep(SMALL, DIGITS, grid, seeds=[0, 3], out=tmp_path / "s", vectorize=vectorize, **OPTIONS)
    assert len(found.rows) == 8 and all(row["state"] == "finished" for row in found.rows)
    for row in [found.rows[0], found.rows[3], found.rows[6]]:
        plan = ff.recipes.beta_vae(latent=2, hidden=(8,), beta=row["beta"])
        options = {**OPTIONS, "lr": row["lr"], "seed": row["seed"]}
        alone = ff.fit(plan, DIGITS, out=tmp_path / row["member"], **options)
        assert alone.path is not None
        for name, value in tensors(alone.path).items():
            torch.testing.assert_close(tensors(tmp_path / "s" / row["member"])[name], value, rtol=2e-3, atol=2e-5)
        record, own = (RunFolder(path).record() for path in (alone.path, tmp_path / "s" / row["member"]))
        assert {**record, "created": 0} == {**own, "created": 0}
        assert row["elbo"] == pytest.approx(alone.outcome.metrics["validation/elbo [nats]"], rel=1e-4)
        assert row["step"] == alone.outcome.step
    # What differs only in its seed, or its numbers, is another run.
    assert len({row["elbo"] for row in found.rows}) == 8


def test_the_table_is_of_the_members_numbers(tmp_path: Path) -> None:
    found = ff.sweep(SMALL, DIGITS, {"beta": [4.0, 1.0]}, seeds=3, out=tmp_path / "s", **OPTIONS)
    table = found.table(["elbo"])
    assert table.head == ["beta", "seeds", "−ELBO [nats]"]
    for line, beta in zip(table.lines, ("4", "1"), strict=True):
        values = [-row["elbo"] for row in found.rows if row["beta"] == float(beta)]
        assert [cell.text for cell in line[:2]] == [beta, "3"]
        assert float(line[2].text) == pytest.approx(fmean(values), abs=0.05)
        assert float(line[2].error) == pytest.approx(stdev(values), rel=0.1)
    assert [line[0].text for line in found.table(sort="beta").lines] == ["1", "4"]
    for metric, sign in (("elbo", -1), ("distortion", 1)):
        best = min(found.groups, key=lambda group: sign * fmean(row[metric] for row in group[1]))
        assert found.table(sort=metric).lines[0][0].text == f"{best[0]['beta']:g}"
    assert (tmp_path / "s" / "sweep.png").read_bytes()[1:4] == b"PNG"
    assert [axes.get_title(loc="left") for axes in found.picture().axes] == ["objective", "−ELBO", "rate", "distortion"]
    with pytest.raises(ValueError, match=r"unknown metric 'elbow'.*elbo"):
        found.table(["elbow"])
    assert set(found.models) == {row["member"] for row in found.rows}


def test_a_member_that_diverges_is_named_and_the_others_go_on(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    listener = Listener(ended=lambda name, frozen: told.append((name, frozen)))
    grid = {"lr": [1e-3, 1e30]}
    found = ff.sweep(SMALL, DIGITS, grid, seeds=2, out=tmp_path / "s", vectorize="on", listener=listener, **OPTIONS)
    states = {row["member"]: row["state"] for row in found.rows}
    assert states == {
        "lr=0.001,seed=0": "finished",
        "lr=0.001,seed=1": "finished",
        "lr=1e+30,seed=0": "frozen",
        "lr=1e+30,seed=1": "frozen",
    }
    assert {name for name, frozen in told if frozen} == {name for name, state in states.items() if state == "frozen"}
    assert all("step" in row["why"] for row in found.rows if row["state"] == "frozen")
    table = found.table()
    assert [line[1].text for line in table.lines] == ["2", "0 of 2"] and table.lines[1][2].text == "–"
    assert [text.partition(":")[0] for text in table.notes.values()] == ["lr=1e+30,seed=0", "lr=1e+30,seed=1"]
    told.clear()
    resume_sweep(tmp_path / "s", listener=listener)  # nothing is left to do, and nobody is tried again
    assert told == []


def test_more_is_trained_only_of_who_is_not_done(tmp_path: Path) -> None:
    grid = {"beta": [1.0, 2.0]}
    ff.sweep(SMALL, DIGITS, grid, seeds=2, out=tmp_path / "s", **OPTIONS)
    whole = {row["member"]: row["elbo"] for row in read_sweep(tmp_path / "s").rows}
    one, another = tmp_path / "s" / "beta=2,seed=1", tmp_path / "s" / "beta=1,seed=0"
    (one / "checkpoints" / "last.safetensors").unlink()  # one was not saved yet
    shutil.rmtree(another)  # another was killed while its folder was made
    another.mkdir()
    (another / "run.json").touch()
    before = (tmp_path / "s" / "beta=1,seed=1" / "checkpoints" / "last.safetensors").stat().st_mtime_ns
    counted: list[int] = []
    found = resume_sweep(tmp_path / "s", listener=Listener(steps=counted.append))
    assert {row["member"]: row["elbo"] for row in found.rows} == pytest.approx(whole, rel=1e-4)
    assert sum(counted) == 2 * found.rows[0]["step"]
    after = (tmp_path / "s" / "beta=1,seed=1" / "checkpoints" / "last.safetensors").stat().st_mtime_ns
    assert after == before


def test_shares_are_the_whole(tmp_path: Path) -> None:
    """Two machines with one folder: each has its members, and no other."""
    made = Grid(ff.recipes.beta_vae, {"beta": [1.0, 2.0, 3.0]}, [0], {"latent": 2, "hidden": (8,)}, Training(**OPTIONS))
    from fourfold.runs.sweeping import start

    home = start(made, DIGITS, tmp_path / "s", vectorize="auto")
    states = lambda found: [row["state"] for row in found.rows]  # noqa: E731
    assert states(resume_sweep(home.path, share=(1, 2))) == ["not begun", "finished", "not begun"]
    assert states(resume_sweep(home.path, share=(0, 2))) == ["finished"] * 3


def test_nobody_else_trains_it_meanwhile(tmp_path: Path) -> None:
    home = SweepFolder.create(tmp_path / "s", "s", {})
    pytest.importorskip("fcntl")
    refused = pytest.raises(RunError, match="another process is training this sweep")
    with home.held(whole=True), refused, home.held(whole=False):
        pass
    with home.held(whole=False), home.held(whole=False):
        pass


def test_a_disk_without_locks_is_no_other_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fcntl = pytest.importorskip("fcntl")

    def flock(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    home = SweepFolder.create(tmp_path / "s", "s", {})
    with home.held(whole=True):
        pass


def test_a_record_gives_its_grid_again() -> None:
    network = ff.own(nn.Linear, 64, 4)
    made = Grid(
        ff.recipes.beta_vae, {"hidden": [(8,), (16, 8)], "lr": [0.1]}, [2, 5], {"latent": 2}, Training(epochs=3)
    )
    again = grid_of(json.loads(json.dumps(made.to_dict())))
    assert [(t.name, t.plan.to_dict(), t.training) for t in again.trials] == [
        (t.name, t.plan.to_dict(), t.training) for t in made.trials
    ]
    assert [t.name for t in made.trials][:2] == ["hidden=8,lr=0.1,seed=2", "hidden=8,lr=0.1,seed=5"]
    assert "own" in str(Grid(ff.recipes.vae, {}, [0], {"encoder": network}, Training()).to_dict()["arguments"])


@pytest.mark.parametrize(
    ("grid", "more", "message"),
    [
        ({"betta": [1.0]}, {}, "grid: unknown argument or option 'betta'.*beta"),
        ({"beta": []}, {}, "grid: beta: wanted some values in a list, got"),
        ({"beta": "1,2"}, {}, "grid: beta: wanted some values"),
        ({"beta": [1.0, 1.0]}, {}, "grid: beta: 1.0 is there twice"),
        ({"latent": [2, 3]}, {}, "latent has values in the grid, and is 2"),
        ({"step": [1]}, {}, "grid: step is a column of a sweep's table already"),
        ({"seed": [1]}, {}, "seed is no axis"),
        ({"devices": [1, 2]}, {}, "devices is one for the whole sweep"),
        ({"beta": [1.0]}, {"seeds": 0}, "seeds"),
        ({"beta": [1.0]}, {"seeds": [1, 1]}, "seeds: 1 is there twice"),
        ({"beta": [1.0, -1.0]}, {}, "beta"),
        ({"lr": [1e-3, -1.0]}, {}, "lr"),
        ({"beta": [1.0]}, {"vectorize": "maybe"}, "vectorize"),
        ({"beta": [1.0]}, {"processes": 0}, "processes"),
        ({"beta": [1.0]}, {"devices": 2}, "devices: each member has one"),
        ({"hidden": [(8,), [8]]}, {}, "hidden"),
        ({"hidden": [(8,), (10,) * 80]}, {}, "grid: a member's folder has its values as its name, at most 200 letters"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(
    unchecked: None, tmp_path: Path, grid: dict[str, Any], more: dict[str, Any], message: str
) -> None:
    base = ff.recipes.beta_vae(latent=2) if "hidden" in grid else SMALL
    with pytest.raises((ValueError, TypeError), match=message):
        ff.sweep(base, DIGITS, grid, out=tmp_path / "s", **{**OPTIONS, **more})
    assert not (tmp_path / "s").exists()


def test_data_from_memory_stay_in_one_process(tmp_path: Path) -> None:
    data = ff.data.from_arrays(DIGITS.train.x[:200])
    with pytest.raises(ValueError, match=r"processes=2: each must load the data, and these are from memory"):
        ff.sweep(SMALL, data, {"beta": [1.0]}, seeds=2, processes=2, out=tmp_path / "s", **OPTIONS)
    ff.sweep(SMALL, data, {"beta": [1.0]}, seeds=2, out=tmp_path / "s", **OPTIONS)
    with pytest.raises(RunError, match="on data from memory: pass them"):
        resume_sweep(tmp_path / "s")
    assert all(row["state"] == "finished" for row in resume_sweep(tmp_path / "s", data).rows)
    with pytest.raises(RunError, match=r"exists already.*sweep --resume"):
        ff.sweep(SMALL, data, {"beta": [1.0]}, out=tmp_path / "s", **OPTIONS)


def test_one_network_is_not_everybodys(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="one network cannot be every member's"):
        ff.sweep(ff.recipes.vae(encoder=nn.Linear(64, 4), latent=2), DIGITS, {"lr": [1e-3]}, out=tmp_path / "s")


def test_members_that_are_left_are_trained_on_the_same_rows(tmp_path: Path) -> None:
    """Also those that had not begun, and have no record of their own yet."""
    file = tmp_path / "mine.npz"
    np.savez(file, x=DIGITS.train.x[:300])
    ff.sweep(SMALL, ff.data.load(file), {"beta": [1.0, 2.0]}, out=tmp_path / "s", **OPTIONS)
    shutil.rmtree(tmp_path / "s" / "beta=2,seed=0")
    np.savez(file, x=DIGITS.train.x[300:600])
    with pytest.raises(RunError, match="was trained on data with checksum"):
        resume_sweep(tmp_path / "s")


def test_an_axis_with_the_name_of_a_number(tmp_path: Path) -> None:
    found = ff.sweep(ff.recipes.delta_vae(hidden=(8,)), DIGITS, {"rate": [0.1, 0.5]}, out=tmp_path / "s", **OPTIONS)
    assert [row["rate"] for row in found.rows] == [0.1, 0.5]
    assert [row["rate found"] for row in found.rows] != [0.1, 0.5]
    assert found.table().head[:2] == ["rate", "seeds"] and "rate found [nats]" in found.table().head


def noted(data: ff.data.DataSpec, *, beta: float = 1.0) -> ff.Recipe:
    """As one in a notebook."""
    return ff.recipes.beta_vae.function(data, beta=beta, latent=2, hidden=(8,))


def test_what_no_other_process_can_build_stays_in_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(noted, "__module__", "__main__")
    inner = ff.recipe(noted)
    with pytest.raises(ValueError, match=r"processes=2: each must build it\..*Or use one process"):
        ff.sweep(inner, DIGITS, {"beta": [1.0, 2.0]}, processes=2, out=tmp_path / "s", **OPTIONS)
    assert not (tmp_path / "s").exists()


def test_packages_of_a_record() -> None:
    record = {"recipe": "mine.rooms:vae", "axes": {"encoder": [{"own": "other:Net", "args": [1], "kwargs": {}}]}}
    assert packages_of({**record, "arguments": {"decoder": "a:b"}}) == ("mine", "other")
    assert packages_of({"recipe": "beta_vae", "axes": {"n": [{"own": "fourfold.networks:Dense"}]}}) == ()


WORKER = """
import json, signal, time
signal.signal(signal.SIGINT, signal.{handler})
print(json.dumps({{"steps": 1}}), flush=True)
time.sleep({seconds})
"""


@pytest.mark.parametrize(("handler", "seconds", "interrupted"), [("SIG_DFL", 60, True), ("SIG_IGN", 1, False)])
def test_an_interrupt_before_training_begins_or_after_it_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, handler: str, seconds: int, *, interrupted: bool
) -> None:
    """A process that still imports ends by the signal: that is no accident. One that was done is done."""

    def started(*told: object) -> "subprocess.Popen[str]":
        words = [sys.executable, "-c", WORKER.format(handler=handler, seconds=seconds)]
        return subprocess.Popen(words, stdout=subprocess.PIPE, text=True)

    monkeypatch.setattr(workers, "_start", started)
    asked: list[int] = []

    def steps(count: int) -> None:
        asked.append(count)
        if len(asked) == 2:  # both are there
            os.kill(os.getpid(), signal.SIGINT)

    assert workers.train_in_processes(tmp_path, (0, 1), 2, Listener(steps=steps)) is interrupted
