"""Recipes of sentences: the sentence VAE, and the language model that it is to be compared with."""

__all__ = ["rnn_lm", "sentence_vae"]

from functools import partial

from torch import nn

from ..data import DataSpec
from ..likelihoods import LanguageModel, TokenDecoder, token_sequence
from ..models import VAE, Corruption, Direct, WordDropout
from ..networks import Recurrent, RecurrentSizes
from ..objectives import ELBO
from ..plan import Recipe, recipe
from ..posteriors import gaussian
from ..priors import StandardNormal
from .choose import GAUSSIAN, NORMAL, beta_of

_TOKENS = "autoregressive over tokens, an LSTM or GRU: a categorical over the words"
_PUBLISHED = (
    "Penn Treebank, test perplexity: RNN language model 116, VAE 119, a bound; without inputs over 600 and 380 "
    "(Bowman et al. 2015)"
)


@recipe(
    posterior="none: there are no latents",
    prior="none: there are no latents",
    likelihood=_TOKENS,
    objective="the log-likelihood itself, exact",
    equation=r"\log p(x) = \sum_{t=1}^{n+1} \log p(x_t|x_{<t})",
    source="Mikolov et al. 2010; as the baseline of Bowman et al. 2015, arXiv:1511.06349",
    good_for="the number that a sentence VAE has to beat",
    not_for="a code of sentences: nothing stands for a whole one",
    published=_PUBLISHED,
)
def rnn_lm(
    data: DataSpec,
    *,
    embedding: int = 128,
    hidden: int = 128,
    layers: int = 1,
    cell: str = "lstm",
    word_dropout: float = 0.0,
) -> Recipe:
    """The recurrent language model: every word given those before it, no latents.

    Args:
        embedding: how many numbers stand for a word.
        hidden: width of the state.
        layers: of the cell, one on top of the other.
        cell: lstm or gru.
        word_dropout: share of the words before that is shown as <unk> in training; 1 never shows any, in use neither.
    """
    sizes = _sizes(data, (embedding, hidden, layers, cell), "rnn_lm")
    dropout, inputless = _dropout(word_dropout, "rnn_lm")
    density = LanguageModel(data.shape, TokenDecoder(sizes, inputless=inputless))
    return Recipe(Direct(density, decoder_inputs=dropout), ELBO())


@recipe(
    posterior=f"{GAUSSIAN}, from the last state of an LSTM or GRU",
    prior=NORMAL,
    likelihood=f"{_TOKENS}, whose first state z makes",
    objective="ELBO, the weight of its rate rising from 0 if a schedule is given",
    equation=r"\mathcal L = \mathbb E_{q(z|x)}\sum_{t=1}^{n+1}\log p(x_t|x_{<t}, z) "
    r"- \beta\,\mathrm{KL}(q(z|x)\,\|\,p(z))",
    source="Bowman et al. 2015, arXiv:1511.06349",
    good_for="sentences from codes: samples, neighbours, and paths from one sentence to another",
    not_for="perplexity: the words before tell most of what z could; without annealing and word dropout z falls silent",
    published=_PUBLISHED,
)
def sentence_vae(
    data: DataSpec,
    *,
    latent: int = 16,
    embedding: int = 128,
    hidden: int = 128,
    layers: int = 1,
    cell: str = "lstm",
    word_dropout: float = 0.3,
    repeated: bool = True,
    draws: int = 1,
    beta_schedule: str | None = None,
) -> Recipe:
    """The sentence VAE: an LSTM reads a sentence into z, another one writes it from z, word after word.

    Args:
        latent: size of z.
        embedding: how many numbers stand for a word, in the encoder and in the decoder, each with its own.
        hidden: width of the states.
        layers: of each cell, one on top of the other.
        cell: lstm or gru.
        word_dropout: share of the words before that the decoder is shown as <unk>, in training; 1 is the inputless
            decoder, which never sees any.
        repeated: whether z joins every word that the decoder sees, or makes its first state alone, as in the paper.
        draws: draws of z for each datum in training.
        beta_schedule: weight of the rate over the steps, such as logistic:1:2500:0.0025 or linear:0:1:2000; 1 if not
            given.
    """
    sizes = _sizes(data, (embedding, hidden, layers, cell), "sentence_vae")
    dropout, inputless = _dropout(word_dropout, "sentence_vae")
    q = gaussian(partial(Recurrent, sizes=sizes), data.shape, latent)
    decoder = TokenDecoder(sizes, latent, repeated, inputless)
    p_x = token_sequence(nn.Identity(), (latent,), data.shape, decoder=decoder)
    model = VAE(q, StandardNormal(latent), p_x, decoder_inputs=dropout)
    return Recipe(model, ELBO(beta_of(1.0, beta_schedule), draws))


def _sizes(data: DataSpec, sizes: tuple[int, int, int, str], owner: str) -> RecurrentSizes:
    if data.vocabulary is None:
        raise ValueError(
            f"recipe {owner} needs sentences, such as --data sentences or a .txt file. For others take vae."
        )
    return RecurrentSizes(data.vocabulary.known, *sizes)


def _dropout(share: float, owner: str) -> tuple[Corruption | None, bool]:
    """What is done to the decoder's inputs in training, and whether it has none at all."""
    if not 0 <= share <= 1:
        raise ValueError(f"{owner}: word_dropout: wanted a share from 0 to 1, got {share!r}.")
    return (WordDropout(share) if 0 < share < 1 else None), share == 1
