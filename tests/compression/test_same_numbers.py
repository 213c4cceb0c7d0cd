"""Decoders whose numbers are not quite the encoder's; and what must not decode."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from coded_models import CASES, DATA, LATENT, likelihood, posterior, vae
from torch import Tensor, nn

from fourfold.compression import Block, Codec, CodingOptions, Damaged, NotCodable, check_codable
from fourfold.compression.rounding import Rounder
from fourfold.compression.stack import Empty, Stack, coder, seed_words
from fourfold.compression.symbols import Drawn, Scored
from fourfold.distributions import ContinuousBernoulliHead, DiscretisedLogisticHead, FlowHead, GaussianHead, PointHead
from fourfold.models import VAE
from fourfold.networks.flows import gated, splines
from fourfold.noise import Noise
from fourfold.posteriors import point
from fourfold.priors import AutoregressiveFlow, StandardNormal

SMALL = CodingOptions(chunk=16, verify=False)
SOME = ["binary", "categorical", "discretised_logistic", "two_levels", "long_chain", "conditional", "vamp", "ar1"]
SOME += ["full_posterior", "flow_posterior", "mixture_posterior"]


def disturbed(codec: Codec, size: float) -> None:
    """Every linear layer's outputs are off by so much of themselves, and at every call differently."""
    noise = Noise(9)

    def hook(module: nn.Module, inputs: tuple, out: Tensor) -> Tensor:
        return out * (1 + size * noise.normal(tuple(out.shape), dtype=out.dtype).clamp(-3, 3))

    for module in codec._model.modules():
        if isinstance(module, nn.Linear):
            module.register_forward_hook(hook)


@pytest.mark.parametrize("name", SOME)
def test_other_last_digits_round_to_the_same_numbers(name: str):
    """A million times what float64 does on its own."""
    case = CASES[name]
    x, c = case.data(50)
    encoder, decoder = check_codable(case.model(), DATA), check_codable(case.model(), DATA)
    block = encoder.encode(x, c, SMALL)
    disturbed(decoder, 2e-11)
    assert np.array_equal(decoder.decode(block, c), x)


def test_a_model_that_differs_by_more_is_another_model():
    case = CASES["binary"]
    x, _ = case.data(50)
    codec = check_codable(case.model(), DATA)
    block = codec.encode(x, options=SMALL)
    disturbed(codec, 1e-3)
    with pytest.raises(Damaged, match="altered, or coded with another model"):
        codec.decode(block)
    with pytest.raises(NotCodable, match="differ by more than rounding"):
        codec.encode(x, options=CodingOptions(chunk=16))


def test_threads_and_batches_do_not_matter():
    """Any number of threads, and layers that take the rows in other portions."""
    case = CASES["binary"]
    x, _ = case.data(60)
    block = check_codable(case.model(), DATA).encode(x, options=CodingOptions(verify=False))
    before = torch.get_num_threads()
    try:
        for threads in (2, 4):
            torch.set_num_threads(threads)
            assert np.array_equal(check_codable(case.model(), DATA).decode(block), x)
    finally:
        torch.set_num_threads(before)
    codec = check_codable(case.model(), DATA)
    for module in codec._model.modules():
        if isinstance(module, nn.Linear):
            module.forward = _in_portions(module)
    assert np.array_equal(codec.decode(block), x)


def _in_portions(layer: nn.Linear):
    def forward(x: Tensor) -> Tensor:
        return torch.cat([part @ layer.weight.T + layer.bias for part in x.split(7)])

    return forward


@pytest.mark.slow
def test_another_process_decodes_it(tmp_path: Path):
    case = CASES["vamp"]
    x, _ = case.data(40)
    record, words = check_codable(case.model(), DATA).encode(x, options=SMALL).pack()
    (tmp_path / "words").write_bytes(words)
    np.save(tmp_path / "x.npy", x)
    program = f"""
import sys, numpy as np, torch
sys.path.insert(0, {str(Path(__file__).parent)!r})
torch.set_num_threads(2)
from coded_models import CASES, DATA
from fourfold.compression import Block, check_codable
block = Block.unpack({record!r}, open({str(tmp_path / "words")!r}, "rb").read())
back = check_codable(CASES["vamp"].model(), DATA).decode(block)
assert np.array_equal(back, np.load({str(tmp_path / "x.npy")!r}))
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)


def test_a_shifted_grid_keeps_numbers_from_boundaries():
    """Numbers on the very boundaries of the first grids, and a decoder's that are a little to either side."""
    noise = np.random.default_rng(0)
    for size in (1.0, 100.0):
        boundaries = (np.arange(-20, 20) * size + 0.5) / 64
        values = np.concatenate([boundaries, boundaries + (159 - 256) / 256 / 64, noise.normal(size=200) * size])
        encoder = Rounder()
        whole = encoder((0, 0, 0), values, 64.0)
        assert encoder.shifts[0, 0, 0] > 1
        decoder = Rounder(encoder.shifts)
        for off in (1e-10, -1e-10):
            assert np.array_equal(decoder((0, 0, 0), values * (1 + off) + off, 64.0), whole)
        assert np.abs(whole - values * 64).max() <= 1.0
    plain = Rounder()
    plain((0, 0, 0), np.array([0.0, 0.25, -3.0]), 64.0)
    assert plain.shifts == {}
    with pytest.raises(NotCodable, match="finite"):
        plain((0, 0, 0), np.array([np.nan]), 64.0)


def test_a_stack_knows_when_it_is_empty_and_how_deep_it_was():
    stack, half = Stack.seeded(0, 10), np.full(32, 0.5)
    coin = coder().model.Bernoulli(perfect=False)
    popped = stack.pop(coin, half)
    assert stack.depth == stack.lowest == 7
    stack.push(popped, coin, half)
    assert stack.words.tolist() == seed_words("0", 10).tolist() and stack.depth == 8
    stack.stir("a")
    assert stack.words.tolist() != seed_words("0", 10).tolist()
    stack.stir("a")
    words, first = stack.trimmed()
    assert words.tolist() == seed_words("0", 10)[7:].tolist() == seed_words("0", 3).tolist() and first == 3
    with pytest.raises(Empty):
        for _ in range(20):
            stack.pop(coin, half)


def test_draws_stay_near_their_mean_and_anything_can_be_scored():
    """Of a stack of random bits: no draw beyond 6 standard deviations; and no number without a code."""
    mean, log_scale = np.tile(np.arange(-4000.0, 4000.0, 40.0), (300, 1)), np.tile(np.arange(200.0), (300, 1))
    stack, drawn = Stack.seeded(0, 20_000), Drawn(16 * mean, log_scale, 8192)
    before, z = stack.words, drawn.pop(stack)
    off = (z - mean) / np.exp(log_scale / 64)
    assert np.abs(off).max() < 7 and abs(off.mean()) < 0.02 and off.std() == pytest.approx(1, abs=0.02)
    assert np.abs(off[:, 20:].mean(0)).max() < 0.3
    drawn.push(stack, z)
    assert stack.words.tolist() == before.tolist()
    far = np.where(mean > 0, -8192, 8192)
    scored = Scored(16 * mean, log_scale, 8192)
    scored.push(stack, far)
    assert np.array_equal(scored.pop(stack), far) and stack.words.tolist() == before.tolist()


def block_of(name: str = "binary") -> tuple[Codec, Block, np.ndarray]:
    case = CASES[name]
    codec, (x, c) = check_codable(case.model(), DATA), case.data(40)
    return codec, codec.encode(x, c, SMALL), x


def test_every_flipped_word_is_noticed():
    codec, block, _ = block_of()
    for i in range(len(block.words)):
        words = block.words.copy()
        words[i] ^= np.uint32(1 << 7 * i % 32)
        with pytest.raises(Damaged):
            codec.decode(replace(block, words=words))


@pytest.mark.parametrize(
    "changes",
    [
        lambda b: {"words": b.words[1:]},
        lambda b: {"words": b.words[:-1]},
        lambda b: {"words": b.words[:0]},
        lambda b: {"seed": b.seed + 1},
        lambda b: {"initial_words": b.initial_words - 1},
        lambda b: {"n": b.n + 1},
        lambda b: {"n": b.n - 1},
        lambda b: {"sizes": b.sizes[::-1]},
        lambda b: {"sizes": (17, *b.sizes[1:])},
        lambda b: {"sizes": (-1, b.sizes[0] + 1, *b.sizes[1:])},
        lambda b: {"chunk": 0},
        lambda b: {"grids": ()},
        lambda b: {"grids": (replace(b.grids[0], reach=0),)},
        lambda b: {"grids": (replace(b.grids[0], exponents=(5000,) * 4),)},
        lambda b: {"grids": (replace(b.grids[0], exponents=(b.grids[0].exponents[0] + 1, *b.grids[0].exponents[1:])),)},
        lambda b: {"dtype": "object"},
        lambda b: {"dtype": "float32"},
    ],
)
def test_a_block_that_does_not_fit_is_refused(changes):
    codec, block, _ = block_of()
    with pytest.raises(Damaged):
        codec.decode(replace(block, **changes(block)))


def test_another_model_or_other_conditions_are_refused():
    case = CASES["conditional"]
    codec, (x, c) = check_codable(case.model(), DATA), case.data(40)
    block = codec.encode(x, c, SMALL)
    with pytest.raises(Damaged):
        check_codable(case.model(seed=1), DATA).decode(block, c)
    with pytest.raises(Damaged):
        codec.decode(block, (c + 1) % 3)
    with pytest.raises(ValueError, match="c is missing"):
        codec.encode(x, options=SMALL)
    with pytest.raises(NotCodable, match="one condition for each of 40"):
        codec.encode(x, c[:3], SMALL)


@pytest.mark.parametrize("change", [{"n": None}, {"grids": 3}, {"shifts": [["a"]]}, {"dtype": "nothing"}])
def test_a_record_that_pack_did_not_make_is_refused(change):
    record, words = block_of()[1].pack()
    with pytest.raises(Damaged, match="not what pack"):
        Block.unpack({**record, **change}, words)


def flow(steps: int, factory=gated) -> VAE:
    return vae(q=posterior(FlowHead(LATENT, factory(LATENT, 3, steps=steps, hidden=(8,)), 3)))


REFUSED = {
    "a density of x": (lambda: vae(GaussianHead(DATA)), "DiagonalGaussian, a density"),
    "a density on [0, 1]": (lambda: vae(ContinuousBernoulliHead(DATA)), "ContinuousBernoulli, a density"),
    "a point": (
        lambda: VAE(point(lambda i, o, c: posterior(PointHead(4)).network, DATA, 4), StandardNormal(4), likelihood()),
        r"posterior \(Point\) is a point",
    ),
    "a flow of steps": (lambda: flow(2), r"posterior \(PushForward\) .* in 2 steps"),
    "splines": (lambda: flow(1, splines), "MonotonicRQS.* bends"),
    "a prior of steps": (lambda: vae(prior=AutoregressiveFlow(LATENT)), r"prior \(PullBack\) .* in 2 steps"),
}


@pytest.mark.parametrize("make, why", REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_coded_is_refused_with_the_reason(make, why):
    with pytest.raises(NotCodable, match=why):
        check_codable(make(), DATA)


@pytest.mark.parametrize(
    "x, why",
    [
        (
            np.full((2, *DATA), 255, dtype=np.uint8),
            "from 255 to 255, but the likelihood is of 0 and 1 only, .* nothing is",
        ),
        (np.full((2, *DATA), -1), "from -1 to -1"),
        (np.zeros((2, *DATA)), "wanted whole numbers 0 … 1, got float64"),
        (np.zeros((2, 3, 2), dtype=np.uint8), r"wanted data \(n, 2, 3\), got \(2, 3, 2\)"),
        (np.zeros((0, *DATA), dtype=np.uint8), r"got \(0, 2, 3\)"),
    ],
)
def test_data_that_the_likelihood_cannot_score_are_refused(x, why):
    with pytest.raises(NotCodable, match=why):
        check_codable(CASES["binary"].model(), DATA).encode(x)


def test_levels_end_at_255():
    codec = check_codable(vae(DiscretisedLogisticHead(DATA)), DATA)
    with pytest.raises(NotCodable, match="no probability for what is not 0 … 255"):
        codec.encode(np.full((1, *DATA), 256))


def test_options_are_checked():
    for wrong in ({"step": 0.0}, {"chunk": 0}):
        with pytest.raises(ValueError, match="CodingOptions"):
            CodingOptions(**wrong)


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "constriction", None)
    with pytest.raises(ImportError, match=r"pip install 'fourfold\[compress\]'"):
        check_codable(CASES["binary"].model(), DATA)
