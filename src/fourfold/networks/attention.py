"""A causal transformer that gives each next token of a sequence."""

__all__ = ["AttentionSizes", "AttentionTokens", "AttentionWalk"]

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention

from .._checks import positive_int
from .._tokens import EOS, SPECIAL, UNK

# Keys and values of the tokens so far, ``(N, heads, t, width / heads)`` each.
_Memory = tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class AttentionSizes:
    """The size of a transformer of tokens.

    Args:
        words: how many tokens there are, <pad>, <eos> and <unk> among them.
        length: of the longest sequence, T.
        width: of every layer.
        layers: how many.
        heads: of the attention; they divide the width.

    Raises:
        ValueError: sizes that are none, heads that do not divide the width.
    """

    words: int
    length: int
    width: int = 128
    layers: int = 2
    heads: int = 4

    def __post_init__(self) -> None:
        for name in ("words", "length", "width", "layers", "heads"):
            positive_int(getattr(self, name), f"AttentionSizes: {name}")
        if self.words < len(SPECIAL):
            raise ValueError(f"AttentionSizes: words: wanted {len(SPECIAL)} at least, got {self.words}.")
        if self.width % self.heads:
            raise ValueError(f"AttentionSizes: heads: wanted a divisor of the width {self.width}, got {self.heads}.")


class AttentionTokens(nn.Module):
    r"""Logits of every next token from the tokens before it, by causal self-attention, and from what else is given.

    .. math:: h^0_t = e(x_{t-1}) + p_t + A z, \qquad
        a = h^l + \mathrm{att}(\mathrm{LN}(h^l)), \quad h^{l+1} = a + \mathrm{mlp}(\mathrm{LN}(a))

    A sequence begins where another one has ended: x₀ is <eos>. There is no logit of <pad>, which is no token.

    Args:
        sizes: of the layers and of the table of positions.
        given: how many numbers are given, which a linear layer adds to every token; ``None`` for none.
        inputless: every token before is seen as <unk>.

    References:
        Vaswani et al. 2017, arXiv:1706.03762; layer norms first, as in Radford et al. 2019.

    Example:
        >>> net = AttentionTokens(AttentionSizes(words=10, length=3, width=8), given=2)
        >>> net.logits(net.hidden(torch.tensor([[4, 5, 1]]), torch.zeros(1, 2))).shape
        torch.Size([1, 3, 9])
    """

    def __init__(self, sizes: AttentionSizes, given: int | None = None, *, inputless: bool = False) -> None:
        super().__init__()
        self.sizes, self.given, self.inputless = sizes, given, inputless
        self.embedding = nn.Embedding(sizes.words, sizes.width)
        self.positions = nn.Embedding(sizes.length, sizes.width)
        with torch.no_grad():  # small beside what the layers add
            self.embedding.weight.mul_(0.1)
            self.positions.weight.mul_(0.1)
        self.first = None if given is None else nn.Linear(given, sizes.width)
        self.layers = nn.ModuleList(_Layer(sizes.width, sizes.heads) for _ in range(sizes.layers))
        self.norm, self.last = nn.LayerNorm(sizes.width), nn.Linear(sizes.width, sizes.words - 1)

    @property
    def numbers(self) -> int:
        """How many numbers a layer has for one token."""
        return 4 * self.sizes.width + self.sizes.heads * self.sizes.length

    @property
    def classes(self) -> int:
        """How many logits one token has."""
        return self.sizes.words - 1

    def hidden(self, tokens: Tensor, given: Tensor | None) -> Tensor:
        """The state before each token, ``(N, T, width)``, of tokens ``(N, T)`` and what is given, ``(N, given)``."""
        before = torch.cat([tokens.new_full((len(tokens), 1), EOS), tokens[:, :-1]], 1)
        return self._states(before, given, None)[0]

    def logits(self, hidden: Tensor) -> Tensor:
        """Of <eos>, <unk>, and the words, in the order of their numbers."""
        return self.last(hidden)

    def walk(self, given: Tensor | None, rows: int) -> "AttentionWalk":
        """The same logits one token after the other."""
        return AttentionWalk(self, given)

    def _states(
        self, before: Tensor, given: Tensor | None, memory: Sequence[_Memory] | None
    ) -> tuple[Tensor, list[_Memory]]:
        """The states of these tokens after those in the memory, and the memory with them."""
        if self.inputless:
            before = torch.where(before == EOS, before, UNK)
        start = memory[0][0].shape[2] if memory else 0
        where = torch.arange(start, start + before.shape[1], device=before.device)
        h = self.embedding(before) + self.positions(where)
        if self.first is not None and given is not None:
            h = h + self.first(given)[:, None]
        kept = []
        for i, layer in enumerate(cast("Sequence[_Layer]", self.layers)):
            h, known = layer(h, memory[i] if memory else None)
            kept.append(known)
        return self.norm(h), kept


class _Layer(nn.Module):
    """Attention to oneself and to what came before, then a network of two layers; each adds to what was there."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.seen, self.read = nn.LayerNorm(width), nn.LayerNorm(width)
        self.asked, self.told = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, h: Tensor, memory: _Memory | None) -> tuple[Tensor, _Memory]:
        query, key, value = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.asked(self.seen(h)).chunk(3, -1)
        )
        if memory is not None:
            key, value = torch.cat([memory[0], key], 2), torch.cat([memory[1], value], 2)
        found = scaled_dot_product_attention(query, key, value, is_causal=memory is None)
        h = h + self.told(found.transpose(1, 2).flatten(2))
        return h + self.narrow(gelu(self.wide(self.read(h)))), (key, value)


class AttentionWalk:
    """The logits of one token after the other; keys and values of those before are kept.

    Args:
        network: gives the logits.
        given: what is given, ``(rows, given)``.
    """

    def __init__(self, network: AttentionTokens, given: Tensor | None) -> None:
        self._network, self._given = network, given
        self._memory: list[_Memory] | None = None

    def next(self, before: Tensor) -> Tensor:
        """The logits ``(rows, classes)`` of the token after this one, ``(rows,)``; the first comes after <eos>."""
        states, self._memory = self._network._states(before[:, None], self._given, self._memory)
        return self._network.logits(states[:, 0])
