"""What every model offers, whatever it is made of."""

__all__ = ["Generated", "Model", "Pick"]

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .._checks import positive_int
from .._shapes import Shape
from ..conditional import Condition
from ..distributions import Distribution, Told, drawn
from ..noise import Noise, NoiseSource
from ..trace import Trace
from .picks import heated

#: ``pick(i, dist) → z``: chooses the latents of level i, counted in sampling order, given their distribution.
Pick = Callable[[int, Distribution], Tensor]


@dataclass(frozen=True)
class Generated:
    """Latents from top to bottom, each ``(n, *latent)``, and the likelihood they lead to."""

    z: tuple[Tensor, ...]
    p_x: Distribution


class Model(nn.Module, ABC):
    """A generative model of x, perhaps with latents and perhaps given c. Its call infers, scores and returns a trace.

    Attributes:
        condition: what the model is conditioned on, or ``None``.
        support: what its data must be: "binary", "unit", "levels", "real" or "tokens".
        markov: the levels are a chain from x upwards: ``infer`` visits them from the bottom, each q sees the level
            below and nothing else (the lowest sees x), and each p, the likelihood too, only the level above. Then
            ``at`` tells what any level holds from its neighbour alone, whatever is put for the others.
    """

    condition: Condition | None = None
    support: str = "real"
    markov: bool = False

    @abstractmethod
    def forward(
        self,
        x: Tensor,
        c: Tensor | None = None,
        draws: int = 1,
        noise: NoiseSource | None = None,
        mask: Tensor | None = None,
    ) -> Trace:
        """Infer z from x and score both: one pass, ``draws`` draws of z for each datum.

        Where there is a mask, only the elements of x on which it is 1 are scored.
        """

    @abstractmethod
    def at(
        self,
        x: Tensor,
        z: tuple[Tensor, ...],
        c: Tensor | None = None,
        q: bool = True,
        mask: Tensor | None = None,
    ) -> Trace:
        """The same conditionals at given latents, each ``(S, B, *latent)``; with ``q=False`` no encoder runs."""

    @abstractmethod
    def infer(self, x: Tensor, c: Tensor | None, pick: Pick, mask: Tensor | None = None) -> Trace:
        """Visit the levels of q(z | x) in sampling order; ``pick`` chooses each z, of shape ``(S, B, *latent)``."""

    @abstractmethod
    def generate(self, n: int, c: Tensor | None, pick: Pick) -> Generated:
        """Visit the levels of p(z) in sampling order; ``pick`` chooses each z, of shape ``(n, *latent)``."""

    @property
    @abstractmethod
    def latent_shapes(self) -> tuple[Shape, ...]:
        """Shapes of the latents, from top to bottom."""

    def after_step(self, summary: Mapping[str, Tensor]) -> None:
        """The only place where state changes outside the optimiser (codebooks, running means). Here: none."""

    @torch.no_grad()
    def sample(
        self,
        n: int = 1,
        c: Tensor | None = None,
        noise: NoiseSource | None = None,
        *,
        mean: bool = True,
        progress: Told | None = None,
        temperature: float | Sequence[float] = 1.0,
    ) -> Tensor:
        """n data from the model, ``(n, *data)``: the means of p(x | z), or with ``mean=False`` draws from it.

        Where p(x | z) has no mean in closed form (a PixelCNN), they are draws in either case. What is drawn element by
        element is told to ``progress``: how many elements there are so far, and of how many; latents come first. A
        temperature, one or one for each level from the top, is a factor on the deviations of p(z): ``models.heated``.
        """
        n, levels = positive_int(n, "sample: n"), len(self.latent_shapes)
        each = [temperature] if isinstance(temperature, int | float) else list(temperature)
        if len(each) not in (1, levels) or (not levels and each != [1]):
            raise ValueError(
                f"sample: temperature: wanted one, or one for each of {levels} levels, got {temperature!r}."
            )
        source = noise or Noise(device=self.device)
        p_x = self.generate(n, c, heated(temperature, source, progress)).p_x
        return p_x.mean if mean and p_x.has_mean else drawn(p_x, source, progress)

    @torch.no_grad()
    def encode(self, x: Tensor, c: Tensor | None = None) -> tuple[Tensor, ...]:
        """The posterior means given x (for a flow its centre), one tensor ``(B, *latent)`` a level."""
        return tuple(level.z[0] for level in self.infer(x, c, _central).levels)

    @torch.no_grad()
    def reconstruct(self, x: Tensor, c: Tensor | None = None, noise: NoiseSource | None = None) -> Tensor:
        """The mean of p(x | z) at the posterior mean of z (for a flow its centre), ``(B, *data)``.

        Where p(x | z) has no mean in closed form, a draw from it: the same one at every call, if no noise is given.

        Raises:
            ValueError: a model that keeps nothing of x, having neither latents nor a condition.
        """
        if not self.latent_shapes and self.condition is None:
            raise ValueError(
                "reconstruct: this model has neither latents nor a condition: it keeps nothing of x to reconstruct it "
                "from. Look at samples instead."
            )
        return _shown(self.infer(x, c, _central).p_x, noise or Noise(0, device=self.device))[0]

    @torch.no_grad()
    def decode(
        self, z: Tensor | tuple[Tensor, ...], c: Tensor | None = None, noise: NoiseSource | None = None
    ) -> Tensor:
        """The mean of p(x | z), ``(n, *data)``, for latents of shape ``(n, *latent)``; draws where it has none."""
        given = z if isinstance(z, tuple) else (z,)
        p_x = self.generate(len(given[0]), c, lambda i, p: given[i]).p_x
        return _shown(p_x, noise or Noise(0, device=self.device))

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""
        return next((p.dtype for p in self.parameters()), torch.get_default_dtype())

    def encoded(self, c: Tensor | None) -> Tensor | None:
        """c as the rooms take it; an unconditional model refuses one."""
        if self.condition is not None:
            return self.condition.encode(c).to(self.dtype)
        if c is not None:
            raise ValueError("c was given, but this model is not conditioned on anything. Use a conditional recipe.")
        return None


def _central(i: int, q: Distribution) -> Tensor:
    """The centre of q as one draw; below the first level q has the draw's dimension already."""
    return q.centre if i else q.centre[None]


def _shown(p_x: Distribution, noise: NoiseSource) -> Tensor:
    """What stands for p(x | z) in a picture: its mean, and where that has no closed form a draw."""
    return p_x.mean if p_x.has_mean else p_x.sample(noise)
