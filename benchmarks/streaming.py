"""Training from data larger than memory: images a second, memory, and how long the processor waits for the disk.

Run with `python -m benchmarks.streaming` (`--gigabytes 1 20` for the long one). Shards of synthetic 3x32x32
images, 201 MB each, are written to a temporary folder, put out of the page cache, read, trained on, and removed. Each
measurement is a process of its own:

* reading: batches of 100 through `fourfold.data.feed`, as training gets them; nothing is done with them;
* training: a dense VAE on them, a fraction of whose time is spent in waiting for the next batch.

Memory is anonymous memory (`RssAnon`) of the process and its workers together, sampled ten times a second. The pages of
files that the kernel keeps are not in it: they go when anybody else needs the room.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import HERE, machine, positive

__all__ = ["main"]

SHAPE, ROWS, BATCH = (3, 32, 32), 65_536, 100
IMAGE = int(np.prod(SHAPE))


def write(folder: Path, gigabytes: float) -> float:
    """Synthetic shards of about this size; the seconds it took."""
    from fourfold.data import write_shards

    block = np.random.default_rng(0).integers(0, 256, (ROWS // 4, *SHAPE), dtype=np.uint8)
    pieces = round(gigabytes * 1e9 / (len(block) * IMAGE))
    start = time.perf_counter()
    write_shards(folder, (np.roll(block, i, axis=0) for i in range(max(pieces, 1))), ROWS)
    return time.perf_counter() - start


def forget(folder: Path) -> None:
    """Asks the kernel to drop what it keeps of these files, so that they come from the disk."""
    for path in folder.iterdir():
        file = os.open(path, os.O_RDONLY)
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)


def anonymous() -> float:
    """Anonymous memory in MiB of this process and those it started."""
    ours = [os.getpid()]
    for task in Path("/proc/self/task").iterdir():
        ours += [int(pid) for pid in (task / "children").read_text().split()]
    total = 0
    for pid in ours:
        try:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        except OSError:  # a worker that has just ended
            continue
        total += sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    return total / 1024


@contextmanager
def watched() -> Iterator[list[float]]:
    """Samples of anonymous memory while something runs."""
    samples, over = [anonymous()], threading.Event()

    def watch() -> None:
        while not over.wait(0.1):
            samples.append(anonymous())

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield samples
    finally:
        over.set()
        thread.join()


def measured(folder: str, shuffle: str, seconds: float, workers: int, trains: bool) -> dict[str, Any]:
    """What one process finds, reading or training for so many seconds."""
    import torch

    import fourfold as ff
    from fourfold.runs.prepare import prepare
    from fourfold.training import Training

    torch.set_num_threads(1)
    start = time.perf_counter()
    data = ff.data.shards(folder, split="all")
    if trains:
        plan = ff.recipes.vae(latent=32, hidden=(256, 256), likelihood="gaussian")
        step = prepare(plan, data, Training(quiet=True)).step.train()
        adam = torch.optim.Adam(step.parameters(), fused=True)
    ready = time.perf_counter() - start
    order = ff.data.order_of(data.train.x, BATCH, 0, shuffle)
    images, waited, noise = 0, 0.0, ff.Noise(0)
    # What is asked for is long enough: the clock ends it.
    stream = ff.data.Streaming(data.train, workers=workers).batches(order, 0, 10**9)
    with watched() as samples, closing(stream):
        first = time.perf_counter()
        next(stream)
        first = time.perf_counter() - first
        start = time.perf_counter()
        while (now := time.perf_counter()) - start < seconds:
            raw, _ = next(stream)
            waited += time.perf_counter() - now
            images += len(raw)
            if trains:
                adam.zero_grad()
                step(raw, None, noise.at(images))[0].backward()
                adam.step()
        spent = time.perf_counter() - start
    half = len(samples) // 2
    return {
        "images_per_second": images / spent,
        "MB_per_second": images * IMAGE / spent / 1e6,
        "waiting": waited / spent,
        "first_batch_seconds": first,
        "ready_seconds": ready,
        "RssAnon_MiB": float(np.median(samples[half:])),
        "RssAnon_peak_MiB": max(samples),
        "images": images,
        "of": len(data.train),
    }


def one_size(home: Path, gigabytes: float, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Writes shards of a size, measures every way of reading them, and removes them."""
    folder = home / f"{gigabytes:g}"
    took = write(folder, gigabytes)
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e9
    print(f"\n{size:.1f} GB in {len(list(folder.iterdir()))} shards, written at {size / took:.2f} GB/s", flush=True)
    for trains in (False, True):
        for shuffle in options.shuffle:
            forget(folder)
            words = [str(folder), shuffle, str(options.seconds), str(options.workers), str(int(trains))]
            command = [sys.executable, "-m", "benchmarks.streaming", "--child", *words]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(done.stderr)
            row = json.loads(done.stdout.splitlines()[-1])
            row = {"gigabytes": size, "what": "training" if trains else "reading", "shuffle": shuffle, **row}
            print(
                f"  {row['what']:9} {shuffle:10} {row['images_per_second']:9,.0f} images/s"
                f" {row['MB_per_second']:7.0f} MB/s"
                f"  waiting {row['waiting']:4.0%}  anonymous {row['RssAnon_MiB']:5.0f} MiB,"
                f" peak {row['RssAnon_peak_MiB']:5.0f}  ready in {row['ready_seconds']:.1f} s",
                flush=True,
            )
            yield row
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, measure size by size, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, nargs="+", default=[1.0, 4.0])
    parser.add_argument("--shuffle", nargs="+", default=["global", "window:4"])
    parser.add_argument("--seconds", type=float, default=10.0, help="of each measurement")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where the shards are written (default: the temporary folder)")
    parser.add_argument("--out", type=Path, help="folder of the JSON (default: benchmarks/results)")
    parser.add_argument("--child", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.child:
        folder, shuffle, seconds, workers, trains = options.child
        print(json.dumps(measured(folder, shuffle, float(seconds), int(workers), trains == "1")))
        return
    before = machine(positive("1"))
    with tempfile.TemporaryDirectory(dir=options.folder) as home:
        rows = [row for size in options.gigabytes for row in one_size(Path(home), size, options)]
    now = datetime.now().astimezone()
    target = options.out or HERE / "results"
    target.mkdir(parents=True, exist_ok=True)
    path = target / f"{now:%Y-%m-%d-%H%M%S}-streaming.json"
    about = {"benchmark": "streaming", "date": now.isoformat(timespec="seconds"), "workers": options.workers}
    path.write_text(
        json.dumps({**about, "image": SHAPE, "batch": BATCH, "machine": before, "rows": rows}, indent=1) + "\n"
    )
    print(f"\nwritten: {path.name}")


if __name__ == "__main__":
    main()
