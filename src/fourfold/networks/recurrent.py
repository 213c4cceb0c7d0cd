"""Recurrent networks of token sequences: one that reads a whole sequence, and one that gives each next token."""

__all__ = ["CELLS", "Recurrent", "RecurrentSizes", "RecurrentTokens", "RecurrentWalk"]

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .._checks import positive_int, unknown
from .._shapes import Shape, as_shape, size
from .._tokens import EOS, PAD, SPECIAL, UNK

#: Recurrent cells by name.
CELLS: dict[str, type[nn.LSTM] | type[nn.GRU]] = {"gru": nn.GRU, "lstm": nn.LSTM}

_State = Tensor | tuple[Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class RecurrentSizes:
    """The size of a recurrent network of tokens.

    Args:
        words: how many tokens there are, <pad>, <eos> and <unk> among them.
        embedding: how many numbers stand for a token.
        hidden: width of the state.
        layers: how many, one on top of the other.
        cell: lstm or gru.

    Raises:
        ValueError: sizes that are none, an unknown cell.
    """

    words: int
    embedding: int = 128
    hidden: int = 128
    layers: int = 1
    cell: str = "lstm"

    def __post_init__(self) -> None:
        for name in ("embedding", "hidden", "layers"):
            positive_int(getattr(self, name), f"RecurrentSizes: {name}")
        if positive_int(self.words, "RecurrentSizes: words") < len(SPECIAL):
            raise ValueError(f"RecurrentSizes: words: wanted {len(SPECIAL)} at least, got {self.words}.")
        if self.cell not in CELLS:
            raise ValueError(f"RecurrentSizes: cell: {unknown('cell', self.cell, CELLS)}")

    def made(self, more: int = 0) -> nn.LSTM | nn.GRU:
        """The cell, whose inputs are an embedding and so many numbers more."""
        return CELLS[self.cell](self.embedding + more, self.hidden, self.layers, batch_first=True)

    def table(self) -> nn.Embedding:
        """The embeddings, a tenth as large as torch begins with: small beside what the state will hold."""
        found = nn.Embedding(self.words, self.embedding)
        with torch.no_grad():
            found.weight.mul_(0.1)
        return found


class Recurrent(nn.Module):
    """A token sequence of any length to numbers of any shape: the last state of an LSTM or GRU, and a linear layer.

    The state is read at the <eos> of each sequence; the <pad> behind it changes nothing. It is a network as every room
    takes it, such as ``functools.partial(Recurrent, sizes=RecurrentSizes(words=5000))``.

    Args:
        inputs: (T,).
        outputs: shape of what is made.
        condition: shape of c, which joins the state before the linear layer; ``None`` for none.
        sizes: of the cell and its embeddings.

    Example:
        >>> net = Recurrent((6,), (4,), sizes=RecurrentSizes(words=10, embedding=3, hidden=5))
        >>> net(torch.tensor([[4.0, 5.0, 1.0, 0.0, 0.0, 0.0]])).shape
        torch.Size([1, 4])
    """

    def __init__(self, inputs: Shape, outputs: Shape, condition: Shape | None = None, *, sizes: RecurrentSizes) -> None:
        super().__init__()
        if len(as_shape(inputs, "Recurrent: inputs")) != 1:
            raise ValueError(f"Recurrent: inputs: wanted a sequence (T,), got {inputs!r}.")
        self.outputs = as_shape(outputs, "Recurrent: outputs")
        self.embedding, self.cell = sizes.table(), sizes.made()
        self.last = nn.Linear(sizes.hidden + size(condition or (0,)), size(self.outputs))

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """``(N, T)`` numbers of tokens, and c ``(N, *condition)`` → ``(N, *outputs)``."""
        tokens = x.long()
        length = (tokens != PAD).sum(-1).clamp_min(1)
        states, _ = self.cell(self.embedding(tokens[:, : int(length.max())]))
        last = states[torch.arange(len(x), device=x.device), length - 1]
        known = last if c is None else torch.cat([last, c.flatten(1).to(last.dtype)], -1)
        return self.last(known).reshape(-1, *self.outputs)


class RecurrentTokens(nn.Module):
    r"""Logits of every next token from the tokens before it, by an LSTM or GRU, and from what else is given.

    .. math:: h_0 = A\,z, \qquad h_t = f(h_{t-1}, [e(x_{t-1}), z]), \qquad
        p(x_t \mid x_{<t}, z) \propto \exp(W h_t)

    A sequence begins where another one has ended: x₀ is <eos>. There is no logit of <pad>, which is no token.

    Args:
        sizes: of the cell and its embeddings.
        given: how many numbers are given, from which a linear layer makes the first state; ``None`` for none, and then
            the first state is learnt.
        repeated: whether what is given joins the embedding of every token too.
        inputless: every token before is seen as <unk>: what the sequence holds must come from what is given.

    References:
        Bowman et al. 2015, arXiv:1511.06349.

    Example:
        >>> net = RecurrentTokens(RecurrentSizes(words=10, embedding=3, hidden=5), given=2)
        >>> net.logits(net.hidden(torch.tensor([[4, 5, 1]]), torch.zeros(1, 2))).shape
        torch.Size([1, 3, 9])
    """

    def __init__(
        self, sizes: RecurrentSizes, given: int | None = None, *, repeated: bool = True, inputless: bool = False
    ) -> None:
        super().__init__()
        self.sizes, self.given, self.inputless = sizes, given, inputless
        self.repeated = repeated and given is not None
        self.embedding, self.cell = sizes.table(), sizes.made(given if self.repeated and given else 0)
        numbers = sizes.layers * sizes.hidden * (2 if sizes.cell == "lstm" else 1)
        self.first = nn.Parameter(torch.zeros(numbers)) if given is None else nn.Linear(given, numbers)
        self.last = nn.Linear(sizes.hidden, sizes.words - 1)

    @property
    def numbers(self) -> int:
        """How many numbers the cell has for one token."""
        return (4 if self.sizes.cell == "lstm" else 3) * self.sizes.hidden

    @property
    def classes(self) -> int:
        """How many logits one token has."""
        return self.sizes.words - 1

    def hidden(self, tokens: Tensor, given: Tensor | None) -> Tensor:
        """The state before each token, ``(N, T, hidden)``, of tokens ``(N, T)`` and what is given, ``(N, given)``."""
        begin = tokens.new_full((len(tokens), 1), EOS)
        states, _ = self.cell(self._seen(torch.cat([begin, tokens[:, :-1]], 1), given), self._start(len(tokens), given))
        return states

    def logits(self, hidden: Tensor) -> Tensor:
        """Of <eos>, <unk>, and the words, in the order of their numbers."""
        return self.last(hidden)

    def walk(self, given: Tensor | None, rows: int) -> "RecurrentWalk":
        """The same logits one token after the other."""
        return RecurrentWalk(self, given, rows)

    def _seen(self, tokens: Tensor, given: Tensor | None) -> Tensor:
        if self.inputless:
            tokens = torch.where(tokens == EOS, tokens, UNK)
        words = self.embedding(tokens)
        if given is None or not self.repeated:
            return words
        again = given[:, None].expand(-1, tokens.shape[1], -1).to(words.dtype)
        return torch.cat([words, again], -1)

    def _start(self, rows: int, given: Tensor | None) -> _State:
        made = self.first(given) if isinstance(self.first, nn.Linear) else self.first.expand(rows, -1)
        layers, parts = self.sizes.layers, 2 if self.sizes.cell == "lstm" else 1
        h, *c = made.reshape(rows, parts, layers, self.sizes.hidden).permute(1, 2, 0, 3).contiguous()
        return (h, c[0]) if c else h


class RecurrentWalk:
    """The logits of one token after the other, for a fixed number of sequences; the state is kept.

    Args:
        network: gives the logits.
        given: what is given, ``(rows, given)``.
        rows: how many sequences.
    """

    def __init__(self, network: RecurrentTokens, given: Tensor | None, rows: int) -> None:
        self._network, self._given = network, given
        self._state = network._start(rows, given)

    def next(self, before: Tensor) -> Tensor:
        """The logits ``(rows, classes)`` of the token after this one, ``(rows,)``; the first comes after <eos>."""
        seen = self._network._seen(before[:, None], self._given)
        states, self._state = self._network.cell(seen, self._state)
        return self._network.logits(states[:, 0])
