"""The three parts of the rate, estimated from a batch: against enumeration, identities and a table."""

from itertools import permutations
from math import log

import pytest
import torch
from latents import passed, posterior, rows, told
from torch import Tensor
from torch.testing import assert_close

from fourfold.distributions import DiagonalGaussian, Distribution, Point
from fourfold.noise import Noise
from fourfold.objectives import ELBO, Decomposed
from fourfold.objectives.decomposition import log_weights_of

ALL = pytest.mark.parametrize("estimator", ["mss", "mws", "full"])
EXACT = {"rtol": 1e-10, "atol": 1e-10}


def copied_weights(batch: int, size: int) -> Tensor:
    """The matrix that five public codes have: its 1/N stands in the first column, not on the diagonal."""
    others = batch - 1
    weights = torch.full((batch, batch), 1 / others, dtype=torch.float64)
    weights.view(-1)[:: others + 1] = 1 / size
    weights.view(-1)[1 :: others + 1] = (size - others) / (size * others)
    weights[others - 1, 0] = (size - others) / (size * others)
    return weights


def error_over_all_batches(weights: Tensor, size: int) -> float:
    """How far the mean estimate of q(z_i), over all ordered batches that hold row i, is from q(z_i).

    All orders count: which of the others has a weight of its own is decided by its place.
    """
    batch, q = len(weights), posterior(size, 2)
    z = q.sample(Noise(3))
    density = q.log_prob(z.unsqueeze(1)).exp()  # (i, j): q(z_i | x_j)
    found: list[list[float]] = [[] for _ in range(size)]
    for order in permutations(range(size), batch):
        estimates = (weights * density[list(order)][:, list(order)]).sum(1)
        for i, estimate in zip(order, estimates.tolist(), strict=True):
            found[i].append(estimate)
    mean = torch.tensor(found, dtype=torch.float64).mean(1)
    return float((mean / density.mean(1) - 1).abs().max())


@pytest.mark.parametrize(("size", "batch"), [(6, 3), (6, 2), (5, 5), (6, 4)])
def test_stratified_weights_are_unbiased_by_enumeration(size: int, batch: int) -> None:
    weights = log_weights_of("mss", batch, size).exp()
    assert_close(weights.sum(1), torch.ones(batch, dtype=torch.float64), **EXACT)
    assert error_over_all_batches(weights, size) < 1e-12


def test_the_widely_copied_weights_fail_the_enumeration() -> None:
    assert error_over_all_batches(copied_weights(3, 6), 6) > 0.1
    assert error_over_all_batches(torch.full((3, 3), 1 / 3, dtype=torch.float64), 6) > 0.1


def test_the_full_estimator_is_exact() -> None:
    q = posterior(6, 3)
    trace = passed(q, draws=2)
    z, parts = trace.levels[0].z, Decomposed(data_size=6, estimator="full")(trace).parts
    one = q.log_prob_by_element(z.unsqueeze(2))
    log_q, log_marginals = one.sum(-1).exp().mean(2).log(), one.exp().mean(2).log().sum(-1)
    assert_close(parts["mi_full"].value, (q.log_prob(z) - log_q).mean(0), **EXACT)
    assert_close(parts["tc_full"].value, (log_q - log_marginals).mean(0), **EXACT)
    assert_close(parts["dwkl_full"].value, (log_marginals - trace.levels[0].log_p).mean(0), **EXACT)
    assert (parts["mi_full"].value <= log(6)).all()


@ALL
@pytest.mark.parametrize("draws", [1, 3])
def test_the_parts_sum_to_the_rate_whatever_the_estimator(estimator: str, draws: int) -> None:
    trace = passed(posterior(7, 4), draws=draws)
    n = 7 if estimator == "full" else 50
    terms = Decomposed(beta=1.0, data_size=n, estimator=estimator, draws=draws)(trace)
    parts = [terms.parts[f"{name}_{estimator}"].value for name in ("mi", "tc", "dwkl")]
    assert_close(torch.stack(parts).sum(0), trace.log_ratio.mean(0), **EXACT)
    assert_close(terms.total, ELBO(kl="monte_carlo")(trace).total, **EXACT)
    assert_close(terms.parts["rate"].value, ELBO()(trace).parts["rate"].value, **EXACT)  # the closed form, reported
    assert terms.parts["rate"].weight == 0


@ALL
def test_weights_weigh_their_part_and_nothing_else(estimator: str) -> None:
    trace = passed(posterior(7, 4))
    base, raised = (Decomposed(1.0, beta, 1.0, data_size=7, estimator=estimator)(trace).total for beta in (1.0, 3.5))
    tc = Decomposed(data_size=7, estimator=estimator)(trace).parts[f"tc_{estimator}"].value
    assert_close(base - raised, 2.5 * tc, **EXACT)
    terms = Decomposed(2.0, 3.0, 4.0, data_size=7, estimator=estimator)(trace).parts
    assert [float(terms[f"{name}_{estimator}"].weight) for name in ("mi", "tc", "dwkl")] == [-2.0, -3.0, -4.0]


def test_the_constant_of_the_weighted_estimator() -> None:
    batch, size, latents = 9, 40, 5
    trace = passed(posterior(batch, latents))
    mws = Decomposed(data_size=size, estimator="mws")(trace).parts
    naive = Decomposed(data_size=batch, estimator="full")(trace).parts  # the plain mean over the batch
    for name, times in (("mi", 1), ("tc", latents - 1), ("dwkl", -latents)):
        assert_close(mws[f"{name}_mws"].value, naive[f"{name}_full"].value + times * log(size), **EXACT)


def test_the_reference_table_of_five_thousand_data() -> None:
    """N = 5000, D = 4, B = 256, variance 0.05: the numbers of the reference, to its order of magnitude."""
    q = posterior(5000, 4, 0.05**0.5)
    index = torch.arange(256)
    z = rows(q, index).sample(Noise(0), 1)
    found = {}
    for estimator in ("mss", "mws"):
        parts = Decomposed(data_size=5000, estimator=estimator)(told(z, rows(q, index))).parts
        found[estimator] = [parts[f"{name}_{estimator}"].value.mean().item() for name in ("mi", "tc", "dwkl")]
    pairs = q.log_prob_by_element(z[0].unsqueeze(1)) - log(5000)
    log_q, log_marginals = (pairs.sum(-1) + 3 * log(5000)).logsumexp(1), pairs.logsumexp(1).sum(-1)
    truth = [(q.log_prob(z[0, :, None]).diagonal() - log_q).mean().item(), (log_q - log_marginals).mean().item()]
    assert truth == pytest.approx([5.84, 0.17], abs=0.25)
    assert found["mss"] == pytest.approx([6.37, -0.36, -0.06], abs=0.35)
    assert found["mws"] == pytest.approx([13.39, 26.57, -34.01], abs=0.35)


def test_gradients_of_mws_are_those_of_the_plain_mean() -> None:
    grads = []
    for estimator, n in (("mws", 100), ("full", 8)):
        q = posterior(8, 3)
        q.loc.requires_grad_()
        Decomposed(data_size=n, estimator=estimator)(passed(q)).total.sum().backward()
        grads.append(q.loc.grad)
    assert_close(grads[0], grads[1], **EXACT)


def test_what_cannot_be_decomposed_is_refused_with_its_reason() -> None:
    q = posterior(5, 2)
    other: Distribution = DiagonalGaussian(q.loc, q.log_scale)  # a prior of its own for each datum
    with pytest.raises(ValueError, match="not one product over the latents for all data"):
        Decomposed(data_size=5)(passed(q, other))
    with pytest.raises(ValueError, match="Point has no density of a single latent"):
        Decomposed(data_size=5)(passed(Point(q.loc)))
    two = passed(q)
    with pytest.raises(ValueError, match="this model has 2"):
        Decomposed(data_size=5)(type(two)(two.x, two.p_x, two.log_likelihood, two.levels * 2))


def test_batches_that_make_no_sense_are_refused_in_training_and_taken_in_validation() -> None:
    trace, one = passed(posterior(5, 2)), passed(posterior(1, 2))
    full = Decomposed(data_size=6, estimator="full")
    with pytest.raises(ValueError, match="needs all 6 data in each batch, got 5"):
        full(trace)
    few, alone = Decomposed(data_size=4), Decomposed(data_size=9)
    with pytest.raises(ValueError, match="a batch alone has 5 rows"):
        few(trace)
    with pytest.raises(ValueError, match=r"batch_size: Decomposed: estimator 'mss' compares .* a batch of one"):
        alone(one)
    for objective, given in ((full, trace), (few, trace), (alone, one)):
        assert objective.eval()(given).total.isfinite().all()
    for objective in (full, few):  # then the rows at hand are all there are
        terms = objective(trace).parts
        assert next(v for k, v in terms.items() if k.startswith("mi")).value.max() <= log(5) + 0.7
    with pytest.raises(ValueError, match="estimator"):
        Decomposed(data_size=5, estimator="msw")


def test_validation_has_the_weights_of_training() -> None:
    trace, objective = passed(posterior(6, 3)), Decomposed(data_size=6)
    trained, validated = objective.train()(trace), objective.eval()(trace)
    assert {k: (float(v.weight), v.value.tolist()) for k, v in trained.parts.items()} == {
        k: (float(v.weight), v.value.tolist()) for k, v in validated.parts.items()
    }


@pytest.mark.parametrize(("estimator", "batch"), [("mss", 50), ("mws", 50), ("full", 200)])
def test_a_dear_total_correlation_makes_latents_independent(estimator: str, batch: int) -> None:
    """Posteriors that are free to move, and correlated at first."""
    e = Noise(0).normal((200, 2))
    loc = torch.stack((e[:, 0], 0.9 * e[:, 0] + 0.4 * e[:, 1]), -1).requires_grad_()
    before = torch.corrcoef(loc.detach().T)[0, 1]
    objective = Decomposed(0.0, 10.0, 1.0, data_size=200, estimator=estimator)
    optimiser = torch.optim.Adam([loc], 0.03)
    for step in range(80):
        chosen = Noise(1, step=step).uniform((200,)).argsort()[:batch]
        terms = objective(passed(DiagonalGaussian(loc[chosen], torch.full((batch, 2), -0.7)), seed=step))
        optimiser.zero_grad()
        (-terms.total.mean()).backward()
        optimiser.step()
    assert before > 0.85 and abs(torch.corrcoef(loc.detach().T)[0, 1]) < 0.3
