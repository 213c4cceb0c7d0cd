"""PixelCNN and PixelVAE as recipes: trained, looked at, evaluated; what they refuse."""

from pathlib import Path

import numpy as np
import pytest
import torch

import fourfold as ff
from fourfold.data import DataSpec
from fourfold.likelihoods import PixelCNN
from fourfold.models import VAE, Direct
from fourfold.runs.gallery import samples

TINY = {"layers": 2, "filters": 8, "kernel": 3}
SPEC = DataSpec((1, 8, 8), 2, None)


def trained(name: str, folder: Path, **more: object) -> ff.Run:
    recipe = ff.recipes.TABLE[name](**TINY, **more)
    return ff.fit(recipe, ff.data.digits(), epochs=2, batch_size=100, lr=1e-2, out=folder, quiet=True)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> ff.Run:
    return trained("pixel_cnn", tmp_path_factory.mktemp("runs") / "pixel_cnn")


@pytest.fixture(scope="module")
def latent(tmp_path_factory: pytest.TempPathFactory) -> ff.Run:
    return trained("pixel_vae", tmp_path_factory.mktemp("runs") / "pixel_vae", latent=2, network="dense")


def test_training_lowers_the_loss_and_the_result_is_exact(alone: ff.Run) -> None:
    found = alone.evaluate(importance_samples=3).per_datum
    assert found["elbo"].mean() > -64 * np.log(2) + 10  # a coin for each pixel, and better by far
    np.testing.assert_allclose(found["nll_is"], -found["elbo"], rtol=1e-5)
    validated = [row["validation/objective [nats]"] for row in alone.metrics if "validation/objective [nats]" in row]
    assert len(validated) == 2 and validated[1] > validated[0] + 1


def test_with_latents_the_bounds_are_in_order(latent: ff.Run) -> None:
    found = latent.evaluate(importance_samples=200, importance_data=50).per_datum
    assert found["elbo"].mean() > -64 * np.log(2) + 10
    assert found["nll_is"].mean() < -found["elbo"][:50].mean() + 0.1


def test_z_is_used_and_pays(tmp_path: Path) -> None:
    """With a warm-up and the dense networks of the default; convolutional ones end here with a rate of 0.01 nats."""
    recipe = ff.recipes.pixel_vae(layers=1, filters=8, kernel=3, latent=4, hidden=(64,), beta_schedule="linear:0:1:100")
    run = ff.fit(recipe, ff.data.digits(), epochs=14, batch_size=100, lr=5e-3, out=tmp_path / "used", quiet=True)
    found = run.evaluate().per_datum
    assert found["rate"].mean() > 0.7 and found["elbo"].mean() > -24


def test_pictures_are_draws_and_say_so(alone: ff.Run, latent: ff.Run) -> None:
    for run, of in ((alone, "p(x)"), (latent, "p(x|z), z from the prior")):
        made, title = samples(run, 4)
        assert made.shape == (4, 1, 8, 8) and set(np.unique(made)) <= {0.0, 1.0}
        assert title == f"Samples: draws from {of}"
        page = Path(run.report()).read_text()
        assert "Draws from p(x" in page and "Means of" not in page and "the mean of p(x|z)" not in page
        assert ("Reconstructions" in page) == bool(run.model.latent_shapes)
    assert (latent.folder.pictures() / "reconstructions.png").exists()
    assert (latent.folder.pictures() / "manifold.png").exists()
    assert not (alone.folder.pictures() / "reconstructions.png").exists()


def test_samples_tell_how_far_they_are(latent: ff.Run) -> None:
    told: list[tuple[int, int]] = []
    made, _ = samples(latent, 4, progress=lambda done, total: told.append((done, total)))
    assert np.array_equal(made, samples(latent, 4)[0]) and told == [(i, 64) for i in range(1, 65)]


def test_commands_that_draw(alone: ff.Run, latent: ff.Run, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    from fourfold.cli import main

    for run in (alone, latent):
        assert main(["sample", str(run.folder.path), "-n", "4", "--out", str(tmp_path / "s.npz")]) == 0
        with np.load(tmp_path / "s.npz") as file:
            assert file["x"].shape == (4, 1, 8, 8)
    assert main(["reconstruct", str(latent.folder.path), "-n", "3", "--out", str(tmp_path / "r.png")]) == 0
    assert (tmp_path / "r.png").exists()
    capsys.readouterr()
    assert main(["reconstruct", str(alone.folder.path)]) != 0
    assert "neither latents nor a condition" in capsys.readouterr().err


def test_z_goes_in_as_maps_or_as_it_is() -> None:
    by_maps = ff.recipes.pixel_vae(**TINY, latent=3).build(SPEC).model
    as_it_is = ff.recipes.pixel_vae(**TINY, latent=3, upsampling=False).build(SPEC).model
    assert isinstance(by_maps, VAE) and isinstance(as_it_is, VAE)
    assert by_maps.likelihood.head.raw_shape == (8, 8, 8) and as_it_is.likelihood.head.raw_shape == (3,)
    assert list(as_it_is.likelihood.network.parameters()) == []


def test_windows_and_families_arrive() -> None:
    model = ff.recipes.pixel_cnn(**TINY, window=(4, 2), likelihood="categorical").build(DataSpec((3, 8, 8), 256, None))
    assert isinstance(model.model, Direct) and isinstance(model.model.density, PixelCNN)
    reaches = [layer.above.reach for layer in model.model.density.head.network.layers]
    assert [sum(reach) for reach in zip(*reaches, strict=True)] == [2, 1, 2]
    assert model.model.support == "levels"
    vae = ff.recipes.pixel_vae(**TINY, window=(2, 1), likelihood="discretised_logistic").build(SPEC).model
    assert vae.support == "levels"


@pytest.mark.parametrize("name", ["pixel_cnn", "pixel_vae"])
def test_what_cannot_be_is_refused_by_name(name: str) -> None:
    make = ff.recipes.TABLE[name]
    with pytest.raises(ValueError, match=f"recipe {name} needs images"):
        make().build(DataSpec((64,), 2, None))
    with pytest.raises(ValueError, match=f"{name}: likelihood: PixelCNNs are over levels, and these data are real"):
        make().build(DataSpec((1, 8, 8), None, None))
    with pytest.raises(ValueError, match=f"{name}: likelihood: unknown value 'gaussian'"):
        make(likelihood="gaussian").build(SPEC)
    with pytest.raises(ValueError, match=f"{name}: window: wanted w,h such as 4,2"):
        make(window=(4,)).build(SPEC)
    with pytest.raises(ValueError, match=f"{name}: window: the layers reach 7 × 3 pixels"):
        make(layers=1, window=(9, 3)).build(SPEC)
    with pytest.raises(ValueError, match=f"{name}: kernel: wanted an odd width"):
        make(kernel=4).build(SPEC)


def test_own_networks_go_in() -> None:
    own = ff.recipes.pixel_vae(**TINY, latent=3, upsampling=False, decoder=torch.nn.Linear(3, 3)).build(SPEC).model
    assert isinstance(own, VAE) and isinstance(own.likelihood.network, torch.nn.Linear)
