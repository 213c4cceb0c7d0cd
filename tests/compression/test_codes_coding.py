"""A VQ-VAE as a lossless code: its codes cost −log₂ p(z) and nothing is borrowed for them, since q has no noise."""

from math import log

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from fourfold.compression import CodingOptions, check_codable
from fourfold.compression.block import Damaged
from fourfold.data import DataSpec
from fourfold.models import VQVAE
from fourfold.noise import Noise
from fourfold.recipes import vq_vae

DATA = (1, 8, 8)


def made(prior: str, likelihood: str, quantiser: str) -> VQVAE:
    """A tiny model that has seen the digits for a moment."""
    sizes = {"codes": 8, "dim": 4, "hidden": (8,), "layers": 2, "filters": 8, "levels": (4, 2)}
    plan = vq_vae(prior=prior, likelihood=likelihood, quantiser=quantiser, **sizes)
    model = plan.build(DataSpec(DATA, 256, None, grey=True)).model
    assert isinstance(model, VQVAE)
    x, noise = torch.from_numpy(digits(likelihood)).float() / (1 if likelihood == "bernoulli" else 255), Noise(0)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(20):
        trace = model(x[100 * (step % 10) :][:100], noise=noise.at(step))
        optimiser.zero_grad()
        (-trace.log_weight.mean()).backward()
        optimiser.step()
        model.after_step(trace.summary)
    return model.eval()


def digits(likelihood: str) -> np.ndarray:
    x = load_digits().images.reshape(-1, *DATA)
    return (x > 7).astype(np.uint8) if likelihood == "bernoulli" else (x * 255 / 16).round().astype(np.uint8)


@pytest.mark.parametrize(
    "prior, likelihood, quantiser",
    [
        ("uniform", "bernoulli", "vq"),
        ("pixel_cnn", "bernoulli", "vq"),
        ("pixel_cnn", "discretised_logistic", "fsq"),
    ],
)
def test_digits_come_back_at_the_price_of_the_bound(prior: str, likelihood: str, quantiser: str) -> None:
    model, x = made(prior, likelihood, quantiser), digits(likelihood)[1200:1216]
    codec = check_codable(model, DATA)
    block = codec.encode(x, options=CodingOptions(chunk=8, verify=False))
    assert np.array_equal(check_codable(model, DATA).decode(block), x)
    values = torch.from_numpy(x).double() / (codec.levels - 1)
    with torch.no_grad():
        trace = model.double()(values)
        bits = -float(trace.log_weight.sum()) / log(2)
    assert block.bound_bits == pytest.approx(bits, rel=1e-9)
    assert abs(block.net_bits - bits) < 64 + 0.005 * bits
    if prior == "uniform":
        assert float(trace.levels[0].kl.sum()) / log(2) == pytest.approx(16 * 4 * 3)  # 4 codes of 3 bits each


def test_nothing_is_borrowed_for_the_first_datum() -> None:
    model, x = made("uniform", "bernoulli", "vq"), digits("bernoulli")[:1]
    block = check_codable(model, DATA).encode(x, options=CodingOptions(chunk=1, verify=False))
    assert block.initial_words <= 2


def test_another_model_s_codes_are_found_out() -> None:
    x = digits("bernoulli")[1200:1216]
    block = check_codable(made("uniform", "bernoulli", "vq"), DATA).encode(x, options=CodingOptions(chunk=8))
    other = made("uniform", "bernoulli", "fsq")
    try:
        back = check_codable(other, DATA).decode(block)
    except Damaged:
        return
    assert not np.array_equal(back, x)
