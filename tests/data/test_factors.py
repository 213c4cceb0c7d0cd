"""Factors of variation say what they are, or why they cannot be."""

import pytest

from fourfold.data import Factor


def test_a_factor_knows_its_size() -> None:
    assert Factor("scale", "ordinal", values=(0.5, 0.75, 1.0)).size == 3
    angle = Factor("angle", "continuous", low=0.0, high=360.0, period=360.0)
    assert angle.size is None
    assert not angle.discrete


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"kind": "colour"}, "kind"),
        ({"kind": "ordinal"}, "wants values"),
        ({"kind": "ordinal", "values": (1.0, 1.0)}, "each once"),
        ({"kind": "continuous", "low": 1.0}, "low < high"),
        ({"kind": "continuous", "low": 1.0, "high": 1.0}, "low < high"),
        ({"kind": "continuous", "low": 0.0, "high": 1.0, "period": 0.0}, "period must be positive"),
        ({"kind": "categorical", "values": ("a", "b"), "period": 2}, "no categorical factor"),
    ],
)
def test_a_factor_that_cannot_be_is_refused(arguments: dict, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        Factor("f", **arguments)
