"""The loop: golden losses, averages, early stops, non-finite losses, precision, and the step as one graph."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import fourfold as ff
from fourfold.noise import Noise
from fourfold.objectives import ELBO, Objective
from fourfold.runs import resume
from fourfold.runs.prepare import prepare
from fourfold.training import NonFinite, Training, load_tensors

DIGITS = ff.data.digits()
SMALL = ff.recipes.vae(latent=3, hidden=(16,))

# −objective of the first ten steps in float64, seed 0, batch 100. They change only with a change of the numbers.
GOLDEN = [
    28.680963993500004,
    27.941006820115376,
    27.704978448276293,
    28.02923104168442,
    28.092648060902665,
    27.770859959608828,
    27.711459434942913,
    27.697227929997148,
    27.943141345894464,
    28.291599390088617,
]


def losses(steps: int, seed: int = 0) -> list[float]:
    """A plain loop over the same step, order and noise as ``fit``."""
    options = Training(precision="64", seed=seed)
    step = prepare(SMALL, DIGITS, options).step.double()
    optimiser = torch.optim.Adam(step.parameters(), lr=options.lr)
    order = ff.data.Order(len(DIGITS.train), options.batch_size, seed)
    rows = torch.from_numpy(DIGITS.train.x)
    found = []
    for t in range(steps):
        loss, _ = step(rows[order.indices(t)], None, Noise(seed, stream="train").at(t))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        found.append(loss.item())
    return found


def test_golden_losses(double: None) -> None:
    assert losses(10) == pytest.approx(GOLDEN, abs=1e-9)


def test_fit_is_the_plain_loop(double: None, tmp_path: Path) -> None:
    run = ff.fit(SMALL, DIGITS, epochs=1, precision="64", log_steps=1, out=tmp_path / "r", quiet=True)
    logged = [-row["train/objective [nats]"] for row in run.metrics]
    assert logged == pytest.approx(losses(14), abs=1e-9)


def test_the_global_generator_is_left_alone(tmp_path: Path) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    ff.fit(SMALL, DIGITS, epochs=1, out=tmp_path / "r", quiet=True).evaluate(importance_samples=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == numpy_before).all()


def test_the_average_is_the_exponential_one_and_is_what_is_evaluated(tmp_path: Path) -> None:
    options = {"epochs": 1, "ema": 0.9, "log_steps": 1, "quiet": True}
    run = ff.fit(SMALL, DIGITS, out=tmp_path / "r", **options)
    assert run.path is not None
    tensors, _ = load_tensors(run.path / "checkpoints" / "last.safetensors")
    name = "model.likelihood.network.layers.0.bias"
    step = prepare(SMALL, DIGITS, Training(seed=0)).step
    optimiser = torch.optim.Adam(step.parameters(), lr=1e-3, fused=True)
    order, rows = ff.data.Order(len(DIGITS.train), 100, 0), torch.from_numpy(DIGITS.train.x)
    mean = step.get_parameter(name).detach().clone()
    for t in range(14):
        loss, _ = step(rows[order.indices(t)], None, Noise(0, stream="train").at(t))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        mean = 0.9 * mean + 0.1 * step.get_parameter(name).detach()
    torch.testing.assert_close(tensors[f"average/{name}"], mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        run.model.get_parameter(name.removeprefix("model.")).detach(), mean, rtol=1e-5, atol=1e-6
    )


def test_early_stopping_keeps_the_best(tmp_path: Path) -> None:
    run = ff.fit(SMALL, DIGITS, epochs=40, lr=0.3, patience=2, seed=3, out=tmp_path / "r", quiet=True)
    assert run.outcome.stopped_early and run.outcome.step < 576 and run.checkpoint == "best"
    scores = [
        (row["validation/objective [nats]"], row["step"]) for row in run.metrics if "validation/objective [nats]" in row
    ]
    best, step = max(scores)
    assert run.outcome.best == pytest.approx(best)
    assert run.outcome.best_step == step


def test_validation_has_no_hidden_weights(tmp_path: Path) -> None:
    run = ff.fit(ff.recipes.beta_vae(beta=4.0, latent=3), DIGITS, epochs=1, out=tmp_path / "r", quiet=True)
    row = run.metrics[-1]
    for part in ("train", "validation"):
        rate, likelihood = row[f"{part}/rate raw [nats]"], row[f"{part}/log_likelihood raw [nats]"]
        assert row[f"{part}/rate weighted [nats]"] == pytest.approx(-4 * rate)
        assert row[f"{part}/objective [nats]"] == pytest.approx(likelihood - 4 * rate, rel=1e-5)
        assert row[f"{part}/elbo [nats]"] == pytest.approx(likelihood - rate, rel=1e-5)


def test_a_non_finite_loss_names_step_term_checkpoint_and_causes(tmp_path: Path) -> None:
    recipe = ff.recipes.vae(latent=3, hidden=(16,), likelihood="gaussian")
    with pytest.raises(NonFinite) as caught:
        ff.fit(recipe, DIGITS, epochs=30, lr=1e6, out=tmp_path / "r", quiet=True, log_steps=5, checkpoint_seconds=0)
    message = str(caught.value)
    for part in ("step ", "learning rate", "variance", "range", "heckpoint"):
        assert part in message
    assert "inf" in message or "nan" in message
    log = tmp_path / "r" / "metrics.jsonl"
    rows = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    assert all(math.isfinite(value) for row in rows for value in row.values())


def test_the_first_non_finite_step_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fourfold.training import Step

    forward, calls = Step.forward, 0

    def poisoned(self: Step, *args: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal calls
        loss, numbers = forward(self, *args)
        calls += self.training
        if calls == 9:
            numbers[self.names.index("rate")] = float("inf")
        return loss, numbers

    monkeypatch.setattr(Step, "forward", poisoned)
    with pytest.raises(NonFinite, match="step 9: rate is inf"):
        ff.fit(SMALL, DIGITS, epochs=2, out=tmp_path / "r", quiet=True)


@pytest.mark.parametrize("precision", ["bf16", "32", "64"])
def test_precisions_agree_roughly_and_densities_stay_in_float32(tmp_path: Path, precision: str) -> None:
    run = ff.fit(SMALL, DIGITS, epochs=3, precision=precision, out=tmp_path / "r", quiet=True)
    assert run.metrics[-1]["validation/elbo [nats]"] == pytest.approx(-28.5, abs=1.5)


@pytest.mark.parametrize("optimiser", ["adam", "adamw", "adamax"])
def test_every_optimiser_learns(tmp_path: Path, optimiser: str) -> None:
    run = ff.fit(SMALL, DIGITS, epochs=3, optimiser=optimiser, lr=3e-3, out=tmp_path / "r", quiet=True)
    values = [row["validation/elbo [nats]"] for row in run.metrics if "validation/elbo [nats]" in row]
    assert values[-1] > values[0]


class WithDropout(torch.nn.Sequential):
    """A user's network that draws from torch's global generator: the only one that nn.Dropout knows."""

    def __init__(self) -> None:
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(64, 16), torch.nn.Dropout(0.5), torch.nn.Linear(16, 6))


def test_dropout_is_keyed_by_seed_and_step_and_the_hosts_generator_stays(tmp_path: Path) -> None:
    recipe = ff.recipes.vae(latent=3, encoder=ff.own(WithDropout))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = ff.fit(recipe, DIGITS, epochs=2, out=tmp_path / "a", quiet=True)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)  # another state of the host's generator: nothing of it may matter
    half = ff.fit(recipe, DIGITS, epochs=1, out=tmp_path / "b", quiet=True)
    torch.manual_seed(3)
    assert half.path is not None
    again = resume(half.path, recipe=recipe, epochs=2)
    for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_nothing_is_judged_while_a_schedule_moves(tmp_path: Path) -> None:
    recipe = ff.recipes.vae(latent=3, hidden=(16,), beta_schedule="linear:0:8:120")
    run = ff.fit(recipe, DIGITS, epochs=12, patience=1, out=tmp_path / "r", quiet=True)
    assert run.outcome.step >= 130  # no stop in the warm-up, where the objective falls because its weight rises
    assert run.outcome.best_step >= 120


def test_early_stopping_needs_something_to_judge_by(tmp_path: Path) -> None:
    data = ff.data.from_arrays(DIGITS.train.x, split="all")
    with pytest.raises(ValueError, match="patience: early stopping judges by the validation data"):
        ff.fit(SMALL, data, epochs=1, patience=1, out=tmp_path / "r", quiet=True)
    assert not (tmp_path / "r").exists()


def test_a_batch_statistic_refuses_pieces(tmp_path: Path) -> None:
    made = SMALL.build(DIGITS.spec)

    class Spread(ELBO):  # a stand-in for an MMD
        batch_statistic = True

    with pytest.raises(ValueError, match="accumulate: Spread is a statistic of the whole batch"):
        ff.fit(ff.Recipe(made.model, Spread()), DIGITS, epochs=1, accumulate=2, out=tmp_path / "r", quiet=True)
    assert not (tmp_path / "r").exists()


def test_an_objective_that_takes_no_noise_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    class Mine(Objective):
        def forward(self, trace):  # type: ignore[override]
            return ELBO()(trace)

    made = SMALL.build(DIGITS.spec)
    with pytest.raises(
        TypeError, match=r"^Mine.forward: wanted \(trace, noise=None\): an objective is given the noise"
    ):
        ff.fit(ff.Recipe(made.model, Mine()), DIGITS, out=tmp_path / "r", quiet=True)
    assert not (tmp_path / "r").exists()


def test_hyper_parameters_keep_their_digits_in_float64() -> None:
    assert ELBO(beta=0.1).double().beta.item() == 0.1


def test_results_of_an_earlier_step_give_way(tmp_path: Path) -> None:
    run = ff.fit(SMALL, DIGITS, epochs=1, out=tmp_path / "r", quiet=True)
    run.evaluate(importance_samples=5)
    assert run.path is not None
    more = resume(run.path, epochs=2)
    more.evaluate()
    assert {row["protocol"]["steps"] for row in more.folder.results()} == {more.outcome.step}


def test_init_from_takes_the_weights(tmp_path: Path) -> None:
    first = ff.fit(SMALL, DIGITS, epochs=2, out=tmp_path / "a", quiet=True)
    assert first.path is not None
    second = ff.fit(SMALL, DIGITS, epochs=0, init_from=first.path, out=tmp_path / "b", quiet=True)
    for a, b in zip(first.model.parameters(), second.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_whole_step_is_one_graph_and_compiled_numbers_are_eager_ones(fresh_python: Callable[[str], str]) -> None:
    printed = fresh_python(
        """
import torch, fourfold as ff
from fourfold.noise import Noise, Recorder, Replay
from fourfold.runs.prepare import prepare
from fourfold.training import Training
data = ff.data.digits()
for plan in (ff.recipes.vae(latent=3, hidden=(16,)), ff.recipes.cvae(latent=3), ff.recipes.conv_vae(latent=3),
             ff.recipes.structured_cvae(latent=3, hidden=(16,)), ff.recipes.autoencoder(latent=3)):
    step = prepare(plan, data, Training()).step
    raw, labels = torch.from_numpy(data.train.x[:8].copy()), torch.from_numpy(data.train.labels[:8].copy())
    recorder = Recorder(Noise(0))
    loss, numbers = step(raw, labels, recorder)
    def program(raw, labels, tensors):
        return step(raw, labels, Replay(tensors))
    compiled = torch.compile(program, fullgraph=True, backend="aot_eager")
    again, again_numbers = compiled(raw, labels, tuple(recorder.tensors))
    torch.testing.assert_close(loss, again); torch.testing.assert_close(numbers, again_numbers)
    again.backward()
    print("ok")
"""
    )
    assert printed.split() == ["ok"] * 5


def test_a_single_row_is_no_chunk_of_its_own(tmp_path: Path) -> None:
    """1,001 validation rows: a statistic of the batch that needs two rows is still to be had."""
    data = replace(DIGITS, validation=ff.data.Split(DIGITS.train.x[:1001], DIGITS.train.labels[:1001]))
    run = ff.fit(ff.recipes.mmd_vae(latent=2, hidden=(8,)), data, epochs=1, out=tmp_path / "r", quiet=True)
    assert math.isfinite(run.metrics[-1]["validation/mmd raw [unitless]"])
