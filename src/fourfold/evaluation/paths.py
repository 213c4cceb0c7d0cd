"""The two paths from a density that can be drawn from to p(x, z): from the prior, and from the encoder."""

__all__ = ["EncoderPath", "Path", "PriorPath"]

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from typing import final

import torch
from torch import Tensor

from .._shapes import Shape, size
from ..distributions import DiagonalGaussian, Distribution, FullGaussian, PushForward
from ..models import Model
from ..noise import Noise, Recorder, Replay
from .batches import BatchLike, Part, rows
from .hmc import Place

#: From points ``(C, n, D)`` to log start, log ratio and log p(x | z), each ``(C, n)``.
_Score = Callable[[Tensor], tuple[Tensor, Tensor, Tensor]]

_DISCRETE = "ais: a latent of this model is discrete: chains that follow a gradient cannot move it."


class Path(ABC):
    """f_β = start · ratio^β for N data, from a normalised density to p(x, z): a field for chains ``(C, N, D)``.

    The coordinates are those in which the chains move, all latents in one vector.

    Args:
        model: any model whose latents are continuous, in eval mode.
        batch: the data.
        at_once: how many data are scored in one pass, with all their chains.
    """

    shapes: tuple[Shape, ...]

    def __init__(self, model: Model, batch: BatchLike, at_once: int) -> None:
        self.model, self.n = model, len(batch.x)
        x, c, mask = (None if given is None else _ordinary(given) for given in (batch.x, batch.c, batch.mask))
        assert x is not None
        self.batch = Part(x, c, mask)
        self._cuts = [slice(i, min(i + at_once, self.n)) for i in range(0, self.n, at_once)]
        self._scores: list[_Score] = []

    @abstractmethod
    def draw(self, chains: int, noise: Noise) -> Tensor:
        """Exact draws of the start, ``(C, N, D)``."""

    @abstractmethod
    def coordinates(self, z: tuple[Tensor, ...]) -> Tensor:
        """The coordinates ``(1, N, D)`` of latents ``(N, *latent)``, from top to bottom."""

    @abstractmethod
    def _score(self, part: Part) -> _Score:
        """What scores points of some of the data."""

    def __call__(self, z: Tensor) -> Place:
        self._scores = self._scores or [self._score(rows(self.batch, cut)) for cut in self._cuts]
        places = [_place(score, z[:, cut]) for cut, score in zip(self._cuts, self._scores, strict=True)]
        return places[0] if len(places) == 1 else Place.joined(places)

    def _unpacked(self, z: Tensor) -> tuple[Tensor, ...]:
        """Vectors of all coordinates as one tensor of each shape."""
        parts = z.split([size(shape) for shape in self.shapes], -1)
        return tuple(part.reshape(*z.shape[:-1], *shape) for part, shape in zip(parts, self.shapes, strict=True))


@final
class PriorPath(Path):
    """f_β(z) = p(z) p(x | z)^β in the latents themselves: no encoder runs."""

    def __init__(self, model: Model, batch: BatchLike, at_once: int) -> None:
        super().__init__(model, batch, at_once)
        self.shapes = model.latent_shapes

    def draw(self, chains: int, noise: Noise) -> Tensor:
        c = self.batch.c
        c = None if c is None else c.expand(chains, *c.shape).flatten(0, 1)
        z = self.model.generate(chains * self.n, c, lambda i, p: p.sample(noise)).z
        return _packed(z, self.shapes).unflatten(0, (chains, self.n))

    def coordinates(self, z: tuple[Tensor, ...]) -> Tensor:
        return _packed(z, self.shapes)[None]

    def _score(self, part: Part) -> _Score:
        def score(z: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            trace = self.model.at(part.x, self._unpacked(z), part.c, q=False, mask=part.mask)
            likelihood = trace.log_likelihood
            # Not log p(x, z) less the likelihood: the gradient of that goes back through the decoder for nothing.
            start = torch.stack([level.log_p for level in trace.levels]).sum(0)
            return start, likelihood, likelihood

        return score


@final
class EncoderPath(Path):
    r"""f_β(z) = q(z | x)^{1−β} p(x, z)^β, in the noise ε ~ N(0, I) that the encoder turns into z.

    .. math:: f_\beta(\epsilon) = \mathcal N(\epsilon; 0, I)\, \Big(\frac{p(x, z(\epsilon))}{q(z(\epsilon) \mid x)}
        \Big)^{\beta}

    A change of coordinates changes neither the path nor log p(x). In these the posterior is near N(0, I), however
    narrow q is, and log q comes with the draw: of a flow too, in one pass, and of every level of a hierarchy.

    Raises:
        ValueError: an encoder without a density, or one that draws by more than normal noise.
    """

    def __init__(self, model: Model, batch: BatchLike, at_once: int) -> None:
        super().__init__(model, batch, at_once)
        one, heard = rows(self.batch, slice(1)), Recorder(Noise(0, device=batch.x.device))
        trace = model(one.x, one.c, 1, heard, one.mask)
        for level in trace.levels:
            if level.q.certain:
                raise ValueError(_DISCRETE)
            if not level.q.has_density:
                raise ValueError(f"ais: {type(level.q).__name__} has no density. Start from the prior (--start prior).")
        if not heard.requests or any(r.kind != "normal" or r.shape[:2] != (1, 1) for r in heard.requests):
            families = ", ".join(type(level.q).__name__ for level in trace.levels)
            raise ValueError(
                f"ais: this encoder ({families}) draws z not from normal noise alone, so there is no smooth way from "
                "its noise to z. Start from the prior (--start prior)."
            )
        self.shapes = tuple(request.shape[2:] for request in heard.requests)
        self.dtype = heard.requests[0].dtype

    def draw(self, chains: int, noise: Noise) -> Tensor:
        return noise.normal((chains, self.n, sum(map(size, self.shapes))), 1, self.dtype)

    def coordinates(self, z: tuple[Tensor, ...]) -> Tensor:
        levels = self.model.at(
            self.batch.x, tuple(level[None] for level in z), self.batch.c, mask=self.batch.mask
        ).levels
        return _packed(tuple(_noise_of(levels[i].q, levels[i].z) for i in self._visited()), self.shapes)

    def _visited(self) -> list[int]:
        """The numbers of the levels, counted from the top, in the order in which the encoder draws them."""
        drawn: list[Tensor] = []

        def pick(i: int, q: Distribution) -> Tensor:
            drawn.append(q.centre if i else q.centre[None])
            return drawn[-1]

        one = rows(self.batch, slice(1))
        found = [level.z for level in self.model.infer(one.x, one.c, pick, one.mask).levels]
        return [next(i for i, z in enumerate(found) if z is mine) for mine in drawn]

    def _score(self, part: Part) -> _Score:
        if len(self.shapes) > 1:
            return partial(self._through, part)
        # One level: q does not depend on the draws, so the encoder runs once and for all.
        q = self.model(part.x, part.c, 1, Noise(0, device=part.x.device), part.mask).levels[0].q
        return partial(self._from, part, q)

    def _through(self, part: Part, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        trace = self.model(part.x, part.c, len(noise), Replay(self._unpacked(noise)), part.mask)
        return _standard(noise), trace.log_weight, trace.log_likelihood

    def _from(self, part: Part, q: Distribution, noise: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        z, log_q = q.sample_with_log_prob(Replay(self._unpacked(noise)), len(noise))
        trace = self.model.at(part.x, (z,), part.c, q=False, mask=part.mask)
        assert log_q is not None
        return _standard(noise), trace.log_joint - log_q, trace.log_likelihood


def _place(score: _Score, z: Tensor) -> Place:
    """Densities and their gradients at points; whoever asks need not record gradients."""
    with torch.inference_mode(False), torch.enable_grad():
        z = z.detach().requires_grad_()
        start, ratio, likelihood = score(z)
        (start_slope,) = torch.autograd.grad(start.sum(), z, retain_graph=True)
        (ratio_slope,) = torch.autograd.grad(ratio.sum(), z)
    return Place(z.detach(), start.detach(), ratio.detach(), likelihood.detach(), start_slope, ratio_slope)


def _standard(noise: Tensor) -> Tensor:
    """log N(ε; 0, I)."""
    return DiagonalGaussian(torch.zeros_like(noise[0, 0]), noise.new_zeros(())).log_prob(noise)


def _noise_of(q: Distribution, z: Tensor) -> Tensor:
    """The noise that q turns into z."""
    if isinstance(q, DiagonalGaussian):
        return (z - q.loc) / q.scale
    if isinstance(q, PushForward):
        return _noise_of(q.base, q.transform.inv(z))
    if isinstance(q, FullGaussian):
        white = (z - q.loc).flatten(-len(q.event_shape)).unsqueeze(-1)
        return torch.linalg.solve_triangular(q.scale_tril, white, upper=False).reshape(z.shape)
    raise ValueError(
        f"bdmc: which noise {type(q).__name__} turns into a given z is not known, and the reverse chains start from "
        "one. Start from the prior (--start prior)."
    )


def _packed(parts: tuple[Tensor, ...], shapes: tuple[Shape, ...]) -> Tensor:
    """One tensor of each shape as vectors of all coordinates."""
    if not all(part.is_floating_point() for part in parts):
        raise ValueError(_DISCRETE)
    lead = [part.shape[: part.ndim - len(shape)] for part, shape in zip(parts, shapes, strict=True)]
    return torch.cat([part.reshape(*front, -1) for part, front in zip(parts, lead, strict=True)], -1)


def _ordinary(given: Tensor) -> Tensor:
    """A tensor that autograd may keep: one made in inference mode is copied."""
    return given.clone() if given.is_inference() else given
