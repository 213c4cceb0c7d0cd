"""What data a likelihood can score."""

import warnings

import pytest
import torch

from fourfold.distributions import GreyBernoulliWarning, check_support

BITS = torch.tensor([0.0, 1.0, 1.0])
LEVELS = torch.arange(256, dtype=torch.uint8).float() / 255
GREY = torch.tensor([0.0, 0.3, 1.0])
NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize(
    "x, support",
    [
        (BITS, "binary"),
        (BITS.bool(), "binary"),
        (BITS.to(torch.uint8), "binary"),
        (LEVELS, "levels"),
        (LEVELS.double(), "levels"),
        (LEVELS.double() + 1e-7 * (LEVELS < 1), "levels"),
        (BITS, "levels"),
        (GREY, "unit"),
        (GREY * 255, "real"),
        (-GREY, "real"),
    ],
)
def test_good_data_pass_silently(x, support):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_support(x, support)


@pytest.mark.parametrize(
    "x, support, message",
    [
        (GREY * 255, "binary", r"pixels: wanted values from 0 to 1, got 0 to 255\. Divide 8-bit values by 255"),
        (GREY * 255, "unit", "Divide 8-bit values by 255"),
        (LEVELS * 255, "levels", "Divide 8-bit values by 255"),
        (GREY - 1, "unit", "wanted values from 0 to 1, got -1 to 0"),
        (GREY, "levels", r"wanted multiples of 1/255, got 0\.3\. Round"),
        (LEVELS.bfloat16(), "levels", "wanted multiples of 1/255"),
        (torch.tensor([1.0, NAN, 0.0, NAN]), "binary", "pixels: 2 of 4 values are NaN or infinite"),
        (torch.tensor([1.0, INF]), "real", "1 of 2 values are NaN or infinite"),
        (torch.tensor([1.0, -INF]), "unit", "1 of 2 values are NaN or infinite"),
        (torch.zeros(0, 784), "real", r"pixels: wanted at least one value, got shape \(0, 784\)"),
        (GREY, "grey", "check_support: support: unknown value 'grey'"),
    ],
)
def test_bad_data_are_refused(x, support, message):
    with pytest.raises(ValueError, match=message):
        check_support(x, support, "pixels")


def test_grey_pixels_in_a_bernoulli_are_warned_of():
    with pytest.warns(GreyBernoulliWarning) as caught:
        check_support(GREY, "binary", "pixels")
    (warning,) = caught
    text = str(warning.message)
    for words in (
        "not a likelihood",
        "binarize='dynamic'",
        "continuous_bernoulli",
        "256 levels",
        "discretised_logistic",
    ):
        assert words in text
