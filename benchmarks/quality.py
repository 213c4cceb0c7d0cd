"""Time to quality: seconds of training until the test −ELBO of MNIST is at most 100 nats.

Run with `python -m benchmarks.quality`. The model is 784-200-200-50, tanh; Adam with learning rate 1e-3, batch 100,
60,000 training images binarised afresh in each epoch. All are judged by one function: the test images binarised once
(seed 0), one draw of z each, the KL in closed form. Each trains in a process of its own; the processes take turns, an
epoch at a time. The clock begins when the libraries are imported and the images read; it runs while a model is built,
compiled and trained, and stands still while it is judged. For the peers the images are binarised with the clock
stopped, which favours them.
"""

from __future__ import annotations

import argparse
import gzip
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks.harness import Absent, machine, positive, save_document
from benchmarks.loops import PIXELS, networks
from benchmarks.ours import options_for, prepared_for, settle
from benchmarks.peers.training import SplitHead, example_loop, pythae_loop, pythae_model
from benchmarks.processes import Spec, Worker, crew

__all__ = ["main", "negative_elbo_of", "ours", "peer"]

BATCH = 100
Point = dict[str, float]
"""`epoch`, `seconds` so far, `nats`: the −ELBO after it."""


def grey(part: str, count: int | None = None) -> Tensor:
    """MNIST as it comes, `(N, 784)` uint8; synthetic blots of the same share of ink without `FOURFOLD_DATA`."""
    folder = os.environ.get("FOURFOLD_DATA")
    path = Path(folder, "mnist", f"{part}-images-idx3-ubyte.gz") if folder else None
    if path is not None and path.is_file():
        with gzip.open(path) as file:
            return torch.frombuffer(bytearray(file.read()), dtype=torch.uint8, offset=16).view(-1, PIXELS)[:count]
    draw = torch.Generator().manual_seed(len(part))
    size = count or (60_000 if part == "train" else 10_000)
    coarse = (torch.rand(size, 7, 7, generator=draw) < 0.13).repeat_interleave(4, 1).repeat_interleave(4, 2)
    return coarse.reshape(size, PIXELS).to(torch.uint8) * 255


def binarised(images: Tensor, seed: int) -> Tensor:
    """Pixels that are 1 with the probability of their grey value, as floats."""
    draw = torch.Generator().manual_seed(seed)
    return torch.cat([(torch.rand(p.shape, generator=draw) < p / 255).float() for p in images.split(5_000)])


@torch.no_grad()
def negative_elbo_of(
    encode: Callable[[Tensor], tuple[Tensor, Tensor]], decode: Callable[[Tensor], Tensor], images: Tensor
) -> float:
    """The judge: nats an image. `encode` gives mean and log-variance, `decode` logits."""
    draw, total = torch.Generator().manual_seed(0), 0.0
    for x in binarised(images, 0).split(1_000):
        mean, log_variance = encode(x)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn(mean.shape, generator=draw)
        distortion = F.binary_cross_entropy_with_logits(decode(z).view_as(x), x, reduction="sum")
        rate = -0.5 * torch.sum(1 + log_variance - mean.square() - log_variance.exp())
        total += float(distortion + rate)
    return total / len(images)


def ours(mode: str, count: int) -> Callable[[], Point]:
    """Fourfold: an epoch, and the judgement."""
    train, test = grey("train", count), grey("t10k", max(count // 6, 1))
    import fourfold as ff
    from fourfold.data import DataSet, Split
    from fourfold.training import Job, intervals, launch

    _ = ff.recipes  # imported when it is first asked for
    start = time.perf_counter()
    settle()
    steps = len(train) // BATCH
    options = options_for(mode, batch_size=BATCH, log_steps=steps, accelerator="cpu")
    data = DataSet("mnist", Split(train.view(-1, 1, 28, 28).numpy()), None, None, levels=256, classes=None)
    prepared, _ = prepared_for("vae", data, options)
    model = prepared.step.model
    job = Job(prepared.step, data.train, None, options, Path(tempfile.mkdtemp()), quiet=True, stages=prepared.stages)
    loop = intervals(job, launch(options))
    spent, epoch = time.perf_counter() - start, 0

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        q = model.posterior(x.view(-1, 1, 28, 28), None)
        return q.loc, 2 * q.log_scale

    def piece() -> Point:
        nonlocal spent, epoch
        begin = time.perf_counter()
        next(loop)
        spent, epoch = spent + time.perf_counter() - begin, epoch + 1
        model.eval()
        nats = negative_elbo_of(encode, lambda z: model.likelihood(z, None).logits, test)
        model.train()
        return {"epoch": epoch, "seconds": spent, "nats": nats}

    return piece


def peer(name: str, count: int) -> Callable[[], Point]:
    """`pythae` or `example`: an epoch, and the judgement."""
    train, test = grey("train", count), grey("t10k", max(count // 6, 1))
    images, steps = binarised(train, 1), len(train) // BATCH
    if name == "pythae":
        pythae_model("dense")  # imports it
    start = time.perf_counter()
    if name == "pythae":
        model = pythae_model("dense")
        run = pythae_loop(images, model, BATCH, steps)
        encoder, decoder = model.encoder.body, model.decoder.body
    else:
        body, decoder = networks("dense")
        encoder = SplitHead(body)
        run = example_loop(images, (encoder, decoder), BATCH, steps)
    spent, epoch = time.perf_counter() - start, 0

    def piece() -> Point:
        nonlocal spent, epoch
        begin = time.perf_counter()
        run()
        spent, epoch = spent + time.perf_counter() - begin, epoch + 1
        images.copy_(binarised(train, 1 + epoch))
        return {"epoch": epoch, "seconds": spent, "nats": negative_elbo_of(encoder, decoder, test)}

    return piece


def contest(specs: Sequence[Spec], target: float, epochs: int, threads: int) -> dict[str, dict[str, Any]]:
    """All of them in turn, an epoch at a time, until each is there or has had its epochs; told as they come."""
    found: dict[str, dict[str, Any]] = {}
    with crew(specs, threads, one_by_one=True) as workers:
        running = {name: worker for name, worker in workers.items() if isinstance(worker, Worker)}
        found |= {name: {"absent": why, "curve": []} for name, why in workers.items() if isinstance(why, str)}
        found |= {name: {"absent": "", "curve": [], "reached": None} for name in running}
        while running:
            for name, worker in list(running.items()):
                try:
                    point: Point = worker.run()
                except Absent as reason:
                    found[name]["absent"] = str(reason)
                    del running[name]
                    continue
                found[name]["curve"].append(point)
                epoch, seconds, nats = int(point["epoch"]), point["seconds"], point["nats"]
                print(f"{name:20} epoch {epoch:3}  {seconds:7.1f} s  {nats:7.2f} nats", flush=True)
                if nats <= target:
                    found[name]["reached"] = seconds
                if nats <= target or epoch >= epochs:
                    del running[name]
    return {spec.name: found[spec.name] for spec in specs}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, train, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=positive, default=2)
    parser.add_argument("--target", type=float, default=100.0, help="nats")
    parser.add_argument("--epochs", type=positive, default=40, help="at most")
    parser.add_argument("--only", nargs="+", help="only these, by name")
    parser.add_argument("--out", type=Path, help="folder of the JSON (default: benchmarks/results)")
    parser.add_argument("--trial", action="store_true", help="one epoch of 200 images: does it run?")
    options = parser.parse_args(arguments)
    count, epochs = (200, 1) if options.trial else (60_000, options.epochs)
    here = "benchmarks.quality:"
    field = [
        Spec("pythae", f"{here}peer", {"name": "pythae", "count": count}, peer=True),
        Spec("example", f"{here}peer", {"name": "example", "count": count}),
        Spec("fourfold", f"{here}ours", {"mode": "eager", "count": count}),
        Spec("fourfold compiled", f"{here}ours", {"mode": "compiled", "count": count}),
        Spec("fourfold bf16", f"{here}ours", {"mode": "bf16", "count": count}),
    ]
    field = [spec for spec in field if not options.only or spec.name in options.only]
    before = machine(options.threads)
    found = contest(field, options.target, epochs, options.threads)
    base = found.get("pythae", {}).get("reached")
    print(f"\nseconds to {options.target:g} nats")
    for name, one in found.items():
        last = one["curve"][-1]["nats"] if one["curve"] else None
        if one.get("reached") is None:
            print(f"{name:20} {one['absent'] or f'not within {epochs} epochs: {last:.2f}'}")
            continue
        times = f"  {base / one['reached']:.2f} × pythae" if base else ""
        print(f"{name:20} {one['reached']:7.1f}  ({len(one['curve'])} epochs){times}")
    about = {"target": options.target, "trial": options.trial, "machine": before, "contest": found}
    save_document("quality", about, options.out)


if __name__ == "__main__":
    sys.exit(main())
