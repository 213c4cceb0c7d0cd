"""A killed run, continued, is the run that was never killed: bit for bit."""

import json
import random
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import fourfold as ff
from fourfold.runs import RunError, resume
from fourfold.training import load_tensors

OPTIONS = {
    "epochs": 6,
    "batch_size": 96,
    "ema": 0.9,
    "lr_schedule": "cosine",
    "clip": 5.0,
    "log_steps": 7,
    "checkpoint_seconds": 0,
}
STEPS = 90  # round(6 · 1439 / 96)


def start(folder: Path, die_at: int = 0) -> int:
    """The exit status of the runner."""
    program = Path(__file__).with_name("runner.py")
    command = [sys.executable, str(program), str(folder), str(die_at), json.dumps(OPTIONS)]
    return subprocess.run(command, capture_output=True, timeout=120).returncode


def state(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, object], list[dict[str, object]]]:
    """Everything the run left, but for its wall time."""
    tensors, facts = load_tensors(folder / "checkpoints" / "last.safetensors")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return tensors, {k: v for k, v in facts.items() if k != "seconds"}, [r | {"seconds": 0} for r in rows]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert start(folder) == 0
    return folder


@pytest.mark.parametrize("third", range(3))
def test_killed_and_resumed_is_bit_for_bit_the_whole_run(whole: Path, tmp_path: Path, third: int) -> None:
    point = random.randrange(1 + third * STEPS // 3, 1 + (third + 1) * STEPS // 3)  # a random step of each third
    print(f"killed in step {point}")  # shown if the test fails
    folder = tmp_path / "run"
    assert start(folder, die_at=point) == -signal.SIGKILL
    assert start(folder) == 0
    (tensors, facts, rows), (wanted, wanted_facts, wanted_rows) = state(folder), state(whole)
    assert tensors.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(tensors[name], wanted[name])] == []
    assert facts == wanted_facts
    assert rows == wanted_rows
    best, _ = load_tensors(folder / "checkpoints" / "best.safetensors")
    wanted_best, _ = load_tensors(whole / "checkpoints" / "best.safetensors")
    assert all(torch.equal(best[name], wanted_best[name]) for name in wanted_best)


def test_the_comparison_can_fail(whole: Path, tmp_path: Path) -> None:
    """Another seed gives other weights: equality above is not that of constants."""
    run = ff.fit(
        ff.recipes.vae(latent=3, hidden=(16,)), ff.data.digits(), out=tmp_path / "r", quiet=True, seed=1, **OPTIONS
    )
    assert run.path is not None
    other, _, _ = state(run.path)
    mine, _, _ = state(whole)
    assert not torch.equal(
        other["weights/model.likelihood.network.layers.0.weight"],
        mine["weights/model.likelihood.network.layers.0.weight"],
    )


def test_killed_before_its_first_checkpoint_a_run_starts_at_step_zero(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert start(folder, die_at=2) == -signal.SIGKILL
    assert not (folder / "checkpoints" / "last.safetensors").exists()
    assert start(folder) == 0
    assert all(torch.equal(a, b) for a, b in zip(state(folder)[0].values(), state(whole)[0].values(), strict=True))


def test_each_step_stands_once_in_the_metrics(whole: Path) -> None:
    steps = [row["step"] for row in state(whole)[2]]
    assert steps == sorted(set(steps)) and steps[-1] == STEPS


def test_a_finished_run_resumes_to_itself(whole: Path) -> None:
    before = state(whole)
    run = resume(whole)
    assert run.outcome.finished and run.outcome.step == STEPS
    assert all(torch.equal(a, b) for a, b in zip(state(whole)[0].values(), before[0].values(), strict=True))


def test_more_epochs_continue_a_run_and_nothing_else_may_change(tmp_path: Path) -> None:
    recipe, data = ff.recipes.vae(latent=2, hidden=(8,)), ff.data.digits()
    long = ff.fit(recipe, data, epochs=2, out=tmp_path / "long", quiet=True)
    short = ff.fit(recipe, data, epochs=1, out=tmp_path / "short", quiet=True)
    assert short.path is not None and long.path is not None
    resume(short.path, epochs=2)
    assert all(
        torch.equal(a, b) for a, b in zip(state(short.path)[0].values(), state(long.path)[0].values(), strict=True)
    )
    with pytest.raises(RunError, match="lr cannot change within a run"):
        resume(short.path, lr=0.5)
    with pytest.raises(RunError, match=r"trained with recipe"):
        resume(short.path, recipe=ff.recipes.beta_vae())


def test_a_model_of_an_older_format_is_taken_and_its_training_is_not(tmp_path: Path) -> None:
    data = ff.data.digits()
    run = ff.fit(ff.recipes.vae(latent=2, hidden=(8,)), data, out=tmp_path / "old", epochs=0.2, quiet=True)
    path = run.path / "checkpoints" / "last.safetensors"
    wanted = run.model.encode(torch.zeros(2, 1, 8, 8))[0]
    content = path.read_bytes()
    assert content.count(b'\\"format\\": 2') == 1
    path.write_bytes(content.replace(b'\\"format\\": 2', b'\\"format\\": 1'))  # the digest is not of the format
    assert torch.equal(ff.load(run.path).encode(torch.zeros(2, 1, 8, 8))[0], wanted)
    assert ff.Run.open(run.path, data=data).evaluate().rows
    ff.fit(ff.recipes.vae(latent=2, hidden=(8,)), data, out=tmp_path / "n", epochs=0.2, init_from=run.path, quiet=True)
    with pytest.raises(ff.training.CheckpointError, match=r"older fourfold \(format 1\).*load, evaluate"):
        resume(run.path, epochs=1)
