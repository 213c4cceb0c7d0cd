"""Stages and players: who is trained when, by whose numbers, and that a killed run still finds its place."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn
from turns import duel

import fourfold as ff
from fourfold.data import Order
from fourfold.noise import Noise
from fourfold.objectives import ELBO
from fourfold.plan import Player, Recipe, Stage
from fourfold.runs import resume
from fourfold.runs.prepare import prepare
from fourfold.training import Job, Training, intervals, launch, load_tensors, train

DIGITS = ff.data.digits()
OPTIONS = {"epochs": 6, "batch_size": 96, "precision": "64", "ema": 0.9, "log_steps": 7, "checkpoint_seconds": 0}
STEPS = 90  # round(6 · 1439 / 96): 30 for the first stage, 60 for the second


def start(folder: Path, die_at: int, *launcher: str, **more: object) -> int:
    program = Path(__file__).with_name("runner.py")
    words = json.dumps({**OPTIONS, "duel": True, **more})
    command = [sys.executable, *launcher, str(program), str(folder), str(die_at), words]
    return subprocess.run(command, capture_output=True, timeout=200).returncode


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "checkpoints" / "last.safetensors")[0]


def rows(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) | {"seconds": 0} for line in (folder / "metrics.jsonl").read_text().splitlines()]


def plain_loop() -> tuple[nn.Module, nn.Module]:
    """The same course by hand: three optimisers, three objectives, every gradient asked for by name."""
    prepared = prepare(duel(every=3), DIGITS, Training(precision="64"))
    step, (warm, main) = prepared.step.double(), prepared.stages
    first, remembered, plain = warm.players[0].objective, step.objective, main.players[1].objective.double()
    first = first.double()
    encoder = [*step.model.posterior.parameters(), *remembered.parameters()]
    decoder = list(step.model.likelihood.parameters())
    warming = torch.optim.Adam(decoder, lr=1e-3)
    encoding, decoding = torch.optim.Adam(encoder, lr=1e-3), torch.optim.Adam(decoder, lr=5e-4, betas=(0.5, 0.9))
    order, x = Order(len(DIGITS.train), 96, 0), torch.from_numpy(DIGITS.train.x)

    def learn(objective, optimiser, parameters, noise):
        batch = step.view(x[order.indices(t)], None, noise)
        terms = objective(step.model(batch.x, draws=1, noise=noise), noise)
        gradients = torch.autograd.grad(-terms.total.mean(), parameters)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()
        return terms

    for t in range(STEPS):
        noise = Noise(0, stream="train").at(t)
        if t < 30:
            first.advance(t)
            learn(first, warming, decoder, noise)
            continue
        terms = learn(remembered, encoding, encoder, noise)
        remembered.after_step({k: v.detach() for k, v in terms.summary.items()})
        if t - 30 >= 40 or (t - 30 + 1) % 3 == 0:
            learn(plain, decoding, decoder, Noise(0, stream="train").fork("decoder").at(t))
    return step.model, remembered


def test_the_course_is_the_loop_by_hand(double: None, tmp_path: Path) -> None:
    run = ff.fit(duel(every=3), DIGITS, out=tmp_path / "r", quiet=True, **{**OPTIONS, "ema": 0})
    model, objective = plain_loop()
    found, wanted = dict(run.model.named_parameters()), dict(model.named_parameters())
    assert found.keys() == wanted.keys()
    for name, parameter in wanted.items():
        torch.testing.assert_close(found[name], parameter, rtol=1e-9, atol=1e-12)
    saved = tensors(tmp_path / "r")
    torch.testing.assert_close(saved["weights/objective.price"], objective.price.detach(), rtol=1e-9, atol=0)
    torch.testing.assert_close(saved["weights/objective.mean"], objective.mean, rtol=1e-9, atol=0)


def test_numbers_say_whose_they_are(tmp_path: Path) -> None:
    run = ff.fit(duel(every=3), DIGITS, out=tmp_path / "r", quiet=True, **OPTIONS)
    before = [row for row in run.metrics if row["step"] <= 30]
    after = [row for row in run.metrics if row["step"] > 30]
    assert run.metrics[-1]["step"] == STEPS and any(row["step"] == 30 for row in before)
    assert all("train/warm/elbo [nats]" in row and "train/elbo [nats]" not in row for row in before)
    assert all("train/memory raw [nats]" in row and "train/decoder/elbo [nats]" in row for row in after)
    assert not any("warm" in name for row in after for name in row)
    weights = [row["train/warm/rate weighted [nats]"] / row["train/warm/rate raw [nats]"] for row in before]
    assert weights[0] == pytest.approx(-0.3, abs=1e-6) and weights[-1] == pytest.approx(-1)  # steps 0…6, then the end
    # What was best before the last stage was best at something else.
    assert run.outcome.best_step > 30


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert start(folder, 0) == 0
    return folder


@pytest.mark.parametrize("point", [17, 50, 111])
def test_killed_in_any_stage_and_resumed_is_the_whole_run(whole: Path, tmp_path: Path, point: int) -> None:
    assert start(tmp_path / "cut", point) == -signal.SIGKILL
    assert start(tmp_path / "cut", 0) == 0
    found, wanted = tensors(tmp_path / "cut"), tensors(whole)
    assert found.keys() == wanted.keys() and "weights/objective.mean" in wanted
    assert any(name.startswith("optimiser:warm/") for name in wanted)
    assert any(name.startswith("optimiser:decoder/") for name in wanted)
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []
    assert rows(tmp_path / "cut") == rows(whole)


def test_two_processes_take_the_same_turns(whole: Path, tmp_path: Path) -> None:
    assert start(tmp_path / "two", 0, devices=2, accelerator="cpu") == 0
    found, wanted = tensors(tmp_path / "two"), tensors(whole)
    assert found.keys() == wanted.keys()
    for name in wanted:
        torch.testing.assert_close(found[name], wanted[name], rtol=1e-7, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")


# Runs as short as these end before their schedules do.
@pytest.mark.filterwarnings("ignore:duel-digits")
def test_more_epochs_lengthen_the_last_stage_only(tmp_path: Path) -> None:
    options = {"batch_size": 360, "out": tmp_path / "r", "quiet": True}
    run = ff.fit(duel(every=3), DIGITS, epochs=3, **options)  # 12 steps, 4 of them for the first stage
    assert run.path is not None
    encoder = tensors(run.path)["optimiser/0/step"]
    more = resume(run.path, epochs=9, recipe=duel(every=3))  # of 36 steps a third would be 12
    assert more.outcome.step == 36 and encoder == 8
    assert tensors(run.path)["optimiser/0/step"] == 8 + 24 and tensors(run.path)["optimiser:warm/0/step"] == 4
    again = resume(run.path, epochs=1, recipe=duel(every=3))  # shorter than it is: nothing to do, nothing forgotten
    assert again.outcome.step == 36 and load_tensors(run.path / "checkpoints/last.safetensors")[1]["ends"][0] == 4


def test_a_run_cut_short_in_its_first_stage_ends_there_and_can_go_on(tmp_path: Path) -> None:
    made = prepare(duel(every=3), DIGITS, Training())
    job = Job(made.step, DIGITS.train, None, Training(epochs=6, batch_size=360), tmp_path, stages=made.stages)
    job = replace(job, quiet=True, options=job.options.but(log_steps=2, checkpoint_seconds=0))  # 24 steps, 8 at first
    going = intervals(job, launch(job.options))
    assert next(going).step == 2
    going.close()
    cut = train(replace(job, resume=True, options=job.options.but(epochs=1)), launch(job.options))
    assert cut.step == 4 and cut.finished
    train(replace(job, resume=True, options=job.options.but(epochs=9)), launch(job.options))
    assert tensors(tmp_path)["optimiser:warm/0/step"] == 8 and tensors(tmp_path)["optimiser/0/step"] == 28


def test_what_does_not_play_stands_still(tmp_path: Path) -> None:
    """A frozen parameter of the user's stays frozen, before and after other players had their turns."""
    made = duel(every=3).build(DIGITS.spec)
    frozen = made.model.likelihood.network.layers[0].bias.requires_grad_(False)
    before = frozen.clone()
    ff.fit(made, DIGITS, out=tmp_path / "r", quiet=True, **OPTIONS)
    assert torch.equal(frozen, before) and not frozen.requires_grad
    assert made.model.likelihood.network.layers[0].weight.requires_grad


def test_a_recipe_whose_course_makes_no_sense_is_refused(tmp_path: Path) -> None:
    model, one, other = nn.Linear(1, 1), ELBO(), ELBO()
    with pytest.raises(ValueError, match="first player of the last stage"):
        Recipe(model, one, stages=(Stage((Player(other),)),))
    with pytest.raises(ValueError, match="players of a stage need names"):
        Recipe(model, one, stages=(Stage((Player(one), Player(other))),))
    with pytest.raises(ValueError, match="stages need names"):
        Recipe(model, one, stages=(Stage((Player(other),)), Stage((Player(one),))))
    stuck = duel().build(DIGITS.spec)
    with pytest.raises(ValueError, match="Player 'idle': none of its parts"):
        players = (Player(stuck.objective), Player(ELBO(), (nn.Identity(),), "idle"))
        ff.fit(Recipe(stuck.model, stuck.objective, stages=(Stage(players),)), DIGITS, out=tmp_path / "r")
    assert not (tmp_path / "r").exists()
    with pytest.raises(TypeError, match="wanted a fourfold"):
        ff.fit(Recipe(model, one, stages=(Stage((Player(one),)),)), DIGITS)


@pytest.mark.parametrize(
    ("player", "turns"),
    [
        (Player(ELBO()), [0, 1, 2, 3, 4, 5, 6, 7]),
        (Player(ELBO(), every=3), [2, 5]),
        (Player(ELBO(), every=3, until=5), [2, 5, 6, 7]),
        (Player(ELBO(), until=5), [0, 1, 2, 3, 4]),
    ],
)
def test_whose_turn_it_is(player: Player, turns: list[int]) -> None:
    assert [step for step in range(8) if player.due(step)] == turns


def test_the_best_of_a_moving_objective_is_forgotten_when_a_run_goes_on(tmp_path: Path) -> None:
    """Soft free bits judge the last validation only; that of a shorter run is no longer the last."""
    recipe = ff.recipes.free_bits_vae(kind="soft", nats=4.0, latent=3, hidden=(16,))
    options = {"batch_size": 96, "quiet": True}
    short = ff.fit(recipe, DIGITS, epochs=2, out=tmp_path / "r", **options)
    assert short.outcome.best_step == 30
    assert ff.runs.resume(tmp_path / "r", epochs=4).outcome.best_step == 60
    steady = ff.fit(ff.recipes.vae(latent=3, hidden=(16,)), DIGITS, epochs=2, out=tmp_path / "s", lr=1e-9, **options)
    went_on = ff.runs.resume(tmp_path / "s", epochs=4)
    assert went_on.outcome.best >= steady.outcome.best  # values of one objective stay comparable
