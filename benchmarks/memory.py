"""Peaks of memory: training MNIST by the command above an interpreter that has torch, and a streaming feed.

Run with `python -m benchmarks.memory` (Linux). Each figure is of a process of its own. Training: the peak of resident
memory (VmHWM) of `fourfold train` with its report, less that of `python -c "import torch"`. Streaming: rows of a .npy
file read once through, in the order of training, by worker processes; the most memory that is no file's (RssAnon and
RssShmem), of the process and its workers together. Pages of the file itself are the kernel's to keep or to drop.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

from benchmarks.harness import Absent, machine, positive, save_document
from benchmarks.system import peak_mib

__all__ = ["main"]

LIMIT = 1.2e9 / 2**20  # MiB: the goal
_TRAIN = {
    "train vae": ["vae", "--latent", "50", "--hidden", "200,200", "--activation", "tanh"],
    "train vae --no-report": ["vae", "--latent", "50", "--hidden", "200,200", "--activation", "tanh", "--no-report"],
    "train iwae, 50 draws": ["iwae", "--latent", "50", "--hidden", "200,200", "--activation", "tanh", "--no-report"],
}
_WIDTH = 4096  # bytes of a row


def _child(task: list[str]) -> None:
    """In the process that is measured: do it, and print the peak as the last line."""
    if task[0] == "torch":
        import torch  # noqa: F401
    elif task[0] == "stream":
        print(_streamed(Path(task[1]), int(task[2])))
        return
    elif task[0] == "train":
        from fourfold.cli import main as command

        if status := command(["train", *task[1:]]):
            raise SystemExit(status)
    print(peak_mib())


def _streamed(path: Path, batch: int) -> float:
    """The most memory in MiB, of this process and its workers, over one pass through the file."""
    from contextlib import closing

    from fourfold.data import Order, Split
    from fourfold.data.feeds import Streaming
    from fourfold.data.rows import Rows

    split = Split(Rows(path))
    order = Order(len(split), batch, 0)
    most, over = 0.0, threading.Event()

    def watch() -> None:
        nonlocal most
        while not over.wait(0.02):
            most = max(most, _own_memory())

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    with closing(Streaming(split, workers=2).batches(order, 0, order.steps(1))) as rows:
        for _ in rows:
            pass
    over.set()
    watcher.join()
    return max(most, _own_memory())


def _own_memory() -> float:
    """MiB of this process and its children that are no file's."""
    children = Path("/proc/thread-self/children")
    pids = ["self"]
    for task in Path("/proc/self/task").iterdir():
        children = task / "children"
        if children.is_file():
            pids += children.read_text().split()
    total = 0
    for pid in pids:
        try:
            lines = Path("/proc", pid, "status").read_text().splitlines()
        except OSError:  # it ended meanwhile
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith(("RssAnon", "RssShmem")))
    return total / 1024


def peak_of(*task: str) -> float:
    """Peak in MiB of a process that does this.

    Raises:
        Absent: if it fails.
    """
    words = [sys.executable, "-m", "benchmarks.memory", "--child", json.dumps(task)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise Absent(f"{task[0]}: ended with status {done.returncode}: {last}")
    return float(done.stdout.split()[-1])


def training(data: str, epochs: str) -> dict[str, float | str]:
    """MiB above the interpreter with torch, of each command; for one that failed, why."""
    base = peak_of("torch")
    print(f"\npeak resident memory, data {data}\n{'python, import torch':28}{base:8.0f} MiB", flush=True)
    found: dict[str, float | str] = {"import torch": base}
    for name, words in _TRAIN.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                more = [*words, "--data", data, "--epochs", epochs, "--quiet", "--out", f"{folder}/run"]
                found[name] = peak_of("train", *more) - base
            except Absent as reason:
                found[name] = str(reason)
                print(f"{name:28}{reason}", flush=True)
                continue
        kept = "within" if found[name] <= LIMIT else "above"
        print(f"{name:28}{found[name]:+8.0f} MiB  ({kept} {LIMIT:,.0f})", flush=True)
    return found


def streaming(mib: Sequence[int]) -> dict[str, float]:
    """Peaks in MiB at each size of the file."""
    import numpy as np

    found: dict[str, float] = {}
    print("\nstreaming: most memory of the process and its workers, one pass")
    with tempfile.TemporaryDirectory() as folder:
        for size in mib:
            path, count = Path(folder, "rows.npy"), (size << 20) // _WIDTH
            rows = np.lib.format.open_memmap(path, "w+", np.uint8, (count, _WIDTH))
            draw = np.random.default_rng(0)
            for start in range(0, count, 16_384):
                block = rows[start : start + 16_384]
                block[...] = draw.integers(0, 256, block.shape, np.uint8)
            del rows
            found[f"{size} MiB"] = peak_of("stream", str(path), "128")
            print(f"{f'{size} MiB of rows':28}{found[f'{size} MiB']:8.0f} MiB", flush=True)
    print(f"highest over lowest: {max(found.values()) / min(found.values()):.3f}")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the arguments, measure, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="mnist", help="mnist needs its files; digits are always there")
    parser.add_argument("--epochs", default="1")
    parser.add_argument("--mib", type=positive, nargs="+", default=[128, 512, 2048], help="sizes of the streamed file")
    parser.add_argument("--child", type=json.loads, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="folder of the JSON (default: benchmarks/results)")
    parser.add_argument("--trial", action="store_true", help="digits and a few MiB: does it run?")
    options = parser.parse_args(arguments)
    if options.child:
        _child(options.child)
        return 0
    if peak_mib() is None:
        print("memory: absent: peaks are read from /proc, which this system has not")
        return 2
    before = machine()
    data, epochs, mib = ("digits", "0.1", [2, 4]) if options.trial else (options.data, options.epochs, options.mib)
    tables = {"above_torch_mib": training(data, epochs), "streaming_mib": streaming(mib)}
    about = {"data": data, "limit_mib": LIMIT, "trial": options.trial, "machine": before, **tables}
    save_document("memory", about, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
