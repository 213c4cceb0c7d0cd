"""The doctor's checks on numbers made up: each threshold from both sides, causes before effects, and the words."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fourfold.evaluation import ActiveUnits, CodeUse, PerDatum
from fourfold.evaluation.doctor import Checkup, Diagnosis, Exam, Facts, History, Measured, Sound, Standing, checkup
from fourfold.evaluation.doctor.checkup import Unchecked
from fourfold.evaluation.doctor.exam import LevelExam, Scale
from fourfold.evaluation.information import Information
from fourfold.evaluation.price import Price
from fourfold.evaluation.swap import Swap

N = 100
WAVE = np.tile([1.0, -1.0], N // 2)


def bound(rates: tuple[float, ...] = (5.0,), distortion: float = 80.0, **more: Any) -> PerDatum:
    parts = tuple(rate * (1 + 0.1 * WAVE) for rate in rates)
    return PerDatum(
        distortion + WAVE, parts, (None,) * len(rates), (True,) * len(rates), None, np.full(N, 64), 1, True, **more
    )


def level(active: int = 4, size: int = 4, foreseen: bool = True, width: float | None = 0.5) -> LevelExam:
    on = np.arange(size) < active
    return LevelExam(ActiveUnits(on, on * 1.0, 0.01, N), foreseen, width)


def priced(value: float) -> Price:
    return Price(0.2 + 0.02 * WAVE, value * (0.2 + 0.02 * WAVE) + 1e-3 * WAVE, 0.1, 4)


def swapped(drop: float, scatter: float = 0.01) -> Swap:
    return Swap(-80.0 + 0 * WAVE, -80.0 - drop - scatter * WAVE, 1)


def known(nats: float, levels: int = 1) -> Information:
    return Information(nats + 0 * WAVE, np.zeros((N, 4)), 0 * WAVE, 0 * WAVE, N, levels)


def codes(counts: np.ndarray) -> tuple[CodeUse, ...]:
    return (CodeUse(counts, 1, int(counts.sum())),)


WELL = Exam(
    test=bound(), taught=bound(), levels=(level(),), swap=swapped(20.0), price=priced(1.0), information="not measured",
    apart=(0.001, 0.3),
)  # fmt: skip
FACTS = Facts("runs/a", "vae", {"beta_schedule": None}, "ELBO", {"beta": 1.0}, steps=3000)
DONE = Standing(3000, 3000, 20.0)
EPOCHS = np.arange(1.0, 21.0)
REST = -85 - 30 * np.exp(-EPOCHS)
QUIET = History(EPOCHS, REST, REST + 1)


def first(
    exam: Exam = WELL, facts: Facts = FACTS, standing: Standing = DONE, history: History | None = QUIET
) -> str | None:
    found = checkup(exam, facts, standing, history)
    return None if not found.diagnoses else found.diagnoses[0].name


def test_a_model_with_nothing_wrong_is_told_so_with_what_was_looked_at() -> None:
    found = checkup(WELL, FACTS, DONE, QUIET)
    assert found.healthy and found.first is None and not found.diagnoses
    assert [one.name for one in found.sound] == [
        "end of training",
        "finite numbers",
        "convergence",
        "generalisation",
        "kind of data",
        "rate",
        "swap of latents",
        "price of a nat",
        "aggregate posterior",
        "width of posteriors",
    ]
    assert {one.name for one in found.unchecked} == {"scale of the likelihood", "codebook", "amortisation"}
    assert "healthy: nothing was found that is wrong" in str(found)


UPWARD_SILENT = level(0, foreseen=False)
SCALE = Scale(typical=0.2, smallest=0.1, floor=0.01, at_floor=0.0, fixed=False, residual=0.2, spread=0.3)
DENSITY = replace(bound(), mass=False)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"broken": 3}, "diverged"),
        ({"test": bound(distortion=np.inf)}, "diverged"),
        ({"test": bound((0.09,)), "levels": (level(0),)}, "collapsed"),
        ({"test": bound((0.11,))}, None),
        ({"swap": swapped(0.4)}, "decoder_ignores_z"),
        ({"swap": swapped(0.6)}, None),
        ({"test": bound((0.02, 5.0)), "levels": (level(), level())}, "collapsed_levels"),
        (
            {"test": bound((5.0, 4.0, -0.02)), "levels": (level(), level(), level(0, foreseen=False))},
            "collapsed_levels",
        ),
        ({"test": bound((5.0, 4.0, -0.02)), "levels": (level(), level(), level(3, foreseen=False))}, None),
        ({"test": bound((0.2, 5.0)), "levels": (level(), level())}, None),
        ({"levels": (level(1),)}, "inactive_latents"),
        ({"levels": (level(2),)}, None),
        ({"price": priced(2.2)}, "over_regularised"),
        ({"price": priced(1.9)}, None),
        ({"price": priced(0.4)}, None),  # cheap, but q(z) is where the prior is
        ({"price": priced(0.4), "apart": (0.03, 0.005)}, "under_regularised"),
        ({"price": priced(0.6), "apart": (0.03, 0.005)}, "prior_mismatch"),
        ({"apart": (0.03, 0.05)}, None),
        ({"levels": (level(width=0.01),)}, "narrow_posterior"),
        ({"levels": (level(width=1.6),)}, "wide_posterior"),
        ({"levels": (level(width=1.4),)}, None),
        ({"test": replace(bound(), rates=(np.r_[np.full(N - 1, 1.0), 50.0],))}, "few_data_pay"),
        ({"test": replace(bound(), grey=True)}, "grey_data"),
        ({"scale": replace(SCALE, at_floor=0.11)}, "scale_collapsed"),
        ({"scale": replace(SCALE, at_floor=0.11, fixed=True)}, None),
        ({"scale": replace(SCALE, typical=0.7, fixed=True)}, "scale_too_wide"),
        ({"scale": replace(SCALE, typical=0.7)}, None),
        ({"codes": codes(np.r_[np.full(8, 100), np.zeros(56)])}, "dead_codes"),
        ({"codes": codes(np.full(64, 10))}, None),
        ({"codes": codes(np.r_[np.full(8, 5), np.zeros(56)])}, None),  # 40 draws tell nothing of 64 codes
        ({"taught": bound(distortion=74.0)}, "overfitted"),
        ({"taught": bound(distortion=77.0)}, None),
    ],
)
def test_thresholds_from_both_sides(changes: dict[str, Any], name: str | None) -> None:
    assert first(replace(WELL, **changes)) == name


def test_a_density_of_levels_is_told_unless_noise_is_added_or_the_scale_is_fixed() -> None:
    levels = replace(FACTS, levels=256)
    exam = replace(WELL, test=DENSITY, taught=DENSITY, scale=SCALE)
    assert first(exam, levels) == "density_of_levels" and first(exam) is None
    assert first(exam, replace(levels, dequantised=True)) is None and first(WELL, levels) is None
    assert first(replace(exam, scale=replace(SCALE, fixed=True)), levels) is None


def test_a_dear_rate_is_the_cause_of_a_collapse_and_so_is_a_scale() -> None:
    gone = replace(WELL, test=bound((0.0,)), levels=(level(0),), price=priced(float("nan")))
    assert first(gone) == "collapsed"
    assert first(gone, replace(FACTS, weights={"beta": 50.0})) == "over_regularised"
    assert first(gone, replace(FACTS, weights={"gamma": 100.0, "capacity": 0.0})) == "over_regularised"
    wide = replace(gone, scale=replace(SCALE, typical=1.0, fixed=True))
    assert [one.name for one in checkup(wide, FACTS, DONE, QUIET).diagnoses] == ["scale_too_wide", "collapsed"]


def test_bounds_of_several_draws_have_no_price_and_a_vague_one_is_none() -> None:
    found = checkup(replace(WELL, price=priced(2.2)), replace(FACTS, objective="IWAE"), DONE, QUIET)
    assert found.healthy and any("wider than those of the ELBO" in one.reason for one in found.unchecked)
    vague = Price(0.2 + 0 * WAVE, 0.5 + 8 * WAVE, 0.1, 4)
    found = checkup(replace(WELL, price=vague), FACTS, DONE, QUIET)
    assert found.healthy and any("too uncertain" in one.reason for one in found.unchecked)


@pytest.mark.parametrize(
    ("facts", "autoregressive", "wanted", "other"),
    [
        (FACTS, False, "--beta-schedule linear:0:1:1000", "window"),
        (replace(FACTS, flags={"beta_schedule": None, "window": ()}), True, "--window 4,2", "word dropout"),
        (replace(FACTS, flags={"word_dropout": 0.0}), True, "--word-dropout", "window"),
    ],
)
def test_remedies_name_the_flags_that_the_recipe_has(
    facts: Facts, autoregressive: bool, wanted: str, other: str
) -> None:
    gone = replace(WELL, test=bound((0.0,)), levels=(level(0),), autoregressive=autoregressive)
    said = " ".join(checkup(gone, facts, DONE, QUIET).diagnoses[0].remedies)
    assert wanted in said and other not in said


def answer(exam: Exam, name: str, facts: Facts = FACTS) -> Any:
    found = checkup(exam, facts, DONE, QUIET)
    return next(one for part in (found.diagnoses, found.sound, found.unchecked) for one in part if one.name == name)


@pytest.mark.parametrize(
    ("drop", "scatter", "kind"),
    [(6.0, 27.0, Sound), (5.0, 27.0, Unchecked), (0.4, 1.0, Unchecked), (-3.0, 20.0, Unchecked)],
)
def test_a_swap_is_well_only_if_its_drop_is_no_chance(drop: float, scatter: float, kind: type) -> None:
    """The scatter of 100 data is ten times the error; the threshold is half a nat."""
    found = answer(replace(WELL, swap=swapped(drop, scatter)), "swap of latents")
    assert type(found) is kind
    assert kind is Sound or (
        "too uncertain to say" in found.reason and "take more data: --split train or -n" in found.reason
    )


def test_what_the_top_level_knows_is_not_held_against_the_rate_of_all() -> None:
    deaf = replace(WELL, swap=swapped(0.1))
    one = answer(replace(deaf, information=known(0.2)), "decoder_ignores_z")
    assert "Nor does z know x" in one.words and not any("free bits" in tried for tried in one.remedies)
    levels = {"levels": (level(), level()), "test": bound((2.0, 3.0))}
    two = answer(replace(deaf, information=known(0.2, 2), **levels), "decoder_ignores_z")
    assert "know" not in two.words and any("free bits" in tried for tried in two.remedies)
    assert two.measured[-1].what == "mutual information I(x; z) (top level)"


def test_a_rate_without_an_active_latent_is_not_certified() -> None:
    found = answer(replace(WELL, levels=(level(0, 80),)), "rate")
    assert isinstance(found, Unchecked) and "0 of 80 latents are active" in found.reason


def test_one_datum_has_no_error_to_compare_by() -> None:
    one = replace(bound(), distortion=np.array([80.0]), rates=(np.array([5.0]),), dims=np.array([64]))
    for exam in (replace(WELL, test=one), replace(WELL, taught=replace(one, distortion=np.array([1.0])))):
        found = answer(exam, "generalisation")
        assert isinstance(found, Unchecked) and "take more data: --split train or -n" in found.reason


def test_codes_are_told_remedies_of_codes() -> None:
    flags = {"codebook": "ema", "quantiser": "vq", "codes": 64}
    some = codes(np.r_[np.full(8, 100), np.zeros(56)])
    gone = replace(WELL, test=bound((0.0,)), levels=(LevelExam(None, True, None),), codes=some)
    for exam, name in ((gone, "collapsed"), (replace(WELL, swap=swapped(0.1), codes=some), "decoder_ignores_z")):
        said = " ".join(answer(exam, name, replace(FACTS, flags=flags)).remedies)
        assert "--codes, --dim" in said and "free_bits_vae" not in said and "delta_vae" not in said
    assert not any("active units" in one.what for one in answer(gone, "collapsed").measured)


@pytest.mark.parametrize(
    ("flags", "wanted", "other"),
    [
        ({"codebook": "ema", "quantiser": "vq", "codes": 64}, "--quantiser fsq", "k-means"),
        ({"codebook": "loss", "quantiser": "vq", "codes": 64}, "--codebook ema", "--levels"),
        ({"codebook": "ema", "quantiser": "fsq", "codes": 64}, "--levels", "fsq"),
        ({}, "k-means", "--"),
    ],
)
def test_dead_codes_are_not_told_what_is_so_already(flags: dict[str, Any], wanted: str, other: str) -> None:
    exam = replace(WELL, codes=codes(np.r_[np.full(8, 100), np.zeros(56)]))
    one = answer(exam, "dead_codes", replace(FACTS, flags=flags))
    assert one.severity == "serious" and wanted in " ".join(one.remedies) and other not in " ".join(one.remedies)


def test_places_that_look_alike_are_no_dead_codes_to_the_doctor_nor_to_an_evaluation() -> None:
    margins, dead = codes(np.r_[3000, np.full(63, 10)]), codes(np.r_[np.full(8, 100), np.zeros(56)])
    one = answer(replace(WELL, codes=margins), "dead_codes")
    assert one.severity == "warning" and "unless most places look alike" in one.words
    assert "unless most places look alike" in str(margins[0].remark)
    assert "look alike" not in answer(replace(WELL, codes=dead), "dead_codes").words + str(dead[0].remark)


@pytest.mark.parametrize(("binarize", "told"), [("", False), ("dynamic", False), ("threshold", True), ("static", True)])
def test_dynamic_binarisation_is_for_grey_data_without_it(binarize: str, told: bool) -> None:
    exam = replace(WELL, taught=bound(distortion=74.0))
    one = answer(exam, "overfitted", replace(FACTS, binarize=binarize))
    assert told == any("--binarize dynamic" in tried for tried in one.remedies)
    assert not any("dynamic binarisation" in tried for tried in one.remedies)


def history(values: np.ndarray, train: np.ndarray | None = None) -> History:
    return History(np.arange(1.0, len(values) + 1), values, values if train is None else train)


@pytest.mark.parametrize(
    ("seen", "name", "severity"),
    [
        (history(REST + np.maximum(0, EPOCHS - 14) * 0.25), "not_converged", "warning"),
        (history(REST + np.maximum(0, EPOCHS - 14) * 0.6), "not_converged", "serious"),
        (history(REST + np.maximum(0, EPOCHS - 14) * 0.1), None, ""),
        (history(-85 + 0.01 * EPOCHS), "not_converged", "serious"),  # slow, but as fast at the end as at the start
        (history(REST + 3 * np.tile([1.0, -1.0], 10)), None, ""),  # nothing but scatter
        (history(np.array([-90.0, -85.0])), "not_converged", "serious"),
        (history(np.array([-85.01, -85.0])), None, ""),
        (history(np.r_[REST[:10], REST[9] - 4 * np.arange(1, 11.0)]), "diverged", "serious"),
        (history(np.r_[REST[:19], np.nan]), "diverged", "serious"),
        (history(REST - 0.2 * np.maximum(0, EPOCHS - 10), EPOCHS), "overfitted", "warning"),
        (history(REST - 0.02 * np.maximum(0, EPOCHS - 10), EPOCHS), None, ""),
        (None, None, ""),
    ],
)
def test_the_way_of_the_objective(seen: History | None, name: str | None, severity: str) -> None:
    found = checkup(WELL, FACTS, DONE, seen).diagnoses
    assert [(one.name, one.severity) for one in found] == ([] if name is None else [(name, severity)])


def test_overfitting_is_serious_by_two_signs_and_the_best_checkpoint_has_not_fallen() -> None:
    falling = history(REST - 0.2 * np.maximum(0, EPOCHS - 10), EPOCHS)
    exam = replace(WELL, taught=bound(distortion=74.0))
    assert checkup(exam, FACTS, DONE, falling).diagnoses[0].severity == "serious"
    best = replace(DONE, checkpoint="best")
    assert checkup(exam, FACTS, best, falling).diagnoses[0].severity == "warning"
    assert first(WELL, FACTS, best, falling) is None


def test_few_steps_of_new_weights_are_too_few_whatever_the_objective_did() -> None:
    for seen in (None, history(np.array([-85.0, -85.0]))):
        assert first(WELL, FACTS, replace(DONE, step=99), seen) == "not_converged"
        assert first(WELL, FACTS, replace(DONE, step=100), seen) is None
        assert first(WELL, replace(FACTS, fresh=False), replace(DONE, step=99), seen) is None
    slow = history(-85 + 0.01 * EPOCHS)
    assert first(WELL, replace(FACTS, fresh=False), DONE, slow) is None  # the little that a second training wins
    assert first(WELL, FACTS, DONE, replace(slow, whole=False)) is None  # or what is won after a warm-up
    assert first(WELL, FACTS, DONE, slow) == "not_converged"


def test_what_was_not_through_is_told_with_how_to_go_on() -> None:
    cut = Standing(1000, 1000, 10.0, pending=(("the schedule of beta", 3000),), weights={"beta": (0.33, 1.0)})
    one = checkup(WELL, replace(FACTS, underway=True), cut, None).diagnoses[0]
    assert (one.name, one.severity) == ("unfinished", "serious")
    assert "The schedule of beta ends at step 3,000: it was not through at step 1,000." in one.words
    assert one.remedies[0] == "go on: fourfold train --resume runs/a --epochs 45"
    assert str(one.measured[1]) == "beta at the end 0.33 (ill below 1)"
    killed = checkup(WELL, FACTS, Standing(500, 1000, 10.0, finished=False), None).diagnoses[0]
    assert "at step 500 of 1,000 it was killed, a loss was not finite, or it is still running" in killed.words
    assert killed.remedies == ("go on: fourfold train --resume runs/a",)
    early = checkup(WELL, FACTS, replace(DONE, early=True), QUIET)
    assert early.healthy and [one.name for one in early.diagnoses] == ["stopped_early"]


def test_the_worst_comes_first_and_of_two_the_cause() -> None:
    some = [
        Diagnosis("inactive_latents", "note", "a"),
        Sound("x", "b"),
        Diagnosis("grey_data", "warning", "c"),
        Diagnosis("collapsed", "serious", "d"),
        Diagnosis("unfinished", "serious", "e"),
        Unchecked("y", "f"),
    ]
    found = Checkup.of(some)
    assert [one.name for one in found.diagnoses] == ["unfinished", "collapsed", "grey_data", "inactive_latents"]
    assert (
        str(found).startswith("found: 2 serious, 1 warning, 1 note\n") and len(found.sound) == len(found.unchecked) == 1
    )


def test_numbers_that_are_not_finite_are_text_in_json() -> None:
    made = Measured("loss", float("inf"), "nats", None, 1.0, "above").to_dict()
    assert made["value"] == "inf" and made["limit"] == 1.0


def test_unknown_names_and_severities_are_refused() -> None:
    with pytest.raises(ValueError, match="Diagnosis: name"):
        Diagnosis("flu", "serious", "")
    with pytest.raises(ValueError, match="Diagnosis: severity"):
        Diagnosis("collapsed", "deadly", "")
