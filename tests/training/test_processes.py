"""Several processes, or a batch in pieces, train what one process trains."""

import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import fourfold as ff
from fourfold.training import load_tensors

OPTIONS = {"epochs": 2, "batch_size": 90, "precision": "64", "ema": 0.9, "log_steps": 5}


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "checkpoints" / "last.safetensors")[0]


def metrics(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def check_equal(one: Path, other: Path, told: float = 1e-7) -> None:
    a, b = weights(one), weights(other)
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-7, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")
    assert len(metrics(one)) == len(metrics(other))
    for x, y in zip(metrics(one), metrics(other), strict=True):
        torch.testing.assert_close(list(x.values()), list(y.values()), rtol=told, atol=told / 100)


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


@pytest.mark.slow
@pytest.mark.parametrize("what", ["plain", "codes", "ladder"])
def test_four_processes_train_the_same_model_as_one(tmp_path: Path, what: str) -> None:
    """Weights, optimiser, the codebook and its counts, statistics of batch normalisation, order and noise."""
    options = {**OPTIONS, "epochs": 0.6, "batch_size": 96, **({} if what == "plain" else {what: True})}
    if what == "ladder":  # some gradients are the rounding of 0, which Adam with its small ε would take for a size
        options["eps"] = 1e-2
    start(tmp_path / "one", options)
    start(tmp_path / "four", {**options, "devices": 4, "accelerator": "cpu"})
    check_equal(tmp_path / "one", tmp_path / "four", 1e-5 if what == "ladder" else 1e-7)  # statistics are float32
    if what == "codes":
        assert any("codebook" in name or "counts" in name or "quantiser" in name for name in weights(tmp_path / "one"))
    if what == "ladder":
        assert any(name.endswith("variance") for name in weights(tmp_path / "one"))


def lose(folder: Path, rank: int, *launcher: str, **options: object) -> tuple[subprocess.CompletedProcess[str], float]:
    """Two processes, of which one kills itself in its tenth step; and how long it took until all had ended."""
    program = Path(__file__).with_name("runner.py")
    every = {**OPTIONS, "devices": 2, "accelerator": "cpu", "checkpoint_seconds": 0, "dies": rank, **options}
    command = [*(launcher or (sys.executable,)), str(program), str(folder), "10", json.dumps(every)]
    begun = time.monotonic()
    ended = subprocess.run(command, capture_output=True, text=True, timeout=240)  # all that hold its pipes
    return ended, time.monotonic() - begun


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_lost_process_is_named_and_the_run_goes_on_from_its_checkpoint(tmp_path: Path, rank: int) -> None:
    folder = tmp_path / "two"
    ended, took = lose(folder, rank)
    assert ended.returncode == (-signal.SIGKILL if rank == 0 else 1), ended.stderr
    who = "process 1 has ended by SIGKILL" if rank else "another process of this run has ended"
    assert f"Process {1 - rank} of 2 stopped: {who}" in ended.stderr
    assert f"The last checkpoint is whole. Continue with: fourfold train --resume {folder}" in ended.stderr
    assert took < 100  # the machine's own slowness, not Gloo's half hour
    start(folder, {})
    start(tmp_path / "one", {**OPTIONS, "checkpoint_seconds": 0})
    check_equal(tmp_path / "one", folder)


@pytest.mark.slow
def test_a_lost_process_under_torchrun(tmp_path: Path) -> None:
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    ended, took = lose(tmp_path / "two", 1, *torchrun)
    assert ended.returncode and took < 100
    assert "Process 0 of 2 stopped: another process of this run has ended" in ended.stderr
    assert f"fourfold train --resume {tmp_path / 'two'}" in ended.stderr


@pytest.mark.slow
def test_two_nodes_train_the_same_model_as_one_process(tmp_path: Path) -> None:
    """Two launchers that find each other by address, as on two machines, with one process each."""
    options = {**OPTIONS, "epochs": 0.6}
    start(tmp_path / "one", options)
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    meeting = ("--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint={address}", "--rdzv-id=7")
    torchrun = (sys.executable, "-m", "torch.distributed.run", *meeting)
    program = str(Path(__file__).with_name("runner.py"))
    words = [*torchrun, program, str(tmp_path / "two"), "0", json.dumps({**options, "accelerator": "cpu"})]
    nodes = [subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [node.communicate(timeout=240)[1] for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    check_equal(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_those_that_wait_for_a_lost_process_without_noticing_are_ended(tmp_path: Path) -> None:
    """As with NCCL, whose kernels do not see that a connection is closed."""
    ended, took = lose(tmp_path / "two", 1, stuck=True)
    assert ended.returncode == 1 and took < 100
    assert "fourfold: error: Process 0 of 2 stopped: process 1 has ended by SIGKILL" in ended.stderr


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
