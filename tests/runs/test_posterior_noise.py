"""An objective that never looks at the prior holds no posterior's noise open: fit says so, and takes what is meant."""

from pathlib import Path

import pytest

import fourfold as ff
from fourfold.objectives import ELBO, Contractive, L1Sparsity, Objective, Reconstruction
from fourfold.plan import Player, Recipe, Stage

DIGITS = ff.data.digits()


def vae() -> ff.models.VAE:
    return ff.recipes.vae(latent=2, hidden=(4,)).build(DIGITS.spec).model


@pytest.mark.parametrize("objective", [Reconstruction(), L1Sparsity(), Contractive()])
def test_noise_without_a_rate_is_refused_by_name(objective: Objective, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"{type(objective).__name__} .* posterior has noise.*ELBO\(beta=0\.0\)"):
        ff.fit(Recipe(vae(), objective), DIGITS, epochs=0.1, out=tmp_path / "r", quiet=True)
    assert not (tmp_path / "r").exists()


def test_those_who_mean_it_say_so_with_a_rate_of_no_weight(tmp_path: Path) -> None:
    run = ff.fit(Recipe(vae(), ELBO(beta=0.0)), DIGITS, epochs=0.1, out=tmp_path / "r", quiet=True)
    assert run.outcome.step == 1


def test_another_player_or_a_later_stage_may_hold_the_noise_open(tmp_path: Path) -> None:
    model, bound, code = vae(), ELBO(), Reconstruction()
    players = Player(code, parts=(model.likelihood,)), Player(bound, parts=(model.posterior,), name="encoder")
    in_turn = Recipe(model, code, stages=(Stage(players),))
    warm = Recipe(model, bound, stages=(Stage((Player(code),), name="warm"), Stage((Player(bound),))))
    for i, recipe in enumerate((in_turn, warm)):
        assert ff.fit(recipe, DIGITS, epochs=0.2, out=tmp_path / str(i), quiet=True).outcome.step > 0
