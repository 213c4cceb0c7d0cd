"""Patients, each ill in its own way, and the healthy: the doctor's first finding is right, and nobody well is ill."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import fourfold as ff
from fourfold.data import DataSet, Split, from_arrays
from fourfold.evaluation.doctor import Checkup, Diagnosis
from fourfold.likelihoods import bernoulli
from fourfold.models import VAE
from fourfold.networks import Dense
from fourfold.objectives import ELBO, FreeBits
from fourfold.plan import Plan, Recipe
from fourfold.posteriors import gaussian
from fourfold.priors import StandardNormal
from fourfold.runs import Run

# These tests train for seconds each; annotations were checked where the parts were tested.
pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("unchecked_module")]

USUAL: dict[str, Any] = {
    "epochs": 50,
    "batch_size": 200,
    "lr": 5e-3,
    "lr_schedule": "cosine",
    "binarize": "threshold",
    "log_steps": 10**6,
    "quiet": True,
}
PIXELS = {**USUAL, "epochs": 25, "batch_size": 100, "lr": 1e-2, "binarize": "none"}
SMALL = {"latent": 8, "hidden": (48,)}
R = ff.recipes


@pytest.fixture(scope="module")
def unchecked_module() -> Any:
    import jaxtyping

    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@cache
def digits() -> DataSet:
    return ff.data.digits()


@cache
def textures() -> DataSet:
    """Images whose rows are noisy copies of the row above: each pixel is told by those before it, and none by a z."""
    draw = np.random.default_rng(0)
    x = np.zeros((600, 1, 5, 5), np.uint8)
    x[:, 0, 0] = draw.random((600, 5)) < 0.5
    for i in range(1, 5):
        x[:, 0, i] = x[:, 0, i - 1] ^ (draw.random((600, 5)) < 0.1)
    return from_arrays(x, name="textures")


def few() -> DataSet:
    train = digits().train
    return replace(
        digits(), train=Split(train.x[:100]), classes=None, validation=_bare("validation"), test=_bare("test")
    )


def _bare(part: str) -> Split:
    return Split(digits().parts[part].x)


class Deaf(nn.Module):
    """A decoder that has logits of its own for every z."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.zeros(64))

    def forward(self, z: Tensor) -> Tensor:
        return self.logits.expand(len(z), 64)


def deaf() -> Recipe:
    torch.manual_seed(0)
    q, p = gaussian(Dense, (1, 8, 8), 8), bernoulli(Deaf(), (8,), (1, 8, 8))
    return Recipe(VAE(q, StandardNormal(8), p), FreeBits(3.0))


def pixel_vae() -> Plan:
    return R.pixel_vae(latent=4, layers=1, filters=6, kernel=3, network="dense", hidden=(24,))


def dead_codes() -> Plan:
    """Vectors that are held to the first codes they met, and nothing that sets the others anew."""
    vectors = {"codes": 512, "codebook": "loss", "commitment": 10.0, "prior": "uniform"}
    return R.vq_vae(network="dense", hidden=(48,), places=(1, 8), **vectors)


#: Name → what is trained, on what, how; and what the doctor has to say first.
PATIENTS: dict[str, tuple[Callable[[], Plan | Recipe], Callable[[], DataSet], dict[str, Any], str]] = {
    "collapsed": (pixel_vae, textures, PIXELS, "collapsed"),
    "dead upper level": (
        lambda: R.hvae(latents=(8, 6, 4), hidden=(48, 24, 16)),
        digits,
        {**USUAL, "epochs": 40},
        "collapsed_levels",
    ),
    "deaf decoder": (deaf, digits, {**USUAL, "epochs": 20, "lr": 3e-2}, "decoder_ignores_z"),
    "beta 50": (lambda: R.beta_vae(beta=50.0, **SMALL), digits, {**USUAL, "epochs": 20}, "over_regularised"),
    "beta 3, alive": (
        lambda: R.beta_vae(beta_schedule="linear:0:3:150", **SMALL),
        digits,
        USUAL,
        "over_regularised",
    ),
    "hardly trained": (
        lambda: R.vae(**SMALL),
        digits,
        {**USUAL, "epochs": 2, "lr": 1e-5, "lr_schedule": "constant"},
        "not_converged",
    ),
    "slow": (
        lambda: R.vae(**SMALL),
        digits,
        {**USUAL, "epochs": 20, "lr": 2e-5, "lr_schedule": "constant"},
        "not_converged",
    ),
    "overfitted": (lambda: R.vae(**SMALL), few, {**USUAL, "epochs": 250, "lr_schedule": "constant"}, "overfitted"),
    "beta 0.01": (lambda: R.beta_vae(beta=0.01, **SMALL), digits, USUAL, "under_regularised"),
    "schedule cut short": (
        lambda: R.vae(**SMALL, beta_schedule="linear:0:1:3000"),
        digits,
        {**USUAL, "epochs": 10},
        "unfinished",
    ),
    "dead codes": (dead_codes, digits, {**USUAL, "epochs": 25}, "dead_codes"),
    "scale at its floor": (
        lambda: R.vae(**SMALL, likelihood="gaussian_element"),
        digits,
        {**USUAL, "binarize": "none"},
        "scale_collapsed",
    ),
    "scale fixed too wide": (
        lambda: R.vae(**SMALL, likelihood="gaussian_fixed"),
        digits,
        {**USUAL, "binarize": "none", "epochs": 20},
        "scale_too_wide",
    ),
    "grey data in a Bernoulli": (lambda: R.vae(**SMALL), digits, {**USUAL, "binarize": "none"}, "grey_data"),
    "an autoencoder told as a VAE": (
        lambda: Recipe(R.vae(**SMALL).build(digits().spec).model, ELBO(beta=0.0)),
        digits,
        {**USUAL, "epochs": 30},
        "under_regularised",
    ),
}

HEALTHY: dict[str, tuple[Callable[[], Plan], Callable[[], DataSet], dict[str, Any]]] = {
    "vae": (lambda: R.vae(**SMALL), digits, {**USUAL, "epochs": 70}),
    "hvae": (
        lambda: R.hvae(latents=(8, 4), hidden=(48, 24), beta_schedule="linear:0:1:100"),
        digits,
        {**USUAL, "epochs": 70},
    ),
    "vamp_vae": (lambda: R.vamp_vae(**SMALL, components=20), digits, {**USUAL, "epochs": 70}),
    "pixel_cnn": (lambda: R.pixel_cnn(layers=1, filters=6, kernel=3), textures, PIXELS),
    "autoencoder": (lambda: R.autoencoder(latent=4, hidden=(32,)), digits, USUAL),
}


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Run]:
    """Trains a patient, or one of the healthy, when it is first asked for."""
    home = tmp_path_factory.mktemp("ward")

    @cache
    def trained(name: str) -> Run:
        plan, data, options = (PATIENTS | HEALTHY)[name][:3]
        with warnings.catch_warnings():  # of a schedule that ends late, and of grey data: these are what is staged
            warnings.simplefilter("ignore", UserWarning)
            return ff.fit(plan(), data(), out=home / name.replace(" ", "_"), **options)

    return trained


@pytest.mark.parametrize("name", PATIENTS)
def test_the_first_finding_is_the_illness(name: str, ward: Callable[[str], Run]) -> None:
    found = ward(name).doctor()
    assert found.first is not None, str(found)
    assert found.first.name == PATIENTS[name][3], str(found)
    assert found.first.words and found.first.remedies


@pytest.mark.parametrize("name", HEALTHY)
def test_the_healthy_get_a_clean_bill_that_says_what_was_looked_at(name: str, ward: Callable[[str], Run]) -> None:
    found = ward(name).doctor()
    assert found.healthy and found.first is None, str(found)
    assert {"end of training", "finite numbers", "convergence", "generalisation"} <= {one.name for one in found.sound}
    assert str(found).startswith("healthy")


def said(found: Checkup, name: str) -> Diagnosis:
    return next(one for one in found.diagnoses if one.name == name)
