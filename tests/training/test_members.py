"""Several members trained as one program are the members trained one by one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fourfold as ff
from fourfold.data import DataSet
from fourfold.plan import Plan
from fourfold.runs.prepare import prepare
from fourfold.training import Job, Training, launch, load_tensors, train
from fourfold.training.alike import alone, program
from fourfold.training.members import Members
from fourfold.training.several import train_several


def job(plan: Plan, data: DataSet, options: Training, folder: Path) -> Job:
    """What one member is."""
    folder.mkdir()
    made = prepare(plan, data, options)
    return Job(made.step, data.train, data.validation, options, folder, quiet=True, stages=made.stages)


def left(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], list[dict[str, Any]]]:
    """The last checkpoint and the metrics of a member."""
    tensors, state = load_tensors(folder / "checkpoints" / "last.safetensors")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return tensors, state, rows


def compare(one: Path, other: Path, close: float) -> None:
    """Two folders hold the same training, to this relative error."""
    (tensors, state, rows), (wanted, wanted_state, wanted_rows) = left(one), left(other)
    assert tensors.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(
            tensors[name], value, rtol=close, atol=close, msg=lambda text, n=name: f"{n}: {text}"
        )
    numbers = {"seconds", "best", "epoch", "compiled"}
    assert {k: v for k, v in state.items() if k not in numbers} == {
        k: v for k, v in wanted_state.items() if k not in numbers
    }
    assert state["best"] == pytest.approx(wanted_state["best"], rel=close)
    assert [row.keys() for row in rows] == [row.keys() for row in wanted_rows]
    for row, expected in zip(rows, wanted_rows, strict=True):
        assert {**row, "seconds": 0} == pytest.approx({**expected, "seconds": 0}, rel=close, abs=close)


OPTIONS = {
    "epochs": 6.5,
    "batch_size": 48,
    "log_steps": 17,
    "quiet": True,
    "checkpoint_seconds": 1000,
}
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all at once": {"clip": 3.0, "ema": 0.9, "lr_schedule": "cosine:0.1", "lr_warmup": 10, "optimiser": "adamw"},
    "adamax": {"optimiser": "adamax", "lr_schedule": "decay", "patience": 2},
}


@pytest.mark.parametrize("way", WAYS)
def test_members_are_the_runs_trained_alone(double: None, tmp_path: Path, way: str) -> None:
    """Three members with seeds, rates and weights of their own, over 195 steps, to 1e-9."""
    data = ff.data.digits()
    members = [(0.5, 0, 1e-3), (4.0, 1, 1e-3), (1.0, 2, 4e-3)]
    jobs, folders = [], []
    fabric = launch(Training(**OPTIONS))
    for i, (beta, seed, lr) in enumerate(members):
        plan = ff.recipes.beta_vae(beta=beta, latent=3, hidden=(10,))
        options = Training(**OPTIONS, **WAYS[way]).but(seed=seed, lr=lr)
        train(job(plan, data, options, tmp_path / f"alone{i}"), fabric)
        folders.append(tmp_path / f"member{i}")
        jobs.append(job(plan, data, options, folders[-1]))
    assert len({program(one) for one in jobs}) == 1 and not any(map(alone, jobs))
    ended = Members(jobs, fabric, measured=False).run()
    assert all(one.outcome.finished and not one.frozen for one in ended)
    for i, folder in enumerate(folders):
        compare(folder, tmp_path / f"alone{i}", 1e-9)


def three(tmp_path: Path, options: Training, name: str = "", lrs: tuple[float, ...] = (1e-3, 1e-3, 4e-3)) -> list[Job]:
    """Three members, with folders of their own."""
    made = []
    for i, lr in enumerate(lrs):
        plan = ff.recipes.beta_vae(beta=0.5 + i, latent=3, hidden=(10,))
        made.append(job(plan, ff.data.digits(), options.but(seed=i, lr=lr), tmp_path / f"{name}{i}"))
    return same_rows(made)


def same_rows(jobs: list[Job]) -> list[Job]:
    """As a sweep has them: the data are loaded once."""
    return [replace(one, train=jobs[0].train, validation=jobs[0].validation) for one in jobs]


def test_members_at_different_steps_are_brought_together(double: None, tmp_path: Path) -> None:
    options = Training(**OPTIONS, ema=0.9)
    fabric = launch(options)
    train_several(three(tmp_path, options, "whole"), fabric, together="on")
    jobs = three(tmp_path, options, "killed")
    Members(jobs[:2], fabric, measured=False).run(until=40)
    Members([replace(jobs[0], resume=True)], fabric, measured=False).run(until=61)
    ended = train_several(three_again(tmp_path, options), fabric, together="on")
    assert [one.outcome.finished for one in ended] == [True] * 3
    for i in range(3):
        compare(tmp_path / f"killed{i}", tmp_path / f"whole{i}", 1e-9)
    assert train_several(three_again(tmp_path, options), fabric)[1].outcome.finished


def three_again(tmp_path: Path, options: Training) -> list[Job]:
    """The same jobs in a new process, so to speak: their folders are there."""
    fresh = tmp_path / "fresh"
    fresh.mkdir(exist_ok=True)
    jobs = three(fresh, options, f"{len(list(fresh.iterdir()))}-")
    return [replace(one, folder=tmp_path / f"killed{i}", resume=True) for i, one in enumerate(jobs)]
