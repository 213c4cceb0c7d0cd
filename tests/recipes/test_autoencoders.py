"""The autoencoders' recipes: what theory says of them, and what they promise on real digits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import MultivariateNormal
from torch.testing import assert_close

import fourfold as ff
from fourfold.data import DataSpec
from fourfold.models import VAE, OnFeatures
from fourfold.noise import Noise
from fourfold.objectives import Contractive, KLSparsity, L1Sparsity
from fourfold.runs import Run, resume
from fourfold.training import load_tensors

GREY = DataSpec((1, 6, 6), 256, 10)
DIGITS = ff.data.digits()


def fitted(plan: Any, folder: Path, **options: Any) -> Run:
    return ff.fit(plan, DIGITS, out=folder, quiet=True, **options)


def seen(run: Run) -> torch.Tensor:
    """The training data as the run's model sees them."""
    return torch.cat([batch.x for batch in run.batches(run.split("train"))()])


def sizes(model: nn.Module) -> list[torch.Tensor]:
    return [p.detach().clone() for p in model.parameters()]


# Denoising


@pytest.mark.slow
def test_a_linear_denoiser_learns_the_wiener_filter(tmp_path: Path) -> None:
    """For data N(0, Σ) the best reconstruction is Σ(Σ + σ²I)⁻¹ x̃."""
    n, d, sigma = 4000, 4, 0.7
    random = np.random.default_rng(0)
    rows = random.standard_normal((n, d))
    rows = np.linalg.qr(rows - rows.mean(0))[0] * np.sqrt(n) @ np.diag([2.0, 1.4, 1.0, 0.5])
    rows = (rows @ np.linalg.qr(random.standard_normal((d, d)))[0]).astype(np.float32)
    plan = ff.recipes.dae(corruption="gaussian", amount=sigma, latent=d, hidden=(), likelihood="gaussian_fixed")
    options = {"epochs": 50, "batch_size": 500, "lr": 5e-2, "lr_schedule": "cosine", "precision": "64"}
    data = ff.data.from_arrays(rows, split="all")
    run = ff.fit(plan, data, out=tmp_path / "r", quiet=True, log_steps=1000, **options)
    model = run.model.double()
    covariance = np.cov(rows.T.astype(np.float64), bias=True)
    wiener = covariance @ np.linalg.inv(covariance + sigma**2 * np.eye(d))
    eye = torch.eye(d, dtype=torch.float64)
    learnt = (model.reconstruct(eye) - model.reconstruct(0 * eye)).T.numpy()
    assert np.abs(learnt - wiener).max() < 0.02
    plain = np.abs(np.eye(d) - wiener).max()
    assert plain > 0.1  # an autoencoder without noise would learn the identity


def test_the_best_denoiser_points_along_the_score(double: None) -> None:
    """Tweedie: r*(x̃) − x̃ = σ² ∇ log p_σ(x̃), exactly, in the library's own linear autoencoder."""
    d, sigma = 5, 0.7
    factor = Noise(0).normal((d, d))
    covariance = factor @ factor.T
    blurred = covariance + sigma**2 * torch.eye(d)
    plan = ff.recipes.dae(corruption="gaussian", amount=sigma, latent=d, hidden=(), likelihood="gaussian_fixed")
    model = plan.build(DataSpec((d,), None, None)).model
    with torch.no_grad():
        model.get_parameter("posterior.network.layers.0.weight").copy_(torch.linalg.inv(blurred))
        model.get_parameter("likelihood.network.layers.0.weight").copy_(covariance)
    x = Noise(1).normal((9, d)).requires_grad_()
    (score,) = torch.autograd.grad(MultivariateNormal(torch.zeros(d), blurred).log_prob(x).sum(), x)
    assert_close(model.reconstruct(x) - x, sigma**2 * score, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("corruption", ["dropout", "gaussian", "masking", "salt_and_pepper"])
def test_a_denoiser_cleans_and_is_judged_on_clean_data(corruption: str, tmp_path: Path) -> None:
    plan = ff.recipes.dae(corruption=corruption, amount=0.5, latent=30, hidden=(64,))
    run = fitted(plan, tmp_path / "r", epochs=8, lr=1e-2)
    assert isinstance(run.model, VAE) and run.model.corruption is not None
    found = run.evaluate()
    clean = torch.cat([batch.x for batch in run.batches(run.split("test"))()])
    error = (run.model.reconstruct(clean) - clean).square().flatten(1).mean(1)
    assert_close(torch.from_numpy(found.per_datum["reconstruction_mse"]).float(), error, rtol=1e-4, atol=1e-6)
    assert any("no density" in note for note in found.notes) and "elbo" not in found.per_datum
    spoilt = run.model.corruption(clean, Noise(1))
    cleaned = (run.model.reconstruct(spoilt) - clean).square().mean()
    assert cleaned < 0.9 * (spoilt - clean).square().mean()
    assert cleaned < (clean.mean(0) - clean).square().mean()


def test_black_and_white_are_refused_on_real_numbers() -> None:
    with pytest.raises(ValueError, match="salt_and_pepper sets elements to black or white"):
        ff.recipes.dae(corruption="salt_and_pepper").build(DataSpec((5,), None, None))
    with pytest.raises(ValueError, match=r"dae: corruption: unknown value 'maskin'\. Did you mean 'masking'"):
        ff.recipes.dae(corruption="maskin").build(GREY)


# Sparse


def test_units_come_to_be_as_active_as_was_asked(tmp_path: Path) -> None:
    rho = 0.1
    options = {"epochs": 20, "lr": 1e-2, "lr_schedule": "cosine"}
    run = fitted(ff.recipes.sparse_ae(rho=rho, latent=60), tmp_path / "r", **options)
    activity = run.model.encode(seen(run))[0].mean(0)
    assert ((activity - rho).abs() < 0.02).float().mean() >= 0.9
    free = fitted(ff.recipes.sparse_ae(rho=rho, latent=60, weight=0.0), tmp_path / "f", **options)
    assert ((free.model.encode(seen(free))[0].mean(0) - rho).abs() < 0.02).float().mean() < 0.5
    tensors = load_tensors(tmp_path / "r" / "checkpoints" / "last.safetensors")[0]
    assert (tensors["weights/objective.running"] - activity).abs().max() < 0.03


def test_l1_cannot_be_cheated_by_a_decoder_that_grows(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    run = fitted(ff.recipes.sparse_ae(penalty="l1", weight=0.3, latent=40), folder, epochs=5, lr=1e-2)
    weight = run.model.get_submodule("likelihood.network.layers.0").weight
    assert isinstance(weight, torch.Tensor)
    assert_close(weight.norm(dim=0), torch.ones(40))
    code = run.model.encode(seen(run))[0]
    assert (code >= 0).all() and (code == 0).float().mean() > 0.3
    again = ff.load(folder)
    x = seen(run)[:5]
    assert again.reconstruct(x).equal(run.model.reconstruct(x))


def test_the_choices_of_sparsity() -> None:
    kl, l1 = (ff.recipes.sparse_ae(penalty=name).build(GREY).objective for name in ("kl", "l1"))
    assert isinstance(kl, KLSparsity) and kl.weight.item() == 10 and isinstance(l1, L1Sparsity)
    with pytest.raises(ValueError, match="penalty l1 needs a dense decoder"):
        ff.recipes.sparse_ae(penalty="l1", network="convolutional", hidden=(16,)).build(GREY)


# Contractive


def test_jacobians_shrink_as_the_weight_grows(tmp_path: Path) -> None:
    norms, measure = [], Contractive(method="exact").eval()
    for weight in (0.0, 0.1, 1.0, 10.0):
        run = fitted(ff.recipes.contractive_ae(weight=weight, latent=50), tmp_path / str(weight), epochs=4, lr=1e-2)
        x = seen(run)[:200].requires_grad_()
        norms.append(measure(run.model(x, noise=Noise(0))).parts["contraction"].value.sqrt().mean().item())
    assert norms == sorted(norms, reverse=True) and norms[-1] < 0.2 * norms[0]
    assert norms[1] < 0.97 * norms[0] and norms[2] < 0.8 * norms[1]


def test_methods_of_contraction() -> None:
    closed = ff.recipes.contractive_ae().build(GREY).objective
    deep = ff.recipes.contractive_ae(hidden=(20,), probes=3).build(GREY).objective
    exact = ff.recipes.contractive_ae(method="exact", activation="relu").build(GREY).objective
    methods = [one.method for one in (closed, deep, exact) if isinstance(one, Contractive)]
    assert methods == ["closed_form", "hutchinson", "exact"]
    with pytest.raises(ValueError, match="closed form is of one dense layer"):
        ff.recipes.contractive_ae(method="closed_form", hidden=(20,)).build(GREY)
    with pytest.raises(ValueError, match="contractive_ae: probes must be an integer of at least 1"):
        ff.recipes.contractive_ae(probes=0).build(GREY)
    for arguments in ({"network": "convolutional", "hidden": (16,)}, {"decoder": nn.Linear(200, 36)}):
        with pytest.raises(ValueError, match="tied weights need dense networks"):
            ff.recipes.contractive_ae(**arguments).build(GREY)
        ff.recipes.contractive_ae(**arguments, tied=False).build(GREY)


def test_a_deep_contractive_autoencoder_trains_with_tied_weights_and_loads(tmp_path: Path) -> None:
    plan = ff.recipes.contractive_ae(hidden=(40,), latent=10, activation="tanh", weight=0.01)
    run = fitted(plan, tmp_path / "r", epochs=10, lr=1e-2)
    names = [name for name, _ in run.model.named_parameters()]
    assert not any("likelihood" in name and "weight" in name for name in names)
    assert run.evaluate().per_datum["distortion"].mean() < 0.85 * 27  # 27 nats: no better than the mean image
    x = seen(run)[:5]
    assert ff.load(tmp_path / "r").reconstruct(x).equal(run.model.reconstruct(x))


# Stacked


def test_stages_share_the_layers_of_the_whole() -> None:
    made = ff.recipes.stacked_ae(hidden=(12, 8), latent=3, pretraining=0.6).build(GREY)
    assert [stage.name for stage in made.stages] == ["layer1", "layer2", "layer3", "main"]
    assert [round(stage.share, 10) for stage in made.stages] == [0.2, 0.2, 0.2, 0.4]
    whole = set(map(id, made.model.parameters()))
    trained: list[int] = []
    for stage in made.stages[:-1]:
        assert isinstance(stage.model, OnFeatures)
        trained += map(id, stage.model.model.parameters())
    assert len(set(trained)) == len(trained) and set(trained) == whole  # every layer in one stage, no other weights
    assert ff.recipes.stacked_ae(pretraining=0).build(GREY).stages == ()


def test_a_stage_trains_its_layers_and_no_others(tmp_path: Path) -> None:
    plan = ff.recipes.stacked_ae(hidden=(12, 8), latent=3, pretraining=0.75)
    made = plan.build(DIGITS.spec)
    before = [sizes(stage.model.model) for stage in made.stages[:-1] if isinstance(stage.model, OnFeatures)]
    steps = 14  # an epoch is four stages of 3 or 4 steps
    run = ff.fit(made, DIGITS, epochs=0.5, out=tmp_path / "r", quiet=True)  # the second half of it never comes
    assert run.outcome.step == steps // 2
    text = (tmp_path / "r" / "metrics.jsonl").read_text()
    assert all(f"train/layer{i}/log_likelihood" in text for i in (1, 2, 3)) and "train/log_likelihood" in text
    pairs = [stage.model.model for stage in made.stages[:-1] if isinstance(stage.model, OnFeatures)]
    for was, pair in zip(before, pairs, strict=True):
        assert all(not a.equal(b) for a, b in zip(was, sizes(pair), strict=True))


def test_layers_below_stand_still_and_layers_above_wait(tmp_path: Path) -> None:
    from fourfold.plan import Recipe

    made = ff.recipes.stacked_ae(hidden=(12, 8), latent=3).build(DIGITS.spec)
    first, second, third = (s.model.model for s in made.stages[:-1] if isinstance(s.model, OnFeatures))
    before = [sizes(pair) for pair in (first, second, third)]
    objective = made.stages[1].players[0].objective
    middle = Recipe(made.stages[1].model, objective, stages=(made.stages[1],))
    ff.fit(middle, DIGITS, epochs=1, out=tmp_path / "r", quiet=True)
    for was, pair, moves in zip(before, (first, second, third), (False, True, False), strict=True):
        assert all(a.equal(b) != moves for a, b in zip(was, sizes(pair), strict=True))


def test_a_stack_that_was_stopped_in_a_stage_ends_as_if_it_had_not_been(tmp_path: Path) -> None:
    plan = ff.recipes.stacked_ae(hidden=(12,), latent=3, pretraining=0.5)
    whole = fitted(plan, tmp_path / "whole", epochs=2)
    for stop in (1, 9):  # in the first layer's stage, in the second's
        folder = tmp_path / f"part{stop}"
        with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
            _interrupt_at(patch, stop)
            fitted(plan, folder, epochs=2)
        found = resume(folder, DIGITS)
        for a, b in zip(whole.model.parameters(), found.model.parameters(), strict=True):
            assert a.equal(b)


def _interrupt_at(patch: pytest.MonkeyPatch, step: int) -> None:
    """Ctrl-C at this update."""
    import os
    import signal

    from fourfold.training import Step

    forward, calls = Step.forward, [0]

    def counted(self: Step, *args: Any) -> Any:
        calls[0] += self.training
        if self.training and calls[0] == step:
            os.kill(os.getpid(), signal.SIGINT)
        return forward(self, *args)

    patch.setattr(Step, "forward", counted)


@pytest.mark.slow
def test_pretraining_helps_a_deep_sigmoid_network_at_an_equal_budget(tmp_path: Path) -> None:
    found = []
    for pretraining in (0.5, 0.0):
        plan = ff.recipes.stacked_ae(hidden=(100, 50, 25), latent=10, pretraining=pretraining)
        run = fitted(plan, tmp_path / str(pretraining), epochs=40, lr=1e-2)
        found.append(run.evaluate(save=False).per_datum["distortion"].mean())
    assert found[0] < found[1] - 1  # in nats


# Against published numbers


@pytest.mark.slow
def test_the_error_of_thirty_principal_components_on_mnist(shared_data: Path) -> None:
    """Hinton and Salakhutdinov 2006: 13.87."""
    data = ff.data.mnist(data_dir=shared_data)
    assert data.test is not None
    rows, other = (torch.from_numpy(x.copy()).flatten(1).double() / 255 for x in (data.train.x, data.test.x))
    mean = rows.mean(0)
    axes = torch.linalg.eigh((rows - mean).T @ (rows - mean))[1][:, -30:]
    left = (other - mean) - (other - mean) @ axes @ axes.T
    assert left.square().sum(1).mean().item() == pytest.approx(13.87, abs=0.1)
    # The same number from the library's own metric, by the linear autoencoder that is PCA.
    plan = ff.recipes.autoencoder(latent=30, hidden=(), likelihood="gaussian_fixed")
    model = plan.build(data.spec).model
    with torch.no_grad():
        model.get_parameter("posterior.network.layers.0.weight").copy_(axes.T)
        model.get_parameter("posterior.network.layers.0.bias").copy_(-(mean @ axes))
        model.get_parameter("likelihood.network.layers.0.weight").copy_(axes)
        model.get_parameter("likelihood.network.layers.0.bias").copy_(mean)
    x = other.float().view(-1, 1, 28, 28)
    error = (x - model.reconstruct(x)).square().flatten(1).sum(1).mean().item()
    assert error == pytest.approx(left.square().sum(1).mean().item(), rel=1e-4)
