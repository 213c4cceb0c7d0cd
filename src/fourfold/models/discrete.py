"""The VAE whose latents are codes."""

__all__ = ["VQVAE"]

from collections.abc import Mapping

import torch
from torch import Tensor

from ..conditional import Condition, Conditional, Prior
from ..distributions import Distribution, OneHot
from ..networks import Quantiser
from ..noise import Noise, NoiseSource
from ..trace import Level, Term, Trace
from .base import Generated, Pick
from .flat import Draw, Flat, drawing


class VQVAE(Flat):
    r"""The vector-quantised VAE: an encoder's vectors, each replaced by the nearest of a codebook; z is which.

    .. math:: z = \mathrm{code}(z_e(x)), \qquad p(x, z) = p(z)\, p(x \mid e_z), \qquad
        \log p(x) \ge \log p(x \mid e_z) + \log p(z)

    z is made of whole numbers, ``(1, *places)``, in every level, pick and ``encode``; the vectors e_z that they stand
    for are the decoder's business. The posterior is one-hot: log q(z | x) = 0, and the rate is −log p(z), which is
    log K for each code under a uniform prior. So the bound is one of log p(x) in nats, with one term: that of this z.

    No gradient passes a choice of codes. That of the likelihood goes straight through to the encoder's vectors as if
    e_z were z_e, and does not reach the codebook; the prior gets its own, and moves nothing else. What the quantiser
    asks for besides (commitment) stands in the trace's penalties, in units of its own and with the weight it has there,
    and is no part of the bound. How many codes are in use is told beside it: in training mode by the running counts, in
    evaluation mode by those of the batch.

    The codebook changes in ``after_step`` alone, and only where the encoder learns: with an encoder that stands still
    (its parameters need no gradient, as in a stage that trains the prior) it stands still too.

    Args:
        encoder: x to vectors, a point ``(D, *places)``, such as ``fourfold.posteriors.point`` makes.
        quantiser: vectors to codes and back.
        prior: p(z), over codes of shape ``(1, *places)``.
        likelihood: p(x | e_z), given vectors ``(D, *places)``.
        condition: what c is, if there is one.

    Raises:
        ValueError: a prior over other codes than the quantiser's.

    References:
        van den Oord, Vinyals and Kavukcuoglu 2017, "Neural discrete representation learning", arXiv:1711.00937.

    Example:
        >>> from fourfold.likelihoods import bernoulli
        >>> from fourfold.networks import Codebook, Dense, VectorQuantiser
        >>> from fourfold.posteriors import point
        >>> from fourfold.priors import UniformCodes
        >>> quantiser, uniform = VectorQuantiser(Codebook(size=8, dim=2)), UniformCodes((1, 5), 8)
        >>> model = VQVAE(point(Dense, (6,), (2, 5)), quantiser, uniform, bernoulli(Dense, (2, 5), (6,)))
        >>> model.encode(torch.ones(4, 6))[0].shape
        torch.Size([4, 1, 5])
    """

    def __init__(
        self,
        encoder: Conditional,
        quantiser: Quantiser,
        prior: Prior,
        likelihood: Conditional,
        condition: Condition | None = None,
    ) -> None:
        super().__init__()
        self.encoder, self.quantiser, self.prior = encoder, quantiser, prior
        self.likelihood, self.condition, self.support = likelihood, condition, likelihood.support

    def forward(
        self,
        x: Tensor,
        c: Tensor | None = None,
        draws: int = 1,
        noise: NoiseSource | None = None,
        mask: Tensor | None = None,
    ) -> Trace:
        source = noise or Noise(device=x.device)
        return self._scored(x, c, mask, drawing(source, draws), source)

    def believed(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> OneHot:
        return self._one_hot(self._found(x, c))

    def generate(self, n: int, c: Tensor | None, pick: Pick) -> Generated:
        c = self.encoded(c)
        z = pick(0, self.prior(c).expand((n,)))
        return Generated((z,), self.likelihood(self.decoded(z), c))

    def decoded(self, z: Tensor) -> Tensor:
        """The vectors ``(…, D, *places)`` that codes ``(…, 1, *places)`` stand for."""
        inner = len(self.prior.event)
        return self.quantiser.vectors(z.long().squeeze(-inner)).movedim(-1, -inner)

    @torch.no_grad()
    def after_step(self, summary: Mapping[str, Tensor]) -> None:
        self.quantiser.after_step(summary)

    def _found(self, x: Tensor, c: Tensor | None) -> Tensor:
        """The encoder's vectors, ``(B, *places, D)``."""
        return self.encoder(x, c).mean.movedim(1, -1)

    def _one_hot(self, found: Tensor) -> OneHot:
        return OneHot(self.quantiser.codes(found).unsqueeze(1), self.quantiser.levels, found.ndim - 1)

    def _pass(
        self,
        x: Tensor,
        c: Tensor | None,
        mask: Tensor | None,
        draw: Draw,
        seen: Tensor | None = None,
        fed: Tensor | None = None,
    ) -> Trace:
        return self._scored(x, c, mask, draw)

    def _scored(
        self, x: Tensor, c: Tensor | None, mask: Tensor | None, draw: Draw, noise: NoiseSource | None = None
    ) -> Trace:
        """The pass; with noise, one that a codebook may learn from."""
        c = self.encoded(c)
        found = self._found(x, c)
        q, p = self._one_hot(found), self.prior(c)
        self._check(q, p)
        z, recorded = draw(q)
        shown = self.quantiser.shown(found).movedim(-1, 1)
        # e_z to the last digit, with the gradient of what was rounded to it
        through = self.decoded(z).detach() + (shown - shown.detach())
        p_x = self.likelihood(through, c)
        codes, summary = q.codes.squeeze(1), {}
        if noise is not None and self.training and found.requires_grad:
            summary = self.quantiser.summary(found.detach(), codes, noise)
        told = self._told(found, codes)
        return Trace(x, p_x, p_x.log_prob(x, mask), (Level(z, q, p, recorded),), c, mask, told, summary)

    def _trace(
        self, x: Tensor, c: Tensor | None, mask: Tensor | None, level: Level, fed: Tensor | None = None
    ) -> Trace:
        p_x = self.likelihood(self.decoded(level.z), c)
        return Trace(x, p_x, p_x.log_prob(x, mask), (level,), c, mask)

    def _told(self, found: Tensor, codes: Tensor) -> dict[str, Term]:
        """The quantiser's losses, summed over the places of each datum, and how many codes are in use."""
        losses = self.quantiser.losses(found, codes)
        told = {k: Term(v.flatten(1).sum(1), -w, "squared units of z") for k, (v, w) in losses.items()}
        with torch.no_grad():
            counts = self.quantiser.usage if self.training else self.quantiser.counted(codes)
            for name, value in self.quantiser.in_use(counts).items():
                told[name] = Term(value.expand(len(found)), 0.0, "codes")
        return told

    def _check(self, q: OneHot, p: Distribution) -> None:
        if not p.mass:
            raise ValueError(
                f"VQVAE: prior: wanted a probability of codes, got a density ({type(self.prior).__name__}): under it "
                "the numbers of codes have no nats. Take UniformCodes or PixelCodes."
            )
        event, levels = p.event_shape, getattr(self.prior, "levels", q.levels)
        if (q.event_shape, q.levels) != (event, levels):
            raise ValueError(
                f"VQVAE: the encoder and quantiser make {q.levels} codes of shape {q.event_shape}, the prior "
                f"({type(self.prior).__name__}) is of {levels} of shape {event}. Give both the same."
            )
