"""A recipe in two stages, the second with two players and a discriminating buffer of state: for the tests of turns."""

from collections.abc import Mapping

import torch
from torch import Tensor

import fourfold as ff
from fourfold.data import DataSpec
from fourfold.models import VAE
from fourfold.noise import NoiseSource
from fourfold.objectives import ELBO, Linear, Objective
from fourfold.plan import Player, Recipe, Stage, recipe
from fourfold.trace import Term, Terms, Trace


class Remembered(Objective):
    """The ELBO less a learned constant times the running mean of the rate: parameters and state of its own."""

    mean: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.price = torch.nn.Parameter(torch.tensor(0.1))
        self.register_buffer("mean", torch.zeros(()))

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        rate = trace.log_ratio.mean(0)
        parts = {
            "log_likelihood": Term(trace.log_likelihood.mean(0), 1.0),
            "rate": Term(rate, -1.0),
            "memory": Term((self.price * (rate - self.mean)).square(), -1.0),
        }
        return Terms(parts, {"rate": rate.mean()})

    def after_step(self, summary: Mapping[str, Tensor]) -> None:
        self.mean.lerp_(summary["rate"], 0.1)


@recipe
def duel(data: DataSpec, *, every: int = 2) -> Recipe:
    """First the decoder alone, then encoder and decoder in turn."""
    made = ff.recipes.vae(latent=3, hidden=(16,)).recipe.function(data, latent=3, hidden=(16,))
    model = made.model
    assert isinstance(model, VAE)
    first, second = ELBO(Linear(0, 1, 10)), Remembered()
    warm = Stage((Player(first, (model.likelihood,)),), "warm", share=1.0)
    encoder = Player(second, (model.posterior, second))
    decoder = Player(ELBO(), (model.likelihood,), "decoder", lr=0.5, betas=(0.5, 0.9), every=every, until=40)
    return Recipe(model, second, stages=(warm, Stage((encoder, decoder), share=2.0)))
