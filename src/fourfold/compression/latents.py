"""Latents on the stack: popped under one distribution, pushed under another."""

__all__ = ["Place", "is_codable", "pop_latent", "push_latent"]

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from torch import Tensor

from .._shapes import size
from ..distributions import Codes, DiagonalGaussian, Distribution, Factorised, Mixture, OneHot
from .block import Grid, NotCodable
from .chunk import Chunk, known, walk
from .pixels import pop_data, push_data
from .rounding import Key
from .symbols import FINENESS, FLOOR, LEAST_SCALE, Drawn, Normals, Scored, Tables

# The last parts of the keys of what is rounded.
_MEAN, _SCALE, _WEIGHT, _ORIGIN = range(4)


@runtime_checkable
class _Indexed(Protocol):
    def chosen(self, index: Tensor) -> Distribution: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where latents are in the model.

    Attributes:
        slot: a number of its own for every distribution of the model.
        grid: the values that they can take.
        normals: ``Drawn`` for a posterior, ``Scored`` for a prior.
    """

    slot: int
    grid: Grid
    normals: type[Drawn] | type[Scored]


def push_latent(chunk: Chunk, place: Place, p: Distribution, z: Tensor) -> None:
    """Puts z on the stack, at −log₂ of its mass under p.

    From a mixture it is pushed with the component it came from, which is popped first under its distribution given z:
    together they take −log₂ of the whole mixture's mass. Codes are pushed at −log₂ of their probability; under a
    one-hot that is nothing.
    """
    p = chunk.spread(p)
    if p.mass:
        if not isinstance(p, OneHot):
            push_data(chunk, place.slot, p, z)
    elif isinstance(p, Mixture):
        origin, log_origin = _origin(chunk, place, p, z)
        k = origin.pop(chunk.stack)
        chunk.popped(_taken(log_origin, k))
        _push_product(chunk, place, _component(chunk, p, k), z)
        weight, log_weight = _weight(chunk, place, p)
        weight.push(chunk.stack, k)
        chunk.pushed(_taken(log_weight, k))
    else:
        _push_product(chunk, place, p, z)


def pop_latent(chunk: Chunk, place: Place, p: Distribution) -> Tensor:
    """Takes z from the stack: what ``push_latent`` put there, or a draw from p. Its shape is ``(rows, *event)``."""
    p = chunk.spread(p)
    if p.mass:
        return p.codes if isinstance(p, OneHot) else pop_data(chunk, place.slot, p)
    if not isinstance(p, Mixture):
        return _pop_product(chunk, place, p)
    weight, log_weight = _weight(chunk, place, p)
    k = weight.pop(chunk.stack)
    chunk.popped(_taken(log_weight, k))
    z = _pop_product(chunk, place, _component(chunk, p, k))
    origin, log_origin = _origin(chunk, place, p, z)
    origin.push(chunk.stack, k)
    chunk.pushed(_taken(log_origin, k))
    return z


def is_codable(p: Distribution, name: str) -> None:
    """Refuses a distribution of latents that is neither made of normals nor of codes, one element given those before.

    Raises:
        NotCodable: with the reason.
    """
    if isinstance(p, OneHot):
        return
    if not p.has_density:
        kind = "a point: it has no density, so there is no bound to pay out"
        raise NotCodable(f"compress: {name} is {kind}. Take a model with Gaussian latents, such as vae.")
    if isinstance(p, Mixture):
        if not isinstance(p.components, _Indexed):
            raise NotCodable(f"compress: {name} mixes {type(p.components).__name__}, and only Gaussians can be.")
        p = p.components
    try:
        piece, _ = next(p.conditionals())
    except ValueError as error:
        raise NotCodable(
            f"compress: {name} is no product of one-dimensional distributions, each known from the elements before: "
            f"{error}"
        ) from error
    if not isinstance(piece, Codes if p.mass else DiagonalGaussian):
        kind = type(piece).__name__
        raise NotCodable(f"compress: {name} is made of {kind}, and only Gaussians and codes can be coded.")


def _push_product(chunk: Chunk, place: Place, p: Distribution, z: Tensor) -> None:
    found: list[tuple[Normals, np.ndarray]] = []

    def choose(step: int, piece: Factorised, where: slice) -> Tensor:
        value = known(z, piece, where, chunk.rows)
        whole = chunk.array(value) / place.grid.steps[where]
        bins = _Bins.of(piece, chunk, place.grid.steps[where])
        found.append((bins.rounded(chunk, place, step), whole))
        chunk.pushed(bins.log_mass(whole))
        return value

    walk(p, choose)
    for normals, whole in reversed(found):
        normals.push(chunk.stack, whole)


def _pop_product(chunk: Chunk, place: Place, p: Distribution) -> Tensor:
    values = np.zeros((chunk.n, size(p.event_shape)))

    def choose(step: int, piece: Factorised, where: slice) -> Tensor:
        bins = _Bins.of(piece, chunk, place.grid.steps[where])
        whole = bins.rounded(chunk, place, step).pop(chunk.stack)
        chunk.popped(bins.log_mass(whole))
        values[:, where] = whole * place.grid.steps[where]
        return chunk.tensor(values[:, where], piece.shape)

    walk(p, choose)
    return chunk.tensor(values, (chunk.rows, *p.event_shape))


@dataclass(frozen=True, slots=True)
class _Bins:
    """Normals over the multiples of steps: means and log-scales ``(n, numbers)``, and the steps."""

    loc: np.ndarray
    log_scale: np.ndarray
    steps: np.ndarray

    @classmethod
    def of(cls, piece: Factorised, chunk: Chunk, steps: np.ndarray) -> "_Bins":
        if not isinstance(piece, DiagonalGaussian):
            raise NotCodable(f"compress: latents are {type(piece).__name__}, and only Gaussians can be coded.")
        log_scale = chunk.array(piece.log_scale.expand_as(piece.loc))
        return cls(chunk.array(piece.loc), log_scale - np.log(steps), steps)

    def rounded(self, chunk: Chunk, place: Place, step: int) -> Normals:
        mean = chunk.rounder((place.slot, step, _MEAN), self.loc, Normals.FINENESS / self.steps)
        log_scale = chunk.rounder((place.slot, step, _SCALE), np.maximum(self.log_scale, LEAST_SCALE), FINENESS)
        return place.normals(mean, log_scale, place.grid.reach)

    def log_mass(self, whole: np.ndarray) -> np.ndarray:
        """Log-probabilities in nats of whole multiples, by the numbers before they are rounded."""
        from scipy.special import log_ndtr

        rate = np.exp(-self.log_scale)
        offset = -np.abs(whole - self.loc / self.steps)  # of either side, that on which no digits are lost
        upper, lower = log_ndtr((offset + 0.5) * rate), log_ndtr((offset - 0.5) * rate)
        with np.errstate(divide="ignore"):
            mass = upper + np.log(-np.expm1(lower - upper))
        # Where a step is next to nothing, that difference is of few digits or none: its width times the density.
        flat = -0.5 * (offset * rate) ** 2 - 0.5 * np.log(2 * np.pi) - self.log_scale
        return np.where(rate < 1e-4, flat, mass)


def _weight(chunk: Chunk, place: Place, p: Mixture) -> tuple[Tables, np.ndarray]:
    """Which component, before z is known; and its log-probabilities."""
    return _which(chunk, (place.slot, 0, _WEIGHT), p.log_weights.expand(*p.lead_shape, -1))


def _origin(chunk: Chunk, place: Place, p: Mixture, z: Tensor) -> tuple[Tables, np.ndarray]:
    """Which component z came from; and its log-probabilities."""
    logs = p.log_responsibilities(z.reshape(*p.lead_shape, *p.event_shape))
    return _which(chunk, (place.slot, 0, _ORIGIN), logs)


def _which(chunk: Chunk, key: Key, logs: Tensor) -> tuple[Tables, np.ndarray]:
    values = chunk.array(logs)
    whole = chunk.rounder(key, np.maximum(values, FLOOR), FINENESS)
    return Tables(whole.T[..., None]), values


def _component(chunk: Chunk, p: Mixture, k: np.ndarray) -> Distribution:
    assert isinstance(p.components, _Indexed)  # is_codable has seen to it
    index = chunk.tensor(k, p.lead_shape).long()
    return p.components.chosen(index)


def _taken(logs: np.ndarray, k: np.ndarray) -> np.ndarray:
    return np.take_along_axis(logs, k, -1)
