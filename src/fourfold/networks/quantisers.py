"""Quantisers: vectors to the nearest of finitely many, and back from their numbers."""

__all__ = ["Codebook", "FiniteScalar", "Quantiser", "VectorQuantiser", "k_means"]

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from math import atanh, prod
from typing import ClassVar

import torch
from torch import Tensor, nn

from .._checks import choice, fraction, non_negative, positive, positive_int
from .._shapes import as_shape
from ..noise import NoiseSource

_DECAY = 0.99
_AT_ONCE = 1 << 24  # so many distances at once
_SMOOTHING = 1e-5
_RARE = 0.02  # of an even share: a code that is chosen less often is as good as dead
_POOL = 8  # vectors that are kept of a batch, for each code
_GRACE = 5.0  # a code that comes back has so many times the share at which it died


class Quantiser(nn.Module, ABC):
    """Vectors ``(…, D)`` to codes ``(…)``, whole numbers from 0 to K − 1, and codes to the vectors they stand for.

    What it keeps of the batches that passed (how often each code was chosen) changes in ``after_step`` alone.

    Attributes:
        dim: D, how many numbers a vector has.
        levels: K, how many codes there are.
        usage: how often each code was chosen in a batch, ``(K,)``: a running mean.
    """

    dim: int
    levels: int
    usage: Tensor
    #: Whether what ``summary`` tells is of the whole batch, and would be something else on pieces of it.
    whole_batch: ClassVar[bool] = False

    @abstractmethod
    def shown(self, z: Tensor) -> Tensor:
        """What is rounded to a code's vector, differentiable in z: here the gradient goes straight through."""

    @abstractmethod
    def codes(self, z: Tensor) -> Tensor:
        """The code of each vector, without gradient, in float32 or better also under autocast."""

    @abstractmethod
    def vectors(self, codes: Tensor) -> Tensor:
        """The vectors that codes stand for."""

    def losses(self, z: Tensor, codes: Tensor) -> dict[str, tuple[Tensor, float]]:
        """What else is to be minimised: by name a value for each vector, ``(…)``, and its weight."""
        return {}

    def summary(self, z: Tensor, codes: Tensor, noise: NoiseSource) -> dict[str, Tensor]:
        """What ``after_step`` needs of a batch ``(B, …, D)``: once averaged over processes, that of the whole batch."""
        return {"code_counts": _world() * self.counted(codes)}

    def after_step(self, summary: Mapping[str, Tensor]) -> None:
        """Takes in a batch."""
        if "code_counts" in summary:
            self.usage.lerp_(summary["code_counts"].to(self.usage), 1 - _DECAY)

    def in_use(self, counts: Tensor) -> dict[str, Tensor]:
        """The perplexity of the codebook, exp H(p̄), and how many codes have more than a fiftieth of an even share."""
        share = counts / counts.sum()
        perplexity = (-torch.xlogy(share, share).sum()).exp()
        return {"code_perplexity": perplexity, "codes_used": (share * self.levels > _RARE).sum().to(share)}

    def counted(self, codes: Tensor) -> Tensor:
        """How often each code was chosen, ``(K,)``."""
        return torch.bincount(codes.flatten(), minlength=self.levels).to(self.usage.dtype)


@dataclass(frozen=True, slots=True)
class Codebook:
    """The vectors of a VQ-VAE, and how they are learned.

    Args:
        size: K, how many.
        dim: D, numbers in each.
        learned: ``"ema"``: each is the running mean of the encoder's vectors that chose it; ``"loss"``: by the
            gradient of ‖sg[z_e] − e‖².
        start: ``"k_means"``: of vectors of the first batch; ``"random"``.
        revival: a code that is chosen less than this share of an even share (1/K) is dead, and becomes a random vector
            of the batch; 0 lets the dead rest.
    """

    size: int = 64
    dim: int = 16
    learned: str = "ema"
    start: str = "k_means"
    revival: float = _RARE


class VectorQuantiser(Quantiser):
    r"""To the nearest vector of a codebook.

    .. math:: k = \arg\min_j \lVert z_e - e_j \rVert, \qquad
        L = \lVert \mathrm{sg}[z_e] - e_k \rVert^2 + \beta \lVert z_e - \mathrm{sg}[e_k] \rVert^2

    Both norms are sums over the D numbers of a vector; a model sums them over its places too, so that they are per
    datum, as nats are. (A mean in their place would divide β by D and by the number of places.)

    Learned by running means there is no first term, and the codebook follows, with γ = 0.99 and ε = 10⁻⁵,

    .. math:: N_i \leftarrow \gamma N_i + (1 - \gamma)\, n_i, \quad
        m_i \leftarrow \gamma m_i + (1 - \gamma) \sum_{z_e \to i} z_e, \quad
        e_i = m_i / \hat N_i, \quad \hat N_i = \frac{N_i + \epsilon}{\sum_j N_j + K \epsilon} \sum_j N_j

    where n_i and the sums are of the batch of all processes, so that one codebook comes of any number of them.

    Args:
        codebook: size, and how it is learned.
        commitment: β; from 0.1 to 2 makes little difference (van den Oord et al. 2017).

    References:
        van den Oord, Vinyals and Kavukcuoglu 2017, arXiv:1711.00937, with its appendix A.1. Start and revival are as
        practice has them (Dhariwal et al. 2020, arXiv:2005.00341; Zeghidour et al. 2021, arXiv:2107.03312).

    Example:
        >>> quantiser = VectorQuantiser(Codebook(8, 2))
        >>> codes = quantiser.codes(torch.zeros(5, 3, 2))
        >>> codes.shape, quantiser.vectors(codes).shape
        (torch.Size([5, 3]), torch.Size([5, 3, 2]))
    """

    codebook: Tensor
    total: Tensor
    begun: Tensor
    whole_batch: ClassVar[bool] = True

    def __init__(self, codebook: Codebook, commitment: float = 0.25) -> None:
        super().__init__()
        self.levels = positive_int(codebook.size, "VectorQuantiser: size")
        self.dim = positive_int(codebook.dim, "VectorQuantiser: dim")
        self.commitment = non_negative(commitment, "VectorQuantiser: commitment")
        self.revival = fraction(codebook.revival, "VectorQuantiser: revival")
        self.by_loss = choice(codebook.learned, ("ema", "loss"), "VectorQuantiser: learned") == "loss"
        first = nn.init.xavier_uniform_(torch.empty(self.levels, self.dim))
        if self.by_loss:
            self.codebook = nn.Parameter(first)
        else:
            self.register_buffer("codebook", first)
            self.register_buffer("total", first.clone())
        start = choice(codebook.start, ("k_means", "random"), "VectorQuantiser: start")
        self.register_buffer("usage", torch.ones(self.levels))
        self.register_buffer("begun", torch.tensor(float(start == "random")))
        self._pooled, self._begun = start == "k_means" or self.revival > 0, False

    def shown(self, z: Tensor) -> Tensor:
        return z

    @torch.no_grad()
    def codes(self, z: Tensor) -> Tensor:
        with torch.autocast(z.device.type, enabled=False):  # bfloat16 would choose another code where two are near
            flat = z.to(torch.promote_types(z.dtype, torch.float32)).reshape(-1, self.dim)
            vectors = self.codebook.to(flat.dtype)
            half = vectors.square().sum(1) / 2
            rows = max(_AT_ONCE // self.levels, 1)
            found = [torch.addmm(half, part, vectors.T, alpha=-1).argmin(1) for part in flat.split(rows)]
        return torch.cat(found).reshape(z.shape[:-1])

    def vectors(self, codes: Tensor) -> Tensor:
        return self.codebook[codes]

    def losses(self, z: Tensor, codes: Tensor) -> dict[str, tuple[Tensor, float]]:
        found, z = self.vectors(codes), z.to(torch.promote_types(z.dtype, torch.float32))
        told = {"commitment": ((z - found.detach()).square().sum(-1), self.commitment)}
        if self.by_loss:
            told["codebook"] = ((z.detach() - found).square().sum(-1), 1.0)
        return told

    @torch.no_grad()
    def summary(self, z: Tensor, codes: Tensor, noise: NoiseSource) -> dict[str, Tensor]:
        told, n = super().summary(z, codes, noise), len(z)
        flat = z.detach().reshape(-1, self.dim).to(self.codebook.dtype)
        if not self.by_loss:
            told["code_sums"] = _world() * torch.zeros_like(self.codebook).index_add_(0, codes.flatten(), flat)
        if self._pooled:
            told["code_pool"] = _pool(flat, noise.uniform((n, len(flat) // n)).flatten(), _POOL * self.levels)
        return told

    @torch.no_grad()
    def after_step(self, summary: Mapping[str, Tensor]) -> None:
        if "code_counts" not in summary:
            return
        pool = summary.get("code_pool")
        self._begun = self._begun or bool(self.begun)  # asked of the device until it is
        if pool is not None and not self._begun:
            self._begin(pool, summary["code_counts"])
            return
        super().after_step(summary)
        if not self.by_loss:
            self.total.lerp_(summary["code_sums"].to(self.total), 1 - _DECAY)
            whole = self.usage.sum()
            smooth = (self.usage + _SMOOTHING) / (whole + self.levels * _SMOOTHING) * whole
            self.codebook.copy_(self.total / smooth[:, None])
        if pool is not None and self.revival:
            self._revive(pool)

    def _begin(self, pool: Tensor, counts: Tensor) -> None:
        """The codebook as k-means finds it in a batch."""
        centres, sizes = k_means(pool.to(self.codebook.dtype), self.levels)
        sizes = sizes.clamp(min=0.5)  # a centre without points stays where it is, until it is revived
        self.usage.copy_(sizes / sizes.sum() * counts.sum())
        self._put(centres)
        self.begun.fill_(1.0)

    def _revive(self, pool: Tensor) -> None:
        """Random vectors of the batch in the place of dead codes: the same on every process, since the pool is."""
        least = self.revival * self.usage.sum() / self.levels
        dead = self.usage < least
        which = (dead.cumsum(0) - 1).clamp(min=0) % len(pool)
        self.usage.copy_(torch.where(dead, _GRACE * least, self.usage))
        self._put(torch.where(dead[:, None], pool.to(self.codebook)[which], self.codebook), dead)

    def _put(self, vectors: Tensor, where: Tensor | None = None) -> None:
        self.codebook.copy_(vectors)
        if not self.by_loss:
            mine = vectors * self.usage[:, None]
            self.total.copy_(mine if where is None else torch.where(where[:, None], mine, self.total))


class FiniteScalar(Quantiser):
    r"""Each number of a vector to one of a few levels of its own: the codebook is a grid, and nothing of it is learned.

    .. math:: \hat z = \frac{\mathrm{round}\big(h \tanh(z + s) - o\big)}{\lfloor L/2 \rfloor}, \qquad
        h = \tfrac12 (L - 1)(1 + 10^{-3}), \quad o = \tfrac12 [L \text{ even}], \quad s = \operatorname{artanh}(o / h)

    K is the product of the levels. There is nothing to commit to and nothing to revive, so no loss beside the bound,
    and nearly all codes come into use.

    Args:
        levels: L of each number of a vector, each at least 2, such as (8, 5, 5, 5) for 1,000 codes.

    References:
        Mentzer, Minnen, Agustsson and Tschannen 2023, "Finite scalar quantization: VQ-VAE made simple",
        arXiv:2309.15505.

    Example:
        >>> quantiser = FiniteScalar((3, 2))
        >>> quantiser.vectors(torch.arange(6)).tolist()
        [[-1.0, -1.0], [0.0, -1.0], [1.0, -1.0], [-1.0, 0.0], [0.0, 0.0], [1.0, 0.0]]
    """

    reach: Tensor
    offset: Tensor
    shift: Tensor
    width: Tensor
    basis: Tensor

    def __init__(self, levels: tuple[int, ...] = (8, 5, 5, 5)) -> None:
        super().__init__()
        each = as_shape(levels, "FiniteScalar: levels")
        if min(each, default=0) < 2:
            raise ValueError(f"FiniteScalar: levels: wanted at least 2 each, such as 8,5,5,5, got {levels!r}.")
        self.each, self.dim, self.levels = each, len(each), prod(each)
        half = [(n - 1) * (1 + 1e-3) / 2 for n in each]
        offset = [0.0 if n % 2 else 0.5 for n in each]
        shift = [atanh(o / h) for o, h in zip(offset, half, strict=True)]
        basis = [prod(each[:i]) for i in range(len(each))]
        for name, values in (("reach", half), ("offset", offset), ("shift", shift)):
            self.register_buffer(name, torch.tensor(values), persistent=False)
        self.register_buffer("width", torch.tensor([n // 2 for n in each]), persistent=False)
        self.register_buffer("basis", torch.tensor(basis), persistent=False)
        self.register_buffer("usage", torch.ones(self.levels))

    def shown(self, z: Tensor) -> Tensor:
        return self._bounded(z) / self.width

    @torch.no_grad()
    def codes(self, z: Tensor) -> Tensor:
        return ((self._bounded(z).round().long() + self.width) * self.basis).sum(-1)

    def vectors(self, codes: Tensor) -> Tensor:
        digits = codes[..., None] // self.basis % (torch.tensor(self.each, device=codes.device))
        return (digits - self.width).to(self.reach.dtype) / self.width

    def _bounded(self, z: Tensor) -> Tensor:
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        return torch.tanh(z + self.shift) * self.reach - self.offset


def k_means(points: Tensor, k: int, rounds: int = 10) -> tuple[Tensor, Tensor]:
    """Lloyd's algorithm from the first k points: k centres ``(k, D)``, and how many points are nearest to each.

    A centre without points stays where it is. Nothing is drawn: points in random order make a random start.

    References:
        Lloyd 1982, "Least squares quantization in PCM".
    """
    positive(len(points), "k_means: the number of points")
    centres = points[torch.arange(k, device=points.device) % len(points)]
    sizes = points.new_zeros(k)
    for _ in range(rounds):
        nearest = torch.cdist(points, centres).argmin(1)
        sizes = torch.bincount(nearest, minlength=k).to(points.dtype)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        centres = torch.where(sizes[:, None] > 0, sums / sizes[:, None].clamp(min=1), centres)
    return centres, sizes


def _world() -> int:
    """How many processes share a batch."""
    from torch import distributed

    return distributed.get_world_size() if distributed.is_available() and distributed.is_initialized() else 1


def _pool(vectors: Tensor, keys: Tensor, most: int) -> Tensor:
    """Vectors of the batch of all processes, those with the largest keys first: the same on each of them."""
    world = _world()
    keys, place = keys.topk(min(most, len(keys)))
    vectors = vectors[place]
    if world > 1:
        from torch import distributed

        all_keys = [torch.empty_like(keys) for _ in range(world)]
        all_vectors = [torch.empty_like(vectors) for _ in range(world)]
        distributed.all_gather(all_keys, keys)
        distributed.all_gather(all_vectors, vectors)
        keys, vectors = torch.cat(all_keys), torch.cat(all_vectors)
        keys, place = keys.topk(min(most, len(keys)))
        vectors = vectors[place]
    return vectors
