"""A run that is shorter than what its recipe has planned says so, once."""

import warnings
from pathlib import Path

import pytest

import fourfold as ff
from fourfold.objectives import ELBO, Cyclic, Linear, Logistic, Schedule
from fourfold.plan import Player, Recipe, Stage
from fourfold.runs.prepare import prepare
from fourfold.runs.unfinished import warn_of_unfinished
from fourfold.training import Training

DIGITS = ff.data.digits()


def told(recipe: Recipe, steps: int) -> list[str]:
    prepared = prepare(recipe, DIGITS, Training())
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        warn_of_unfinished(prepared, steps)
    return [str(one.message) for one in found]


def with_beta(beta: float | Schedule) -> Recipe:
    return Recipe(ff.recipes.vae(latent=2, hidden=(4,)).build(DIGITS.spec).model, ELBO(beta))


def test_a_fit_that_ends_inside_the_ramp_warns_and_trains(tmp_path: Path) -> None:
    recipe = ff.recipes.capacity_vae(latent=2, hidden=(4,))
    said = r"capacity_vae-digits: the schedule of capacity ends at step 5,000, the run at 14\. Train for longer .*ramp"
    with pytest.warns(UserWarning, match=said) as caught:
        run = ff.fit(recipe, DIGITS, epochs=1, out=tmp_path / "r", quiet=True)
    assert run.outcome.step == 14 and len(caught) == 1


@pytest.mark.parametrize(
    ("beta", "end"),
    [(Linear(0, 1, 30), 30), (Logistic(1, 20, 0.5), 30), (Cyclic(1, 100), None), (1.0, None)],
)
def test_a_schedule_is_over_where_it_stands_still(beta: float | Schedule, end: int | None) -> None:
    recipe = with_beta(beta)
    assert told(recipe, 30) == [] and told(recipe, 0) == []
    found = told(recipe, 29)
    assert len(found) == (end is not None)
    assert all(f"model-digits: the schedule of beta ends at step {end}, the run at 29." in one for one in found)


def test_a_stage_has_its_share_of_the_steps() -> None:
    made = with_beta(Linear(0, 1, 30))
    early, last = ELBO(Linear(0, 1, 30)), ELBO()
    stages = Stage((Player(early),), "warm"), Stage((Player(last, until=60), Player(early, name="other")), share=3)
    recipe = Recipe(made.model, last, stages=stages)
    assert told(recipe, 120) == []
    (found,) = told(recipe, 76)
    assert "the schedule of beta ends at step 30, its stage 'warm' at 19; " in found
    assert "the turn of player 'main' ends at step 60, its stage 'main' at 57." in found
