"""The model without latents: p(x | c) itself."""

__all__ = ["Direct"]

from torch import Tensor

from .._shapes import Shape
from ..conditional import Condition, Prior
from ..noise import NoiseSource
from ..trace import Trace
from .base import Generated, Model, Pick


class Direct(Model):
    r"""log p(x | c), exactly: the deterministic baseline of structured prediction, or any tractable density.

    It has no levels, so its ELBO is its log-likelihood and every importance-weighted bound equals it.

    Args:
        density: p(x | c), as a module of c alone (the same kind of thing as a prior).
        condition: what c is, if there is one.
    """

    def __init__(self, density: Prior, condition: Condition | None = None) -> None:
        super().__init__()
        self.density, self.condition = density, condition
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
        c = self.encoded(c)
        p_x = self.density(c)
        log_likelihood = p_x.log_prob(x, mask).expand(draws, len(x))
        return Trace(x, p_x.expand((draws, len(x))), log_likelihood, (), c, mask)

    def infer(self, x: Tensor, c: Tensor | None, pick: Pick, mask: Tensor | None = None) -> Trace:
        return self(x, c, mask=mask)

    def at(
        self,
        x: Tensor,
        z: tuple[Tensor, ...],
        c: Tensor | None = None,
        q: bool = True,
        mask: Tensor | None = None,
    ) -> Trace:
        return self(x, c, mask=mask)

    def generate(self, n: int, c: Tensor | None, pick: Pick) -> Generated:
        return Generated((), self.density(self.encoded(c)).expand((n,)))
