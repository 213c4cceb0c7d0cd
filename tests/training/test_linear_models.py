"""Linear models have known optima: PCA for the autoencoder, probabilistic PCA for the VAE."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

import fourfold as ff
from fourfold.models import VAE
from fourfold.noise import Noise
from fourfold.objectives import ELBO

N, D, K = 200, 8, 3


def gaussian_data(spectrum: np.ndarray) -> np.ndarray:
    """Centred rows whose covariance has exactly this spectrum."""
    random = np.random.default_rng(0)
    rows = random.standard_normal((N, D))
    rows -= rows.mean(0)
    rows = np.linalg.qr(rows)[0] * np.sqrt(N)
    turn = np.linalg.qr(random.standard_normal((D, D)))[0]
    return ((rows * np.sqrt(spectrum)) @ turn.T).astype(np.float32)


def spectral(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eigenvalues, largest first, and eigenvectors of the covariance."""
    values, vectors = np.linalg.eigh(np.cov(x.astype(np.float64).T, bias=True))
    return values[::-1], vectors[:, ::-1]


def test_a_linear_autoencoder_spans_the_principal_subspace(tmp_path: Path) -> None:
    x = gaussian_data(np.linspace(4, 0.2, D))
    plan = ff.recipes.autoencoder(latent=K, hidden=(), likelihood="gaussian_fixed")
    run = ff.fit(
        plan,
        ff.data.from_arrays(x, split="all"),
        epochs=700,
        batch_size=N,
        lr=5e-2,
        lr_schedule="cosine",
        precision="64",
        log_steps=700,
        out=tmp_path / "r",
        quiet=True,
    )
    assert isinstance(run.model, VAE)
    model = run.model.double()
    decoder = model.get_parameter("likelihood.network.layers.0.weight").detach().numpy()
    values, vectors = spectral(x)
    mine, principal = np.linalg.qr(decoder)[0], vectors[:, :K]
    # The sine of the largest principal angle: the cosine loses half the digits.
    sine = np.linalg.norm(mine - principal @ (principal.T @ mine), 2)
    assert sine < 1e-4
    rebuilt = model.reconstruct(torch.from_numpy(x).double()).numpy()
    assert ((x - rebuilt) ** 2).sum(1).mean() == pytest.approx(values[K:].sum(), rel=1e-6)


def at_the_optimum(x: np.ndarray) -> tuple[VAE, torch.Tensor]:
    """The linear VAE with the parameters of probabilistic PCA, and the exact log p of every row."""
    values, vectors = spectral(x)
    variance = values[K:].mean()
    w = vectors[:, :K] * np.sqrt(values[:K] - variance)
    data = ff.data.from_arrays(x, split="all")
    model = ff.recipes.vae(latent=K, hidden=(), likelihood="gaussian").build(data.spec).model.double()
    with torch.no_grad():
        encoder = model.get_parameter("posterior.network.layers.0.weight")
        encoder.zero_()
        encoder[:K] = torch.from_numpy((w / values[:K]).T.copy())
        bias = model.get_parameter("posterior.network.layers.0.bias")
        bias[:K] = 0
        bias[K:] = torch.from_numpy(0.5 * np.log(variance / values[:K]))
        model.get_parameter("likelihood.network.layers.0.weight").copy_(torch.from_numpy(w))
        model.get_parameter("likelihood.network.layers.0.bias").copy_(torch.from_numpy(x.astype(np.float64).mean(0)))
        model.get_parameter("likelihood.head.log_scale").fill_(np.log(np.sqrt(variance) - 0.01))  # its floor is 0.01
    evidence = MultivariateNormal(
        torch.from_numpy(x.astype(np.float64).mean(0)), torch.from_numpy(w @ w.T + variance * np.eye(D))
    )
    return model, evidence.log_prob(torch.from_numpy(x).double())


def test_the_optimum_elbo_of_a_linear_vae_is_the_likelihood_of_probabilistic_pca(double: None) -> None:
    x = gaussian_data(np.concatenate([[6.0, 4.0, 2.5], np.full(D - K, 0.5)]))
    model, exact = at_the_optimum(x)
    rows = torch.from_numpy(x).double()
    weights = model(rows, draws=4, noise=Noise(0)).log_weight
    torch.testing.assert_close(weights, exact.expand(4, N), rtol=0, atol=1e-6)  # one draw is as good as any: q is exact
    bound = ELBO()(model(rows, draws=2000, noise=Noise(1))).total
    assert bound.mean().item() == pytest.approx(exact.mean().item(), abs=0.02)


def test_the_optimum_is_a_stationary_point(double: None) -> None:
    x = gaussian_data(np.concatenate([[6.0, 4.0, 2.5], np.full(D - K, 0.5)]))
    model, _ = at_the_optimum(x)
    rows = torch.from_numpy(x).double()
    # Monte-Carlo rate and exact posterior: log w has no noise, its total derivative has; its mean over draws is 0.
    ELBO(draws=4000)(model(rows, draws=4000, noise=Noise(2))).total.mean().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.abs().max() < 0.05, name


def test_a_linear_vae_trains_to_probabilistic_pca(tmp_path: Path) -> None:
    x = gaussian_data(np.concatenate([[6.0, 4.0, 2.5], np.full(D - K, 0.5)]))
    plan = ff.recipes.vae(latent=K, hidden=(), likelihood="gaussian", draws=8)
    run = ff.fit(
        plan,
        ff.data.from_arrays(x, split="all"),
        epochs=1200,
        batch_size=N,
        lr=5e-2,
        lr_schedule="cosine",
        precision="64",
        log_steps=1200,
        out=tmp_path / "r",
        quiet=True,
    )
    _, exact = at_the_optimum(x)
    found = run.evaluate("train", draws=200).per_datum["elbo"].mean()
    assert found == pytest.approx(exact.mean().item(), abs=0.02)
