"""The variational lossy autoencoder: the window is kept from end to end, the rate has its free bits, what runs runs."""

from itertools import product
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import fourfold as ff
from fourfold.data import DataSpec
from fourfold.models import VAE
from fourfold.noise import Noise
from fourfold.objectives import ELBO, FreeBits, SoftFreeBits
from fourfold.priors import AutoregressiveFlow

SMALL = {"layers": 3, "filters": 8, "hidden": (16,), "latent": 3, "steps": 2, "flow_hidden": (8,)}
H, W = 5, 6
WINDOWS = pytest.mark.parametrize("window", [(4, 2), (1, 1), (3, 3), (2, 1), ()], ids=str)


def opened(window: tuple[int, ...]) -> VAE:
    """The recipe's model on small images, its last rectifiers open so that no influence is hidden by a zero."""
    model = ff.recipes.vlae(window=window, network="dense", **SMALL).build(DataSpec((1, H, W), 2, None)).model
    assert isinstance(model, VAE)
    network = model.likelihood.head.network
    with torch.no_grad():
        network.hidden.bias.fill_(9.0)
        network.layers[-1].carry.bias.fill_(9.0)
    return model.double()


def allowed(window: tuple[int, ...]) -> Tensor:
    """A wide and B high above, ⌈(A − 1)/2⌉ to the left, pixel by pixel: which logit may see which pixel."""
    wide, high = window or (2 * 7 + 1, 7)  # all that three layers reach: 3 + 2 + 2
    left = ceil((wide - 1) / 2)
    found = torch.zeros(H, W, H, W, dtype=torch.bool)
    for r, c, row, column in product(range(H), range(W), range(H), range(W)):
        above = 1 <= r - row <= high and -left <= column - c < wide - left
        found[r, c, row, column] = above or (row == r and 1 <= c - column <= left)
    return found


@WINDOWS
def test_the_likelihood_sees_its_window_and_nothing_else(window: tuple[int, ...], double: None) -> None:
    model = opened(window)
    p = model.likelihood(Noise(1).normal((3,)))
    jacobian = torch.func.jacrev(lambda x: p.head.network(x, p.given))(Noise(0).uniform((1, H, W)))
    assert (jacobian[0, :, :, 0] != 0).equal(allowed(window))


@WINDOWS
def test_what_draws_and_codes_sees_the_same_window(window: tuple[int, ...], double: None) -> None:
    """Each pixel flipped in turn: which of the conditionals that come one after the other are then another one."""
    model, n = opened(window), H * W
    x = Noise(0).uniform((1, n)).round()
    flipped = torch.where(torch.eye(n, dtype=torch.bool), 1 - x, x)
    images = torch.cat((x, flipped))
    steps = model.likelihood(Noise(1).normal((3,)).expand(n + 1, 3)).conditionals()
    piece, where = next(steps)
    logits: list[Tensor] = []
    while True:
        logits.append(piece.logits[:, 0])
        try:
            piece, where = steps.send(images[:, where])
        except StopIteration:
            break
    changed = torch.stack(
        [(one[1:] - one[0]).abs() > 1e-13 for one in logits]
    )  # rows of one product may differ by 1e-16
    assert changed.reshape(H, W, H, W).equal(allowed(window))


def test_z_reaches_every_pixel(double: None) -> None:
    model = opened((2, 1))
    x = Noise(0).uniform((1, H, W)).round()
    found = torch.func.jacrev(lambda z: model.likelihood.head.network(x, model.likelihood.raw(z)))(
        Noise(1).normal((3,))
    )
    assert (found != 0).all()


def test_its_rooms() -> None:
    spec = DataSpec((1, 8, 8), 2, None)
    made = ff.recipes.vlae(**SMALL).build(spec)
    assert isinstance(made.model, VAE) and isinstance(made.model.prior, AutoregressiveFlow)
    assert isinstance(made.objective, FreeBits) and made.objective.nats == pytest.approx(0.64)
    assert isinstance(ff.recipes.vlae(kind="soft", **SMALL).build(spec).objective, SoftFreeBits)
    assert isinstance(ff.recipes.vlae(free_bits=0.0, **SMALL).build(spec).objective, ELBO)


def test_what_cannot_be_is_refused_by_name() -> None:
    spec = DataSpec((1, 8, 8), 2, None)
    with pytest.raises(ValueError, match="vlae: kind: unknown value 'per_dim_batchmean'"):
        ff.recipes.vlae(kind="per_dim_batchmean", **SMALL).build(spec)
    with pytest.raises(ValueError, match="vlae: free_bits must be"):
        ff.recipes.vlae(free_bits=-1.0, **SMALL).build(spec)
    with pytest.raises(ValueError, match="vlae: window: wanted w,h such as 4,2"):
        ff.recipes.vlae(window=(4,), **SMALL).build(spec)
    with pytest.raises(ValueError, match="recipe vlae needs images"):
        ff.recipes.vlae().build(DataSpec((64,), 2, None))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> ff.Run:
    """A few epochs on the digits, with a narrow window and 2 nats free."""
    recipe = ff.recipes.vlae(**{**SMALL, "window": (2, 1), "network": "dense", "hidden": (64,), "free_bits": 2 / 64})
    folder = tmp_path_factory.mktemp("runs") / "vlae"
    return ff.fit(recipe, ff.data.digits(), epochs=10, batch_size=100, lr=5e-3, out=folder, quiet=True)


def test_the_free_bits_are_used(run: ff.Run) -> None:
    found = run.evaluate(importance_samples=100, importance_data=50).per_datum
    assert found["rate"].mean() > 1.5
    assert found["elbo"].mean() > -64 * np.log(2) + 10
    assert found["nll_is"].mean() < -found["elbo"][:50].mean() + 0.1


@pytest.mark.slow
def test_every_command_runs_or_says_why_not(run: ff.Run, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    from fourfold.cli import main

    folder, few = str(run.folder.path), ["--data-count", "4", "--importance-samples", "20", "--quiet"]
    assert main(["score", folder, "--out", str(tmp_path / "s.csv"), "--quiet"]) == 0
    assert main(["sample", folder, "-n", "4", "--out", str(tmp_path / "s.npz")]) == 0
    assert main(["gap", folder, *few, "--steps", "5", "--no-flow"]) == 0
    assert main(["evidence", folder, *few, "--ais", "5", "--chains", "2", "--bdmc", "2"]) == 0
    other = ff.fit(ff.recipes.vae(latent=2, hidden=(16,)), ff.data.digits(), epochs=1, out=tmp_path / "vae", quiet=True)
    assert main(["compare", folder, str(other.folder.path), "--quiet"]) == 0
    capsys.readouterr()
    assert main(["compress", folder, str(tmp_path / "x.ff"), "--quiet"]) != 0
    assert "the prior (PullBack) is no product of one-dimensional distributions" in capsys.readouterr().err
