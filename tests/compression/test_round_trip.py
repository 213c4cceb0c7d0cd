"""What is encoded decodes to itself, bit for bit, at the price that the model names."""

from dataclasses import replace
from math import log

import numpy as np
import pytest
import torch
from coded_models import CASES, DATA, Case, Levels, vae
from sklearn.datasets import load_digits
from torch import nn

from fourfold.compression import Block, CodingOptions, check_codable
from fourfold.conditional import NetworkConditional
from fourfold.distributions import BernoulliHead, GaussianHead
from fourfold.models import VAE
from fourfold.noise import Noise
from fourfold.priors import StandardNormal

EVERY = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
SMALL = CodingOptions(chunk=8, verify=False)


def through_bytes(block: Block) -> Block:
    again = Block.unpack(*block.pack())
    assert (again.words == block.words).all() and replace(again, words=block.words) == block
    return again


@EVERY
@pytest.mark.parametrize("n", [1, 21])
def test_every_model_gives_back_what_it_was_given(case: Case, n: int):
    x, c = case.data(n)
    block = check_codable(case.model(), DATA).encode(x, c, SMALL)
    back = check_codable(case.model(), DATA).decode(through_bytes(block), c)
    assert back.dtype == x.dtype and np.array_equal(back, x)
    assert block.n == n == sum(block.sizes) and max(block.sizes) <= 8


@EVERY
def test_bits_are_those_of_the_bound(case: Case):
    """Words are whole, so is the head of the stack: 64 bits more or less."""
    x, c = case.data(400)
    block = check_codable(case.model(), DATA).encode(x, c, CodingOptions(verify=False))
    assert abs(block.net_bits - block.bound_bits) < 64 + 0.002 * block.bound_bits
    assert block.bits == 32 * len(block.words) and block.initial_bits < 400
    model = case.model().double()
    with torch.no_grad():
        seen = torch.from_numpy(x).double() / (case.levels - 1)
        weights = model(seen, c, 50, noise=Noise(0)).log_weight / log(2)
    noise = weights.std(0).square().sum().sqrt()  # of one draw for each datum
    assert abs(block.bound_bits + weights.mean(0).sum()) < 4 * noise + 0.003 * block.bound_bits


def test_types_and_options_are_kept():
    case = CASES["binary"]
    codec, (x, _) = check_codable(case.model(), DATA), case.data(5)
    for dtype in (np.bool_, np.int64, np.uint8, np.int16):
        back = codec.decode(codec.encode(x.astype(dtype), options=SMALL))
        assert back.dtype == dtype and np.array_equal(back, x)
    for options in (CodingOptions(chunk=1), CodingOptions(step=0.05), CodingOptions(step=3.0), CodingOptions(seed=5)):
        assert np.array_equal(codec.decode(codec.encode(x, options=options)), x)
    assert codec.encode(x).words.tolist() == codec.encode(x).words.tolist()
    assert codec.encode(x).words.tolist() != codec.encode(x, options=CodingOptions(seed=5)).words.tolist()


def test_the_model_itself_is_left_alone():
    model = CASES["binary"].model().train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    codec = check_codable(model, DATA)
    codec.encode(CASES["binary"].data(3)[0], options=SMALL)
    assert model.training and all(p.dtype == torch.float32 and p.requires_grad for p in model.parameters())
    assert all(value.equal(before[name]) for name, value in model.state_dict().items())
    assert torch.random.get_rng_state().equal(state)


def test_more_words_are_put_under_a_stack_that_runs_out(monkeypatch):
    monkeypatch.setattr("fourfold.compression.codec._WORDS", 3)
    case = CASES["binary"]
    codec, (x, _) = check_codable(case.model(), DATA), case.data(20)
    few = codec.encode(x, options=SMALL)
    monkeypatch.setattr("fourfold.compression.codec._WORDS", 4096)
    assert few.words.tolist() == codec.encode(x, options=SMALL).words.tolist()
    assert np.array_equal(codec.decode(few), x)


def test_outliers_beyond_the_grid_cost_bits_and_nothing_else():
    """Posteriors far from those of the first data, from which the grid was chosen."""
    model = vae().eval()
    final = model.posterior.network[-1]
    nn.init.constant_(final.weight, 0.0)
    final.weight.data[0, 0] = 1e4  # one latent's mean leaps for what lights the first hidden unit
    model.posterior.network[1].weight.data[0] = torch.tensor([0.0, 0, 0, 0, 0, 9.0])
    model.posterior.network[1].bias.data[0] = 0.0
    x = np.zeros((30, *DATA), dtype=np.uint8)
    x[20:, 1, 2] = 1
    codec = check_codable(model, DATA)
    assert np.array_equal(codec.decode(codec.encode(x, options=SMALL)), x)


def test_a_chain_needs_fewer_bits_to_begin():
    """Bit-Swap: those of a level and of the next one, less what x has put there; not those of all levels."""
    sizes = (40, 40, 40, 40, 40)
    torch.manual_seed(0)
    x = np.zeros((1, *DATA), dtype=np.uint8)
    swap = check_codable(Levels(sizes, markov=True), DATA).encode(x)
    summed = check_codable(Levels(sizes, markov=False), DATA).encode(x)
    assert swap.initial_bits < 0.55 * summed.initial_bits


def test_short_chunks_come_first():
    """So the bits that a chunk borrows are those of data already there, and the stack begins with little."""
    case = CASES["categorical"]
    codec, (x, _) = check_codable(case.model(), DATA), case.data(300)
    block = codec.encode(x, options=CodingOptions(verify=False))
    assert block.sizes[0] == 1 and max(block.sizes) == 100 and len(block.sizes) < 15
    alone = codec.encode(x[:1], options=CodingOptions(verify=False))
    assert block.initial_bits <= alone.initial_bits + 64


@pytest.fixture(scope="module")
def digits() -> tuple[VAE, np.ndarray]:
    """A VAE trained for a few seconds on binary digits, and digits that it has not seen."""
    x = torch.from_numpy((load_digits().images > 7).astype(np.float32)).flatten(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        q = NetworkConditional(nn.Sequential(nn.Linear(64, 100), nn.Tanh(), nn.Linear(100, 24)), GaussianHead(12), 64)
        p = NetworkConditional(nn.Sequential(nn.Linear(12, 100), nn.Tanh(), nn.Linear(100, 64)), BernoulliHead(64), 12)
        model, noise = VAE(q, StandardNormal(12), p), Noise(0)
        optimiser = torch.optim.Adam(model.parameters(), 3e-3)
        for step in range(600):
            rows = torch.randint(0, 1200, (100,))
            loss = -model(x[rows], noise=noise.at(step)).log_weight.mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model.eval(), x[1200:].numpy().astype(np.uint8)


def test_a_trained_model_pays_out_its_bound(digits):
    """Net bits within 1 % of the −ELBO, and everything within 2 %: 597 digits."""
    model, x = digits
    codec = check_codable(model, (64,))
    block = codec.encode(x)
    assert np.array_equal(codec.decode(block), x)
    with torch.no_grad():
        wide = model.double()
        elbo = wide(torch.from_numpy(x).double(), draws=100, noise=Noise(1)).log_weight.mean(0).sum()
        model.float()
    wanted = -float(elbo) / log(2)
    assert wanted < 0.6 * x.size  # it has learned something
    assert block.net_bits == pytest.approx(block.bound_bits, rel=0.002)
    assert block.net_bits == pytest.approx(wanted, rel=0.01)
    assert block.bits < 1.02 * wanted
