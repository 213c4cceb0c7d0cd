"""What evaluation costs an image: the NLL by importance sampling (K = 5,000), and annealed importance sampling.

Run with `python -m benchmarks.evaluation`. The model is the dense one of `loops.py`, untrained: the times do not
depend on its weights. Each candidate has a process of its own; the processes take turns. AIS is timed from the start
of the chains to their end, with step sizes that are given: the pilot run that finds them is left out on both sides.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from math import log

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmarks import importance
from benchmarks.floor import played, recorded
from benchmarks.harness import Protocol, machine, positive, save, show, timed
from benchmarks.loops import LATENT, binary_images, networks
from benchmarks.ours import settle
from benchmarks.peers.training import pythae_model
from benchmarks.processes import Spec, race_processes
from benchmarks.system import keep_pages
from benchmarks.training import parser_of

__all__ = ["annealed", "annealed_floor", "main", "nll", "nll_floor", "plain_ais", "pythae_nll"]

_ROWS = 2_500  # of a chunk of draws
_STEP = 0.05  # of the leapfrog


def nll(name: str, batch: int, samples: int) -> Callable[[], float]:
    """An estimate of `importance`, by its name there."""
    if name == "fourfold":
        settle()
    estimate, x = importance.ESTIMATES[name](), binary_images(batch)[0].float()
    return timed(lambda: estimate(x, samples), batch)


def pythae_nll(batch: int, samples: int) -> Callable[[], float]:
    """pythae's `get_nll` with its own batch size; it keeps the graph of every pass, as it comes."""
    model, x = pythae_model("dense"), binary_images(batch)[0].float()
    return timed(lambda: model.get_nll(x, n_samples=samples), batch)


def nll_floor(batch: int, samples: int, precision: str = "32") -> Callable[[], float]:
    """The matrix products alone: the encoder once, the decoder for each draw, in chunks that stay in the cache."""
    keep_pages()
    encoder, decoder = networks("dense")
    rows = batch * samples
    with torch.no_grad():
        x, z = torch.rand(batch, 784), torch.randn(min(_ROWS, rows), LATENT)
        once, chunk = recorded(lambda: encoder(x)), recorded(lambda: decoder(z))
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    first, each = played(once, dtype), played(chunk, dtype)

    def piece() -> None:
        first()
        for _ in range(-(-rows // _ROWS)):
            each()

    return timed(piece, batch)


def annealed(batch: int, temperatures: int, chains: int, leapfrog: int) -> Callable[[], float]:
    """Fourfold's chains; seconds a trajectory of one chain of one image."""
    settle()
    import numpy as np

    from fourfold.conditional import NetworkConditional
    from fourfold.distributions import BernoulliHead, GaussianHead
    from fourfold.evaluation.ais import Annealing, forward, path_of
    from fourfold.evaluation.batches import Part
    from fourfold.models import VAE
    from fourfold.noise import Noise
    from fourfold.priors import StandardNormal

    encoder, decoder = networks("dense")
    posterior = NetworkConditional(encoder, GaussianHead(LATENT), 784)
    likelihood = NetworkConditional(decoder, BernoulliHead(784), LATENT)
    model = VAE(posterior, StandardNormal(LATENT), likelihood).eval()
    options = Annealing(temperatures=temperatures, chains=chains, leapfrog=leapfrog)
    path = path_of(model, Part(binary_images(batch)[0].float(), None, None), options)
    table = np.full(temperatures, _STEP)
    noise = Noise(0)
    return timed(lambda: forward(path, table, noise, options, lambda: None), batch * temperatures * chains)


def plain_ais(batch: int, temperatures: int, chains: int, leapfrog: int) -> Callable[[], float]:
    """What is written in an afternoon: all chains in one tensor, autograd for each gradient, a sigmoid of betas."""
    _, decoder = networks("dense")
    x = binary_images(batch)[0].float().repeat(chains, 1)
    raw = torch.sigmoid(torch.linspace(-4, 4, temperatures + 1))
    betas = ((raw - raw[0]) / (raw[-1] - raw[0])).tolist()

    def log_likelihood(z: Tensor) -> Tensor:
        return -F.binary_cross_entropy_with_logits(decoder(z), x, reduction="none").sum(1)

    def energy(z: Tensor, beta: float) -> Tensor:
        return 0.5 * z.square().sum(1) - beta * log_likelihood(z)

    def slope(z: Tensor, beta: float) -> Tensor:
        z = z.detach().requires_grad_()
        return torch.autograd.grad(energy(z, beta).sum(), z)[0]

    def piece() -> None:
        z = torch.randn(len(x), LATENT)
        weight = torch.zeros(len(x))
        for before, beta in pairwise(betas):
            with torch.no_grad():
                weight += (beta - before) * log_likelihood(z)
            p = torch.randn_like(z)
            with torch.no_grad():
                start = energy(z, beta) + 0.5 * p.square().sum(1)
            there, q = z, p - 0.5 * _STEP * slope(z, beta)
            for i in range(leapfrog):
                there = there + _STEP * q
                q = q - (_STEP if i < leapfrog - 1 else 0.5 * _STEP) * slope(there, beta)
            with torch.no_grad():
                accept = (start - energy(there, beta) - 0.5 * q.square().sum(1)).exp() > torch.rand(len(x))
                z = torch.where(accept[:, None], there, z)
        estimate = weight.view(chains, batch).logsumexp(0) - log(chains)
        if not estimate.isfinite().all():
            raise ArithmeticError("plain_ais: a weight is not finite")

    return timed(piece, batch * temperatures * chains)


def annealed_floor(
    batch: int, temperatures: int, chains: int, leapfrog: int, precision: str = "32"
) -> Callable[[], float]:
    """The products of one gradient in z, as often as there are leapfrog steps."""
    keep_pages()
    _, decoder = networks("dense")
    for parameter in decoder.parameters():
        parameter.requires_grad_(False)
    z = torch.randn(batch * chains, LATENT, requires_grad=True)
    step = played(
        recorded(lambda: decoder(z).sum().backward()), torch.bfloat16 if precision == "bf16" else torch.float32
    )
    return timed(lambda: [step() for _ in range(temperatures * leapfrog)], batch * temperatures * chains)


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, race, print, write the JSON."""
    parser = parser_of(__doc__)
    parser.set_defaults(rounds=8)
    parser.add_argument("--images", type=positive, default=20, help="of a batch")
    parser.add_argument("--samples", type=positive, default=5000, help="K")
    parser.add_argument("--chains", type=positive, default=16)
    parser.add_argument("--leapfrog", type=positive, default=10)
    options = parser.parse_args(arguments)
    here, small = "benchmarks.evaluation:", options.trial
    budget = {"batch": 2 if small else options.images, "samples": 50 if small else options.samples}
    few = {**budget, "batch": 2}  # pythae goes image by image
    path = {
        "batch": budget["batch"],
        "temperatures": 2 if small else 5,
        "chains": 2 if small else options.chains,
        "leapfrog": 2 if small else options.leapfrog,
    }
    nlls = [
        Spec("pythae", f"{here}pythae_nll", few, peer=True),
        Spec("all draws at once", f"{here}nll", {**budget, "name": "all draws at once"}),
        Spec("floor", f"{here}nll_floor", budget),
        Spec("floor bf16", f"{here}nll_floor", {**budget, "precision": "bf16"}),
        Spec("fourfold", f"{here}nll", {**budget, "name": "fourfold"}),
    ]
    chains = [
        Spec("plain", f"{here}plain_ais", path),
        Spec("floor", f"{here}annealed_floor", path),
        Spec("floor bf16", f"{here}annealed_floor", {**path, "precision": "bf16"}),
        Spec("fourfold", f"{here}annealed", path),
    ]
    rounds, warmup = (1, 1) if small else (options.rounds, options.warmup)
    before, tables, facts = machine(options.threads), {}, {}
    races = (
        (f"NLL by {budget['samples']} draws", nlls, ("pythae", "all draws at once", "floor"), "ms/image", 1e3),
        (f"AIS, {path['leapfrog']} leapfrog steps", chains, ("plain", "floor"), "us/trajectory", 1e6),
    )
    units = {}
    for title, field, bases, unit, scale in races:
        protocol = Protocol(rounds, warmup, unit, scale)
        tables[title], facts[title] = race_processes(field, bases, protocol, options.threads)
        show(title, tables[title], bases, protocol)
        units[title] = unit
    about = {"data": binary_images(1)[1], "units": units, "workers": facts, "trial": small, "machine": before}
    save("evaluation", tables, Protocol(rounds, warmup, "see units"), about, options.out)


if __name__ == "__main__":
    main()
