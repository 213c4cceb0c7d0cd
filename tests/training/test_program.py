"""The step as one program: compiled or not, in pieces or processes, resumed or not, the numbers are the same."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from test_loop import DIGITS, GOLDEN, SMALL
from test_processes import OPTIONS, check_equal, metrics, start, weights
from torch import nn

import fourfold as ff
from fourfold.runs import resume
from fourfold.training import load_tensors, program

FITTED = """
import tempfile, torch, fourfold as ff
real = torch.compile
if {backend!r}:
    def compiled(made, options, **how):
        own = {{key: value for key, value in options.items() if key == "guard_filter_fn"}}
        return real(made, options=own, backend={backend!r}, **how)
    torch.compile = compiled
def fitted(recipe, compiled, **options):
    folder = tempfile.mkdtemp() + "/r"
    return ff.fit(recipe, ff.data.digits(), out=folder, compile=compiled, quiet=True, log_steps=1, **options)
"""


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> list[Callable[..., Any]]:
    """A compiler that gives back what it is given: noise is drawn outside, gradients are taken within. What it got."""
    given: list[Callable[..., Any]] = []

    def compiled(made: Callable[..., Any], **options: object) -> Callable[..., Any]:
        given.append(made)
        return made

    monkeypatch.setattr(torch, "compile", compiled)
    return given


def test_golden_losses_compiled(double: None, tmp_path: Path, identity: list[Any]) -> None:
    run = ff.fit(SMALL, DIGITS, epochs=1, precision="64", compile="on", log_steps=1, out=tmp_path / "r", quiet=True)
    assert len(identity) == 1 and run.outcome.compiled == {"": "on"}
    assert [-row["train/objective [nats]"] for row in run.metrics][:10] == pytest.approx(GOLDEN, abs=1e-9)


@pytest.mark.parametrize(
    "options",
    [
        {"accumulate": 3},
        {"clip": 0.5, "optimiser": "adamax", "lr_schedule": "cosine"},
        {"skip_grad": 30.0},
        {"ema": 0.9, "lr_warmup": 5},
        {"precision": "bf16"},
    ],
)
def test_every_option_trains_the_same(tmp_path: Path, identity: list[Any], options: dict[str, Any]) -> None:
    both = {"epochs": 1, "batch_size": 90, "log_steps": 5, "quiet": True, **options}
    plain = ff.fit(SMALL, DIGITS, out=tmp_path / "plain", compile="off", **both)
    fast = ff.fit(SMALL, DIGITS, out=tmp_path / "fast", compile="on", **both)
    assert len(identity) == 1 and plain.path and fast.path
    one, other = weights(plain.path), weights(fast.path)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-5)
    assert plain.outcome.skipped == fast.outcome.skipped


def test_stages_and_players_have_programs_of_their_own(tmp_path: Path, identity: list[Any]) -> None:
    recipe = ff.recipes.factor_vae(latent=3, hidden=(16,))
    both = {"epochs": 1, "batch_size": 90, "log_steps": 5, "quiet": True, "precision": "64"}
    plain = ff.fit(recipe, DIGITS, out=tmp_path / "plain", **both)
    fast = ff.fit(recipe, DIGITS, out=tmp_path / "fast", compile="on", **both)
    assert len(identity) == len(fast.outcome.compiled) == 2 and plain.path and fast.path
    check_equal(plain.path, fast.path)


def test_two_processes_train_the_same_compiled(tmp_path: Path) -> None:
    start(tmp_path / "one", OPTIONS)
    start(tmp_path / "two", {**OPTIONS, "devices": 2, "accelerator": "cpu", "compile": "on", "identity": "all"})
    check_equal(tmp_path / "one", tmp_path / "two")


def test_where_one_process_cannot_none_does(tmp_path: Path) -> None:
    """Else they would wait for each other: gradients are shared in another way then."""
    start(tmp_path / "one", OPTIONS)
    start(tmp_path / "two", {**OPTIONS, "devices": 2, "accelerator": "cpu", "compile": "on", "identity": "0"})
    check_equal(tmp_path / "one", tmp_path / "two")
    state = load_tensors(tmp_path / "two" / "checkpoints" / "last.safetensors")[1]
    assert state["compiled"] == {"": "off: not possible here (another process cannot)"}


def test_what_cannot_be_compiled_is_done_plainly_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def no_compiler(made: object, **options: object) -> Callable[..., Any]:
        def called(*given: object) -> Any:
            raise RuntimeError("InvalidCxxCompiler: No working C++ compiler found")

        return called

    monkeypatch.setattr(torch, "compile", no_compiler)
    plain = ff.fit(SMALL, DIGITS, out=tmp_path / "plain", epochs=1, log_steps=5, compile="off", quiet=True)
    other = ff.fit(SMALL, DIGITS, out=tmp_path / "other", epochs=1, log_steps=5, compile="on")
    assert plain.path and other.path
    assert "No working C++ compiler" in other.outcome.compiled[""]
    said = [line for line in capfd.readouterr().err.splitlines() if "going on without" in line]
    assert len(said) == 1
    for name, tensor in weights(plain.path).items():
        assert torch.equal(tensor, weights(other.path)[name]), name


class Mistaken(ff.objectives.ELBO):
    """A user's objective with a mistake."""

    def forward(self, trace: ff.trace.Trace, noise: Any = None) -> ff.trace.Terms:
        raise ValueError("a user's own mistake")


def test_a_mistake_is_not_the_compilers(tmp_path: Path, identity: list[Any]) -> None:
    broken = ff.Recipe(ff.recipes.vae.function(DIGITS.spec, latent=3, hidden=(16,)).model, Mistaken())
    with pytest.raises(ValueError, match="a user's own mistake"):
        ff.fit(broken, DIGITS, out=tmp_path / "r", compile="on", quiet=True)


class Clock:
    """Steps cost what they are said to, whatever the machine does."""

    def __init__(self, plain: float, fast: float) -> None:
        self.costs, self.now = (plain, fast), 0.0

    def __call__(self, made: program.Program) -> float:
        self.now += self.costs[bool(made._plain)] / 2  # read before and after each step
        return 2 * self.now


@pytest.mark.parametrize(
    ("plain", "fast", "epochs", "decided"),
    [
        (1.0, 0.5, 14, "on: 500.00 ms a step compiled, 1000.00 plain"),
        (1.0, 0.98, 14, "off: 980.00 ms a step compiled, 1000.00 plain"),
        (0.1, 0.01, 14, None),  # too few seconds to come: that need not be told, and a longer run may find otherwise
    ],
)
def test_auto_measures_decides_and_says(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    identity: list[Any],
    capfd: pytest.CaptureFixture[str],
    *,
    plain: float,
    fast: float,
    epochs: int,
    decided: str | None,
) -> None:
    clock = Clock(plain, fast)
    monkeypatch.setattr(program.Program, "_clock", lambda made: clock(made))
    run = ff.fit(SMALL, DIGITS, out=tmp_path / "r", epochs=epochs)
    assert run.outcome.compiled.get("") == decided
    said = capfd.readouterr().err
    assert f"compile: {decided}" in said if decided else "compile" not in said
    assert len(identity) == bool(decided)
    if decided is None:
        return
    identity.clear()
    # What was decided is kept to: nothing is measured again, and nothing compiled that was not.
    clock.costs = (1.0, 100.0) if decided.startswith("on") else (1.0, 0.001)
    assert run.path is not None
    more = resume(run.path, epochs=epochs + 10, quiet=True)
    assert more.outcome.compiled[""] == decided
    assert len(identity) == decided.startswith("on")


def test_short_runs_measure_nothing_and_pay_nothing(tmp_path: Path, identity: list[Any]) -> None:
    run = ff.fit(SMALL, DIGITS, epochs=1, out=tmp_path / "r", quiet=True)
    assert not identity and run.outcome.compiled == {}


def test_resumed_when_compiled_is_the_whole_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every step is compiled, the first one after a resumption too: here by a compiler whose gradients are not ours."""

    def rounding(made: Callable[..., Any], **options: object) -> Callable[..., Any]:
        def called(*given: object) -> Any:
            gradients, *rest = made(*given)
            return tuple(1.001 * gradient for gradient in gradients), *rest

        return called

    monkeypatch.setattr(torch, "compile", rounding)
    options = {"log_steps": 5, "compile": "on", "precision": "64", "quiet": True}
    whole = ff.fit(SMALL, DIGITS, epochs=2, out=tmp_path / "whole", **options)
    half = ff.fit(SMALL, DIGITS, epochs=1, out=tmp_path / "half", **options)
    assert whole.path and half.path
    resume(half.path, epochs=2, quiet=True)
    for name, tensor in weights(whole.path).items():
        assert torch.equal(tensor, weights(half.path)[name]), name
    assert metrics(whole.path) == metrics(half.path)


FEW = ("conv_vae", "iwae", "mmd_vae", "contractive_ae", "vq_vae", "lvae")
#: Sentences are read by recurrent networks, which the compiler leaves alone; this one steps within a step.
PLAIN = ("rnn_lm", "semi_amortised_vae", "sentence_vae")
REST = sorted(set(ff.recipes.TABLE) - set(FEW) - set(PLAIN))


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.nightly if name in REST else pytest.mark.slow) for name in (*FEW, *REST)],
)
def test_one_graph_of_many_kinds(fresh_python: Callable[[str], str], name: str) -> None:
    printed = fresh_python(
        FITTED.format(backend="aot_eager")
        + f"""
recipe, options = ff.recipes.TABLE[{name!r}](), dict(epochs=0.2, batch_size=50)
plain, fast = fitted(recipe, "off", **options), fitted(recipe, "on", **options)
assert all(said == "on" for said in fast.outcome.compiled.values()), fast.outcome.compiled
for a, b in zip(plain.metrics, fast.metrics, strict=True):
    for key in a.keys() - {{"seconds"}}:
        assert abs(a[key] - b[key]) <= 2e-4 * (1 + abs(a[key])), (key, a[key], b[key])
print("ok")
"""
    )
    assert printed.strip() == "ok"


@pytest.mark.slow
def test_really_compiled(fresh_python: Callable[[str], str]) -> None:
    """With the compiler of the machine; without one, it says so."""
    printed = fresh_python(
        FITTED.format(backend="")
        + """
recipe, options = ff.recipes.vae(latent=3, hidden=(16,)), dict(epochs=1)
plain, fast = fitted(recipe, "off", **options), fitted(recipe, "on", **options)
for a, b in zip(plain.metrics, fast.metrics, strict=True):
    assert all(abs(a[key] - b[key]) <= 1e-4 * (1 + abs(a[key])) for key in a.keys() - {"seconds"})
print(fast.outcome.compiled[""])
"""
    )
    there = any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++"))
    assert printed.strip() == "on" if there else "compiler" in printed.lower()


class Forking(ff.objectives.ELBO):
    """A user's objective that wants a stream of its own."""

    def forward(self, trace: ff.trace.Trace, noise: Any = None) -> ff.trace.Terms:
        noise.fork("own").normal((1,))
        return super().forward(trace, noise)


def test_more_of_the_noise_than_draws_is_no_mistake(tmp_path: Path, identity: list[Any]) -> None:
    made = ff.recipes.vae.function(DIGITS.spec, latent=3, hidden=(16,))
    both = {"epochs": 1, "log_steps": 5, "quiet": True}
    start = {name: tensor.clone() for name, tensor in made.model.state_dict().items()}
    plain = ff.fit(ff.Recipe(made.model, Forking()), DIGITS, out=tmp_path / "plain", compile="off", **both)
    weights_of_plain = {name: tensor.clone() for name, tensor in plain.model.state_dict().items()}
    made.model.load_state_dict(start)
    other = ff.fit(ff.Recipe(made.model, Forking()), DIGITS, out=tmp_path / "other", compile="on", **both)
    assert "has no attribute 'fork'" in other.outcome.compiled[""] and not identity
    for name, tensor in other.model.state_dict().items():
        assert torch.equal(tensor, weights_of_plain[name]), name


@pytest.mark.slow
def test_what_changes_at_every_step_is_not_compiled_at_every_step(fresh_python: Callable[[str], str]) -> None:
    printed = fresh_python(
        FITTED.format(backend="eager")
        + """
class Restless(ff.objectives.ELBO):
    share = 1.0
    def forward(self, trace, noise=None):
        terms = super().forward(trace, noise)
        return terms if self.share > 0 else None
    def after_step(self, summary):
        self.share *= 0.9
model = ff.recipes.vae.function(ff.data.digits().spec, latent=3, hidden=(16,)).model
print(fitted(ff.Recipe(model, Restless()), "on", epochs=1).outcome.compiled[""])
"""
    )
    assert "no tensor changes" in printed


MOVING = """
class Part(torch.nn.Module):
    gain = 1.0
    def __init__(self):
        super().__init__()
        self.f, self.held = torch.relu, {}
    def forward(self, x):
        return self.f(x) * self.gain * self.held.get("gain", 1.0)
def louder(part):
    part.gain = 3.0
def bent(part):
    part.f = torch.tanh
def held(part):
    part.held["gain"] = 3.0
class Moving(ff.models.VAE):
    steps, how = 0, None
    def after_step(self, summary):
        self.steps += 1
        if self.steps == 5:
            self.how(self.posterior.network.layers[1])
def made(how):
    torch.manual_seed(0)
    model = ff.recipes.vae.function(ff.data.digits().spec, latent=3, hidden=(16,)).model
    model.posterior.network.layers[1] = Part()
    moving = Moving(model.posterior, model.prior, model.likelihood)
    moving.how = how
    return ff.Recipe(moving, ff.objectives.ELBO())
def told(run):
    return [row["train/objective [nats]"] for row in run.metrics]
still = told(fitted(made(lambda part: None), "off", epochs=1))
for how in (louder, bent, held):
    plain, fast = (told(fitted(made(how), compiled, epochs=1)) for compiled in ("off", "on"))
    assert plain[:5] == still[:5] and abs(plain[5] - still[5]) > 1e-2
    assert max(abs(a - b) for a, b in zip(plain, fast, strict=True)) < 1e-4, how
"""


@pytest.mark.slow
def test_a_users_module_may_change_between_steps(fresh_python: Callable[[str], str]) -> None:
    """An attribute that hides its class's, another function, a key that was not there: nothing of it is overlooked."""
    fresh_python(FITTED.format(backend="eager") + MOVING)


DRAWING = """
class Drawing(ff.objectives.ELBO):
    steps, late = 0, False
    def __init__(self, kinds):
        super().__init__()
        self.kinds = kinds
    def forward(self, trace, noise=None):
        drawn = [getattr(noise, kind)((1,)) for kind in (self.kinds if self.late else ("normal",))]
        held = ff.trace.Term(sum(drawn) * trace.log_likelihood.mean(0), 1.0)
        return ff.trace.Terms({**super().forward(trace, noise).parts, "held": held})
    def after_step(self, summary):
        self.steps += 1
        self.late = self.steps >= 5
for kinds in (("uniform",), ("normal", "normal"), ()):
    told = []
    for compiled in ("off", "on"):
        torch.manual_seed(0)
        model = ff.recipes.vae.function(ff.data.digits().spec, latent=3, hidden=(16,)).model
        run = fitted(ff.Recipe(model, Drawing(kinds)), compiled, epochs=1)
        told.append([row["train/objective [nats]"] for row in run.metrics])
    assert max(abs(a - b) for a, b in zip(*told, strict=True)) < 1e-3, kinds
"""


@pytest.mark.slow
def test_other_noise_than_at_first_is_drawn(fresh_python: Callable[[str], str]) -> None:
    """Another kind, more of it, or none: the numbers are those of the plain step."""
    fresh_python(FITTED.format(backend="eager") + DRAWING)


class Added(nn.Module):
    """Two parameters that are added: autograd gives both the same tensor as their gradient."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.one, self.other = (nn.Parameter(torch.full((16,), value)) for value in (0.1, 0.2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + (self.one + self.other)


class Counted(nn.Module):
    """Something that changes with every pass in training."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("passes", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.passes += float(self.training)
        return self.inner(x) / (1 + 0.1 * self.passes)


@pytest.mark.parametrize("kind", [Added, Counted])
def test_users_parts_train_the_same(tmp_path: Path, identity: list[Any], kind: type[nn.Module]) -> None:
    told = []
    for compiled in ("off", "on"):
        torch.manual_seed(0)
        model: Any = ff.recipes.vae.function(DIGITS.spec, latent=3, hidden=(16,)).model
        model.posterior.network.layers[0] = kind(model.posterior.network.layers[0])
        recipe = ff.Recipe(model, ff.objectives.ELBO())
        options = {"epochs": 1, "clip": 0.5, "log_steps": 1, "quiet": True, "compile": compiled}
        run = ff.fit(recipe, DIGITS, out=tmp_path / compiled, **options)
        told.append([row["train/objective [nats]"] for row in run.metrics])
    assert len(identity) == 1
    assert told[0] == pytest.approx(told[1], rel=1e-6)


def test_it_is_said_that_it_takes_a_while(
    tmp_path: Path, identity: list[Any], capfd: pytest.CaptureFixture[str]
) -> None:
    ff.fit(SMALL, DIGITS, out=tmp_path / "r", epochs=1, compile="on")
    assert capfd.readouterr().err.count("compile: compiling the step, once") == len(identity) == 1
