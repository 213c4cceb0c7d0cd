"""Sequences of tokens, each given those before it."""

__all__ = ["TokenHead", "TokenNetwork", "TokenSequence", "TokenSteps"]

from collections.abc import Callable
from math import prod
from typing import ClassVar, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn

from .._shapes import Shape, as_shape
from .._tokens import EOS, PAD
from ..noise import NoiseSource
from .base import Distribution, at_least_float32
from .categorical import pick
from .heads import Head

# So many numbers at once, where draws need not be scored together.
_AT_ONCE = 1 << 24


@runtime_checkable
class TokenSteps(Protocol):
    """Logits of one token after the other, for a fixed number of sequences."""

    def next(self, before: Tensor) -> Tensor:
        """Of the token after this one, ``(rows, classes)``; the first comes after <eos>."""
        ...


@runtime_checkable
class TokenNetwork(Protocol):
    """A network that gives logits of every token of a sequence from those before it, and from what is given.

    ``fourfold.networks.RecurrentTokens`` is one. Class i is the token of number i + 1: <pad> is none.
    """

    @property
    def numbers(self) -> int:
        """How many numbers it has for one token, besides its logits."""
        ...

    @property
    def classes(self) -> int:
        """How many logits a token has."""
        ...

    def hidden(self, tokens: Tensor, given: Tensor | None) -> Tensor:
        """What the logits of each token are made of, ``(N, T, …)``, given those before it."""
        ...

    def logits(self, hidden: Tensor) -> Tensor:
        """``(…, classes)``."""
        ...

    def walk(self, given: Tensor | None, rows: int) -> TokenSteps:
        """The same logits one token after the other; ``given`` is ``(rows, …)``."""
        ...


class TokenSequence(Distribution):
    r"""A sequence of tokens, one after the other, up to its <eos>: a probability mass, in nats per sequence.

    .. math:: \log p(x) = \sum_{t=1}^{n+1} \log p(x_t \mid x_{<t}, \text{what is given}), \qquad
        x_{n+1} = \mathrm{eos}

    An event is the first T tokens as numbers, filled up with <pad> behind <eos>, which counts for nothing: however
    much of it there is, log p(x) is the same. A row of T words without <eos> has the mass of all sequences that begin
    so; with those rows, the masses of all events sum to 1.

    ``log_prob`` is one parallel pass; drawing goes token by token, and keeps the state. There is no mean. ``centre`` is
    the greedy sequence, the most probable token at each place given those taken already: not the most probable
    sequence, and plainer than any draw.

    Args:
        head: the network, and T.
        given: what is given, ``(*lead, *head.given)``; ``None`` where nothing is.
        lead: leading dimensions, where nothing is given.

    References:
        Bowman et al. 2015, arXiv:1511.06349.
    """

    mass = True
    has_mean: ClassVar[bool] = False

    def __init__(self, head: "TokenHead", given: Tensor | None, lead: Shape = ()) -> None:
        self.head, self.given = head, given
        self._lead = lead if given is None else tuple(given.shape[: given.ndim - len(head.raw_shape)])

    @property
    def lead_shape(self) -> Shape:
        return self._lead

    @property
    def event_shape(self) -> Shape:
        return self.head.event

    @property
    def mean(self) -> Tensor:
        raise ValueError("TokenSequence: numbers of words have no mean. Take draws, or its centre (greedy).")

    @property
    def centre(self) -> Tensor:
        return self._filled(lambda logits, place: logits.argmax(-1))

    def log_prob(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        return self.log_prob_fed(x, x, mask)

    def log_prob_fed(self, x: Tensor, inputs: Tensor, mask: Tensor | None = None) -> Tensor:
        tokens = x.long()
        longest = max(int((tokens != PAD).sum(-1).max()), 1)
        tokens, fed = tokens[..., :longest], inputs.long()[..., :longest]
        lead = tokens.shape[:-1] if self.given is None else torch.broadcast_shapes(self._lead, tokens.shape[:-1])
        flat = [part.expand(*lead, longest).reshape(-1, longest) for part in (tokens, fed)]
        given = None if self.given is None else self._rows(lead)
        terms = self._scored(flat[0], flat[1], given).reshape(*lead, longest)
        terms = terms if mask is None else terms * mask[..., :longest]
        return terms.sum(-1).expand(torch.broadcast_shapes(lead, self._lead))

    def sample(self, noise: NoiseSource, draws: int | None = None) -> Tensor:
        if draws is not None:
            return self.expand((draws, *self._lead)).sample(noise)
        # All numbers at once, so that a draw does not depend on when its neighbours end.
        u = noise.uniform((*self._lead, *self.event_shape), max(len(self._lead) - 1, 0)).reshape(-1, *self.event_shape)
        return self._filled(lambda logits, place: pick(logits.softmax(-1), u[:, place].to(logits.dtype), -1))

    def expand(self, lead: Shape) -> Self:
        given = None if self.given is None else self.given.expand(*lead, *self.head.raw_shape)
        return type(self)(self.head, given, lead)

    def _rows(self, lead: Shape) -> Tensor | None:
        """What is given, once for each of so many sequences."""
        shape = self.head.raw_shape
        return None if self.given is None else self.given.expand(*lead, *shape).reshape(-1, *shape)

    def _scored(self, tokens: Tensor, fed: Tensor, given: Tensor | None) -> Tensor:
        """Of each token, ``(N, T)``, 0 behind the end; in pieces where nothing is to be learnt."""
        network = self.head.network
        if torch.is_grad_enabled():
            return self._pieces(tokens, fed, given, len(tokens) * tokens.shape[1])
        most = max(_AT_ONCE // (network.numbers * tokens.shape[1]), 1)
        every = [slice(start, start + most) for start in range(0, len(tokens), most)]
        parts = ((tokens[rows], fed[rows], None if given is None else given[rows]) for rows in every)
        return torch.cat([self._pieces(*part, max(_AT_ONCE // network.classes, 1)) for part in parts])

    def _pieces(self, tokens: Tensor, fed: Tensor, given: Tensor | None, most: int) -> Tensor:
        hidden, counts = self.head.network.hidden(fed, given), tokens != PAD
        found = [
            at_least_float32(self.head.network.logits(piece)).log_softmax(-1).gather(-1, wanted[:, None])[:, 0]
            for piece, wanted in zip(hidden[counts].split(most), (tokens[counts] - 1).split(most), strict=True)
        ]
        values = torch.cat(found)
        return values.new_zeros(tokens.shape).masked_scatter(counts, values)

    @torch.no_grad()
    def _filled(self, choose: Callable[[Tensor, int], Tensor]) -> Tensor:
        """Sequences whose tokens are chosen one after the other, given their logits and their place."""
        rows, (length,) = prod(self._lead), self.event_shape
        given = self._rows(self._lead)
        steps = self.head.network.walk(given, rows)
        device = next(self.head.parameters()).device
        before = torch.full((rows,), EOS, device=device)
        found, ended = (
            torch.full((rows, length), PAD, device=device),
            torch.zeros(rows, dtype=torch.bool, device=device),
        )
        for place in range(length):
            before = choose(at_least_float32(steps.next(before)), place) + 1
            found[:, place] = torch.where(ended, PAD, before)
            ended = ended | (before == EOS)
            if ended.all():
                break
        return found.reshape(*self._lead, length).to(torch.get_default_dtype())


class TokenHead(Head):
    """What is given becomes a distribution of token sequences, by a network that looks at the tokens before.

    The raw numbers are no parameters of tokens: they are what the network is given, a vector.

    Args:
        event: (T,), how long a row is.
        network: sees the tokens before and gives logits; a module with the methods of ``TokenNetwork``.
        given: shape of what is given; ``None`` where nothing is, and then ``alone()`` is the distribution.

    Raises:
        TypeError: a network without those methods.
        ValueError: an event that is no sequence.
    """

    support: ClassVar[str] = "tokens"

    def __init__(self, event: Shape, network: nn.Module, given: Shape | None = None) -> None:
        super().__init__(event)
        if len(self.event) != 1:
            raise ValueError(f"TokenHead: event: wanted a sequence (T,), got {event!r}. Give data that are sentences.")
        if not isinstance(network, TokenNetwork):
            raise TypeError(f"TokenHead: network: wanted one as TokenNetwork tells, got {type(network).__name__}.")
        self.network = network
        self._given = None if given is None else as_shape(given, "TokenHead: given")

    @property
    def per_element(self) -> int:
        return self.network.classes

    @property
    def raw_shape(self) -> Shape:
        return () if self._given is None else self._given

    def forward(self, raw: Tensor) -> TokenSequence:
        return TokenSequence(self, raw)

    def alone(self) -> TokenSequence:
        """The distribution where nothing is given, without leading dimensions."""
        return TokenSequence(self, None)
