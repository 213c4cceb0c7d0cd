"""The model without latents: p(x | c) itself."""

__all__ = ["Direct"]

from torch import Tensor

from .._shapes import Shape
from ..conditional import Condition, Prior
from ..noise import Noise, NoiseSource
from ..trace import Trace
from .base import Generated, Model, Pick
from .corruption import Corruption


class Direct(Model):
    r"""log p(x | c), exactly: the deterministic baseline of structured prediction, or any tractable density.

    It has no levels, so its ELBO is its log-likelihood and every importance-weighted bound equals it.

    Args:
        density: p(x | c), as a module of c alone (the same kind of thing as a prior).
        condition: what c is, if there is one.
        decoder_inputs: what a density of one element after the other sees in place of those before, such as
            ``WordDropout``: in training mode only and only in ``model(x)``.
    """

    def __init__(
        self, density: Prior, condition: Condition | None = None, decoder_inputs: Corruption | None = None
    ) -> None:
        super().__init__()
        self.density, self.condition, self.decoder_inputs = density, condition, decoder_inputs
        self.support = density.support

    @property
    def latent_shapes(self) -> tuple[Shape, ...]:
        return ()

    def forward(
        self,
        x: Tensor,
        c: Tensor | None = None,
        draws: int = 1,
        noise: NoiseSource | None = None,
        mask: Tensor | None = None,
    ) -> Trace:
        corrupt = self.decoder_inputs if self.training else None
        return self._scored(x, c, mask, draws, None if corrupt is None else corrupt(x, noise or Noise(device=x.device)))

    def _scored(
        self, x: Tensor, c: Tensor | None, mask: Tensor | None, draws: int = 1, fed: Tensor | None = None
    ) -> Trace:
        c = self.encoded(c)
        p_x = self.density(c)
        scored = p_x.log_prob(x, mask) if fed is None else p_x.log_prob_fed(x, fed, mask)
        return Trace(x, p_x.expand((draws, len(x))), scored.expand(draws, len(x)), (), c, mask)

    def infer(self, x: Tensor, c: Tensor | None, pick: Pick, mask: Tensor | None = None) -> Trace:
        return self._scored(x, c, mask)

    def at(
        self,
        x: Tensor,
        z: tuple[Tensor, ...],
        c: Tensor | None = None,
        q: bool = True,
        mask: Tensor | None = None,
    ) -> Trace:
        return self._scored(x, c, mask)

    def generate(self, n: int, c: Tensor | None, pick: Pick) -> Generated:
        return Generated((), self.density(self.encoded(c)).expand((n,)))
