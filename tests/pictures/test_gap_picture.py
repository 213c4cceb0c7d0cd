"""The picture of the gap shows the numbers it is given."""

from typing import Any

import numpy as np
import pytest

from fourfold.pictures import gap_bars, png

pytestmark = pytest.mark.usefixtures("unchecked")


def parts(seed: int = 0, flow: bool = True, n: int = 30) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)
    amortisation, gain, left = draw.gamma(2, 1, n), draw.uniform(1, 2, n), draw.uniform(0, 0.5, n)
    found = {
        "bound_gap": amortisation + gain + left,
        "amortisation_gap": amortisation,
        "approximation_gap": gain + left,
    }
    return found | ({"flow_gain": gain, "flow_gap": left} if flow else {})


@pytest.mark.parametrize("flow", [True, False])
def test_bars_are_stacked_of_means_and_end_at_the_whole_gap(flow: bool) -> None:
    given = {"one": parts(0, flow), "two": parts(1, flow)}
    figure: Any = gap_bars(given)
    (axes,) = figure.axes
    bars = sorted(axes.patches, key=lambda bar: (bar.get_y(), bar.get_x()))
    per = 3 if flow else 2
    for row, name in enumerate(given):
        mine = bars[per * row : per * (row + 1)]
        names = ("amortisation_gap", *(("flow_gain", "flow_gap") if flow else ("approximation_gap",)))
        assert [bar.get_width() for bar in mine] == pytest.approx([given[name][part].mean() for part in names])
        assert mine[-1].get_x() + mine[-1].get_width() == pytest.approx(given[name]["bound_gap"].mean())
        assert f" {given[name]['bound_gap'].mean():.2f}" in [text.get_text() for text in axes.texts]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["one", "two"]
    assert len(axes.get_legend().get_texts()) == per
    png(figure)


def test_a_single_model_has_its_numbers_told_and_every_datum_shown() -> None:
    given = parts()
    figure: Any = gap_bars({"one": given})
    bars, plane = figure.axes
    told = [text.get_text() for text in bars.get_legend().get_texts()]
    error = given["amortisation_gap"].std(ddof=1) / 30**0.5
    assert told[0] == f"amortisation: the encoder, {given['amortisation_gap'].mean():.2f} ± {error:.2f}"
    points = np.asarray(plane.collections[0].get_offsets())
    np.testing.assert_allclose(points, np.stack([given["amortisation_gap"], given["approximation_gap"]], 1))
    png(figure)
    png(gap_bars({"one": {name: values[:1] for name, values in given.items()}}))


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one model"):
        gap_bars({})
    with pytest.raises(ValueError, match="amortisation_gap of 'one' must be finite numbers"):
        gap_bars({"one": {**parts(), "amortisation_gap": np.array([1.0, np.nan])}})
