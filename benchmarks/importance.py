"""What the importance-sampled NLL of an image costs in time and in memory: Fourfold, and all draws in one tensor.

Run with `python -m benchmarks.importance`. The model is that of `loops.py` (784-200-200-50-200-200-784, tanh,
Bernoulli), untrained; images are binary. Times: K draws for each image of a batch, interleaved in one process.
Memory: the peak of a process that does all images (1,000) at one K, started anew for each; the last line is how far the
peaks of Fourfold are from one another.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import log, pi
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.harness import Protocol, Row, candidate, compare, machine, positive, save, show, timed
from benchmarks.loops import HIDDEN, LATENT, PIXELS, binary_images

__all__ = ["main"]

BASES = ("all draws at once",)
ESTIMATES: dict[str, Callable[[], Callable[[Tensor, int], Tensor]]] = {}


def _estimate(name: str) -> Callable[[Callable[[], Callable[[Tensor, int], Tensor]]], None]:
    return lambda build: ESTIMATES.__setitem__(name, build)


def _layers(*sizes: int) -> nn.Sequential:
    torch.manual_seed(0)
    layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.Tanh())]
    return nn.Sequential(*layers[:-1])


def _networks() -> tuple[nn.Sequential, nn.Sequential]:
    return _layers(PIXELS, HIDDEN, HIDDEN, 2 * LATENT), _layers(LATENT, HIDDEN, HIDDEN, PIXELS)


@_estimate("all draws at once")
def _all_at_once() -> Callable[[Tensor, int], Tensor]:
    """What is written in an afternoon: every draw of every image of the batch in one tensor."""
    encoder, decoder = _networks()

    @torch.no_grad()
    def nll(x: Tensor, samples: int) -> Tensor:
        mean, log_scale = encoder(x).chunk(2, dim=1)
        noise = torch.randn(samples, *mean.shape)
        z = mean + log_scale.exp() * noise
        log_q = (-0.5 * noise.square() - log_scale - 0.5 * log(2 * pi)).sum(-1)
        log_p = (-0.5 * z.square() - 0.5 * log(2 * pi)).sum(-1)
        logits = decoder(z)
        likelihood = -F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)
        return log(samples) - (likelihood + log_p - log_q).logsumexp(0)

    return nll


@_estimate("fourfold")
def _fourfold() -> Callable[[Tensor, int], Tensor]:
    from fourfold.conditional import NetworkConditional
    from fourfold.distributions import BernoulliHead, GaussianHead
    from fourfold.evaluation import Sampling, nll_importance
    from fourfold.evaluation.batches import Part
    from fourfold.models import VAE
    from fourfold.noise import Noise
    from fourfold.priors import StandardNormal

    encoder, decoder = _networks()
    posterior = NetworkConditional(encoder, GaussianHead(LATENT), PIXELS)
    likelihood = NetworkConditional(decoder, BernoulliHead(PIXELS), LATENT)
    model = VAE(posterior, StandardNormal(LATENT), likelihood).eval()
    noise = Noise(0)

    def nll(x: Tensor, samples: int) -> Tensor:
        return torch.from_numpy(nll_importance(model, [Part(x, None, None)], noise, Sampling(samples)))

    return nll


def times(batch: int, samples: int, protocol: Protocol) -> list[Row]:
    """Race the estimates on one batch."""
    x = binary_images(batch)[0].float()

    def piece(name: str) -> Callable[[], float]:
        nll = ESTIMATES[name]()
        return timed(lambda: nll(x, samples), batch)

    return compare([candidate(name, lambda name=name: piece(name)) for name in ESTIMATES], BASES, protocol)


def peak(name: str, images: int, batch: int, samples: int) -> float:
    """Peak memory in MiB of a process that estimates all images."""
    words = ["--child", name, "--images", str(images), "--batch", str(batch), "--samples", str(samples)]
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.importance", *words], capture_output=True, text=True, check=True
    )
    return float(done.stdout.split()[-1])


def _child(name: str, images: int, batch: int, samples: int) -> None:
    nll, x = ESTIMATES[name](), binary_images(images)[0].float()
    for part in x.split(batch):
        nll(part, samples)
    # Not ru_maxrss: that begins with the peak of the process that started this one.
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    print(int(line.split()[1]) / 1024)


def memory(images: int, batch: int, most: int) -> dict[str, dict[int, float]]:
    """Peaks at a hundredth, a tenth and all of the draws, printed as they come."""
    found: dict[str, dict[int, float]] = {}
    print(f"\npeak memory in MiB, {images:,} images in batches of {batch}")
    for name in ESTIMATES:
        found[name] = {}
        for samples in (most // 100, most // 10, most):
            found[name][samples] = peak(name, images, batch, samples)
            print(f"{name:20}  K = {samples:<5}  {found[name][samples]:8.0f}", flush=True)
    ours = found["fourfold"].values()
    print(f"fourfold: highest peak over lowest {max(ours) / min(ours):.3f}")
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, race, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--samples", type=positive, default=5000, help="K")
    parser.add_argument("--batch", type=positive, default=20)
    parser.add_argument("--images", type=positive, default=1000, help="of the memory measurement")
    parser.add_argument("--rounds", type=positive, default=12)
    parser.add_argument("--child", choices=ESTIMATES, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help="folder of the JSON (default: benchmarks/results)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    if options.child:
        _child(options.child, options.images, options.batch, options.samples)
        return
    protocol = Protocol(rounds=options.rounds, warmup=2, unit="ms/image", scale=1e3)
    before, title = machine(options.threads), f"K = {options.samples}, batch {options.batch}"
    rows = times(options.batch, options.samples, protocol)
    show(title, rows, BASES, protocol)
    peaks = memory(options.images, options.batch, options.samples)
    about = {"data": binary_images(1)[1], "images": options.images, "peak_mib": peaks, "machine": before}
    save("importance", {title: rows}, protocol, about, options.out)


if __name__ == "__main__":
    main()
