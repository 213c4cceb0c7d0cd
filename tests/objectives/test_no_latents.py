"""A model without latents: objectives that are of latents say so, the others take it."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from fourfold.conditional import Condition, NetworkConditional
from fourfold.distributions import BernoulliHead
from fourfold.models import Direct
from fourfold.noise import Noise
from fourfold.objectives import (
    CIWAE,
    DIP,
    ELBO,
    IWAE,
    MIWAE,
    Balanced,
    Capacity,
    Contractive,
    Decomposed,
    Discrimination,
    FactorVAE,
    FreeBits,
    InfoVAE,
    KLSparsity,
    L1Sparsity,
    Objective,
    ProgressiveELBO,
    Reconstruction,
    SoftFreeBits,
    discriminator,
)
from fourfold.priors import ConditionalPrior
from fourfold.trace import Trace

OF_LATENTS = [
    Balanced((1, 1)),
    Capacity(),
    Contractive(),
    Contractive(method="closed_form", layer=nn.Linear(3, 2)),
    DIP(),
    Decomposed(data_size=5),
    Discrimination(discriminator(2, (4,))),
    FactorVAE(1.0, discriminator(2, (4,))),
    FreeBits(1.0),
    FreeBits(1.0, "per_dim_batchmean"),
    FreeBits(1.0, "per_sample"),
    InfoVAE(),
    InfoVAE(1.0, deterministic=True),
    KLSparsity(2),
    L1Sparsity(),
    ProgressiveELBO(1),
    SoftFreeBits(1.0),
]
OTHERS = [ELBO(), Reconstruction(), IWAE(2), MIWAE(2, 1), CIWAE(draws=2)]


def passed(draws: int = 1) -> Trace:
    density = ConditionalPrior(NetworkConditional(nn.Linear(2, 3), BernoulliHead(3), 2))
    return Direct(density, Condition((2,)))(torch.ones(5, 3, requires_grad=True), torch.zeros(5, 2), draws)


@pytest.mark.parametrize("objective", OF_LATENTS, ids=lambda one: type(one).__name__)
def test_objectives_of_latents_refuse_with_their_name_the_reason_and_the_fix(objective: Objective) -> None:
    reason = r"(a model without latents has no \w+|one group of latents, (and this model has|got) 0).*Take ELBO\."
    with pytest.raises(ValueError, match=rf"^{type(objective).__name__}\b.*{reason}"):
        objective(passed(), Noise(0))


@pytest.mark.parametrize("objective", OTHERS, ids=lambda one: type(one).__name__)
def test_the_others_are_its_log_likelihood(objective: Objective) -> None:
    trace = passed(objective.draws)
    assert_close(objective(trace).total, trace.log_likelihood[0])


def test_every_objective_is_here() -> None:
    import fourfold.objectives as room

    kinds = [kind for kind in vars(room).values() if isinstance(kind, type) and issubclass(kind, Objective)]
    assert {type(one) for one in (*OF_LATENTS, *OTHERS)} == set(kinds) - {Objective}
