"""When two rows may be compared: every field of the protocol that keeps them apart, and those that do not."""

from copy import deepcopy
from typing import Any

import pytest

from fourfold._metrics import METRICS, described, differences, metric_of, rounded

ROW: dict[str, Any] = {
    "metric": "elbo",
    "value": -98.1,
    "unit": "nats",
    "standard_error": 0.2,
    "estimator": "1 draw, analytic KL",
    "n": 10_000,
    "non_finite": 0,
    "protocol": {
        "dataset": "mnist",
        "split": "burda",
        "split_seed": 0,
        "data_part": "test",
        "binarize": "dynamic",
        "dequantize": False,
        "condition": None,
        "seed": 0,
        "measure": "mass",
        "recipe": "vae",
        "arguments": {"latent": 50},
        "training_seed": 0,
        "parameters": 425_284,
        "steps": 17_880,
        "device": "cpu",
        "threads": 2,
        "fourfold": "0.1.0",
        "data_digest": "ab12",
    },
}


def changed(**changes: Any) -> dict[str, Any]:
    """The row with other values, at its top or in its protocol."""
    row = deepcopy(ROW)
    for key, value in changes.items():
        (row if key in ROW else row["protocol"])[key] = value
    return row


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"metric": "nll_is"}, ("metric", "elbo", "nll_is")),
        ({"dataset": "digits"}, ("data set", "mnist", "digits")),
        ({"split": "larochelle"}, ("split", "burda", "larochelle")),
        ({"split_seed": 1}, ("seed of the split", 0, 1)),
        ({"data_part": "validation"}, ("part of the data", "test", "validation")),
        ({"binarize": "threshold"}, ("binarisation", "dynamic", "threshold")),
        ({"dequantize": True}, ("dequantisation", False, True)),
        ({"condition": "label"}, ("condition", None, "label")),
        ({"seed": 1}, ("seed of binarisation and draws", 0, 1)),
        ({"measure": "density"}, ("measure (mass or density)", "mass", "density")),
        ({"n": 1000}, ("n", 10_000, 1000)),
        ({"unit": "bits"}, ("unit", "nats", "bits")),
        ({"estimator": "10 draws, analytic KL"}, ("estimator", "1 draw", "10 draws")),
        ({"estimator": "exact, no latents"}, ("estimator", "1 draw", "exact, no latents")),
        ({"data_digest": "cd34"}, ("the data themselves (digest)", "ab12", "cd34")),
    ],
    ids=lambda change: next(iter(change)) if isinstance(change, dict) else "",
)
def test_rows_that_must_not_be_compared(change: dict[str, Any], said: tuple[str, Any, Any]):
    assert [tuple(one) for one in differences(ROW, changed(**change))] == [said]
    assert [one.what for one in differences(changed(**change), ROW)] == [said[0]]


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": "iwae", "arguments": {}, "parameters": 1, "training_seed": 3, "steps": 9},
        {"device": "cuda", "threads": 8, "fourfold": "0.2.0"},
        {"value": 1.0, "standard_error": None, "non_finite": 1},
        {"estimator": "1 draw, Monte Carlo KL"},
        {"estimator": "1 draw, KL analytic where closed"},
        {"data_digest": None},
    ],
    ids=str,
)
def test_rows_that_may_be_compared(change: dict[str, Any]):
    assert differences(ROW, changed(**change)) == []


def test_every_difference_is_told_at_once():
    found = differences(ROW, changed(n=5, seed=2, dataset="digits", split="random", data_digest="cd34"))
    assert [one.what for one in found] == ["data set", "seed of binarisation and draws", "n"]


def test_data_drawn_on_another_device_are_told_as_such():
    found = differences(ROW, changed(data_digest="cd34", device="cuda"))
    assert [tuple(one) for one in found] == [("device, so what was drawn for the data", "cpu", "cuda")]


def test_how_many_latents_there_are_is_no_difference():
    rows = [
        changed(metric="active_units", estimator=f"Var_x E_q[z] > {t}, of {n} latents")
        for t, n in ((0.01, 50), (0.01, 20), (0.1, 20))
    ]
    assert differences(rows[0], rows[1]) == []
    assert [one.second for one in differences(rows[0], rows[2])] == ["Var_x E_q[z] > 0.1"]


def test_a_row_is_described_in_one_line():
    assert described(ROW) == "−ELBO of 10,000 test data of mnist, split burda, dynamic binarisation, seed 0; 1 draw"
    plain = changed(split=None, binarize=None, dequantize=True, metric="nll_is")
    assert described(plain, "these") == "these of 10,000 test data of mnist, dequantised, seed 0; 1 draw"


def test_signs():
    assert (METRICS["elbo"].sign, METRICS["elbo"].better) == (-1, "higher")
    assert all(METRICS[name].better == "lower" and METRICS[name].sign == 1 for name in ("nll_is", "nll_mc"))
    assert metric_of("rate").better is None
    assert metric_of("rate_1").label == "rate 1"


def test_values_are_rounded_to_their_errors():
    assert rounded(98.127, 0.2123) == ("98.13", "0.21")
    assert rounded(1234.5, 12.3) == ("1234", "12")
    assert rounded(0.123456, 0.000217) == ("0.12346", "0.00022")
    assert rounded(19.0, None) == ("19", "")
    assert rounded(0.123456, 0.0) == ("0.1235", "")
    assert rounded(float("inf"), None) == ("inf", "")
