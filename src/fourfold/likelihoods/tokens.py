"""Likelihoods of token sequences: a recurrent decoder, given z or alone."""

__all__ = ["LanguageModel", "TokenDecoder", "token_sequence"]

from dataclasses import dataclass

from torch import Tensor

from .._shapes import Shape
from ..conditional import NetworkConditional, Prior
from ..distributions import TokenHead, TokenSequence
from ..networks import NetworkLike, RecurrentSizes, RecurrentTokens, build


@dataclass(frozen=True, slots=True)
class TokenDecoder:
    """How a decoder of token sequences is made, and how z gets into it.

    Args:
        sizes: of the cell and its embeddings, and how many words there are.
        features: how many numbers the network of z makes.
        repeated: whether these join every token's embedding, or make the first state alone.
        inputless: the tokens before are not seen at all.
    """

    sizes: RecurrentSizes
    features: int = 16
    repeated: bool = True
    inputless: bool = False


def token_sequence(
    network: NetworkLike, latent: Shape, data: Shape, condition: Shape | None = None, *, decoder: TokenDecoder
) -> NetworkConditional:
    """p(x | z, c) = Π p(x_t | x_<t, z, c) by an LSTM or GRU, whose first state the network's features of z make.

    Args:
        network: z (and c) to features: a factory, or a module of yours; ``nn.Identity()`` will do where ``features``
            is the size of z.
        latent: shape of z.
        data: (T,).
        condition: shape of c, if there is one.
        decoder: sizes, and how z gets in.

    Raises:
        ValueError: data that are no sequences.

    References:
        Bowman et al. 2015, arXiv:1511.06349.

    Example:
        >>> import torch
        >>> small = TokenDecoder(RecurrentSizes(words=10, embedding=3, hidden=5), features=2)
        >>> p = token_sequence(torch.nn.Identity(), (2,), (6,), decoder=small)
        >>> p(torch.zeros(7, 1, 2)).log_prob(torch.tensor([[4.0, 5.0, 1.0, 0.0, 0.0, 0.0]])).shape
        torch.Size([7, 1])
    """
    given = (decoder.features,)
    made = RecurrentTokens(decoder.sizes, *given, repeated=decoder.repeated, inputless=decoder.inputless)
    return NetworkConditional(build(network, latent, given, condition), TokenHead(data, made, given), latent, condition)


class LanguageModel(Prior):
    """p(x) = Π p(x_t | x_<t) by an LSTM or GRU without latents, for ``Direct``.

    Args:
        data: (T,).
        decoder: sizes; what is said of z has no meaning here.

    Raises:
        ValueError: data that are no sequences.

    References:
        Mikolov et al. 2010, "Recurrent neural network based language model".

    Example:
        >>> import torch
        >>> small = TokenDecoder(RecurrentSizes(words=10, embedding=3, hidden=5))
        >>> LanguageModel((6,), small)().log_prob(torch.tensor([[4.0, 5.0, 1.0, 0.0, 0.0, 0.0]])).shape
        torch.Size([1])
    """

    def __init__(self, data: Shape, decoder: TokenDecoder) -> None:
        super().__init__()
        self.head = TokenHead(data, RecurrentTokens(decoder.sizes, inputless=decoder.inputless))
        self.event, self.support = self.head.event, self.head.support

    def forward(self, c: Tensor | None = None) -> TokenSequence:
        return self.head.alone()
