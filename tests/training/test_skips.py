"""Updates that are left out: none in silence, none that leaves a trace in the weights, and all processes together."""

from pathlib import Path

import pytest
import torch
from test_processes import OPTIONS, check_equal, metrics, start

import fourfold as ff
from fourfold.runs import Run, resume
from fourfold.training import NonFinite, Step, load_tensors
from fourfold.training.optimisers import parse_lr_schedule

SMALL, DIGITS = ff.recipes.vae(latent=3, hidden=(16,)), ff.data.digits()
STEPS = len(DIGITS.train) // 100


def poison(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """The loss of this step, counted from now, is not a number."""
    forward, calls = Step.forward, 0

    def fed(self: Step, *args: object) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal calls
        loss, numbers = forward(self, *args)  # type: ignore[arg-type]
        calls += self.training
        return (loss * float("nan"), numbers * float("nan")) if self.training and calls == at else (loss, numbers)

    monkeypatch.setattr(Step, "forward", fed)


def test_an_update_that_is_left_out_leaves_no_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    options = {"skip_grad": 1e9, "quiet": True, "log_steps": 3}
    ff.fit(SMALL, DIGITS, epochs=8 / STEPS, out=tmp_path / "eight", **options)
    poison(monkeypatch, 9)
    with pytest.warns(UserWarning, match=r"1 of 9 updates were left out, .* above skip_grad = 1e\+09"):
        run = ff.fit(SMALL, DIGITS, epochs=9 / STEPS, out=tmp_path / "nine", **options)
    assert run.outcome.skipped == 1
    assert [row["skipped"] for row in metrics(tmp_path / "nine")] == [0, 0, 1]
    first, second = (load_tensors(tmp_path / name / "checkpoints/last.safetensors")[0] for name in ("eight", "nine"))
    for name in first:
        if not name.startswith("meter"):
            assert torch.equal(first[name], second[name]), name
    # the numbers of the interval are the means of its other two steps
    assert metrics(tmp_path / "nine")[-1]["train/elbo [nats]"] == metrics(tmp_path / "eight")[-1]["train/elbo [nats]"]


def test_the_count_is_kept_when_a_run_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    poison(monkeypatch, 5)
    with pytest.warns(UserWarning, match="1 of"):
        ff.fit(SMALL, DIGITS, epochs=1, skip_grad=1e9, quiet=True, out=tmp_path / "r")
    with pytest.warns(UserWarning, match="1 of 29"):
        run = resume(tmp_path / "r", epochs=2)
    assert run.outcome.skipped == 1 == metrics(tmp_path / "r")[-1]["skipped"]
    assert Run.open(tmp_path / "r").outcome.skipped == 1


def test_without_the_option_nothing_is_skipped_and_nothing_is_told(tmp_path: Path) -> None:
    ff.fit(SMALL, DIGITS, epochs=1, quiet=True, out=tmp_path / "plain")
    ff.fit(SMALL, DIGITS, epochs=1, skip_grad=1e9, quiet=True, out=tmp_path / "never")
    plain, never = metrics(tmp_path / "plain"), metrics(tmp_path / "never")
    assert all("skipped" not in row for row in plain)
    assert [{**row, "skipped": 0} for row in plain] == never


def test_a_hundred_in_a_row_stop_the_run(tmp_path: Path) -> None:
    with pytest.raises(NonFinite, match=r"the last 100 updates were left out.*Raise skip_grad"):
        ff.fit(SMALL, DIGITS, epochs=10, skip_grad=1e-3, quiet=True, out=tmp_path / "r")


@pytest.mark.slow
def test_processes_leave_out_the_same_updates(tmp_path: Path) -> None:
    options = {**OPTIONS, "skip_grad": 1.3, "lr_warmup": 3}
    start(tmp_path / "one", options)
    start(tmp_path / "two", {**options, "devices": 2, "accelerator": "cpu"})
    check_equal(tmp_path / "one", tmp_path / "two")
    rows = metrics(tmp_path / "two")
    assert 0 < rows[-1]["skipped"] < rows[-1]["step"]


def test_the_learning_rate_rises_to_what_its_schedule_says(tmp_path: Path) -> None:
    cosine = parse_lr_schedule("cosine:0.1")
    for step in (0, 4, 9, 10, 60, 100):
        assert cosine.moved(step, 100, 10) == pytest.approx(min(1, (step + 1) / 10) * cosine(step, 100))
    assert parse_lr_schedule("constant").moved(3, 100) is None
    run = ff.fit(SMALL, DIGITS, epochs=1, lr=0.5, lr_warmup=4, log_steps=1, quiet=True, out=tmp_path / "r")
    assert [row["lr"] for row in run.metrics[:6]] == [0.125, 0.25, 0.375, 0.5, 0.5, 0.5]
