"""The losses of β-TCVAE, IWAE and MMD in pythae beside ours, on the same weights, latents and noise, in float64.

Run with `python -m benchmarks.peers.losses`; it needs pythae (benchmarks/README.md says how to get it) and writes
results/peers_losses.md and .json. pythae's `loss_function` is called as it comes. Where it differs from ours, the
difference is predicted from what the code says, and what the prediction leaves over is shown: nothing, up to rounding.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from math import log
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from benchmarks.harness import HERE, Absent
from benchmarks.peers.scene import BATCH, DATA, LATENT, Scene, made, scene
from fourfold.noise import Noise
from fourfold.objectives import IWAE, Decomposed, InfoVAE, Objective
from fourfold.objectives.decomposition import log_weights_of
from fourfold.statistics import IMQ, RBF, multi_scale

__all__ = ["Line", "lines", "main"]

N, BETA = (60_000, 6.0)  # the size of the data that both are told; the batch is of 64 either way


@dataclass(frozen=True)
class Line:
    """A loss, in nats a datum, to be minimised, by both; `None` where ours refuses.

    Attributes:
        explained: the difference theirs − ours that is predicted from what the code says.
        gradient: of theirs and ours by the posterior's and the decoder's numbers: ‖difference‖ / ‖ours‖.
        explained_gradient: the same after the prediction's own gradient was taken off.
    """

    loss: str
    theirs: float
    ours: float | None
    explained: float
    gradient: float | None
    explained_gradient: float | None
    why: str


def peer() -> SimpleNamespace:
    """pythae's models, by the names used here."""
    try:
        from pythae import models  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise Absent(f"pythae is not installed ({error.name}): benchmarks/README.md says how to get it") from error
    basic = {"input_dim": (784,), "latent_dim": LATENT, "reconstruction_loss": "bce"}
    return SimpleNamespace(
        iwae=lambda draws: models.IWAE(models.IWAEConfig(number_samples=draws, **basic)),
        tc=lambda mss: models.BetaTCVAE(models.BetaTCVAEConfig(beta=BETA, use_mss=mss, **basic)),
        mmd=lambda **given: models.INFOVAE_MMD(models.INFOVAE_MMD_Config(**given, **basic)),
    )


def compared(
    name: str, seen: Scene, theirs: Tensor, objective: Objective, explained: Tensor | None = None, why: str = "the same"
) -> Line:
    """Both values, the gradients of both, and what the explanation leaves of the difference."""
    ours = -objective(seen.trace, Noise(1)).total.mean()
    base = seen.gradient(ours)
    apart = seen.gradient(theirs) - base
    rest = apart if explained is None or not explained.requires_grad else apart - seen.gradient(explained)
    share = [float(one.norm() / base.norm()) for one in (apart, rest)]
    predicted = 0.0 if explained is None else explained.item()
    return Line(name, theirs.item(), ours.item(), predicted, share[0], share[1], why)


_IWAE = {
    1: "the same",
    5: "pythae gives Σ w̃ log w, which is the bound plus KL(w̃ ‖ uniform) = log K − H(w̃): it looks better than any bound "
    "allows, and can exceed log p(x). Its gradient is that of the bound",
}


def iwae(models: SimpleNamespace, at: Callable[[int], Scene]) -> Iterator[Line]:
    """pythae: loss = −Σ w̃ log w."""
    for draws in (1, 5, 50):
        seen = at(draws)
        mean, log_variance = (part.unsqueeze(1).expand(-1, draws, -1) for part in (seen.mean, seen.log_variance))
        pixels, z = seen.pixels.transpose(0, 1), seen.z.transpose(0, 1)
        theirs = models.iwae(draws).loss_function(pixels, seen.x, mean, log_variance, z)[0]
        shares = seen.trace.log_weight.detach().softmax(0)
        gap = -(log(draws) + (shares * shares.clamp_min(1e-300).log()).sum(0)).mean()
        why = _IWAE.get(draws, "as for K = 5, and more so")
        yield compared(f"IWAE, K = {draws}", seen, theirs, IWAE(draws), gap, why)


def tc(models: SimpleNamespace, at: Callable[[int], Scene]) -> Iterator[Line]:
    """β-TCVAE by both minibatch estimators, β = 6."""
    seen = at(1)
    given = (seen.pixels[0], seen.x, seen.mean, seen.log_variance, seen.z[0], N)
    why = (
        "the same: both carry the constants of weights 1/(N B), (D − 1) log N in tc alone, so neither value is a bound "
        "or a total correlation. Ours names the part tc_mws and logs the ELBO beside it"
    )
    ours = Decomposed(beta=BETA, data_size=N, estimator="mws")
    yield compared("β-TCVAE, MWS", seen, models.tc(False).loss_function(*given)[0], ours, why=why)
    model, ours = models.tc(True), Decomposed(beta=BETA, data_size=N)
    wrong = model._log_importance_weight_matrix(BATCH, N)
    right = log_weights_of("mss", BATCH, N)
    gap = _tc_loss(seen, wrong) - _tc_loss(seen, right)
    why = (
        "pythae's weight matrix has its 1/N in the first column, not on the diagonal (`W.view(-1)[::M+1]` strides by a "
        "whole row): an image's own posterior then weighs as much as any other. With its matrix ours is the same"
    )
    yield compared("β-TCVAE, MSS", seen, model.loss_function(*given)[0], ours, gap, why)


def _tc_loss(seen: Scene, log_w: Tensor) -> Tensor:
    """MI + β TC + dwKL by the weights W of q(z_i) ≈ Σ_j W_ij q(z_i | x_j)."""
    mi, total, marginal = parts(seen, log_w)
    return mi + BETA * total + marginal


def parts(seen: Scene, log_w: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """MI, TC and dimension-wise KL by these weights, `(B, B)` logarithms, in nats."""
    level = seen.trace.levels[0]
    z, q = level.z[0].unsqueeze(1), level.q
    pairs = q.log_prob_by_element(z)  # type: ignore[attr-defined]
    log_q = (pairs.sum(-1) + log_w).logsumexp(1)
    marginals = (pairs + log_w.unsqueeze(-1)).logsumexp(1).sum(-1)
    return ((level.log_q[0] - log_q).mean(), (log_q - marginals).mean(), (marginals - level.log_p[0]).mean())


def mmd(models: SimpleNamespace, at: Callable[[int], Scene]) -> Iterator[Line]:
    """InfoVAE with MMD: kernels, and the weights as they come."""
    seen = at(1)
    prior = seen.trace.levels[0].p.expand((BATCH,)).sample(Noise(1), 1)[0]  # what ours will draw
    given = (seen.pixels[0], seen.x, seen.z[0], prior, seen.mean, seen.log_variance)
    scale = 2.0 * LATENT

    def theirs(**config: Any) -> Tensor:
        return models.mmd(**config).loss_function(*given)[0]

    def info(kernel: Any) -> InfoVAE:
        return InfoVAE(0.5, 1000.0, kernel)

    weights = {"alpha": 0.5, "lbd": 1000.0}
    one = theirs(**weights, kernel_choice="imq", scales=[1.0])
    yield compared("MMD, IMQ, C = 2d", seen, one, info(IMQ(scale)))
    seven = theirs(**weights, kernel_choice="imq")
    why = "the same: both add up the kernels of seven scales"
    yield compared("MMD, IMQ, 7 scales", seen, seven, info(multi_scale(IMQ, scale)), why=why)
    why = "the same at the same bandwidth, 2σ² = 2d; ours named rbf takes that of Zhao et al., 2σ² = d²"
    rbf = theirs(**weights, kernel_choice="rbf")
    yield compared("MMD, RBF", seen, rbf, info(RBF(LATENT**0.5)), why=why)
    why = "pythae's default weights, α = 0 and λ = 0.001, weigh MMD² by α + λ − 1 = −0.999: it is rewarded. Ours: "
    try:
        InfoVAE(0.0, 1e-3)
    except ValueError as refusal:
        why += f"“{str(refusal).split(';')[0].removeprefix('InfoVAE: ')}”"
    yield Line("MMD, pythae's defaults", theirs().item(), None, 0.0, None, None, why)


def lines() -> tuple[list[Line], list[tuple[str, float, float, float]]]:
    """Every loss, and the parts of the rate by every estimate of q(z).

    Raises:
        Absent: without pythae.
    """
    models = peer()
    model, images = made()
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        found = [line for one in (iwae, tc, mmd) for line in one(models, lambda draws: scene(model, images, draws))]
        seen = scene(model, images)
        wrong = models.tc(True)._log_importance_weight_matrix(BATCH, DATA)
        weights = {
            "MSS": log_weights_of("mss", BATCH, DATA),
            "MSS with pythae's matrix": wrong,
            "mean over the batch, 1/B": log_weights_of("full", BATCH, BATCH),
            "MWS": log_weights_of("mws", BATCH, DATA),
        }
        rate = [(name, *_numbers(parts(seen, w))) for name, w in weights.items()]
        return found, [("exact, all 5,000 posteriors", *_exact(seen, scene(model, images, batch=DATA))), *rate]
    finally:
        torch.set_default_dtype(before)


@torch.no_grad()
def _exact(seen: Scene, every: Scene) -> tuple[float, float, float]:
    level, q = seen.trace.levels[0], every.trace.levels[0].q
    pairs = torch.stack([q.log_prob_by_element(z) for z in level.z[0]])  # type: ignore[attr-defined]
    log_q = pairs.sum(-1).logsumexp(1) - log(DATA)
    marginals = (pairs.logsumexp(1) - log(DATA)).sum(-1)
    found = (level.log_q[0] - log_q, log_q - marginals, marginals - level.log_p[0])
    return _numbers(tuple(one.mean() for one in found))


def _numbers(found: tuple[Tensor, ...]) -> tuple[float, float, float]:
    mi, total, marginal = (one.item() for one in found)
    return mi, total, marginal


_HEAD = """# Losses of pythae and of Fourfold on the same numbers

Written by `python -m benchmarks.peers.losses`; not edited by hand. pythae {pythae}, float64, {batch} binary images, a
VAE with {latent} latents after three epochs on {data:,} images; same weights, latents and noise. Losses in nats a
datum, lower is better. Predicted: the difference theirs − ours that follows from what the code says; left over: what it
does not explain. Gradients are those by the posterior's means and log-variances and the decoder's parameters,
‖theirs − ours‖ / ‖ours‖: as they are, and without the predicted part.

| loss | pythae | Fourfold | difference | predicted | left over | gradient apart | left over |
|---|---|---|---|---|---|---|---|
"""

_PARTS = """
## The parts of the rate, by the estimate of q(z)

N = {data:,}, B = {batch}, in nats. The sum is the same in every line: it is log q(z|x) − log p(z) at the draws.
pythae's matrix gives nearly what the plain mean over the batch gives, whose mutual information cannot exceed
log B = {log_b:.2f}.

| q(z) by | MI | TC | dimension-wise KL | sum |
|---|---|---|---|---|
"""


def page(found: Sequence[Line], rate: Sequence[tuple[str, float, float, float]]) -> str:
    """Both tables as Markdown."""
    shared = {"batch": BATCH, "data": DATA, "latent": LATENT, "pythae": version("pythae"), "log_b": log(BATCH)}
    text = _HEAD.format(**shared)
    for line in found:
        if line.ours is None:
            cells = [f"{line.theirs:.6f}", "refused", *["–"] * 5]
        else:
            apart = line.theirs - line.ours
            numbers = [_signed(apart), _signed(line.explained), f"{abs(apart - line.explained):.0e}"]
            ratios = [f"{line.gradient:.1e}", f"{line.explained_gradient:.0e}"]
            cells = [f"{line.theirs:.6f}", f"{line.ours:.6f}", *numbers, *ratios]
        text += "| " + " | ".join([line.loss, *cells]) + " |\n"
    text += "\nLine by line:\n\n" + "".join(f"* **{line.loss}**: {line.why.rstrip('.')}.\n" for line in found)
    text += _PARTS.format(**shared)
    for name, mi, total, marginal in rate:
        text += f"| {name} | {mi:.3f} | {total:.3f} | {marginal:.3f} | {mi + total + marginal:.3f} |\n"
    return text


def _signed(value: float) -> str:
    return f"{value:+.6f}" if abs(value) > 5e-7 else "0"


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare, print, write; 0: every difference is explained, 1: one is not, 2: there is no pythae."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the tables")
    folder = parser.parse_args(arguments).out
    torch.set_num_threads(1)
    try:
        found, rate = lines()
    except Absent as reason:
        print(reason, file=sys.stderr)
        return 2
    text = page(found, rate)
    print(text)
    folder.mkdir(parents=True, exist_ok=True)
    document = {"pythae": version("pythae"), "torch": torch.__version__, "losses": [asdict(line) for line in found]}
    document["rate"] = [dict(zip(("estimate", "mi", "tc", "dwkl"), row, strict=True)) for row in rate]
    (folder / "peers_losses.md").write_text(text)
    (folder / "peers_losses.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    left = [abs(line.theirs - line.ours - line.explained) for line in found if line.ours is not None]
    left += [line.explained_gradient for line in found if line.explained_gradient is not None]
    return int(max(left) > 1e-9)


if __name__ == "__main__":
    sys.exit(main())
