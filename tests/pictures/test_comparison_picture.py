"""The picture of comparisons shows each mean, its interval, and every datum that the histogram has room for."""

import numpy as np
import pytest

from fourfold.pictures import paired_differences, png

pytestmark = pytest.mark.usefixtures("unchecked")

RNG = np.random.default_rng(0)
LINES = [("a over b", RNG.normal(1, 1, 1000), (0.9, 1.1)), ("a over $c_1$", RNG.normal(0, 2, 1000), (-0.1, 0.2))]


def test_every_pair_has_its_mean_its_interval_and_its_histogram():
    figure = paired_differences(LINES, "first better by [nats]", "NLL of $5")
    left, right = figure.axes
    assert [label.get_text() for label in left.get_yticklabels()] == ["a over b", "a over $c_1$"]
    assert left.get_xlabel() == right.get_xlabel() == "first better by [nats]"
    intervals = [line for line in left.lines if len(line.get_xdata()) == 2 and line.get_linewidth() > 2]
    assert [tuple(line.get_xdata()) for line in intervals] == [(0.9, 1.1), (-0.1, 0.2)]
    assert intervals[0].get_color() != intervals[1].get_color()  # one leaves out 0, the other does not
    means = [line.get_xdata()[0] for line in left.lines if len(line.get_xdata()) == 1]
    assert means == pytest.approx([numbers.mean() for _, numbers, _ in LINES])
    assert len(right.patches) == 120
    upper, lower = right.patches[:60], right.patches[60:]
    assert max(bar.get_height() for bar in upper) == pytest.approx(0.8) and {bar.get_y() for bar in upper} == {0.6}
    centres = np.array([bar.get_x() + bar.get_width() / 2 for bar in upper])
    for bars, (_, numbers, _) in zip((upper, lower), LINES, strict=True):
        heights = np.array([bar.get_height() for bar in bars])
        assert np.average(centres, weights=heights) == pytest.approx(numbers.mean(), abs=0.1)
    assert png(figure)[:4] == b"\x89PNG"


@pytest.mark.parametrize("numbers", [np.zeros(5), np.array([1.0, 1.0]), np.array([-3.0, 2.0])])
def test_few_and_equal_numbers_have_a_picture_too(numbers: np.ndarray):
    assert png(paired_differences([("a", numbers, (float(numbers.min()), float(numbers.max())))], "nats"))


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [("a", np.array([1.0, np.nan]), (0.0, 1.0))],
        [("a", np.ones(3), (0.0, np.inf))],
        [("a", np.ones((2, 2)), (0.0, 1.0))],
    ],
)
def test_what_cannot_be_drawn_is_refused(lines: list):
    with pytest.raises(ValueError, match="paired_differences: "):
        paired_differences(lines, "nats")
