"""Recipes of the β family, trained for a moment on digits."""

import json
from pathlib import Path

import pytest
import torch

import fourfold as ff
from fourfold.data import DataSpec
from fourfold.objectives import DIP, Capacity, Decomposed, Discrimination, FactorVAE
from fourfold.runs import Run, resume
from fourfold.training import load_tensors

SMALL = {"latent": 3, "hidden": (16,)}
SPEC = DataSpec((1, 6, 6), 256, 10, n=70)


def test_what_each_recipe_maximises() -> None:
    capacity, tc, factor, dip = (
        made.build(SPEC).objective
        for made in (ff.recipes.capacity_vae(), ff.recipes.tc_vae(), ff.recipes.factor_vae(), ff.recipes.dip_vae())
    )
    assert isinstance(capacity, Capacity) and capacity.capacity.item() == 0.5
    capacity.advance(10**9)
    assert capacity.capacity.item() == 25
    assert isinstance(tc, Decomposed) and tc.data_size == 70 and (tc.alpha, tc.beta, tc.gamma) == (1, 6, 1)
    assert isinstance(factor, FactorVAE) and factor.gamma == 10
    assert isinstance(dip, DIP) and (dip.off_diagonal, dip.diagonal) == (10, 100)
    second = ff.recipes.dip_vae(kind="ii").build(SPEC).objective
    assert isinstance(second, DIP) and (second.off_diagonal, second.diagonal) == (10, 10)
    chosen = ff.recipes.dip_vae(diagonal=3.0).build(SPEC).objective
    assert isinstance(chosen, DIP) and chosen.diagonal == 3
    for ramp in (0, -5):
        with pytest.raises(ValueError, match="capacity_vae: ramp must be an integer of at least 1"):
            ff.recipes.capacity_vae(ramp=ramp).build(SPEC)
    with pytest.raises(ValueError, match="recipe tc_vae: it needs the number of training rows"):
        ff.recipes.tc_vae().build(DataSpec((1, 6, 6), 256, 10))


def test_two_players_share_a_discriminator_and_nothing_else() -> None:
    made = ff.recipes.factor_vae(**SMALL).build(SPEC)
    first, second = made.course[0].players
    assert isinstance(first.objective, FactorVAE) and isinstance(second.objective, Discrimination)
    assert first.objective.discriminator is second.objective.discriminator
    assert first.parts is not None and second.parts is not None
    mine, rival = ({id(p) for part in parts for p in part.parameters()} for parts in (first.parts, second.parts))
    assert mine and rival and not mine & rival
    assert rival == {id(p) for p in second.objective.discriminator.parameters()}
    assert second.betas == (0.5, 0.9)


def weights(run: Run) -> dict[str, torch.Tensor]:
    """Every tensor of the last checkpoint."""
    assert run.path is not None
    return load_tensors(run.path / "checkpoints" / "last.safetensors")[0]


def test_two_players_resume_bit_for_bit(tmp_path: Path) -> None:
    recipe = ff.recipes.factor_vae(**SMALL, discriminator_hidden=(16, 16))
    options = {"batch_size": 96, "lr": 1e-3, "quiet": True, "log_steps": 4}
    straight = ff.fit(recipe, ff.data.digits(), epochs=1, out=tmp_path / "straight", **options)  # type: ignore[arg-type]
    half = ff.fit(recipe, ff.data.digits(), epochs=0.4, out=tmp_path / "half", **options)  # type: ignore[arg-type]
    assert half.path is not None
    before = weights(half)
    after = weights(resume(half.path, epochs=1))
    wanted = weights(straight)
    assert after.keys() == wanted.keys()
    assert [name for name in wanted if not torch.equal(after[name], wanted[name])] == []
    moved = {name.split("/")[-1].split(".")[0] for name in wanted if not torch.equal(before[name], wanted[name])}
    assert {"model", "objective"} <= moved  # both players went on
    assert any(name.startswith("optimiser:discriminator/") for name in wanted)


def test_the_accuracy_of_the_discriminator_is_logged(tmp_path: Path) -> None:
    recipe = ff.recipes.factor_vae(**SMALL, discriminator_hidden=(16,))
    run = ff.fit(recipe, ff.data.digits(), epochs=1, out=tmp_path / "r", quiet=True)
    assert run.path is not None
    rows = [json.loads(line) for line in (run.path / "metrics.jsonl").read_text().splitlines()]
    found = [row["train/discriminator/accuracy raw [share]"] for row in rows]
    assert found and all(0 < value < 1 for value in found)
    assert all("train/discriminator/discrimination raw [nats]" in row and "train/elbo [nats]" in row for row in rows)


@pytest.mark.parametrize("name", ["capacity_vae", "tc_vae", "factor_vae", "dip_vae"])
def test_validation_weighs_as_training_does(name: str, tmp_path: Path) -> None:
    arguments = {"ramp": 1} if name == "capacity_vae" else {}
    recipe = ff.recipes.TABLE[name](**SMALL, **arguments)
    metrics = ff.fit(recipe, ff.data.digits(), epochs=1, out=tmp_path / "r", quiet=True).outcome.metrics
    raw = {k.partition(" raw [")[0]: v for k, v in metrics.items() if " raw [" in k}
    weighted = {k.partition(" weighted [")[0]: v for k, v in metrics.items() if " weighted [" in k}
    parts = [key.removeprefix("validation/") for key in raw if key.startswith("validation/")]
    assert len(parts) >= 3
    for part in parts:
        mine, its = f"train/{part}", f"validation/{part}"
        assert weighted[mine] * raw[its] == pytest.approx(weighted[its] * raw[mine], rel=1e-4, abs=1e-6), part


def test_the_rate_ends_at_the_capacity_that_was_asked_for(tmp_path: Path) -> None:
    recipe = ff.recipes.capacity_vae(capacity=6.0, ramp=120, latent=5, hidden=(64,))
    run = ff.fit(recipe, ff.data.digits(), epochs=18, lr_schedule="cosine", out=tmp_path / "r", quiet=True)
    for part in ("train", "test"):
        rate = next(row.value for row in run.evaluate(part, save=False).rows if row.metric == "rate")
        assert abs(rate - 6) < 0.5


@pytest.mark.parametrize("name", ["capacity_vae", "tc_vae", "dip_vae", "factor_vae"])
def test_batches_in_pieces_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is a statistic of the whole batch"):
        ff.fit(ff.recipes.TABLE[name](**SMALL), ff.data.digits(), accumulate=2, out=tmp_path / "r", quiet=True)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("name", "arguments", "batch", "message"),
    [
        ("tc_vae", {}, 1, "batch_size: Decomposed: estimator 'mss' compares the rows"),
        (
            "tc_vae",
            {"estimator": "full"},
            100,
            "batch_size: Decomposed: estimator 'full' needs all 1439 data .* got 100",
        ),
        ("mmd_vae", {}, 1, "batch_size: InfoVAE: the unbiased MMD² compares the rows"),
        ("dip_vae", {}, 1, "batch_size: DIP compares the rows"),
        ("factor_vae", {}, 1, "batch_size: Discrimination compares the rows"),
    ],
)
def test_batches_that_say_nothing_are_refused_before_anything_is_written(
    name: str, arguments: dict[str, str], batch: int, message: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=message):
        recipe = ff.recipes.TABLE[name](**SMALL, **arguments)
        ff.fit(recipe, ff.data.digits(), batch_size=batch, epochs=0.01, out=tmp_path / "r", quiet=True)
    assert not (tmp_path / "r").exists()
