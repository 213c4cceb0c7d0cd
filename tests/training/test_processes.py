"""Several processes, or a batch in pieces, train what one process trains."""

import json
import subprocess
import sys
from pathlib import Path

import torch

import fourfold as ff
from fourfold.training import load_tensors

OPTIONS = {"epochs": 2, "batch_size": 90, "precision": "64", "ema": 0.9, "log_steps": 5}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "checkpoints" / "last.safetensors")[0]


def metrics(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def check_equal(one: Path, other: Path) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-7, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")
    assert len(metrics(one)) == len(metrics(other))
    for x, y in zip(metrics(one), metrics(other), strict=True):
        torch.testing.assert_close(list(x.values()), list(y.values()), rtol=1e-7, atol=1e-9)


def start(folder: Path, options: dict[str, object], *launcher: str) -> None:
    program = Path(__file__).with_name("runner.py")
    command = [*(launcher or (sys.executable,)), str(program), str(folder), "0", json.dumps(options)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr


def test_two_processes_train_the_same_model_as_one(tmp_path: Path) -> None:
    start(tmp_path / "one", OPTIONS)
    start(tmp_path / "two", {**OPTIONS, "devices": 2, "accelerator": "cpu"})
    check_equal(tmp_path / "one", tmp_path / "two")


def test_two_processes_under_torchrun(tmp_path: Path) -> None:
    start(tmp_path / "one", OPTIONS)
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    start(tmp_path / "two", {**OPTIONS, "devices": 2, "accelerator": "cpu"}, *torchrun)
    check_equal(tmp_path / "one", tmp_path / "two")


def test_a_batch_in_pieces_is_the_same_batch(tmp_path: Path) -> None:
    recipe, data = ff.recipes.vae(latent=3, hidden=(16,)), ff.data.digits()
    one = ff.fit(recipe, data, out=tmp_path / "one", quiet=True, **OPTIONS)
    three = ff.fit(recipe, data, out=tmp_path / "three", quiet=True, accumulate=3, **OPTIONS)
    assert one.path is not None and three.path is not None
    check_equal(one.path, three.path)


def test_the_group_of_processes_is_ended_before_the_interpreter_is(tmp_path: Path) -> None:
    """Gloo's threads, left to the interpreter's end, abort it now and then: who starts the group ends it at exit."""
    program = tmp_path / "program.py"
    program.write_text(
        "import atexit, torch.distributed\n"
        "atexit.register(lambda: print('left over:', torch.distributed.is_initialized()))\n"  # runs after ours
        "from fourfold.training import Training, launch\n"
        "launch(Training(devices=2, accelerator='cpu'))\n"
        "assert torch.distributed.is_initialized()\n"
    )
    ran = subprocess.run([sys.executable, str(program)], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
    assert "left over: False" in ran.stdout and "left over: True" not in ran.stdout
