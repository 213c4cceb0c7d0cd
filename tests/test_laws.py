"""The page of laws: what every model keeps, whatever was picked from each room."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

import fourfold as ff
from fourfold.conditional import Condition, Prior
from fourfold.data import DataSpec
from fourfold.distributions import Distribution
from fourfold.likelihoods import LIKELIHOODS, PixelDecoder, TokenDecoder, pixel_cnn, token_sequence
from fourfold.models import VAE, VQVAE, Direct, Model
from fourfold.networks import (
    Codebook,
    Convolutional,
    Dense,
    FiniteScalar,
    NetworkFactory,
    PixelStacks,
    Quantiser,
    Recurrent,
    RecurrentSizes,
    Residual,
    Strided,
    VectorQuantiser,
)
from fourfold.networks.normalisation import gathering
from fourfold.noise import Noise, Recorder, Replay
from fourfold.objectives import ELBO
from fourfold.posteriors import FromPrior, gaussian, point
from fourfold.priors import ConditionalPrior, PixelCodes, StandardNormal, UniformCodes

L, B = 2, 5
DATA = (1, 6, 5)
LONG, WORDS = 7, 6
NETWORKS: dict[str, NetworkFactory] = {
    "convolutional": partial(Convolutional, channels=(3, 4), hidden=8, activation="tanh"),
    "dense": partial(Dense, hidden=(8,), activation="tanh"),
    "residual": partial(Residual, channels=(3,), hidden=8, blocks=1),
}
CONDITIONS = {"none": None, "label": Condition.label(4), "image": Condition(DATA)}


@pytest.fixture(autouse=True)
def seeded() -> Iterator[None]:
    """The same weights in every run."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


@dataclass(frozen=True)
class Case:
    """A model to build, and data for it."""

    name: str
    make: Callable[[], Model]
    condition: Condition | None = None
    has_density: bool = True
    masks: bool = True
    batch_norm: bool = False
    codes: int | None = None  # how many there are, if latents are codes
    sentences: bool = False

    def latents(self, lead: tuple[int, ...], shape: tuple[int, ...], seed: int) -> Tensor:
        """Some latents."""
        if self.codes is None:
            return Noise(seed).normal((*lead, *shape))
        return (Noise(seed).uniform((*lead, *shape)) * self.codes).long()

    @property
    def event(self) -> tuple[int, ...]:
        """The shape of a datum."""
        return (LONG,) if self.sentences else DATA

    def batch(self, n: int = B) -> tuple[Tensor, Tensor | None]:
        """x and c for n data."""
        x = Noise(0, stream="x").uniform((n, *self.event)).round()
        if self.sentences:  # of 2, 3 … tokens, and <eos>
            length = torch.arange(n)[:, None] % (LONG - 2) + 2
            x = torch.where(torch.arange(LONG) < length, x + 3, (torch.arange(LONG) == length).float())
        if self.condition is None:
            return x, None
        return x, torch.arange(n) % 4 if self.condition.classes else Noise(0, stream="c").normal((n, *DATA))


def flat(likelihood: str, network: str, condition: Condition | None) -> VAE:
    """A flat VAE, with a learned prior if there is a condition."""
    make, shape = NETWORKS[network], None if condition is None else condition.shape
    prior: Prior = StandardNormal(L) if shape is None else ConditionalPrior(gaussian(make, shape, L))
    p_x = LIKELIHOODS[likelihood](make, (L,), DATA, shape)
    return VAE(gaussian(make, DATA, L, shape), prior, p_x, condition)


def without_encoder(condition: Condition) -> VAE:
    """Sohn's Gaussian stochastic network."""
    prior = ConditionalPrior(gaussian(NETWORKS["dense"], condition.shape, L))
    p_x = LIKELIHOODS["bernoulli"](NETWORKS["dense"], (L,), DATA, condition.shape)
    return VAE(FromPrior(prior), prior, p_x, condition)


def autoencoder() -> VAE:
    """A point for a posterior."""
    p_x = LIKELIHOODS["gaussian_fixed"](NETWORKS["dense"], (L,), DATA)
    return VAE(point(NETWORKS["dense"], DATA, L), StandardNormal(L), p_x)


def direct(condition: Condition) -> Direct:
    """No latents at all."""
    return Direct(ConditionalPrior(LIKELIHOODS["bernoulli"](NETWORKS["dense"], condition.shape, DATA)), condition)


def pixels(upsampled: bool, condition: Condition | None) -> VAE:
    """A PixelCNN given features of z."""
    shape, stacks = None if condition is None else condition.shape, PixelStacks(2, 8, 3, 3)
    decoder = PixelDecoder(features=3, upsampled=upsampled, stacks=stacks)
    p_x = pixel_cnn(NETWORKS["dense"], (L,), DATA, shape, decoder)
    return VAE(gaussian(NETWORKS["dense"], DATA, L, shape), StandardNormal(L), p_x, condition)


def variational_ladder(network: str, merge: str) -> Model:
    """Levels that meet only on the way to x."""
    flags = {"hidden": 8, "channels": 4, "activation": "tanh", "network": network, "merge": merge}
    return ff.recipes.variational_ladder.function(DataSpec(DATA, 256, None), latents=(L, 1), **flags).model


def deep(name: str) -> Model:
    """A hierarchy of maps of latents; weights that begin at zero, behind which nothing matters yet, are moved."""
    model = getattr(ff.recipes, name).function(DataSpec(DATA, 256, None)).model
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.copy_(0.1 * Noise(0).normal(tuple(parameter.shape)))
    return model


def two_pixel_levels() -> Model:
    """A PixelCNN given maps of latents, and these by another one given a vector."""
    sizes = {"layers": 2, "filters": 8, "kernel": 3, "channels": 6, "hidden": 8, "halvings": 1}
    return ff.recipes.pixel_vae2.function(DataSpec(DATA, 2, None), latent=L, **sizes).model


def quantised(make: Callable[[], Quantiser], learned: bool, condition: Condition | None) -> VQVAE:
    """Codes for latents, a map of 3 × 2."""
    quantiser, shape, latent = make(), None if condition is None else condition.shape, (1, 3, 2)
    up = down = partial(Strided, filters=6, blocks=1)
    vectors = (quantiser.dim, 3, 2)
    prior = PixelCodes(latent, quantiser.levels, PixelStacks(2, 6, 3, 3))
    p_x = LIKELIHOODS["bernoulli"](down, vectors, DATA, shape)
    q = point(up, DATA, vectors, shape)
    with torch.no_grad():
        for parameter in q.parameters():
            parameter.mul_(3.0)  # vectors that are not all one code
    return VQVAE(q, quantiser, prior if learned else UniformCodes(latent, quantiser.levels), p_x, condition)


def sentences(cell: str, condition: Condition | None) -> VAE:
    """A decoder of tokens given z, and c by a network of both."""
    shape, sizes = None if condition is None else condition.shape, RecurrentSizes(WORDS, 3, 4, cell=cell)
    network = nn.Identity() if shape is None else NETWORKS["dense"]
    p_x = token_sequence(network, (L,), (LONG,), shape, decoder=TokenDecoder(sizes, L))
    q = gaussian(partial(Recurrent, sizes=sizes), (LONG,), L, shape)
    return VAE(q, StandardNormal(L), p_x, condition)


def words_given(condition: Condition) -> Direct:
    """A language model of c, without latents."""
    decoder = TokenDecoder(RecurrentSizes(WORDS, 3, 4), 3)
    return Direct(
        ConditionalPrior(token_sequence(NETWORKS["dense"], condition.shape, (LONG,), decoder=decoder)), condition
    )


CASES = [
    *(
        Case(f"{likelihood}-{network}-{given}", partial(flat, likelihood, network, condition), condition)
        for likelihood in LIKELIHOODS
        for network in NETWORKS
        for given, condition in CONDITIONS.items()
        if network == "dense" or likelihood in ("bernoulli", "discretised_logistic_mixture")
    ),
    *(
        Case(f"{make.__name__}-{given}", partial(make, CONDITIONS[given]), CONDITIONS[given])
        for make in (without_encoder, direct)
        for given in ("label", "image")
    ),
    Case("autoencoder", autoencoder, has_density=False),
    *(
        Case(f"pixels-{name}-{given}", partial(pixels, upsampled, CONDITIONS[given]), CONDITIONS[given], masks=False)
        for name, upsampled, given in (("maps", True, "none"), ("maps", True, "label"), ("vector", False, "none"))
    ),
    *(
        Case(f"variational-ladder-{network}-{merge}", partial(variational_ladder, network, merge))
        for network, merge in (("dense", "add"), ("convolutional", "add"), ("convolutional", "concatenate"))
    ),
    *(Case(name, partial(deep, name)) for name in ("vdvae",)),
    Case("nvae", partial(deep, "nvae"), batch_norm=True),
    Case("two-pixel-levels", two_pixel_levels, masks=False),
]
CASES += [
    Case(f"codes-{name}-{given}", partial(quantised, make, learned, CONDITIONS[given]), CONDITIONS[given], codes=6)
    for name, make, learned, given in (
        ("vq", lambda: VectorQuantiser(Codebook(6, 2)), False, "none"),
        ("vq", lambda: VectorQuantiser(Codebook(6, 2)), False, "label"),
        ("vq-learned", lambda: VectorQuantiser(Codebook(6, 2)), True, "none"),
        ("fsq", lambda: FiniteScalar((3, 2)), False, "none"),
    )
]
CASES += [
    *(
        Case(
            f"sentences-{cell}-{given}", partial(sentences, cell, CONDITIONS[given]), CONDITIONS[given], sentences=True
        )
        for cell, given in (("lstm", "none"), ("gru", "none"), ("lstm", "label"))
    ),
    Case("words_given", partial(words_given, Condition.label(4)), Condition.label(4), sentences=True),
]
EVERY = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def score(case: Case, model: Model, draws: int = 3) -> Tensor:
    """log w, or log p(x | z) where there is no density."""
    x, c = case.batch()
    trace = model(x, c, draws=draws, noise=Noise(1))
    return trace.log_weight if case.has_density else trace.log_likelihood


def shown(p_x: Distribution) -> Tensor:
    """The mean; where there is none, a draw."""
    return p_x.mean if p_x.has_mean else p_x.sample(Noise(0))


@EVERY
def test_shapes_values_and_gradients(case: Case):
    model = case.make()
    x, c = case.batch()
    trace = model(x, c, draws=3, noise=Noise(1))
    assert (
        trace.log_likelihood.shape == (3, B) and trace.p_x.lead_shape == (3, B) and trace.p_x.event_shape == case.event
    )
    assert [level.z.shape for level in trace.levels] == [(3, B, *shape) for shape in model.latent_shapes]
    value = score(case, model)
    assert value.shape == (3, B) and value.isfinite().all()
    value.sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert (parameter.grad != 0).any(), f"{name} does not matter"


@EVERY
def test_a_state_dict_is_the_whole_model(case: Case):
    model, other = case.make(), case.make()
    assert not score(case, model).equal(score(case, other))
    other.load_state_dict(model.state_dict())
    assert score(case, other).equal(score(case, model))


@EVERY
def test_randomness_comes_from_the_argument_alone(case: Case):
    model = case.make()
    before = torch.get_rng_state()
    first, again = score(case, model), score(case, model)
    x, c = case.batch()
    model(x, c)
    model.sample(B, c)
    model.sample(B, c, Noise(0), mean=False)
    model.reconstruct(x, c)
    assert first.equal(again)
    assert torch.get_rng_state().equal(before)


@EVERY
def test_forward_leaves_the_model_as_it_was(case: Case):
    model = case.make()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trained, tested = score(case, model.train()), score(case, model.eval())
    # with batch normalisation a training pass is another function: of the whole batch
    assert trained.equal(tested) != case.batch_norm
    assert_close(dict(model.state_dict()), before, rtol=0, atol=0)


@EVERY
def test_the_trace_is_found_again_at_its_own_latents(case: Case):
    model = case.make()
    x, c = case.batch()
    trace = model(x, c, draws=3, noise=Noise(1))
    z = tuple(level.z for level in trace.levels)
    calls: list[object] = []
    watched = [module for module in model.children() if module is getattr(model, "posterior", None)]
    for posterior in watched:
        posterior.register_forward_hook(lambda *given: calls.append(given[0]))
    again = model.at(x, z, c)
    assert_close(again.log_joint.expand(3, B), trace.log_joint)  # without latents there is one pass for all draws
    if case.has_density:
        assert_close(again.log_weight.expand(3, B), trace.log_weight)
    assert len(calls) == len(watched)
    blind = model.at(x, z, c, q=False)
    assert len(calls) == len(watched), "the encoder ran"
    assert_close(blind.log_joint.expand(3, B), trace.log_joint)
    for level in blind.levels:
        with pytest.raises(ValueError, match="no density"):
            _ = level.log_ratio


@EVERY
def test_z_has_a_gradient_at_given_latents(case: Case):
    if case.codes is not None:
        pytest.skip("there is nothing between two codes")
    model = case.make()
    x, c = case.batch()
    z = tuple(Noise(2).normal((3, B, *shape)).requires_grad_() for shape in model.latent_shapes)
    model.at(x, z, c, q=False).log_joint.sum().backward()
    assert all(value.grad is not None and (value.grad != 0).all() for value in z)


@EVERY
def test_picks_choose_every_latent(case: Case):
    model = case.make()
    x, c = case.batch()
    seen: list[tuple[int, tuple[int, ...]]] = []

    def mean(i: int, q: Distribution) -> Tensor:
        seen.append((i, q.lead_shape))
        return q.mean if i else q.mean[None]

    inferred = model.infer(x, c, mean)
    levels = len(model.latent_shapes)
    assert seen == [(i, (1, B) if i else (B,)) for i in range(levels)]
    assert_close(tuple(level.z[0] for level in inferred.levels), tuple(model.encode(x, c)))
    assert_close(shown(inferred.p_x)[0], model.reconstruct(x, c))
    fixed = tuple(case.latents((B,), shape, 3) for shape in model.latent_shapes)
    made = model.generate(B, c, lambda i, p: fixed[i])
    assert_close(made.z, fixed) if levels else None
    assert made.p_x.lead_shape == (B,) and made.p_x.event_shape == case.event
    assert_close(shown(made.p_x), shown(model.at(x, tuple(z[None] for z in fixed), c, q=False).p_x)[0])


@EVERY
def test_draws_are_data(case: Case):
    model = case.make()
    x, c = case.batch()
    for mean in (True, False):
        made = model.sample(B, c, Noise(4), mean=mean)
        assert made.shape == x.shape and made.isfinite().all()
        assert made.equal(model.sample(B, c, Noise(4), mean=mean))


@EVERY
def test_a_datum_does_not_depend_on_its_neighbours(case: Case):
    model = case.make()
    x, c = case.batch()
    if case.batch_norm:
        with gathering(model):
            model(x, c, noise=Noise(1))
        model.eval()
    source = Recorder(Noise(1))
    whole = model(x, c, draws=2, noise=source).log_joint
    part = [tensor.narrow(request.batch, 1, 2) for request, tensor in zip(source.requests, source.tensors, strict=True)]
    alone = model(x[1:3], None if c is None else c[1:3], draws=2, noise=Replay(part)).log_joint
    assert_close(alone, whole[:, 1:3], rtol=1e-4, atol=1e-4)


@EVERY
def test_a_mask_leaves_pixels_out(case: Case):
    model = case.make()
    x, c = case.batch()
    mask = torch.zeros(B, *case.event)
    if not case.masks:
        with pytest.raises(ValueError, match="a mask cannot leave pixels out"):
            model(x, c, noise=Noise(1), mask=mask)
        return
    assert (model(x, c, noise=Noise(1), mask=mask).log_likelihood == 0).all()
    mask[..., 2:4] = 1.0
    kept = model(x, c, noise=Noise(1), mask=mask).log_likelihood
    rest = model(x, c, noise=Noise(1), mask=1 - mask).log_likelihood
    assert_close(kept + rest, model(x, c, noise=Noise(1)).log_likelihood)


@EVERY
def test_missing_and_superfluous_conditions_are_named(case: Case):
    model = case.make()
    x, c = case.batch()
    with pytest.raises(ValueError, match="c was given, but this model" if c is None else "c is missing"):
        model(x, torch.zeros(B) if c is None else None)


def compile_and_compare(name: str) -> None:
    """Compiles a loss whole, where a graph break is an error; compares value and gradients with the plain ones."""
    case = next(case for case in CASES if case.name == name)
    model, objective = case.make(), ELBO()
    x, c = case.batch()

    def loss(x: Tensor, c: Tensor | None, epsilon: Tensor) -> Tensor:
        return -objective(model(x, c, draws=2, noise=Replay((epsilon,)))).total.mean()

    torch.compiler.reset()
    compiled: Any = torch.compile(loss, fullgraph=True, backend="eager")
    parameters = list(model.parameters())
    for step in range(2):
        epsilon = Noise(1, step=step).normal((2, B, L))
        found, wanted = compiled(x, c, epsilon), loss(x, c, epsilon)
        assert_close(found, wanted, rtol=1e-6, atol=1e-6)
        assert_close(torch.autograd.grad(found, parameters), torch.autograd.grad(wanted, parameters))


@pytest.mark.slow
def test_the_compiler_captures_the_whole_pass():
    # in an interpreter of its own: the checks of annotations that tests run under cannot be compiled
    names = [f"{likelihood}-dense-none" for likelihood in LIKELIHOODS if likelihood != "gaussian_fixed"]
    names += ["bernoulli-dense-label", "bernoulli-convolutional-image"]
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
import torch, test_laws, torch._dynamo
torch._dynamo.config.error_on_recompile = True
torch.manual_seed(0)
for name in {names!r}:
    test_laws.compile_and_compare(name)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
