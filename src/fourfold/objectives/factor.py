"""FactorVAE: the total correlation as a second network sees it, and what teaches that network."""

__all__ = ["Discrimination", "FactorVAE", "discriminator"]

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .._shapes import Shape, as_shape, size
from ..distributions.base import at_least_float32
from ..noise import Noise, NoiseSource
from ..trace import Term, Terms, Trace
from .base import Objective, at_least_two, one_level, plain_terms, reported, with_penalties
from .schedules import Schedule


class FactorVAE(Objective):
    r"""The ELBO less γ times the total correlation of q(z), as a discriminator estimates it.

    .. math:: \mathcal L - \gamma\,\mathrm{TC}, \qquad
        \mathrm{TC} = \mathrm{KL}\big(q(z) \,\|\, \textstyle\prod_j q(z_j)\big)
        \approx E_{q(z)}\big[\operatorname{logit}_0(z) - \operatorname{logit}_1(z)\big]

    The difference of the two logits is the logarithm of a density ratio only where the discriminator is at its
    optimum, which during training it never is: ``tc_ratio`` is a number to watch, not one to report. For that there is
    ``fourfold.evaluation.decomposition``. It is maximised beside ``Discrimination`` by two players; the discriminator's
    parameters get no gradient from here. As the objective moves with the discriminator, only the last validation of a
    run is judged.

    Args:
        gamma: γ, a number or a schedule; 35 was best in the paper (dSprites), 10 to 100 are usual.
        discriminator: a network ``(n, D) → (n, 2)``, the one that ``Discrimination`` teaches.
        draws: draws of z for each datum.

    References:
        Kim and Mnih 2018, "Disentangling by factorising", arXiv:1802.05983.
    """

    gamma: Tensor

    def __init__(self, gamma: float | Schedule, discriminator: nn.Module, draws: int = 1) -> None:
        super().__init__(draws)
        self.hyper("gamma", gamma)
        self.discriminator = discriminator

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        z = one_level(trace, "FactorVAE").z
        still = {name: parameter.detach() for name, parameter in self.discriminator.named_parameters()}
        logits = at_least_float32(functional_call(self.discriminator, still, (z.flatten(0, 1).flatten(1),)))
        ratio = (logits[:, 0] - logits[:, 1]).unflatten(0, z.shape[:2])
        raw = plain_terms(trace)
        parts = {
            "log_likelihood": Term(raw["log_likelihood"], 1.0),
            "rate": Term(raw["rate"], -1.0),
            "tc_ratio": Term(ratio.mean(0), -self.gamma),
        }
        return with_penalties(parts, trace)

    def settled(self, step: int, last: int) -> bool:
        return step >= last


class Discrimination(Objective):
    r"""What teaches FactorVAE's discriminator: to tell draws of q(z) from draws of the product of its marginals.

    .. math:: \tfrac12\,E_{q(z)} \log D_0(z) + \tfrac12\,E_{\prod_j q(z_j)} \log D_1(z)

    in nats; − log 2 is what guessing gets. Draws of the product are the batch's own, each latent permuted over the
    batch by itself. (The paper permutes a second batch that is drawn for it; permuting the one at hand, as later codes
    do, leaves one in B numbers in its place.) z is detached: the encoder learns nothing from here.

    Its part ``accuracy`` is the share of draws that are told right: 0.5 for a healthy game near its end; near 1 the
    discriminator has won, and its logits say little of TC.

    Args:
        discriminator: a network ``(n, D) → (n, 2)``, the one that ``FactorVAE`` asks.
        draws: draws of z for each datum.

    References:
        Kim and Mnih 2018, "Disentangling by factorising", arXiv:1802.05983, appendix D.
    """

    batch_statistic = True

    def __init__(self, discriminator: nn.Module, draws: int = 1) -> None:
        super().__init__(draws)
        self.discriminator = discriminator

    def check_batch(self, batch: int) -> None:
        at_least_two(batch, "Discrimination")

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        z = one_level(trace, "Discrimination").z.detach().flatten(2)
        order = (noise or Noise(device=z.device)).uniform(tuple(z.shape), 1).argsort(1)
        both = torch.stack((z, z.gather(1, order)))
        logits = at_least_float32(self.discriminator(both.flatten(0, 2))).unflatten(0, both.shape[:3])
        right = torch.stack((logits[0], logits[1].flip(-1)))  # the right answer comes first
        told = right.log_softmax(-1)[..., 0].mean((0, 1))
        share = (right[..., 0] > right[..., 1]).to(told).mean((0, 1))
        return Terms({**reported(trace), "discrimination": Term(told, 1.0), "accuracy": Term(share, 0.0, "share")})


def discriminator(latent: int | Shape, hidden: tuple[int, ...] = (1000,) * 6, slope: float = 0.2) -> nn.Sequential:
    """A perceptron from z to two logits with leaky rectifiers; by default that of Kim and Mnih 2018.

    Args:
        latent: size or shape of z.
        hidden: widths of the hidden layers.
        slope: of a rectifier below 0.
    """
    inner = as_shape(hidden, "discriminator: hidden") if hidden else ()
    widths = (size(as_shape(latent, "discriminator: latent")), *inner)
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [nn.Linear(a, b), nn.LeakyReLU(slope)]
    return nn.Sequential(*layers, nn.Linear(widths[-1], 2))
