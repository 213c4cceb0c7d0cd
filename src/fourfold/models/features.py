"""A model of features: what a layer of a stacked autoencoder is trained on."""

__all__ = ["OnFeatures"]

from collections.abc import Mapping
from typing import final

import torch
from torch import Tensor, nn

from .._shapes import Shape
from ..noise import NoiseSource
from ..trace import Trace
from .base import Generated, Model, Pick


@final
class OnFeatures(Model):
    """A model of h = features(x) in place of x; the features stand still: in evaluation mode, without gradient.

    Everything is in the space of the features: the trace's ``x``, likelihoods, reconstructions and samples. So its
    log-likelihood is of h, and not to be compared with one of x.

    Args:
        features: any module ``(B, *data) → (B, *features)``.
        model: of the features.

    Example:
        >>> from fourfold.conditional import NetworkConditional
        >>> from fourfold.distributions import GaussianHead, PointHead
        >>> from fourfold.models import VAE
        >>> from fourfold.noise import Noise
        >>> from fourfold.priors import StandardNormal
        >>> q = NetworkConditional(nn.Linear(4, 2), PointHead(2), 4)
        >>> p = NetworkConditional(nn.Linear(2, 4), GaussianHead(4, 1.0), 2)
        >>> OnFeatures(nn.Linear(6, 4), VAE(q, StandardNormal(2), p))(torch.ones(5, 6), noise=Noise(0)).x.shape
        torch.Size([5, 4])
    """

    def __init__(self, features: nn.Module, model: Model) -> None:
        super().__init__()
        self.features, self.model = features, model
        self.condition = model.condition

    @property
    def latent_shapes(self) -> tuple[Shape, ...]:
        return self.model.latent_shapes

    def forward(
        self,
        x: Tensor,
        c: Tensor | None = None,
        draws: int = 1,
        noise: NoiseSource | None = None,
        mask: Tensor | None = None,
    ) -> Trace:
        return self.model(self._seen(x, mask), c, draws, noise)

    def at(
        self,
        x: Tensor,
        z: tuple[Tensor, ...],
        c: Tensor | None = None,
        q: bool = True,
        mask: Tensor | None = None,
    ) -> Trace:
        return self.model.at(self._seen(x, mask), z, c, q)

    def infer(self, x: Tensor, c: Tensor | None, pick: Pick, mask: Tensor | None = None) -> Trace:
        return self.model.infer(self._seen(x, mask), c, pick)

    def generate(self, n: int, c: Tensor | None, pick: Pick) -> Generated:
        return self.model.generate(n, c, pick)

    def after_step(self, summary: Mapping[str, Tensor]) -> None:
        self.model.after_step(summary)

    def _seen(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if mask is not None:
            raise ValueError("OnFeatures: a mask of elements of x says nothing of features. Train without a mask.")
        # Others may train these very layers, so their mode is theirs: it is put back.
        learning = [module for module in self.features.modules() if module.training]
        try:
            self.features.eval()
            with torch.no_grad():
                return self.features(x)
        finally:
            for module in learning:
                module.training = True
