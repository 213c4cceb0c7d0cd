"""Rows: nothing that is not finite goes by unsaid, and JSON gives back what it took."""

import json
from math import inf, isnan, nan

import pytest

from fourfold.evaluation import Row, table

PROTOCOL = {"data": "mnist", "split": "burda", "seed": 0, "widths": [200, 200], "dequantised": None}


def row(**changes) -> Row:
    given = {
        "metric": "elbo",
        "value": -98.127,
        "unit": "nats",
        "standard_error": 0.2123,
        "estimator": "1 draw",
        "n": 10,
    }
    return Row(**{**given, "protocol": PROTOCOL, **changes})


@pytest.mark.parametrize("given", [row(), row(standard_error=None), row(value=3.0, metric="active_units", protocol={})])
def test_json_gives_back_what_it_took(given: Row):
    assert Row.from_dict(json.loads(json.dumps(given.to_dict(), allow_nan=False))) == given


@pytest.mark.parametrize("value", [inf, -inf, nan])
def test_what_is_not_finite_is_said_to_be_so(value: float):
    with pytest.raises(ValueError, match=r"elbo is .*, but non_finite is 0"):
        row(value=value)
    given = row(value=value, standard_error=None, non_finite=3)
    again = Row.from_dict(json.loads(json.dumps(given.to_dict(), allow_nan=False)))
    assert again.non_finite == 3
    assert again.value == value or (isnan(again.value) and isnan(value))
    assert "(3 not finite)" in table([given])


def test_what_json_cannot_hold_is_refused():
    with pytest.raises(ValueError, match="the protocol of elbo must be what JSON can hold"):
        row(protocol={"shape": {1, 2}})
    with pytest.raises(ValueError, match="the protocol of elbo must be what JSON can hold"):
        row(protocol={"wall time": inf})
    with pytest.raises(ValueError, match="standard error of elbo is nan"):
        row(standard_error=nan)


def test_a_protocol_is_the_row_s_own():
    protocol = {"seed": 0, "widths": (200, 200)}
    given = row(protocol=protocol)
    protocol["seed"] = 1
    assert given.protocol == {"seed": 0, "widths": [200, 200]}


def test_foreign_entries_are_refused():
    with pytest.raises(ValueError, match=r"missing \['unit'\], unknown \['units'\]"):
        Row.from_dict({**{k: v for k, v in row().to_dict().items() if k != "unit"}, "units": "nats"})


def test_the_table_is_aligned_and_shows_two_digits_of_the_error():
    shown = table(
        [
            row(),
            row(metric="rate", value=1234.5, standard_error=12.3),
            row(metric="bits_per_dim", value=0.123456, standard_error=0.000217, unit="bits/dim"),
            row(metric="active_units", value=19.0, standard_error=None, unit="units", n=10_000),
        ]
    )
    assert shown.splitlines() == [
        "−ELBO             98.13 ± 0.21 nats           n = 10     1 draw",
        "rate              1234 ± 12 nats              n = 10     1 draw",
        "bits/dim (−ELBO)  0.12346 ± 0.00022 bits/dim  n = 10     1 draw",
        "active units      19 units                    n = 10000  1 draw",
    ]
    assert table([]) == ""
