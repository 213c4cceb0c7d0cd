"""Scores of outliers: areas against scikit-learn's, ties, WAIC and complexity by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from fourfold.evaluation.outliers import corrupted, png_bits, roc, waic
from fourfold.noise import Noise

SCORES = st.lists(st.integers(-3, 3), min_size=2, max_size=30).map(lambda v: np.array(v, float))


@given(SCORES, SCORES)
def test_the_area_is_scikit_learns_with_any_ties(inside: np.ndarray, outside: np.ndarray) -> None:
    found = roc(inside, outside, resamples=2)
    truth = np.concatenate((np.zeros(len(inside)), np.ones(len(outside))))
    both = np.concatenate((inside, outside))
    assert found.auc == pytest.approx(roc_auc_score(truth, both), abs=1e-12)
    assert found.auc == pytest.approx(np.trapezoid(found.true_positives, found.false_positives), abs=1e-12)
    false, true, _ = roc_curve(truth, both, drop_intermediate=False)
    np.testing.assert_allclose(found.false_positives, false)
    np.testing.assert_allclose(found.true_positives, true)


def test_the_degenerate_cases() -> None:
    one, two = np.zeros(5), np.ones(4)
    for inside, outside, area in ((one, two, 1.0), (two, one, 0.0), (one, one, 0.5)):
        found = roc(inside, outside)
        assert found.auc == area and found.interval == (area, area) and found.standard_error == 0
    assert roc(np.array([0.0, 1.0]), np.array([np.inf, np.inf])).auc == 1.0
    assert roc(np.array([0.0, np.inf]), np.array([np.inf, np.inf])).auc == 0.75
    with pytest.raises(ValueError, match="no numbers"):
        roc(np.array([0.0, np.nan]), two)
    with pytest.raises(ValueError, match="at least two"):
        roc(np.array([0.0]), two)


def test_the_interval_covers() -> None:
    # Of N(0, 1) and N(1, 1) the area is Φ(1/√2) = 0.7602; 95 % intervals of 60 samples miss it 3 times on average.
    rng = np.random.default_rng(0)
    missed, errors, areas = 0, [], []
    for i in range(60):
        found = roc(rng.normal(size=80), 1 + rng.normal(size=60), Noise(i), resamples=200)
        missed += not found.interval[0] <= 0.7602499 <= found.interval[1]
        errors.append(found.standard_error)
        areas.append(found.auc)
    assert missed <= 9
    assert np.mean(errors) == pytest.approx(np.std(areas), rel=0.3)


def test_waic_takes_the_variance_off() -> None:
    log_p = np.array([[-1.0, -2.0], [-3.0, -2.0], [-2.0, -2.0]])
    np.testing.assert_allclose(waic(log_p), [-2 - 2 / 3, -2.0])
    with pytest.raises(ValueError, match="--ensemble"):
        waic(log_p[:1])


def test_complexity_knows_noise_from_nothing() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (3, 1, 28, 28), dtype=np.uint8)
    flat = np.zeros_like(noise)
    assert (png_bits(noise) > 8 * 784).all() and (png_bits(flat) < 1000).all()
    bits = png_bits(noise > 127)
    assert (bits > 784).all() and (bits < 2 * 784 + 1000).all()
    assert png_bits(np.repeat(noise, 3, 1)).shape == png_bits(np.repeat(noise > 127, 3, 1)).shape == (3,)
    with pytest.raises(ValueError, match="images"):
        png_bits(np.zeros((3, 64), np.uint8))


@pytest.mark.parametrize("levels", [2, 256, None])
def test_corruptions_keep_shape_type_and_range(levels: int | None) -> None:
    rng, most = np.random.default_rng(1), 1.0 if levels is None else levels - 1
    x = rng.random((40, 1, 6, 5)) * 0.999 if levels is None else rng.integers(0, levels, (40, 1, 6, 5))
    x = x.astype(np.float32 if levels is None else np.uint8)
    for name in ("noise", "inverted", "flipped"):
        made = corrupted(x, name, levels, Noise(0))
        assert made.shape == x.shape and made.dtype == x.dtype and made.min() >= 0 and made.max() <= most
    assert corrupted(x, "noise", levels, Noise(0)).max() > 0.98 * most
    np.testing.assert_allclose(corrupted(x, "inverted", levels, Noise(0)) + x, most, rtol=1e-6)
    np.testing.assert_array_equal(corrupted(x, "flipped", levels, Noise(0))[:, :, 0], x[:, :, -1])


def test_what_cannot_be_corrupted_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        corrupted(np.full((2, 3), 4.0, np.float32), "inverted", None, Noise(0))
    with pytest.raises(ValueError, match="images"):
        corrupted(np.zeros((2, 3), np.uint8), "flipped", 256, Noise(0))
    with pytest.raises(ValueError, match="unknown"):
        corrupted(np.zeros((2, 3), np.uint8), "rotten", 256, Noise(0))
