"""Sparse and contractive objectives: values by hand, gradients against finite differences, three ways to a Jacobian."""

from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from fourfold.conditional import Condition, NetworkConditional
from fourfold.distributions import BernoulliHead, Point
from fourfold.models import VAE, Masking
from fourfold.networks import Convolutional, Dense, NetworkLike, Transposed
from fourfold.noise import Noise
from fourfold.objectives import Contractive, KLSparsity, L1Sparsity, Objective, Reconstruction
from fourfold.posteriors import gaussian, point
from fourfold.priors import StandardNormal
from fourfold.trace import Level, Trace

D, K, B = 6, 4, 5
EXACT = {"rtol": 1e-10, "atol": 1e-10}


@pytest.fixture(autouse=True)
def seeded(double: None) -> Iterator[None]:
    """float64, and the same weights in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def autoencoder(activation: str = "sigmoid", hidden: tuple[int, ...] = ()) -> VAE:
    return of(partial(Dense, hidden=hidden, activation="tanh"), activation)


def of(network: NetworkLike, activation: str = "sigmoid", shape: tuple[int, ...] = (D,)) -> VAE:
    q = point(network, shape, K, activation=activation)
    p_x = NetworkConditional(Dense(K, shape, hidden=()), BernoulliHead(shape), K)
    return VAE(q, StandardNormal(K), p_x)


def first_layer(model: VAE) -> nn.Linear:
    return next(one for one in model.posterior.modules() if isinstance(one, nn.Linear))


def data(n: int = B, shape: tuple[int, ...] = (D,)) -> Tensor:
    return Noise(3).uniform((n, *shape)).round().requires_grad_()


def told(z: Tensor) -> Trace:
    """The trace of these codes ``(S, B, K)``, under a likelihood that says nothing."""
    p_x = BernoulliHead(1)(torch.zeros(*z.shape[:2], 1))
    level = Level(z, Point(z[0]), StandardNormal(z.shape[2])())
    return Trace(torch.zeros(z.shape[1], 1), p_x, p_x.log_prob(torch.zeros(1)), (level,))


def by_differences(value: Callable[[], Tensor], parameter: Tensor, step: float = 1e-6) -> Tensor:
    """The gradient by central differences."""
    out = torch.zeros_like(parameter).flatten()
    with torch.no_grad():
        flat = parameter.view(-1)
        for i in range(len(flat)):
            before = flat[i].item()
            up, down = (_at(value, flat, i, before + s) for s in (step, -step))
            flat[i] = before
            out[i] = (up - down) / (2 * step)
    return out.view_as(parameter)


def _at(value: Callable[[], Tensor], flat: Tensor, i: int, number: float) -> Tensor:
    flat[i] = number
    with torch.enable_grad():
        return value().detach()


# Sparse


def kl(rho: float, mean: Tensor) -> Tensor:
    return rho * (rho / mean).log() + (1 - rho) * ((1 - rho) / (1 - mean)).log()


def test_the_mean_comes_first_and_the_kl_after() -> None:
    z = Noise(1).uniform((2, B, K))
    terms = KLSparsity(K, rho=0.2, weight=3.0, decay=0.0)(told(z))
    wanted = kl(0.2, z.mean((0, 1))).sum()
    assert_close(terms.parts["sparsity"].value, wanted.expand(B), **EXACT)
    assert not torch.isclose(wanted, kl(0.2, z).mean((0, 1)).sum(), rtol=0.01)
    assert_close(terms.total, terms.parts["log_likelihood"].value - 3 * wanted, **EXACT)
    at_rho = KLSparsity(K, rho=0.2, decay=0.0)(told(torch.full((1, B, K), 0.2)))
    assert_close(at_rho.parts["sparsity"].value, torch.zeros(B), **EXACT)


def test_units_that_are_never_or_always_on_cost_a_finite_price() -> None:
    for edge, mean in ((0.0, 1e-6), (1.0, 1 - 1e-6)):
        terms = KLSparsity(K, rho=0.2, decay=0.0)(told(torch.full((1, B, K), edge)))
        assert_close(terms.parts["sparsity"].value, K * kl(0.2, torch.full((B,), mean)), **EXACT)


def test_the_running_mean_is_of_all_batches_and_changes_after_steps_only() -> None:
    objective = KLSparsity(K, rho=0.2, decay=0.75)
    batches = [Noise(i).uniform((1, B, K)) for i in range(3)]
    for i, z in enumerate(batches):
        state = {name: value.clone() for name, value in objective.state_dict().items()}
        terms = objective(told(z))
        assert_close(dict(objective.state_dict()), state)  # forward changes nothing
        shares = torch.tensor([0.25 * 0.75 ** (i - j) for j in range(i + 1)])
        mean = sum(s * one.mean((0, 1)) for s, one in zip(shares / shares.sum(), batches, strict=False))
        assert isinstance(mean, Tensor)
        assert_close(terms.parts["sparsity"].value, kl(0.2, mean).sum().expand(B), **EXACT)
        objective.after_step(terms.summary)
    assert set(objective.state_dict()) == {"running", "seen"}  # a resumed run has them too
    alone = objective.eval()(told(batches[0])).parts["sparsity"].value
    assert_close(alone, kl(0.2, batches[0].mean((0, 1))).sum().expand(B), **EXACT)


def test_the_gradient_of_sparsity_against_finite_differences() -> None:
    model, x = autoencoder(), data()
    weight = first_layer(model).weight
    for objective in (KLSparsity(K, rho=0.1, weight=3.0, decay=0.0), L1Sparsity(0.3)):
        run = partial(total, model, objective, x)
        (found,) = torch.autograd.grad(run(), weight)
        assert_close(found, by_differences(run, weight), rtol=1e-6, atol=1e-8)


def test_a_running_mean_keeps_the_strength_of_the_gradient() -> None:
    model, x, decay = autoencoder(), data(), 0.75
    weight = first_layer(model).weight
    objective = KLSparsity(K, rho=0.1, decay=decay)
    objective.after_step({"activity": torch.full((K,), 0.3)})
    seen, running = objective.seen.clone(), objective.running.clone()

    def value() -> Tensor:
        return objective(model(x, noise=Noise(0))).parts["sparsity"].value.mean()

    (found,) = torch.autograd.grad(value(), weight)
    # Its value moves by the batch's share of ρ̂ only; its gradient is that of a ρ̂ that moves as the batch's mean.
    share = (1 - decay) / (decay * seen + 1 - decay)
    assert_close(found * share, by_differences(value, weight), rtol=1e-6, atol=1e-8)
    assert running.equal(objective.running)


def total(model: VAE, objective: Objective, x: Tensor) -> Tensor:
    return objective(model(x, noise=Noise(0))).total.mean()


def test_l1_is_the_size_of_the_code() -> None:
    z = Noise(1).normal((2, B, K))
    terms = L1Sparsity(0.5)(told(z))
    assert_close(terms.parts["l1"].value, z.abs().sum(-1).mean(0), **EXACT)
    assert_close(terms.total, terms.parts["log_likelihood"].value - 0.5 * terms.parts["l1"].value, **EXACT)


def test_codes_that_are_no_activities_are_refused() -> None:
    with pytest.raises(ValueError, match=r"values from -0\.5 to .*Give the code a sigmoid"):
        KLSparsity(K)(told(torch.linspace(-0.5, 1.5, B)[None, :, None].expand(1, B, K)))
    with pytest.raises(ValueError, match="units=3, but the code has 4"):
        KLSparsity(3)(told(torch.zeros(1, B, K)))
    for rho in (0.0, 1.0):
        with pytest.raises(ValueError, match="KLSparsity: rho"):
            KLSparsity(K, rho=rho)
    assert KLSparsity.batch_statistic


# Contractive


def jacobian(model: VAE, x: Tensor) -> Tensor:
    """‖∂h/∂x‖² datum by datum, by torch's own Jacobian."""
    one = torch.func.jacrev(lambda datum: model.posterior(datum[None]).mean[0])
    return torch.stack([one(datum).square().sum() for datum in x.detach()])


def contraction(model: VAE, objective: Contractive, x: Tensor, seed: int = 0) -> Tensor:
    return objective(model(x, noise=Noise(0)), Noise(seed)).parts["contraction"].value


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_three_ways_to_the_norm_of_the_jacobian(activation: str) -> None:
    model, x = autoencoder(activation), data()
    closed = Contractive(method="closed_form", layer=first_layer(model), activation=activation)
    wanted = jacobian(model, x)
    assert_close(contraction(model, closed, x), wanted, **EXACT)
    assert_close(contraction(model, Contractive(), x), wanted, **EXACT)
    many = contraction(model, Contractive(method="hutchinson", probes=20_000), x)
    assert_close(many, wanted, rtol=0.03, atol=0)


def test_deep_and_convolutional_encoders_and_several_draws() -> None:
    convolutional = of(partial(Convolutional, channels=(3,), hidden=8, activation="tanh"), "identity", (1, 6, 5))
    for model, x in ((autoencoder("identity", (8, 7)), data()), (convolutional, data(shape=(1, 6, 5)))):
        trace = model(x, draws=3, noise=Noise(0))
        assert_close(Contractive(draws=3)(trace).parts["contraction"].value, jacobian(model, x), **EXACT)


@pytest.mark.parametrize("method", ["closed_form", "exact", "hutchinson"])
def test_the_gradient_of_the_contraction_against_finite_differences(method: str) -> None:
    model, x = autoencoder(), data()
    weight = first_layer(model).weight
    layer = first_layer(model) if method == "closed_form" else None
    objective = Contractive(2.0, method, probes=3, layer=layer)

    def value() -> Tensor:
        return objective(model(x, noise=Noise(0)), Noise(4)).total.mean()

    (found,) = torch.autograd.grad(value(), weight)
    assert_close(found, by_differences(value, weight), rtol=1e-6, atol=1e-8)


def test_the_spread_of_hutchinsons_estimate() -> None:
    # A linear code of 30 units on 20 inputs: one Jacobian for all data, so the data are independent estimates of it.
    layer, n = nn.Linear(20, 30), 3000
    with torch.no_grad():
        layer.weight.copy_(Noise(7).normal((30, 20)))
    q = point(layer, (20,), 30)
    model = VAE(q, StandardNormal(30), NetworkConditional(nn.Linear(30, 20), BernoulliHead(20), 30))
    x, gram = torch.zeros(n, 20, requires_grad=True), layer.weight @ layer.weight.T
    spread = (2 * (gram.square().sum() - gram.diagonal().square().sum())).sqrt() / gram.trace()
    for probes, table in ((1, 0.309), (10, 0.094), (100, 0.032)):
        found = contraction(model, Contractive(method="hutchinson", probes=probes), x, seed=probes)
        relative = found / gram.trace()
        wanted = spread.item() / probes**0.5
        assert relative.mean().item() == pytest.approx(1, abs=5 * wanted / n**0.5)
        assert relative.std().item() == pytest.approx(wanted, rel=0.07) == pytest.approx(table, rel=0.12)


def test_probes_shard_as_the_whole() -> None:
    model, x = autoencoder(), data(6)
    objective = Contractive(method="hutchinson", probes=2)
    whole = contraction(model, objective, x)
    part = objective(model(x[3:], noise=Noise(0)), Noise(0, shard=(1, 2))).parts["contraction"].value
    assert_close(part, whole[3:], **EXACT)


def test_validation_builds_no_second_graph() -> None:
    model, x = autoencoder(), data()
    assert contraction(model, Contractive(), x).requires_grad
    assert not contraction(model, Contractive().eval(), x).requires_grad


def test_what_a_contraction_needs_is_asked_for_by_name() -> None:
    model = autoencoder(hidden=(8,))
    with pytest.raises(ValueError, match="x has no gradient"):
        Contractive()(model(data().detach(), noise=Noise(0)))
    with pytest.raises(ValueError, match="the closed form needs the encoder's one layer"):
        Contractive(method="closed_form")
    with pytest.raises(ValueError, match="the closed form needs the encoder's one layer"):
        Contractive(layer=nn.Linear(2, 2))
    with pytest.raises(ValueError, match="layer has 8 outputs, the code has 4"):
        Contractive(method="closed_form", layer=first_layer(model))(model(data(), noise=Noise(0)))


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_the_closed_form_of_a_conditional_encoder_is_of_x_alone(activation: str) -> None:
    q = point(partial(Dense, hidden=()), (D,), K, condition=(3,), activation=activation)
    p_x = NetworkConditional(Dense(K, D, condition=(3,), hidden=()), BernoulliHead(D), K, (3,))
    model, c = VAE(q, StandardNormal(K), p_x, Condition((3,))), Noise(5).normal((B, 3))
    trace = model(data(), c, noise=Noise(0))
    closed = Contractive(method="closed_form", layer=first_layer(model), activation=activation)
    wanted = Contractive()(trace).parts["contraction"].value
    assert_close(closed(trace).parts["contraction"].value, wanted, **EXACT)
    other = Contractive(method="closed_form", layer=nn.Linear(D + 2, K), activation=activation)
    with pytest.raises(ValueError, match=r"Contractive: layer has .* 8 inputs, x has 6 numbers and c 3.*Take method"):
        other(trace)


def test_the_closed_form_refuses_a_code_of_another_activation() -> None:
    for given, said in (("tanh", "sigmoid"), ("identity", "sigmoid"), ("identity", "tanh")):
        model = autoencoder(given)
        with torch.no_grad():
            first_layer(model).weight.mul_(4)
        closed = Contractive(method="closed_form", layer=first_layer(model), activation=said)
        with pytest.raises(ValueError, match=rf"Contractive: a {said} lies in .* the code has values from .*'exact'"):
            closed(model(data(), noise=Noise(0)))


def test_under_corruption_the_jacobian_is_of_what_the_encoder_did_with_this_x() -> None:
    plain = autoencoder()
    model, x = VAE(plain.posterior, plain.prior, plain.likelihood, corruption=Masking(0.5)), data()
    trace = model(x, noise=Noise(0))
    kept = Masking(0.5)(torch.ones(B, D), Noise(0))
    slope = (code := trace.levels[0].z[0]) * (1 - code)
    weight = first_layer(model).weight
    wanted = ((slope[:, :, None] * weight * kept[:, None]) ** 2).sum((1, 2))
    assert_close(Contractive()(trace).parts["contraction"].value, wanted, **EXACT)
    closed = Contractive(method="closed_form", layer=first_layer(model))(trace).parts["contraction"].value
    assert_close(closed, ((slope[:, :, None] * weight) ** 2).sum((1, 2)), **EXACT)
    assert (closed > wanted).all()


@pytest.mark.parametrize("method", ["closed_form", "exact", "hutchinson"])
def test_prices_are_in_single_precision_under_autocast(method: str) -> None:
    model, x = autoencoder().float(), data().detach().float().requires_grad_()
    layer = first_layer(model) if method == "closed_form" else None
    goals = (Contractive(1.0, method, layer=layer), L1Sparsity(), KLSparsity(K))
    with torch.autocast("cpu", torch.bfloat16):
        trace = model(x, noise=Noise(0))
        under = [goal.float()(trace, Noise(1)) for goal in goals]
    assert trace.levels[0].z.dtype == torch.bfloat16
    for terms, name in zip(under, ("contraction", "l1", "sparsity"), strict=True):
        assert terms.parts[name].value.dtype == torch.float32
    code = trace.levels[0].z.float()
    assert_close(under[1].parts["l1"].value, code.abs().sum(-1)[0], rtol=0, atol=0)
    if layer is not None:
        slope = (code * (1 - code))[0]
        wanted = (slope.square() * layer.weight.square().sum(1)).sum(1)
        assert_close(under[0].parts["contraction"].value, wanted, rtol=1e-6, atol=0)


def test_the_layer_stays_the_models() -> None:
    model = autoencoder()
    objective = Contractive(method="closed_form", layer=first_layer(model))
    assert list(objective.parameters()) == [] and list(objective.state_dict()) == []


def test_the_plain_parts_are_always_told() -> None:
    x = data()
    q = gaussian(partial(Dense, hidden=()), (D,), K)
    p_x = NetworkConditional(Dense(K, D, hidden=()), BernoulliHead(D), K)
    for model, has_rate in ((autoencoder(), False), (VAE(q, StandardNormal(K), p_x), True)):
        trace = model(x, noise=Noise(0))
        plain = Reconstruction()(trace).parts["log_likelihood"]
        for objective in (L1Sparsity(), Contractive()):
            parts = objective(trace).parts
            assert parts["log_likelihood"].value.equal(plain.value) and parts["log_likelihood"].weight == 1
            assert ("rate" in parts) == has_rate and (not has_rate or parts["rate"].weight == 0)


# Tied weights


def test_a_transposed_decoder_is_its_encoder() -> None:
    up = Dense((2, 3), (4,), hidden=(5,), activation="tanh")
    down = Transposed(up, (2, 3))
    z = Noise(0).normal((7, 4))
    first, second = (one for one in up.layers if isinstance(one, nn.Linear))
    with torch.no_grad():
        down.biases[0].fill_(0.3)
        down.start_at(torch.arange(6.0).view(2, 3))
    wanted = ((z @ second.weight + 0.3).tanh() @ first.weight + torch.arange(6.0)).view(7, 2, 3)
    assert_close(down(z), wanted, **EXACT)
    assert sorted(down.state_dict()) == ["biases.0", "biases.1"]
    down(z).sum().backward()
    assert first.weight.grad is not None and second.weight.grad is not None
    with pytest.raises(ValueError, match=r"takes 6 numbers, outputs \(7,\) hold 7"):
        Transposed(up, 7)
