"""pro-VLAE: levels that come in one after the other, in one run with one optimiser."""

import json
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch

import fourfold as ff
from fourfold.data import DataSet, Order, Split
from fourfold.models import FadeIn
from fourfold.networks import Fade
from fourfold.noise import Noise
from fourfold.objectives import ELBO, ProgressiveELBO
from fourfold.plan import Player, Recipe, Stage
from fourfold.runs import resume
from fourfold.runs.prepare import prepare
from fourfold.training import Job, Outcome, Training, intervals, launch, load_tensors, train

SMALL = {"latents": (2, 1, 2), "hidden": 8, "channels": 3, "network": "dense", "activation": "tanh"}
NETWORKS = pytest.mark.parametrize("network", ["dense", "convolutional"])


def data() -> DataSet:
    """60 images of a bright or a dark half."""
    random = np.random.default_rng(0)
    bright = np.where(np.arange(60) % 2, 0.9, 0.1)[:, None, None, None] + np.linspace(-0.1, 0.1, 5)
    rows = Split((random.random((60, 1, 6, 5)) < bright).astype(np.float32))
    return DataSet("halves", rows, rows, None, levels=None, classes=None)


def made(**flags: object) -> Any:
    recipe = ff.recipes.pro_vlae(likelihood="bernoulli", **{**SMALL, **flags})
    return recipe.build(data().spec)


def shares(model: Any) -> list[float]:
    """α of what each level, from the top, adds to the state."""
    return [float(rung.join.lift[-1].share) for rung in model.rungs]


def after(count: int, job: Job) -> int:
    """Trains for so many intervals and drops everything; gives the step."""
    with closing(cast("Generator[Outcome]", intervals(job, launch(job.options)))) as going:
        return [state.step for state in islice(going, count)][-1]


@NETWORKS
def test_levels_whose_turn_has_not_come_add_exactly_nothing(network: str) -> None:
    recipe = made(network=network, fade=10)
    model, x = recipe.model, torch.from_numpy(data().train.x)
    z = tuple(torch.randn(4, *shape) for shape in model.latent_shapes)
    for active, stage in enumerate(recipe.stages, 1):
        stage.moving.advance(7, 40)
        for i in range(3):
            moved = tuple(3 * part + 1 if k == i else part for k, part in enumerate(z))
            assert model.decode(moved).equal(model.decode(z)) == (i >= active)
        trace = model(x, noise=Noise(0))
        model.zero_grad()
        trace.log_likelihood.sum().backward()
        for i, rung in enumerate(model.rungs):
            touched = any(p.grad is not None and bool((p.grad != 0).any()) for p in rung.guess.parameters())
            assert touched == (i < active)


@NETWORKS
def test_after_the_fade_in_it_is_the_ladder_without_one(network: str, double: None) -> None:
    recipe = made(network=network, fade=10)
    plain: Any = (
        ff.recipes.variational_ladder(likelihood="bernoulli", merge="concatenate", **{**SMALL, "network": network})
        .build(data().spec)
        .model
    )
    with torch.no_grad():
        for a, b in zip(plain.parameters(), recipe.model.parameters(), strict=True):
            a.copy_(b)
    x = torch.from_numpy(data().train.x).double()
    moving = recipe.stages[-1].moving
    for step, same in ((9, False), (10, True), (39, True)):
        moving.advance(step, 40)
        assert moving.settled(step, 40) == same
        trace, wanted = (model(x, draws=2, noise=Noise(0)) for model in (recipe.model, plain))
        assert trace.log_weight.equal(wanted.log_weight) == same
    moving.advance(2, 40)
    late = replace(moving, length=0)
    late.advance(0, 40)
    assert recipe.model(x, draws=2, noise=Noise(0)).log_weight.equal(wanted.log_weight)


def test_alpha_goes_up_in_a_line_and_is_whole_by_half_of_the_stage() -> None:
    sights, voices = (tuple(Fade() for _ in range(3)) for _ in range(2))
    one = FadeIn(sights, voices, 1, 8)
    found = []
    for step in (0, 2, 8, 19):
        one.advance(step, 20)
        found.append([float(f.share) for f in (*sights, *voices)])
    assert found[0] == [1, 0, 1, 1, 0, 0] and found[1] == [1, 0.25, 1, 1, 0.25, 0]
    assert found[2] == found[3] == [1, 1, 1, 1, 1, 0]
    assert [one.settled(step, 10) for step in (4, 5)] == [False, True]
    top = FadeIn(sights, voices, 0, 8)
    top.advance(0, 20)
    assert [float(f.share) for f in voices] == [1, 0, 0]


def test_the_weights_of_the_rates(double: None) -> None:
    recipe = made()
    trace = recipe.model(torch.from_numpy(data().train.x).double(), noise=Noise(0))
    rates = [level.kl for level in trace.levels]
    terms = ProgressiveELBO(2, beta=3.0, gamma=0.25)(trace)
    wanted = trace.log_likelihood[0] - 3 * (rates[0] + rates[1].squeeze(0)) - 0.25 * rates[2].squeeze(0)
    torch.testing.assert_close(terms.total, wanted.expand(60))
    plain = ELBO()(trace)
    torch.testing.assert_close(terms.parts["rate"].value, plain.parts["rate"].value)  # and so the plain ELBO is told
    assert terms.parts["rate"].weight == 0
    whole = ProgressiveELBO(3)(trace)
    torch.testing.assert_close(whole.total, plain.total)
    with pytest.raises(ValueError, match="active is 4, and this model has 3"):
        ProgressiveELBO(4)(trace)


OPTIONS = {"epochs": 6, "batch_size": 20, "precision": "64", "lr": 1e-2}
STEPS = 18  # 6 a stage


def by_hand(schedule: str) -> Any:
    """One Adam over all steps; levels, factors and weights set from the formula."""
    prepared = prepare(ff.recipes.pro_vlae(likelihood="bernoulli", fade=2, **SMALL), data(), Training(precision="64"))
    model: Any = prepared.step.model.double()
    adam = torch.optim.Adam(model.parameters(), lr=1e-2)
    order, x = Order(60, 20, 0), torch.from_numpy(data().train.x)
    for t in range(STEPS):
        stage, local = divmod(t, 6)
        alpha = 1.0 if stage == 0 else min(1.0, local / 2)
        for i, rung in enumerate(model.rungs):
            rung.join.lift[-1].share.fill_(1.0 if i < stage else alpha if i == stage else 0.0)
            rung.guess.network[0].share.fill_(alpha if i == stage else 1.0)
        adam.param_groups[0]["lr"] = 1e-2 * (1 if schedule == "constant" else 0.5 * (1 + np.cos(np.pi * local / 6)))
        noise = Noise(0, stream="train").at(t)
        trace = model(prepared.step.view(x[order.indices(t)], None, noise).x, noise=noise)
        rates = [level.kl.reshape(-1) for level in trace.levels]
        loss = -trace.log_likelihood[0] + sum(r if i <= stage else 0.5 * r for i, r in enumerate(rates))
        adam.zero_grad()
        loss.mean().backward()
        adam.step()
    return model


@pytest.mark.parametrize("schedule", ["constant", "cosine"])
def test_the_course_is_one_adam_by_hand(schedule: str, tmp_path: Path, double: None) -> None:
    recipe = ff.recipes.pro_vlae(likelihood="bernoulli", fade=2, **SMALL)
    prepared = prepare(recipe, data(), Training(**OPTIONS))
    options = Training(**OPTIONS, lr_schedule=schedule)
    train(Job(prepared.step, data().train, None, options, quiet=True, stages=prepared.stages), launch(options))
    for a, b in zip(prepared.step.model.parameters(), by_hand(schedule).parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("cut", [2, 4, 5])
def test_a_run_cut_short_and_resumed_is_the_whole_run(cut: int, tmp_path: Path) -> None:
    """Cut within the top's stage, in the fade-in of the next, and in the last stage."""
    options = Training(**OPTIONS, log_steps=4, checkpoint_seconds=0, ema=0.9, validate_epochs=2)

    def job(name: str, resume: bool = False) -> Job:
        prepared = prepare(ff.recipes.pro_vlae(likelihood="bernoulli", fade=3, **SMALL), data(), options)
        prepared.step.double()
        (tmp_path / name).mkdir(exist_ok=True)
        return Job(
            prepared.step, data().train, data().validation, options, tmp_path / name, resume, True,
            stages=prepared.stages,
        )  # fmt: skip

    train(job("whole"), launch(options))
    stopped = after(cut, job("cut"))
    held, state = load_tensors(tmp_path / "cut/checkpoints/last.safetensors")
    assert state["step"] == stopped and not any(name.startswith("optimiser:") for name in held)
    train(job("cut", resume=True), launch(options))
    (found, _), (wanted, _) = (
        load_tensors(tmp_path / name / "checkpoints/last.safetensors") for name in ("cut", "whole")
    )
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []
    assert float(wanted["optimiser/0/step"]) == STEPS

    def told(name: str) -> list[dict[str, float]]:
        return [
            json.loads(line) | {"seconds": 0} for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        ]

    assert told("cut") == told("whole")


def test_the_average_leaves_the_factors_alone_and_what_is_loaded_is_what_was_trained(tmp_path: Path) -> None:
    recipe = ff.recipes.pro_vlae(likelihood="bernoulli", fade=4, **SMALL)
    run = ff.fit(recipe, data(), out=tmp_path / "r", quiet=True, ema=0.9, epochs=6, batch_size=20)
    assert shares(run.model) == [1, 1, 1] and shares(ff.load(tmp_path / "r")) == [1, 1, 1]
    assert not any(
        name.endswith("share")
        for name in load_tensors(tmp_path / "r/checkpoints/last.safetensors")[0]
        if name.startswith("average")
    )
    prepared = prepare(recipe, data(), options := Training(epochs=6, batch_size=20, log_steps=4, checkpoint_seconds=0))
    job = Job(prepared.step, data().train, None, options, tmp_path / "r", quiet=True, stages=prepared.stages)
    assert after(4, job) == 8  # 3, 4, 6 (the stage's end), 8: two steps into the second
    assert shares(ff.load(tmp_path / "r")) == pytest.approx([1, 1 / 3, 0])  # of 6 steps the fade-in has 3


def test_an_optimiser_is_continued_only_by_the_same_player(tmp_path: Path) -> None:
    model, first, second = made().model, ELBO(), ELBO()
    for player, match in (
        (Player(second, continues=True, name="other"), "got none"),
        (Player(second, (model.likelihood,), continues=True), "got another one"),
        (Player(second, continues=True, betas=(0.5, 0.9)), "got another one"),
    ):
        recipe = Recipe(model, second, stages=(Stage((Player(first),), "one"), Stage((player,))))
        with pytest.raises(ValueError, match=f"continues: wanted a player.*{match}"):
            ff.fit(recipe, data(), out=tmp_path / "r", quiet=True)
    with pytest.raises(ValueError, match="got none"):
        ff.fit(Recipe(model, second, stages=(Stage((Player(second, continues=True),)),)), data(), out=tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_arguments_are_checked_by_name() -> None:
    for flags, match in (({"fade": -1}, "pro_vlae: fade"), ({"gamma": -1.0}, "gamma"), ({"latents": ()}, "latents")):
        with pytest.raises(ValueError, match=match):
            made(**flags)
    assert len(made(latents=(2,)).stages) == 1


@pytest.mark.slow
def test_every_level_in_use_has_its_half_nat(fresh_python: Callable[[str], str]) -> None:
    """Of the digits, each level from its turn on; those below have next to nothing."""
    told = fresh_python("""
import fourfold as ff
from fourfold.runs.prepare import prepare
from fourfold.training import Job, Outcome, Training, intervals, launch
recipe = ff.recipes.pro_vlae(network="dense", hidden=128, activation="tanh", fade=50)
options, data = Training(epochs=30, lr=3e-3, batch_size=50), ff.data.digits()
made = prepare(recipe, data, options)
job = Job(made.step, data.train, None, options, quiet=True, stages=made.stages)
for state in intervals(job, launch(options)):
    if state.step in (288, 575, 863):
        print(*(v for k, v in sorted(state.metrics.items()) if "rate_" in k and "raw" in k))
""")
    lines = told.strip().splitlines()
    assert len(lines) == 3
    for active, line in enumerate(lines, 1):
        rates = [float(word) for word in line.split()]
        assert min(rates[:active]) > 0.5 and max([0.0, *rates[active:]]) < 0.05


def test_a_run_that_goes_on_for_longer_does_not_fade_its_last_level_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = ff.recipes.pro_vlae(latents=(2, 2), network="dense", hidden=8)
    run = ff.fit(recipe, ff.data.digits(), out=tmp_path / "r", epochs=2, quiet=True)
    shares = []
    advance = FadeIn.advance

    def told(self: FadeIn, step: int, steps: int) -> None:
        advance(self, step, steps)
        shares.extend(float(voice.share) for voice in self.voices)

    monkeypatch.setattr(FadeIn, "advance", told)
    assert run.path is not None
    for epochs in (6, 20):
        resume(run.path, epochs=epochs, quiet=True)
    assert len(shares) > 100 and set(shares) == {1.0}
