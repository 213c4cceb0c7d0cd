"""Batch normalisation in training: statistics are gathered when they are asked for, with the weights in use."""

import json
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fourfold as ff
from fourfold.data import View
from fourfold.evaluation import Sampling, evaluate
from fourfold.models import Model
from fourfold.networks.normalisation import BatchNorm, gathering, norms
from fourfold.noise import Noise
from fourfold.runs import resume
from fourfold.training import Step, load_tensors

OPTIONS = {"epochs": 3, "batch_size": 96, "ema": 0.9, "log_steps": 7, "checkpoint_seconds": 0, "ladder": True}
STEPS = 45  # round(3 · 1439 / 96)
STATISTICS = (".mean", ".variance")


def start(folder: Path, options: dict[str, object], die_at: int = 0) -> int:
    """The exit status of the runner."""
    program = Path(__file__).with_name("runner.py")
    command = [sys.executable, str(program), str(folder), str(die_at), json.dumps(options)]
    return subprocess.run(command, capture_output=True, timeout=120).returncode


def last(folder: Path) -> dict[str, Tensor]:
    return load_tensors(folder / "checkpoints" / "last.safetensors")[0]


def metrics(folder: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k != "seconds"} for row in rows]


def statistics(tensors: dict[str, Tensor], group: str) -> dict[str, Tensor]:
    """The gathered ones of a checkpoint's weights, or of its average."""
    found = {k.partition("/")[2]: v for k, v in tensors.items() if k.startswith(f"{group}/") and k.endswith(STATISTICS)}
    assert found
    return found


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody disturbed."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert start(folder, dict(OPTIONS)) == 0
    return folder


def fitted(folder: Path, **options: object) -> ff.Run:
    recipe = ff.recipes.lvae(latents=(4, 2), hidden=(12, 8), beta_schedule="linear:0.001:1:5")
    return ff.fit(recipe, ff.data.digits(), out=folder, quiet=True, **{"epochs": 2, "batch_size": 90, **options})


def test_killed_and_resumed_is_bit_for_bit_the_whole_run(whole: Path, tmp_path: Path) -> None:
    # Passes that gather count as steps of the runner: it dies in one of either kind.
    point, folder = random.randrange(20, 100), tmp_path / "run"
    print(f"killed in pass {point}")  # shown if the test fails
    assert start(folder, dict(OPTIONS), die_at=point) == -signal.SIGKILL
    assert start(folder, dict(OPTIONS)) == 0
    wanted, found = last(whole), last(folder)
    assert found.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(found[name], wanted[name])] == []
    assert metrics(folder) == metrics(whole)


def test_a_stopped_run_goes_on_to_the_same_end(tmp_path: Path) -> None:
    long, short = fitted(tmp_path / "long"), fitted(tmp_path / "short", epochs=1)
    assert short.path is not None and long.path is not None
    resume(short.path, epochs=2)
    a, b = last(short.path), last(long.path)
    assert [name for name in b if not torch.equal(a[name], b[name])] == []


def test_two_processes_train_and_gather_what_one_does(tmp_path: Path) -> None:
    # The prior alone holds the mean of a normalised latent that goes into a normalised layer: its gradient begins as
    # the rounding of 0, which Adam with its small ε would make steps of the usual size of.
    options = {**OPTIONS, "epochs": 1, "batch_size": 90, "precision": "64", "eps": 1e-2}
    assert start(tmp_path / "one", dict(options)) == 0
    # Clocks that go at different paces: what all processes do together, they must do at the same steps.
    apart = {"clocks": True, "checkpoint_seconds": 4, "log_steps": 1}
    assert start(tmp_path / "two", {**options, **apart, "devices": 2, "accelerator": "cpu"}) == 0
    a, b = last(tmp_path / "one"), last(tmp_path / "two")
    assert a.keys() == b.keys()
    for name in a:
        torch.testing.assert_close(a[name], b[name], rtol=1e-7, atol=1e-8, msg=lambda m, n=name: f"{n}: {m}")
    x, y = metrics(tmp_path / "one")[-1], metrics(tmp_path / "two")[-1]
    same = [name for name in x if name.startswith("validation")]
    torch.testing.assert_close([x[n] for n in same], [y[n] for n in same], rtol=1e-6, atol=1e-7)  # told in float32


def binary() -> Tensor:
    """The training images, as training sees them."""
    raw = torch.from_numpy(np.asarray(ff.data.digits().train.x))
    return View(256, binarize="dynamic")(raw, None, Noise(5)).x


def found_anew(model: Model) -> dict[str, Tensor]:
    """The statistics of these weights over the training data, with other noise than training had."""
    with torch.no_grad(), gathering(model.train()):
        for i, part in enumerate(binary().split(90)[:-1]):
            model(part, noise=Noise(6, step=i))
    model.eval()
    return {f"model.{name}": buffer for name, buffer in model.named_buffers() if name.endswith(STATISTICS)}


@pytest.mark.parametrize("ema", [0.0, 0.99])
def test_statistics_belong_to_the_weights_that_are_evaluated(tmp_path: Path, ema: float) -> None:
    """With an average of the weights they are the average's, and not an average of statistics."""
    run = fitted(tmp_path / "run", ema=ema, lr=1e-2)
    assert run.path is not None
    tensors = last(run.path)
    kept = statistics(tensors, "average" if ema else "weights")
    other = dict(run.model.named_buffers())
    assert all(torch.equal(value, other[name.removeprefix("model.")]) for name, value in kept.items())
    away = {name: (value - kept[name]).abs().mean() for name, value in found_anew(run.model).items()}
    size = {name: value.abs().mean() for name, value in kept.items()}
    assert max(float(away[name] / (size[name] + 0.1)) for name in kept) < 0.25
    if ema:  # those of the last weights are others
        live = {k.removeprefix("weights/model."): v for k, v in tensors.items() if k.startswith("weights/model.")}
        run.model.load_state_dict(live, strict=False)
        away = {name: (value - kept[name]).abs().mean() for name, value in found_anew(run.model).items()}
        assert max(float(away[name] / (size[name] + 0.1)) for name in kept) > 0.5


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, str]]]:
    """What each pass was: the number of weight updates so far, and trained, gathered or told."""
    seen: list[tuple[int, str]] = []
    forward, updates = Step.forward, 0

    def watched(self: Step, *given: object) -> object:
        nonlocal updates
        kind = "told" if not self.training else "trained" if torch.is_grad_enabled() else "gathered"
        assert (kind == "gathered") == any(part.gathered is not None for part in norms(self))
        assert all(part.training == self.training for part in norms(self))
        seen.append((updates, kind))
        updates += kind == "trained"
        return forward(self, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(Step, "forward", watched)
    return seen  # type: ignore[return-value]


def test_statistics_are_gathered_before_each_validation_and_of_the_whole_set_at_the_end(passes, tmp_path) -> None:
    fitted(tmp_path / "run", checkpoint_seconds=1e9)
    kinds = [kind for _, kind in passes]
    changes = [kind for before, kind in zip([None, *kinds], kinds, strict=False) if kind != before]
    assert changes[-7:] == ["trained", "gathered", "told"] * 2 + ["gathered"]
    assert changes[:-7] in ([], ["told"])  # one pass before everything tries whether model and data fit
    assert kinds.count("trained") == 32
    assert kinds[-16:] == ["told"] + ["gathered"] * 15  # 1439 images are 15 whole batches


def test_training_lowers_the_loss_and_evaluation_is_of_fixed_statistics(tmp_path: Path) -> None:
    run = fitted(tmp_path / "run", epochs=6, lr=3e-3)
    told = [row["validation/objective [nats]"] for row in run.metrics if "validation/objective [nats]" in row]
    assert told[-1] > told[0] + 2
    model, data = run.model, binary()[:20]
    assert not model.training
    z = tuple(level.z for level in model(data, noise=Noise(1)).levels)
    together = model.at(data, z).log_weight
    alone = model.at(data[:1], tuple(one[:, :1] for one in z)).log_weight
    torch.testing.assert_close(alone, together[:, :1])


def test_in_training_mode_nothing_is_evaluated(tmp_path: Path) -> None:
    model = fitted(tmp_path / "run", epochs=0.5).model.train()
    batch = ff.evaluation.batches.Part(torch.zeros(3, 1, 8, 8), None, None)
    with pytest.raises(ValueError, match=r"the model is in training mode. Call model.eval\(\) first"):
        evaluate(model, lambda: [batch], Noise(0))
    with pytest.raises(ValueError, match="log_weights: the model is in training mode"):
        list(ff.evaluation.importance.log_weights(model, batch, Noise(0), Sampling(5)))


def test_pieces_of_a_batch_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="accumulate: batch normalisation takes its statistics from the whole batch"):
        fitted(tmp_path / "run", accumulate=2)


def test_dropout_beside_it_leaves_the_host_alone(tmp_path: Path) -> None:
    """Passes that gather draw dropout too: from the run's own key, and not from the host's generator."""
    found = []
    for host in (1, 2):
        torch.manual_seed(7)
        layers = (nn.Flatten(), nn.Linear(64, 8), BatchNorm(8), nn.Dropout(0.5), nn.Linear(8, 8), BatchNorm(8))
        encoder = nn.Sequential(*layers, nn.Linear(8, 4))
        torch.manual_seed(host)
        before = torch.get_rng_state()
        recipe = ff.recipes.vae(latent=2, hidden=(8,), encoder=encoder)
        run = ff.fit(recipe, ff.data.digits(), out=tmp_path / str(host), quiet=True, epochs=1)
        assert torch.get_rng_state().equal(before)
        found.append(run.model.state_dict())
    assert [name for name in found[0] if not found[0][name].equal(found[1][name])] == []
