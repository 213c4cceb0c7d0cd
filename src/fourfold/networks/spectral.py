"""Spectral regularisation: the largest singular value of each convolution, and the largest factor of each norm."""

__all__ = ["Spectral"]

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .._checks import non_negative
from ..noise import Noise
from .normalisation import norms

_FIRST, _LATER = 40, 4


class Spectral(nn.Module):
    r"""A price for how much a network can stretch what goes through it.

    .. math:: \lambda \sum_l s_{\max}(W_l) + \lambda \sum_b \max_i |\gamma_{b,i}|

    W is a convolution's kernel as a matrix (outputs, inputs · height · width), and s_max = uᵀWv its largest singular
    value, u and v from power iterations: 40 at the start, and 4 more whenever ``after_step`` is called; in between they
    stand still, and the gradient is uvᵀ. A kernel as a matrix is not the whole map of images: no Lipschitz constant is
    bounded by it. γ are the factors of batch normalisation.

    It is a penalty of the model's, in nats as it stands beside the ELBO, and no part of the ELBO.

    Args:
        parts: networks whose convolutions and norms are meant; they are not made parts of this one.
        weight: λ.

    References:
        Vahdat and Kautz 2020, arXiv:2007.03898; Yoshida and Miyato 2017, arXiv:1705.10941.

    Example:
        >>> layer = nn.Conv2d(1, 3, 2)
        >>> wanted = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]
        >>> torch.allclose(Spectral([layer], 1.0)()["spectral"].detach(), wanted, rtol=1e-4)
        True
    """

    def __init__(self, parts: Iterable[nn.Module], weight: float) -> None:
        super().__init__()
        self.weight = non_negative(weight, "Spectral: weight")
        parts = tuple(parts)
        found = [one for part in parts for one in part.modules() if isinstance(one, nn.Conv2d)]
        shapes = {tuple(one.weight.flatten(1).shape): None for one in found}
        # In tuples, in which torch does not look for parts of this module: their weights have an owner.
        self._layers = tuple(tuple(one for one in found if one.weight.flatten(1).shape == s) for s in shapes)
        self._norms = tuple(one for part in parts for one in norms(part) if one.weight is not None)
        for i, (outputs, inputs) in enumerate(shapes):
            count = len(self._layers[i])
            noise = Noise(0, stream=f"{outputs},{inputs}")
            self.register_buffer(f"left_{i}", _unit(noise.normal((count, outputs, 1))))
            self.register_buffer(f"right_{i}", _unit(noise.normal((count, inputs, 1))))
        self._iterate(_FIRST)

    def forward(self) -> dict[str, Tensor]:
        """Both sums times λ, by name."""
        sums = [
            (self.get_buffer(f"left_{i}").mT @ kernels @ self.get_buffer(f"right_{i}")).sum()
            for i, kernels in enumerate(self._kernels())
        ]
        largest = [one.weight.abs().max() for one in self._norms if one.weight is not None]
        parts = {"spectral": sums, "norm_scale": largest}
        return {name: self.weight * torch.stack(values).sum() for name, values in parts.items() if values}

    def after_step(self) -> None:
        """Four more power iterations."""
        self._iterate(_LATER)

    def _kernels(self) -> list[Tensor]:
        return [torch.stack([one.weight.flatten(1) for one in layers]) for layers in self._layers]

    @torch.no_grad()
    def _iterate(self, times: int) -> None:
        for i, kernels in enumerate(self._kernels()):
            left, right = self.get_buffer(f"left_{i}"), self.get_buffer(f"right_{i}")
            for _ in range(times):
                right.copy_(_unit(kernels.mT @ left))
                left.copy_(_unit(kernels @ right))


def _unit(x: Tensor) -> Tensor:
    """Columns of length 1; from a kernel of zeros comes a zero, and there one starts anew."""
    length = torch.linalg.vector_norm(x, dim=1, keepdim=True)
    return torch.where(length > 0, x / length, x.shape[1] ** -0.5)
