"""Levels inferred apart, and the PixelVAE of two: bounds, laws, codes, and what every command makes of it."""

from math import log, pi
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import fourfold as ff
from fourfold.compression import CodingOptions, check_codable
from fourfold.conditional import Conditional
from fourfold.data import DataSpec
from fourfold.distributions import DiagonalGaussian, Distribution, Pixelwise
from fourfold.models import Apart, Climb, TopDown
from fourfold.networks import Dense, PixelStacks
from fourfold.noise import Noise
from fourfold.objectives import ELBO
from fourfold.priors import StandardNormal

SMALL = {
    "latent": 2,
    "maps": 2,
    "halvings": 1,
    "layers": 2,
    "filters": 8,
    "kernel": 3,
    "prior_layers": 2,
    "channels": 6,
    "hidden": 16,
}
SPEC = DataSpec((1, 6, 5), 2, None)


class Linear(Conditional):
    """N(a · context, variance)."""

    def __init__(self, a: float, variance: float) -> None:
        super().__init__()
        self.a, self.variance = a, variance

    def forward(self, context: Tensor, c: Tensor | None = None) -> Distribution:
        loc = self.a * context
        return DiagonalGaussian(loc, torch.full_like(loc, 0.5 * log(self.variance)))


def test_levels_apart_lose_what_their_posteriors_have_in_common(double: None) -> None:
    """z₂ ~ N(0, 1), z₁ ~ N(z₂, 1), x ~ N(z₁, 1), with the exact marginal of each level as its posterior."""
    rungs = [Apart((1,), StandardNormal(1), Linear(1 / 3, 2 / 3)), Apart((1,), Linear(1, 1), Linear(2 / 3, 2 / 3))]
    model = TopDown(Climb([nn.Identity()] * 2), rungs, Linear(1, 1))
    x = torch.tensor([[-1.5], [0.3], [2.0]])
    bound = ELBO(draws=40_000)(model(x, draws=40_000, noise=Noise(0))).total
    evidence = (-0.5 * (x.square() / 3 + log(2 * pi * 3))).squeeze(1)
    # The posterior has covariance ((2, 1), (1, 2)) / 3, q its diagonal: ½ (tr Σ⁻¹D − 2 + log |Σ| / |D|).
    assert_close(evidence - bound, torch.full((3,), 1 / 3 + 0.5 * log(3 / 4)), rtol=0, atol=0.02)


def made() -> TopDown:
    model = ff.recipes.pixel_vae2(**SMALL).build(SPEC).model
    assert isinstance(model, TopDown)
    return model


def test_its_levels_are_a_vector_and_maps() -> None:
    model = made()
    assert model.latent_shapes == ((2,), (2, 3, 2)) and model.support == "binary"
    trace = model(Noise(0).uniform((5, *SPEC.shape)).round(), draws=3, noise=Noise(1))
    top, bottom = trace.levels
    assert isinstance(bottom.p, Pixelwise) and not bottom.p.mass and bottom.p.lead_shape == (3, 5)
    assert isinstance(bottom.q, DiagonalGaussian) and bool((bottom.q.scale < 1).all())
    assert bottom.kl is None and top.kl is not None
    terms = ELBO(draws=3)(trace)
    assert {"rate_1", "rate_2"} <= set(terms.parts)
    assert_close(terms.total, trace.log_likelihood.mean(0) - top.kl - bottom.log_ratio.mean(0))


def test_no_bound_exceeds_the_evidence_and_many_draws_climb_to_it(double: None) -> None:
    """The evidence by plain Monte Carlo from the prior, over all images of two pixels: it sums to one."""
    spec = DataSpec((1, 2, 1), 2, None)
    model = ff.recipes.pixel_vae2(**{**SMALL, "maps": 1, "halvings": 0}).build(spec).model
    top, bottom = model.rungs
    with torch.no_grad():
        # posteriors wider than priors, or importance weights have no variance
        top.guess.network.layers[-1].bias[2:] = 0.2
        bottom.guess.network.layers[-1].bias[1:] = 20.0
        bottom.conditional.head.network.last.bias[1:] = -0.5
        x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]]).reshape(4, 1, 2, 1)
        made = model.generate(10_000, None, lambda i, p: p.sample(Noise(2).fork(str(i))))
        evidence = torch.stack([made.p_x.log_prob(one.expand(10_000, 1, 2, 1)).logsumexp(0) - log(10_000) for one in x])
        weights = model(x, draws=10_000, noise=Noise(3)).log_weight
    assert_close(evidence.exp().sum(), torch.ones(()), rtol=0, atol=1e-12)
    bounds = [(weights.reshape(-1, k, 4).logsumexp(1) - log(k)).mean(0) for k in (1, 10, 10_000)]
    assert ((evidence - bounds[0]) > 0.1).all() and (bounds[0] < bounds[1]).all() and (bounds[1] < bounds[2]).all()
    assert_close(bounds[2], evidence, rtol=0, atol=0.03)


def test_maps_are_drawn_one_element_after_the_other_as_they_are_scored(double: None) -> None:
    model, picked = made(), []

    def pick(i: int, p: Distribution) -> Tensor:
        picked.append(p)
        return p.sample(Noise(i))

    z = model.generate(4, None, pick).z
    steps, total = picked[1].conditionals(), torch.zeros(4)
    piece, where = next(steps)
    while True:
        value = z[1].reshape(4, -1)[:, where]
        total = total + piece.log_prob(value)
        try:
            piece, where = steps.send(value)
        except StopIteration:
            break
    assert_close(picked[1].log_prob(z[1]), total, rtol=0, atol=1e-12)


def test_images_come_back_from_its_code_at_the_price_of_the_bound() -> None:
    model = made().eval()
    x = model.sample(12, noise=Noise(0), mean=False).numpy().astype(np.uint8)
    codec = check_codable(model, SPEC.shape)
    block = codec.encode(x, options=CodingOptions(chunk=6, verify=False))
    assert np.array_equal(check_codable(model, SPEC.shape).decode(block), x)
    assert abs(block.net_bits - block.bound_bits) < 64 + 0.01 * block.bound_bits


@pytest.mark.slow
def test_every_command_runs_or_says_why_not(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from fourfold.cli import main

    recipe = ff.recipes.pixel_vae2(**SMALL, beta_schedule="linear:0:1:20")
    run = ff.fit(recipe, ff.data.digits(), epochs=2, batch_size=100, lr=5e-3, out=tmp_path / "two", quiet=True)
    other = ff.fit(ff.recipes.vae(latent=2, hidden=(16,)), ff.data.digits(), epochs=1, out=tmp_path / "vae", quiet=True)
    folder, few = str(run.folder.path), ["--data-count", "4", "--importance-samples", "20", "--quiet"]
    assert main(["score", folder, "--out", str(tmp_path / "s.csv"), "--quiet"]) == 0
    assert main(["sample", folder, "-n", "4", "--out", str(tmp_path / "s.npz")]) == 0
    assert main(["reconstruct", folder, "-n", "4", "--out", str(tmp_path / "r.png")]) == 0
    assert main(["encode", folder, "--out", str(tmp_path / "z.npz")]) == 0
    with np.load(tmp_path / "z.npz") as file:
        assert file["z_1"].shape[1:] == (2,) and file["z_2"].shape[1:] == (2, 4, 4)
    assert main(["evidence", folder, *few, "--ais", "5", "--chains", "2", "--bdmc", "2"]) == 0
    assert main(["compare", folder, str(other.folder.path), "--quiet"]) == 0
    assert main(["gap", folder, *few]) != 0
    assert "TopDown has 2 groups of latents" in capsys.readouterr().err
    rates = [row for row in run.metrics if "validation/rate_1 raw [nats]" in row]
    assert rates and "validation/rate_2 raw [nats]" in rates[-1]


def test_what_cannot_be_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="pixel_vae2: maps must be an integer of at least 1, got 0"):
        ff.recipes.pixel_vae2(**{**SMALL, "maps": 0}).build(SPEC)
    with pytest.raises(ValueError, match="recipe pixel_vae2 needs images"):
        ff.recipes.pixel_vae2().build(DataSpec((64,), 2, None))
    with pytest.raises(ValueError, match="PixelCNNs are over levels, and these data are real"):
        ff.recipes.pixel_vae2().build(DataSpec((1, 8, 8), None, None))
    from fourfold.likelihoods import PixelDecoder, pixel_cnn

    p = pixel_cnn(Dense, (2,), (1, 4, 4), decoder=PixelDecoder("gaussian", 3, stacks=PixelStacks(2, 4, 3, 3)))
    assert p.support == "real" and p(torch.zeros(5, 2)).log_prob(torch.zeros(5, 1, 4, 4)).shape == (5,)
