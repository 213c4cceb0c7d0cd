"""PixelCNNs as lossless codes: what is drawn pixel by pixel is encoded and decoded pixel by pixel."""

from math import log

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

from fourfold.compression import CodingOptions, check_codable
from fourfold.likelihoods import PixelCNN, PixelDecoder, pixel_cnn
from fourfold.models import VAE, Direct, Model
from fourfold.networks import Dense, PixelStacks
from fourfold.noise import Noise
from fourfold.posteriors import gaussian
from fourfold.priors import StandardNormal

DATA = (1, 8, 8)
STACKS = PixelStacks(layers=2, filters=8, kernel=3, first=3)


def made(latents: bool, outputs: str) -> Model:
    """A tiny model that has seen the digits for a moment."""
    decoder = PixelDecoder(outputs, features=2, stacks=STACKS)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        if not latents:
            model: Model = Direct(PixelCNN(DATA, decoder))
        else:
            p = pixel_cnn(Dense, (2,), DATA, decoder=decoder)
            model = VAE(gaussian(Dense, DATA, 2), StandardNormal(2), p)
    x, noise = torch.from_numpy(digits(outputs)).float() / (1 if outputs == "bernoulli" else 255), Noise(0)
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(12):
        loss = -model(x[100 * (step % 10) :][:100], noise=noise.at(step)).log_weight.mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def digits(outputs: str) -> np.ndarray:
    x = load_digits().images.reshape(-1, *DATA)
    return (x > 7).astype(np.uint8) if outputs == "bernoulli" else (x * 255 / 16).round().astype(np.uint8)


@pytest.mark.parametrize(
    "latents, outputs", [(True, "bernoulli"), (False, "bernoulli"), (True, "discretised_logistic")]
)
def test_digits_come_back_at_the_price_of_the_bound(latents: bool, outputs: str):
    model, x = made(latents, outputs), digits(outputs)[1200 : 1216 if outputs == "bernoulli" else 1204]
    codec = check_codable(model, DATA)
    assert codec.levels == (2 if outputs == "bernoulli" else 256)
    block = codec.encode(x, options=CodingOptions(chunk=8, verify=False))
    again = check_codable(model, DATA)
    assert np.array_equal(again.decode(block), x)
    assert abs(block.net_bits - block.bound_bits) < 64 + 0.005 * block.bound_bits
    with torch.no_grad():
        values = torch.from_numpy(x).double() / (codec.levels - 1)
        nats = -model.double()(values, draws=50, noise=Noise(0)).log_weight.mean(0).sum()
    assert block.bound_bits == pytest.approx(float(nats) / log(2), rel=0.05)


def test_colours_come_back_too():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        stacks = PixelStacks(layers=2, filters=6, kernel=3, first=3)
        p = pixel_cnn(nn.Identity(), (2,), (3, 2, 2), decoder=PixelDecoder("categorical", 2, False, stacks))
        model = VAE(gaussian(Dense, (3, 2, 2), 2), StandardNormal(2), p).eval()
    x = (model.sample(4, noise=Noise(1)) * 255).round().to(torch.uint8).numpy()
    codec = check_codable(model, (3, 2, 2))
    assert np.array_equal(codec.decode(codec.encode(x, options=CodingOptions(chunk=4))), x)
