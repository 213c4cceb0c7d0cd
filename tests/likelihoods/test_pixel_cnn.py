"""PixelCNN likelihoods in whole models: with z and without, in every use that a model has."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from fourfold.conditional import Condition
from fourfold.likelihoods import OUTPUTS, Likelihood, PixelCNN, PixelDecoder, pixel_cnn
from fourfold.models import VAE, Direct, Model
from fourfold.networks import Convolutional, Dense, PixelStacks
from fourfold.noise import Noise
from fourfold.objectives import ELBO
from fourfold.posteriors import gaussian, point
from fourfold.priors import ConditionalPrior, StandardNormal

DATA = (1, 5, 4)
STACKS = PixelStacks(layers=2, filters=6, kernel=3, first=3)
NET = partial(Dense, hidden=(8,), activation="tanh")


@pytest.fixture(autouse=True)
def seeded():
    """The same weights in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def vae(condition: Condition | None = None, **options) -> VAE:
    """A PixelVAE."""
    shape = None if condition is None else condition.shape
    p = pixel_cnn(NET, (2,), DATA, shape, PixelDecoder(features=3, stacks=STACKS, **options))
    return VAE(gaussian(NET, DATA, 2, shape), StandardNormal(2), p, condition).eval()


def test_it_is_a_likelihood_as_recipes_take_it():
    assert isinstance(pixel_cnn, Likelihood)


@pytest.mark.parametrize("outputs", OUTPUTS)
@pytest.mark.parametrize("upsampled", [True, False])
def test_a_model_scores_draws_and_trains(outputs: str, upsampled: bool):
    model = vae(outputs=outputs, upsampled=upsampled)
    assert model.support == ("binary" if outputs == "bernoulli" else "levels")
    x = Noise(0).uniform((3, *DATA)).round()
    trace = model(x, draws=4, noise=Noise(1))
    assert trace.log_weight.shape == (4, 3) and trace.p_x.lead_shape == (4, 3)
    again = model.at(x, tuple(level.z for level in trace.levels))
    assert_close(again.log_weight, trace.log_weight)
    (-ELBO()(trace).total.mean()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    assert sum(float(p.grad.abs().sum()) for p in model.posterior.parameters() if p.grad is not None) > 0


def test_features_may_be_z_itself():
    p = pixel_cnn(nn.Identity(), (3,), DATA, decoder=PixelDecoder(features=3, upsampled=False, stacks=STACKS))
    assert p(torch.zeros(2, 5, 3)).log_prob(torch.zeros(5, *DATA)).shape == (2, 5)


def test_importance_weights_with_shared_features_are_those_without(double):
    model = vae()
    x = Noise(0).uniform((3, *DATA)).round()
    trace = model(x, draws=6, noise=Noise(1))
    z = trace.levels[0].z
    alone = torch.stack([torch.stack([model.likelihood(z[s, b]).log_prob(x[b]) for b in range(3)]) for s in range(6)])
    assert_close(trace.log_likelihood, alone, rtol=0, atol=1e-12)


def test_importance_sampling_looks_at_x_once_for_all_draws_of_a_chunk(monkeypatch: pytest.MonkeyPatch):
    from fourfold.data import Batch
    from fourfold.evaluation import Sampling, nll_importance

    model, images = vae(), []
    network = model.likelihood.head.network
    seen = network.seen
    monkeypatch.setattr(network, "seen", lambda x: (images.append(x.shape[:-3].numel()), seen(x))[1])
    x = Noise(0).uniform((3, *DATA)).round()
    found = nll_importance(model, [Batch(x)], Noise(1), Sampling(300, rows_per_chunk=300))
    # A few chunks of some hundred draws, and the pass that finds the posterior; not one image for each of 900 rows.
    assert len(found) == 3 and set(images) == {3} and len(images) <= 6


def test_a_label_and_z_may_both_be_given():
    model = vae(Condition.label(4))
    c = torch.tensor([0, 1, 2])
    trace = model(Noise(0).uniform((3, *DATA)).round(), c, draws=2, noise=Noise(1))
    assert trace.log_weight.shape == (2, 3) and model.sample(3, c, Noise(2)).shape == (3, *DATA)


def test_pictures_of_what_has_no_mean_are_draws():
    model = vae()
    x = Noise(0).uniform((3, *DATA)).round()
    for made in (model.sample(3, noise=Noise(1)), model.reconstruct(x), model.decode(torch.zeros(3, 2))):
        assert made.shape == (3, *DATA) and ((made == 0) | (made == 1)).all()
    assert model.sample(9, noise=Noise(1)).equal(model.sample(9, noise=Noise(1), mean=False))
    assert model.reconstruct(x).equal(model.reconstruct(x))
    other = [model.reconstruct(x, noise=Noise(seed)) for seed in range(4)]
    assert any(not other[0].equal(one) for one in other[1:])
    assert any(
        not made.equal(model.decode(torch.zeros(3, 2))) for made in (model.decode(torch.zeros(3, 2), noise=Noise(5)),)
    )


def test_an_autoencoder_with_it_has_no_squared_error():
    from fourfold.data import Batch
    from fourfold.evaluation import elbo

    p = pixel_cnn(NET, (2,), DATA, decoder=PixelDecoder(features=3, stacks=STACKS))
    model = VAE(point(NET, DATA, 2), StandardNormal(2), p).eval()
    found = elbo(model, [Batch(Noise(0).uniform((3, *DATA)).round())], Noise(1))
    assert found.elbo is None and found.squared_error is None and found.distortion.shape == (3,)


def test_without_latents_the_bound_is_the_likelihood(double):
    model: Model = Direct(PixelCNN(DATA, PixelDecoder(stacks=STACKS))).eval()
    x = model.sample(7, noise=Noise(1))
    assert x.shape == (7, *DATA) and model.latent_shapes == () and model.support == "binary"
    trace = model(x, draws=3)
    assert trace.log_weight.shape == (3, 7) and trace.log_weight[0].equal(trace.log_weight[2])
    assert trace.p_x.log_prob(x).equal(trace.log_likelihood)
    with pytest.raises(ValueError, match="reconstruct: this model has neither latents nor a condition"):
        model.reconstruct(x)
    with pytest.raises(ValueError, match="a mask cannot leave pixels out"):
        model(x, mask=torch.ones_like(x))


def test_a_label_alone_may_be_given():
    p = pixel_cnn(nn.Identity(), (4,), DATA, decoder=PixelDecoder(features=4, upsampled=False, stacks=STACKS))
    model = Direct(ConditionalPrior(p), Condition.label(4)).eval()
    c = torch.tensor([0, 1, 2])
    x = model.sample(3, c, Noise(0))
    assert model(x, c, draws=2).log_weight.shape == (2, 3) and model.reconstruct(x, c).shape == (3, *DATA)


def test_what_cannot_be_is_refused_by_name():
    with pytest.raises(ValueError, match=r"pixel_cnn: outputs: unknown family 'bernouli'. Did you mean 'bernoulli'"):
        PixelCNN(DATA, PixelDecoder(outputs="bernouli"))
    with pytest.raises(ValueError, match=r"event: wanted an image \(C, H, W\), got \(20,\)"):
        pixel_cnn(NET, (2,), (20,), decoder=PixelDecoder(upsampled=False))
    with pytest.raises(ValueError, match="pixel_cnn: features must be an integer of at least 1"):
        pixel_cnn(Convolutional, (2,), DATA, decoder=PixelDecoder(features=0))
