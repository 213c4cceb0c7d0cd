"""Several members trained as one program are the members trained one by one."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

import fourfold as ff
from fourfold.data import DataSet, Split
from fourfold.plan import Plan
from fourfold.runs.prepare import prepare
from fourfold.training import Job, Told, Training, launch, load_tensors, members, several, stack, train, train_several
from fourfold.training.alike import alone, described, program
from fourfold.training.loop import Loop
from fourfold.training.members import Members
from fourfold.training.meter import NonFinite
from fourfold.training.pace import Pace

DIGITS = ff.data.digits()
LONG = Training(epochs=3.5, batch_size=48, log_steps=17, quiet=True, checkpoint_seconds=1000)
SHORT = Training(epochs=2.34, batch_size=20, log_steps=3, quiet=True, compile="off", ema=0.9)
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "all at once": {"clip": 3.0, "ema": 0.9, "lr_schedule": "cosine:0.1", "lr_warmup": 10, "optimiser": "adamw"},
    "adamax": {"optimiser": "adamax", "lr_schedule": "decay", "patience": 2},
}


@pytest.fixture(scope="module")
def few() -> DataSet:
    """Sixty digits to learn from and thirty held out."""
    x, labels = DIGITS.train.x, DIGITS.train.labels
    assert labels is not None
    parts = Split(x[:60], labels[:60]), Split(x[60:90], labels[60:90])
    return DataSet("few", *parts, None, levels=DIGITS.levels, classes=DIGITS.classes)


def job(plan: Plan, data: DataSet, options: Training, folder: Path | None) -> Job:
    """What one member is."""
    if folder is not None:
        folder.mkdir(exist_ok=True)
    made = prepare(plan, data, options)
    return Job(made.step, data.train, data.validation, options, folder, quiet=True, stages=made.stages)


def jobs_of(
    home: Path, options: Training, data: DataSet = DIGITS, lrs: tuple[float, ...] = (1e-3, 1e-3, 4e-3)
) -> list[Job]:
    """Members with weights, seeds and rates of their own, and folders to be taken up from."""
    home.mkdir(exist_ok=True)
    plans = [ff.recipes.beta_vae(beta=0.5 + i, latent=3, hidden=(10,)) for i in range(len(lrs))]
    made = [job(p, data, options.but(seed=i, lr=lrs[i]), home / str(i)) for i, p in enumerate(plans)]
    return [replace(one, resume=True) for one in made]


def compare(one: Path, other: Path, close: float = 1e-9) -> None:
    """Two folders hold the same training, to this relative error."""
    (tensors, state, rows), (wanted, wanted_state, wanted_rows) = left(one), left(other)
    assert tensors.keys() == wanted.keys()
    for name, value in wanted.items():
        torch.testing.assert_close(tensors[name], value, rtol=close, atol=close, msg=lambda text, n=name: f"{n} {text}")
    numbers = {"seconds", "best", "epoch", "compiled"}
    assert {k: v for k, v in state.items() if k not in numbers} == {
        k: v for k, v in wanted_state.items() if k not in numbers
    }
    assert state["best"] == pytest.approx(wanted_state["best"], rel=close)
    assert [row.keys() for row in rows] == [row.keys() for row in wanted_rows]
    for row, expected in zip(rows, wanted_rows, strict=True):
        assert {**row, "seconds": 0} == pytest.approx({**expected, "seconds": 0}, rel=close, abs=close)


def left(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any], list[dict[str, Any]]]:
    """The last checkpoint and the metrics of a member."""
    tensors, state = load_tensors(folder / "checkpoints" / "last.safetensors")
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return tensors, state, rows


def trained_alone(home: Path, options: Training, data: DataSet = DIGITS) -> Path:
    """The same jobs, one by one."""
    for one in jobs_of(home, options, data):
        train(one, launch(options))
    return home


@pytest.mark.parametrize("way", WAYS)
def test_members_are_the_runs_trained_alone(double: None, tmp_path: Path, way: str) -> None:
    """Three members with seeds, rates and weights of their own, over 105 steps, to 1e-9."""
    options = LONG.but(**WAYS[way])
    jobs, solo = jobs_of(tmp_path / "members", options), trained_alone(tmp_path / "alone", options)
    assert len({program(one) for one in jobs}) == 1 and not any(map(alone, jobs))
    ended = train_several(jobs, launch(options), together="on")
    assert all(one.outcome.finished and not one.frozen for one in ended)
    assert way == "adamax" or not any(one.apart for one in ended)
    for i in range(3):
        compare(tmp_path / "members" / str(i), solo / str(i))


RECIPES: dict[str, dict[str, tuple[Any, ...]]] = {
    "vae": {},
    "beta_vae": {"beta": (0.5, 1, "linear:0:4:5")},
    "capacity_vae": {"capacity": (5, 10, 25), "gamma": (10, 100, 1), "ramp": (3, 4, 5)},
    "tc_vae": {"alpha": (1, 2, 3), "beta": (4, 5, 6), "gamma": (1, 0.5, 0)},
    "dip_vae": {"off_diagonal": (1, 5, 10), "diagonal": (10, 50, 100)},
    "info_vae": {"alpha": (0.0, -0.5, 0.5), "lam": (1.5, 10, 100)},
    "mmd_vae": {"lam": (2, 10, 1000)},
    "free_bits_vae": {"nats": (0.1, 0.5, 2)},
    "iwae": {"draws": (5, 5, 5)},
    "ciwae": {"beta": (0.1, 0.5, 0.9)},
    "cvae": {},
    "conv_vae": {"channels": ((4, 4), (4, 4), (4, 4)), "hidden": (8, 8, 8)},
    "vamp_vae": {"components": (5, 5, 5)},
    "iaf_vae": {},
    "hvae": {"latents": ((4, 2),) * 3, "hidden": ((8, 8),) * 3},
    "sparse_ae": {},
}


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_differing_in_numbers_are_one_program(double: None, few: DataSet, name: str) -> None:
    """Members with hyper-parameters of their own, seven steps and two validations, to 1e-9."""
    recipe, fabric = ff.recipes.find(name), launch(SHORT)
    small = {key: value for key, value in {"latent": 3, "hidden": (8,)}.items() if key in recipe.signature}
    both: list[list[Job]] = [[], []]
    for i in range(3):
        own = {**small, **{key: values[i] for key, values in RECIPES[name].items()}}
        own = {("beta_schedule" if isinstance(value, str) else key): value for key, value in own.items()}
        for jobs in both:
            jobs.append(job(recipe(**own), few, SHORT.but(seed=i, lr=(1e-3, 4e-3, 1e-3)[i]), None))
    assert not alone(both[0][0]) and len({program(one) for one in both[0]}) == 1
    ended = train_several(both[0], fabric, together="on")
    for member, one, solo in zip(ended, *both, strict=True):
        outcome = train(solo, fabric)
        assert not member.apart and member.outcome.metrics == pytest.approx(outcome.metrics, rel=1e-9, abs=1e-9)
        for key, value in solo.step.state_dict().items():
            torch.testing.assert_close(one.step.state_dict()[key], value, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    "name, reason",
    [("factor_vae", "take turns"), ("vq_vae", "stages"), ("contractive_ae", "differentiates"), ("lvae", "batch norm")],
)
def test_what_is_trained_alone_says_why(few: DataSet, name: str, reason: str) -> None:
    told: list[str] = []
    options = SHORT.but(epochs=0.7)
    jobs = [job(ff.recipes.find(name)(), few, options.but(seed=i), None) for i in range(2)]
    assert reason in (alone(jobs[0]) or "")
    if name == "contractive_ae":
        ended = train_several(jobs, launch(options), Told(line=told.append))
        assert [one.outcome.step for one in ended] == [2, 2] and reason in ended[1].apart
        assert told == [f"2 of 2 trained one after another: {ended[0].apart}"]


def test_options_for_one_model_at_a_time(few: DataSet) -> None:
    plan = ff.recipes.vae(latent=2, hidden=(4,))
    for changes in ({"accumulate": 2}, {"skip_grad": 9.0}, {"precision": "bf16"}):
        assert f"{next(iter(changes))} " in (alone(job(plan, few, SHORT.but(**changes), None)) or "")


def test_a_member_that_diverges_is_frozen_and_the_others_go_on(double: None, few: DataSet, tmp_path: Path) -> None:
    options = SHORT.but(epochs=5, checkpoint_seconds=0)
    jobs = jobs_of(tmp_path / "three", options, few, (1e-3, 1e150, 4e-3))
    told: list[tuple[int, str]] = []
    fabric = launch(options)
    ended = train_several(jobs, fabric, Told(ended=lambda i, m: told.append((i, m.frozen))), together="on")
    with pytest.raises(NonFinite) as broken:
        train(jobs_of(tmp_path / "broken", options, few, (1e-3, 1e150))[1], fabric)
    assert [bool(one.frozen) for one in ended] == [False, True, False]
    assert ended[1].frozen == NonFinite.at(broken.value) and ended[1].frozen.startswith("step ")
    assert sorted(told) == [(0, ""), (1, ended[1].frozen), (2, "")]
    solo = trained_alone(tmp_path / "alone", options, few)
    for i in (0, 2):
        compare(tmp_path / "three" / str(i), solo / str(i))
    tensors, state = load_tensors(tmp_path / "three" / "1" / "checkpoints" / "last.safetensors")
    assert state["step"] == ended[1].outcome.step == 0 and not state["finished"]
    assert all(value.isfinite().all() for value in tensors.values())


def test_members_at_different_steps_are_brought_together(double: None, few: DataSet, tmp_path: Path) -> None:
    options = SHORT.but(epochs=6)
    solo, fabric, home = trained_alone(tmp_path / "alone", options, few), launch(options), tmp_path / "killed"
    Members(jobs_of(home, options, few)[:2], fabric, measured=False).run(until=4)
    Members(jobs_of(home, options, few)[:1], fabric, measured=False).run(until=8)
    assert [left(home / str(i))[1]["step"] for i in range(2)] == [8, 4]
    assert all(one.outcome.finished for one in train_several(jobs_of(home, options, few), fabric, together="on"))
    for i in range(3):
        compare(home / str(i), solo / str(i))
    again = train_several(jobs_of(home, options, few), fabric)  # a finished one is found as it is
    assert [(one.outcome.step, one.outcome.finished) for one in again] == [(18, True)] * 3


def test_killed_while_saving(double: None, few: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the checkpoints of two members: one stands at another step than the others."""
    options = SHORT.but(epochs=6, checkpoint_seconds=0)
    solo, fabric, home = trained_alone(tmp_path / "alone", options, few), launch(options), tmp_path / "killed"
    calls, save = iter(range(99)), Loop.checkpoint
    monkeypatch.setattr(members, "_RARELY", 0)
    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(Loop, "checkpoint", lambda *a, **k: save(*a, **k) if next(calls) < 4 else exit())
        train_several(jobs_of(home, options, few), fabric, together="on")
    assert [left(home / str(i))[1]["step"] for i in range(3)] == [6, 3, 3]
    ended = train_several(jobs_of(home, options, few), fabric, together="on")
    assert all(one.outcome.finished for one in ended)
    for i in range(3):
        compare(home / str(i), solo / str(i))


def test_an_interrupt_saves_all(double: None, few: DataSet, tmp_path: Path) -> None:
    options = SHORT.but(epochs=4)
    solo, fabric, home = trained_alone(tmp_path / "alone", options, few), launch(options), tmp_path / "stopped"
    taken: list[int] = []

    def told(steps: int) -> None:
        taken.append(steps)
        if len(taken) == 5:
            os.kill(os.getpid(), signal.SIGINT)

    ended = train_several(jobs_of(home, options, few), fabric, Told(told), together="on")
    assert [(one.outcome.step, one.outcome.interrupted, one.apart) for one in ended] == [(5, True, "")] * 3
    assert taken == [3] * 5
    train_several(jobs_of(home, options, few), fabric, together="on")
    for i in range(3):
        compare(home / str(i), solo / str(i))


def wrong(*arguments: Any, **options: Any) -> Any:
    """A vmap whose loss is twice what it should be."""
    made = torch.func.vmap(*arguments, **options)
    return lambda *given: (2 * made(*given)[0], *made(*given)[1:])


def looks(objective: Any, when: bool) -> Any:
    """An objective that looks at its values, in training or in validation."""
    forward = objective.forward

    def look(self: Any, trace: Any, noise: Any = None) -> Any:
        if self.training is when and bool(trace.log_likelihood.sum() > 0):
            raise AssertionError
        return forward(self, trace, noise)

    return look


@pytest.mark.parametrize("what", ["training", "validation", "gradient", "pace"])
def test_what_cannot_be_one_program_goes_on_apart(
    double: None, few: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    options, told = SHORT.but(epochs=3), list[str]()
    solo, fabric, home = trained_alone(tmp_path / "alone", options, few), launch(options), tmp_path / "members"
    jobs = jobs_of(home, options, few)
    kind = type(jobs[0].step.objective)
    if what == "gradient":
        monkeypatch.setattr(stack, "vmap", wrong)
    elif what == "pace":
        monkeypatch.setattr(Pace, "seen", lambda self, *_: setattr(self, "decided", "apart: 9 ms, 1 one after another"))
    else:
        monkeypatch.setattr(kind, "forward", looks(kind, what == "training"))
    ended = train_several(jobs, fabric, Told(line=told.append), together="auto" if what == "pace" else "on")
    reason = {"training": "data-dependent", "validation": "", "gradient": "than alone", "pace": "1 one after"}[what]
    assert all(one.outcome.finished and (reason in one.apart if reason else not one.apart) for one in ended)
    assert len(told) == (2 if what == "pace" else 1)
    for i in range(3):
        compare(home / str(i), solo / str(i))


def test_too_many_for_memory_come_in_packs(few: DataSet, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    monkeypatch.setattr(several, "room_for", lambda *_: 2)
    plans = [ff.recipes.beta_vae(beta=float(i), latent=2, hidden=(4,)) for i in range(4)]
    jobs = [job(plan, few, SHORT, None) for plan in plans]
    ended = train_several(jobs, launch(SHORT), Told(sizes.append), together="on")
    assert sizes == [2] * 14 and all(one.outcome.finished for one in ended)


def test_compiled_members(few: DataSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compiler that gives back what it is given; one that fails is told of, once."""
    plain, compiled, without = (tmp_path / name for name in ("plain", "compiled", "without"))
    train_several(jobs_of(plain, SHORT, few), launch(SHORT), together="on")
    given, told = list[Any](), list[str]()
    options = SHORT.but(compile="on")
    monkeypatch.setattr(torch, "compile", lambda made, **_: given.append(made) or made)
    train_several(jobs_of(compiled, options, few), launch(SHORT), together="on")

    def fails(made: Any, **options: Any) -> Any:
        raise RuntimeError("no compiler here")

    monkeypatch.setattr(torch, "compile", fails)
    train_several(jobs_of(without, options, few), launch(SHORT), Told(line=told.append), together="on")
    assert len(given) == 1 and told == ["compile: not possible here (RuntimeError: no compiler here); going on without"]
    for i in range(3):
        compare(compiled / str(i), plain / str(i), 0)
        compare(without / str(i), plain / str(i), 0)


@pytest.mark.parametrize(
    "compile, single, plain, fast, decided",
    [
        ("off", 0.001, 0.002, 0.0, "together: 2.0 ms a step of 8, 8.0 one after another"),
        ("off", 0.001, 0.010, 0.0, "apart: 10.0 ms a step of 8, 8.0 one after another"),
        ("auto", 0.001, 0.004, 0.002, "compiled: 2.0 ms a step of 8 compiled, 8.0 one after another, 4.0 plain"),
        ("auto", 0.001, 0.004, 0.004, "together: 4.0 ms a step of 8 compiled, 8.0 one after another, 4.0 plain"),
        ("on", 0.001, 0.0, 0.003, "compiled: 3.0 ms a step of 8 compiled, 8.0 one after another"),
        ("on", 0.001, 0.0, 0.009, "apart: 9.0 ms a step of 8 compiled, 8.0 one after another"),
    ],
)
def test_pace(compile: str, single: float, plain: float, fast: float, decided: str) -> None:
    pace, steps = Pace(compile, lambda: single), 0
    while not pace.decided:
        pace.seen(fast if pace.compiled else plain, 8, 10**6)
        steps += 1
    assert pace.decided == decided and steps in (12, 24)
    assert pace.compiled == decided.startswith("compiled")
    assert Pace(compile, lambda: single, decided).compiled == (pace.compiled or compile == "on")


def test_pace_of_few_steps_is_not_measured() -> None:
    pace = Pace("auto", None)
    pace.seen(1.0, 8, 30)
    assert pace.decided == "together: few steps"


def test_a_gradient_of_two_tensors_is_clipped_once() -> None:
    """Tensors that are added have one gradient, which autograd gives twice."""
    shared = torch.tensor([[3.0], [0.1]])
    stack._clip([shared, shared], 1.0)
    torch.testing.assert_close(shared, torch.tensor([[1 / 2**0.5], [0.1]]), rtol=1e-5, atol=1e-5)


def test_functions_of_one_name_are_told_apart() -> None:
    """Else members would be computed by the first one's."""

    def of(kind: str, factor: float) -> Any:
        if kind == "default":
            return lambda x, by=factor: by * x
        return (lambda x: x + 1) if factor > 1 else (lambda x: x - 1)

    def words(held: object) -> str:
        part = torch.nn.Identity()
        part.held = held  # type: ignore[assignment]
        return described(part)

    for kind in ("default", "code"):
        assert words(of(kind, 2.0)) == words(of(kind, 2.0)) != words(of(kind, 0.5))
    assert words((1.0).__add__)
    assert words(Split(DIGITS.train.x[:2], None).__len__) != words(DIGITS.train.__len__)
    itself = torch.nn.Identity()
    itself.own = itself.forward  # type: ignore[assignment]
    assert "forward" in described(itself)
