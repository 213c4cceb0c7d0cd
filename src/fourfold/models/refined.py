"""The semi-amortised VAE: the encoder's answer, improved for each datum before it is used."""

__all__ = ["Refinement", "SemiAmortised"]

from contextlib import nullcontext
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from .._checks import positive, positive_int
from ..conditional import Condition, Conditional, NetworkConditional, Prior
from ..distributions import Distribution
from ..noise import Noise, NoiseSource, Request
from ..trace import Trace
from .flat import Flat, drawing


@dataclass(frozen=True, slots=True)
class Refinement:
    """How raw posterior parameters are improved: plain gradient ascent on each datum's own ELBO.

    Args:
        steps: of ascent.
        step_size: factor on the gradient, which is in nats per unit of the raw parameters.
        draws: of z at each step, in antithetic pairs: an even number.
        clip: the longest gradient of one datum.
        first_order: training does not differentiate through the steps: encoder and decoder get the gradients they
            would get if the improvement were a constant. Cheaper, and not the gradient of the bound.

    Raises:
        ValueError: a number that is not above 0, an odd number of draws.
    """

    steps: int = 5
    step_size: float = 0.05
    draws: int = 2
    clip: float = 5.0
    first_order: bool = False

    def __post_init__(self) -> None:
        positive_int(self.steps, "Refinement: steps")
        positive(self.step_size, "Refinement: step_size")
        positive(self.clip, "Refinement: clip")
        if positive_int(self.draws, "Refinement: draws") % 2:
            raise ValueError(f"Refinement: draws come in pairs, so their number must be even, got {self.draws}.")


class SemiAmortised(Flat):
    r"""A flat VAE whose posterior is refined for each datum: from the encoder's λ₀(x), a few steps up its ELBO.

    .. math:: \lambda_{t+1} = \lambda_t + \eta\, \nabla_\lambda \mathcal L(\lambda_t; x), \qquad
        q(z \mid x) = q(z; \lambda_T)

    The draws inside the steps are the same numbers for every datum and in every call, and are not those that z is
    drawn from: so q(z | x) is a function of x like any other, every bound with it is a bound, and ``at`` meets the q
    that the call met. It closes the amortisation gap and not that of the family of q. The steps are taken in
    evaluation too (under ``no_grad`` and ``inference_mode``), each at the price of a pass with its backward.

    Args:
        posterior: q(z | x, c), one network and a head.
        prior: p(z | c).
        likelihood: p(x | z, c).
        refinement: how many steps, and of what kind.
        condition: what c is, if there is one.

    References:
        Kim, Wiseman, Miller, Sontag and Rush 2018, arXiv:1802.02550 (they draw anew for each call, with momentum).

    Raises:
        TypeError: a posterior that is no ``NetworkConditional``: it has no raw parameters to improve.
    """

    def __init__(
        self,
        posterior: NetworkConditional,
        prior: Prior,
        likelihood: Conditional,
        refinement: Refinement | None = None,
        condition: Condition | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(posterior, NetworkConditional):
            raise TypeError(
                f"SemiAmortised: posterior must be a NetworkConditional (a network and a head, as gaussian(…) gives), "
                f"got {type(posterior).__name__}: what has no raw parameters cannot be refined."
            )
        self.posterior, self.prior, self.likelihood = posterior, prior, likelihood
        self.refinement = refinement or Refinement()
        self.condition = condition
        self.support = likelihood.support

    def forward(
        self,
        x: Tensor,
        c: Tensor | None = None,
        draws: int = 1,
        noise: NoiseSource | None = None,
        mask: Tensor | None = None,
    ) -> Trace:
        return self._pass(x, c, mask, drawing(noise or Noise(device=x.device), draws))

    def believed(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Distribution:
        return self.refined(x, c, mask)

    def refined(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Distribution:
        """q(z | x, c) after the steps, with leading dimensions ``(B,)``; c as the rooms take it."""
        learning = torch.is_grad_enabled()
        recording = torch.inference_mode(False) if torch.is_inference_mode_enabled() else nullcontext()
        with recording, torch.enable_grad():
            x, c, mask = _ordinary(x), c if c is None else _ordinary(c), mask if mask is None else _ordinary(mask)
            with torch.set_grad_enabled(learning):
                start = self.posterior.raw(x, c)
            through = learning and not self.refinement.first_order
            end = self._climb(start if through else start.detach(), x, c, mask, through)
            if learning and not through:
                end = start + (end - start).detach()
        return self.posterior.head(end if learning else end.detach())

    def _climb(self, raw: Tensor, x: Tensor, c: Tensor | None, mask: Tensor | None, through: bool) -> Tensor:
        """The raw parameters after all steps, differentiable in everything if ``through``."""
        how, p = self.refinement, self.prior(c)
        for step in range(how.steps):
            if not through:
                raw = raw.detach()
            if not raw.requires_grad:
                raw = raw.requires_grad_()
            q = self.posterior.head(raw)
            z, log_q = q.sample_with_log_prob(_Common(step, how.draws, x.device), how.draws)
            kl = q.kl(p)
            elbo = self.likelihood(z, c).log_prob(x, mask).mean(0)
            if kl is None:
                elbo = elbo + (p.log_prob(z) - (q.log_prob(z) if log_q is None else log_q)).mean(0)
            else:
                elbo = elbo - kl
            (slope,) = torch.autograd.grad(elbo.sum(), raw, create_graph=through)
            raw = raw + how.step_size * _clipped(slope, how.clip)
        return raw


class _Common(NoiseSource):
    """The numbers of one step: the same for every datum, in pairs around the mean, normals of unit second moment.

    Pairs that average to the mean and to the variance exactly leave nothing to chance in a quadratic; and numbers
    drawn anew for each datum would make q depend on who else is in the batch. They come from the CPU's generator, so
    that q is the same on every device.
    """

    def __init__(self, step: int, draws: int, device: torch.device) -> None:
        self.noise, self.draws, self.device = Noise(0, stream="refinement", step=step), draws, device

    def draw(self, request: Request) -> Tensor:
        shape = list(request.shape)
        shape[request.batch] = 1
        paired = request.kind in ("normal", "uniform") and request.batch > 0 and shape[0] == self.draws
        if paired:
            shape[0] //= 2
        numbers = self.noise.draw(replace(request, shape=tuple(shape)))
        if paired and request.kind == "normal":
            numbers = numbers * numbers.square().mean(0).rsqrt()
            numbers = torch.cat([numbers, -numbers])
        elif paired:
            numbers = torch.cat([numbers, (1 - numbers).clamp_max(1 - torch.finfo(request.dtype).eps)])
        return numbers.to(self.device).expand(request.shape)


def _clipped(slope: Tensor, longest: float) -> Tensor:
    """The gradient of each datum, no longer than that."""
    length = slope.flatten(1).square().sum(1).clamp_min(longest**2).sqrt()
    return slope * (longest / length).reshape(-1, *[1] * (slope.ndim - 1))


def _ordinary(given: Tensor) -> Tensor:
    """A tensor that autograd may keep: one made in inference mode is copied."""
    return given.clone() if given.is_inference() else given
