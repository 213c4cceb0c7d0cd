"""The picture of the evidence."""

import numpy as np
import pytest

from fourfold.pictures import evidence_curve, png

BOUNDS = np.array([[-3.0, -4.0, -6.0], [-2.0, -3.5, -5.0], [-1.9, -3.0, -4.9]])


def test_differences_are_paired() -> None:
    axes = evidence_curve((1, 10, 100), BOUNDS, BOUNDS[-1] + 0.2, [0.1, 0.5]).axes[0]
    x, y = np.array(axes.containers[0].lines[0].get_data(orig=False), float)
    np.testing.assert_allclose(x, [1, 10, 100])
    np.testing.assert_allclose(y, (BOUNDS - BOUNDS[-1]).mean(1) - 0.2)
    assert axes.get_title(loc="left") == "ELBO 1.27, IS-100 0.20 nats below AIS (3 data)"
    assert {text.get_text() for text in axes.texts} >= {"AIS", "−1.27", "−0.20"}
    assert any("simulated data (0.30 nats)" in text.get_text() for text in axes.texts)


def test_without_annealing_it_rises_from_the_elbo() -> None:
    figure = evidence_curve((1, 10, 100), BOUNDS)
    axes = figure.axes[0]
    assert axes.get_title(loc="left") == "IS-100 1.07 nats above the ELBO (3 data)"
    assert axes.containers[0].lines[0].get_ydata()[0] == 0
    assert png(figure)[1:4] == b"PNG"


def test_one_datum_has_no_error() -> None:
    assert png(evidence_curve((1, 10), BOUNDS[:2, :1], BOUNDS[1, :1]))[1:4] == b"PNG"


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"wanted M values of K, bounds \(M, N\) and ais \(N,\), got 2 K"):
        evidence_curve((1, 10), BOUNDS)
    with pytest.raises(ValueError, match=r"got 3 K, \(3, 3\) and \(2,\)"):
        evidence_curve((1, 10, 100), BOUNDS, [1.0, 2.0])
