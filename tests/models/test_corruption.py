"""Corruptions, and the model that is shown them in training only."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from fourfold.conditional import Conditional, NetworkConditional
from fourfold.distributions import BernoulliHead, GaussianHead
from fourfold.models import CORRUPTIONS, VAE, Corruption, Dropout, GaussianNoise, Masking, OnFeatures, SaltAndPepper
from fourfold.noise import Noise, Recorder
from fourfold.priors import StandardNormal

X = Noise(9).uniform((400, 5, 5), dtype=torch.float64) * 0.8 + 0.1


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_noise_is_an_argument_and_shards_see_the_noise_of_the_whole(name: str) -> None:
    corruption = CORRUPTIONS[name](0.3)
    before = torch.get_rng_state()
    whole = corruption(X, Noise(1))
    assert torch.get_rng_state().equal(before)
    assert whole.shape == X.shape and whole.dtype == X.dtype and not whole.equal(X)
    assert corruption(X, Noise(1)).equal(whole) and not corruption(X, Noise(2)).equal(whole)
    assert corruption(X[200:], Noise(1, shard=(1, 2))).equal(whole[200:])


def test_gaussian_noise_has_its_scale() -> None:
    gap = GaussianNoise(0.3)(X, Noise(1)) - X
    assert gap.std().item() == pytest.approx(0.3, rel=0.02) and abs(gap.mean().item()) < 0.01


def test_masking_hides_its_share_and_leaves_the_rest() -> None:
    seen = Masking(0.3)(X, Noise(1))
    hidden = seen == 0
    assert hidden.double().mean().item() == pytest.approx(0.3, abs=0.02)
    assert seen[~hidden].equal(X[~hidden])


def test_dropout_is_masking_that_keeps_the_mean() -> None:
    seen = Dropout(0.3)(X, Noise(1))
    assert_close(seen, Masking(0.3)(X, Noise(1)) / 0.7)
    assert seen.mean().item() == pytest.approx(X.mean().item(), rel=0.02)


def test_salt_and_pepper_takes_half_of_its_share_each_way() -> None:
    seen = SaltAndPepper(0.4, black=-1.0, white=2.0)(X, Noise(1))
    pepper, salt = seen == -1, seen == 2
    for part in (pepper, salt):
        assert part.double().mean().item() == pytest.approx(0.2, abs=0.02)
    assert seen[~(pepper | salt)].equal(X[~(pepper | salt)])
    assert set(SaltAndPepper(0.5)(X.round(), Noise(1)).unique().tolist()) == {0.0, 1.0}  # binary data stay binary


def test_what_is_out_of_range_is_refused() -> None:
    for make, name in ((Masking, "Masking: share"), (Dropout, "Dropout: share"), (SaltAndPepper, "SaltAndPepper: s")):
        with pytest.raises(ValueError, match=name):
            make(1.0)
    with pytest.raises(ValueError, match="GaussianNoise: sigma"):
        GaussianNoise(0.0)
    with pytest.raises(ValueError, match="black below white"):
        SaltAndPepper(0.1, 1.0, 0.0)


class Witness(Conditional):
    """A posterior that remembers what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = NetworkConditional(torch.nn.Linear(6, 4), GaussianHead(2), 6)
        self.shown: list[Tensor] = []

    def forward(self, context: Tensor, c: Tensor | None = None) -> Any:
        self.shown.append(context)
        return self.inner(context)


def denoising(corruption: Corruption | None) -> tuple[VAE, list[Tensor]]:
    posterior = Witness()
    p_x = NetworkConditional(torch.nn.Linear(2, 6), BernoulliHead(6), 2)
    return VAE(posterior, StandardNormal(2), p_x, corruption=corruption), posterior.shown


def test_the_posterior_is_shown_corrupted_data_in_training_only_and_the_loss_is_of_the_clean() -> None:
    x = torch.ones(50, 6)
    model, shown = denoising(Masking(0.5))
    trace = model.train()(x, draws=3, noise=Noise(1))
    assert shown[-1].equal(Masking(0.5)(x, Noise(1))) and not shown[-1].equal(x)
    assert trace.x.equal(x) and trace.log_likelihood.equal(trace.p_x.log_prob(x))
    for call in (
        lambda: model.eval()(x, noise=Noise(1)),
        lambda: model.train().infer(x, None, lambda i, q: q.mean[None]),
        lambda: model.train().at(x, (torch.zeros(1, 50, 2),)),
        lambda: model.train().encode(x),
        lambda: model.train().reconstruct(x),
    ):
        call()
        assert shown[-1].equal(x)


def test_without_corruption_no_noise_is_drawn_for_it() -> None:
    x = torch.ones(5, 6)
    asked = []
    for corruption, training in ((None, True), (Masking(0.5), False), (Masking(0.5), True)):
        source = Recorder(Noise(1))
        denoising(corruption)[0].train(training)(x, noise=source)
        asked.append([request.kind for request in source.requests])
    assert asked == [["normal"], ["normal"], ["uniform", "normal"]]


def test_a_model_of_features_leaves_them_alone_and_speaks_of_them() -> None:
    features = torch.nn.Linear(4, 6)
    inner, shown = denoising(None)
    model = OnFeatures(features, inner)
    x = Noise(0).normal((5, 4))
    trace = model(x, draws=2, noise=Noise(1))
    assert trace.x.equal(features(x)) and shown[-1].equal(features(x)) and model.latent_shapes == ((2,),)
    trace.log_weight.sum().backward()
    assert features.weight.grad is None and all(p.grad is not None for p in inner.parameters())
    again = model.at(x, (trace.levels[0].z,))
    assert_close(again.log_weight, trace.log_weight)
    assert model.reconstruct(x).shape == (5, 6) and model.sample(3).shape == (3, 6)
    with pytest.raises(ValueError, match="says nothing of features"):
        model(x, mask=torch.ones(5, 4))


def test_features_stand_still_in_training_too_and_the_model_hears_of_steps() -> None:
    heard: list[Mapping[str, Tensor]] = []
    features = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))
    model = OnFeatures(features, denoising(None)[0])
    model.model.after_step = heard.append  # type: ignore[method-assign]
    x = Noise(0).normal((5, 4))
    before = {name: value.clone() for name, value in features.state_dict().items()}
    model.train()(x, noise=Noise(1)).log_weight.sum().backward()
    assert_close(dict(features.state_dict()), before)
    assert all(parameter.grad is None for parameter in features.parameters())
    assert model(x, noise=Noise(1)).x.equal(model.eval()(x, noise=Noise(1)).x)
    features.train()[2].eval()
    model(x, noise=Noise(1))
    assert [one.training for one in features] == [True, True, False]  # whoever trains them finds them as they were
    model.after_step(summary := {"rate": torch.ones(())})
    assert heard == [summary]
