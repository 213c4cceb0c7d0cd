"""Codes for latents: the quantisers by hand, the bound by enumeration, and where gradients go."""

from itertools import product
from math import log

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot
from torch.testing import assert_close

from fourfold.conditional import NetworkConditional
from fourfold.distributions import BernoulliHead, Codes, OneHot, PointHead
from fourfold.models import VQVAE
from fourfold.networks import Codebook, FiniteScalar, PixelStacks, Quantiser, Strided, VectorQuantiser
from fourfold.networks.quantisers import k_means
from fourfold.noise import Noise
from fourfold.objectives import ELBO, IWAE
from fourfold.priors import PixelCodes, StandardNormal, UniformCodes
from fourfold.trace import Term

DATA = (1, 4, 6)
VECTORS, LATENT, K = (2, 2, 3), (1, 2, 3), 3
STACKS = PixelStacks(2, 6, 3, 3)
RANDOM = Codebook(K, 2, start="random", revival=0.0)


def model(quantiser: Quantiser | None = None, learned: bool = False, seed: int = 0) -> VQVAE:
    """Six codes of three, from images of 4 × 6."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        quantiser = quantiser or VectorQuantiser(RANDOM)
        vectors = (quantiser.dim, *VECTORS[1:])
        prior = PixelCodes(LATENT, quantiser.levels, STACKS) if learned else UniformCodes(LATENT, quantiser.levels)
        up, down = Strided(DATA, vectors, filters=6, blocks=1), Strided(vectors, DATA, filters=6, blocks=1)
        q = NetworkConditional(up, PointHead(vectors), DATA)
        made = VQVAE(q, quantiser, prior, NetworkConditional(down, BernoulliHead(DATA), vectors))
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.mul_(2.0)
    return made


def images(n: int = 5) -> Tensor:
    return Noise(0, stream="x").uniform((n, *DATA)).round()


def through(value: Tensor, wanted: nn.Module) -> dict[str, bool]:
    """Which parameters the gradient of a value reaches."""
    named = dict(wanted.named_parameters())
    found = torch.autograd.grad(value, list(named.values()), allow_unused=True)
    return {name: g is not None and bool((g != 0).any()) for name, g in zip(named, found, strict=True)}


# Quantisers.


def test_the_code_is_the_nearest_vector_s(double):
    quantiser, z = VectorQuantiser(Codebook(50, 4)), Noise(1).normal((7, 3, 2, 4))
    distances = (z[..., None, :] - quantiser.codebook).square().sum(-1)
    codes = quantiser.codes(z)
    assert codes.equal(distances.argmin(-1)) and codes.shape == (7, 3, 2) and codes.dtype == torch.long
    assert quantiser.vectors(codes).equal(quantiser.codebook[distances.argmin(-1)])
    assert len(codes.unique()) > 10


def test_many_distances_are_taken_some_at_a_time(double, monkeypatch):
    quantiser, z = VectorQuantiser(Codebook(5, 3)), Noise(1).normal((40, 3))
    whole = quantiser.codes(z)
    monkeypatch.setattr("fourfold.networks.quantisers._AT_ONCE", 35)
    assert quantiser.codes(z).equal(whole)


@pytest.mark.parametrize("narrow", [torch.bfloat16, torch.float16])
def test_autocast_chooses_the_same_codes(narrow: torch.dtype):
    quantiser = VectorQuantiser(Codebook(64, 8))
    z = quantiser.codebook.repeat(40, 1) + 0.2 * Noise(1).normal((2560, 8))
    plain = quantiser.codes(z)
    with torch.autocast("cpu", narrow):
        assert quantiser.codes(z).equal(plain)
    rounded = (z.to(narrow) @ quantiser.codebook.to(narrow).T).float()
    half = quantiser.codebook.square().sum(1) / 2
    if narrow == torch.bfloat16:
        assert not (half - rounded).argmin(1).equal(plain)  # which is what autocast would have chosen


def test_the_running_means_are_those_of_the_paper(double):
    """Appendix A.1 with Laplace smoothing, computed one datum at a time."""
    quantiser = VectorQuantiser(Codebook(4, 2, start="random", revival=0.0))
    n, m, e = torch.ones(4), quantiser.codebook.clone(), quantiser.codebook.clone()
    for step in range(5):
        z = Noise(step).normal((6, 3, 2))
        codes = quantiser.codes(z)
        quantiser.after_step(quantiser.summary(z, codes, Noise(0)))
        counts, sums = torch.zeros(4), torch.zeros(4, 2)
        for row in z.reshape(-1, 2):
            nearest = min(range(4), key=lambda j, row=row: float((row - e[j]).norm()))
            counts[nearest] += 1
            sums[nearest] += row
        n, m = 0.99 * n + 0.01 * counts, 0.99 * m + 0.01 * sums
        smooth = (n + 1e-5) / (n.sum() + 4 * 1e-5) * n.sum()
        e = m / smooth[:, None]
        assert_close(quantiser.codebook, e, rtol=0, atol=1e-14)
        assert_close(quantiser.usage, n, rtol=0, atol=1e-14)


def test_halves_of_a_batch_tell_what_the_whole_tells(double, monkeypatch):
    """Averaged over two processes, counts and sums are those of one."""
    quantiser, z = VectorQuantiser(RANDOM), Noise(1).normal((6, 3, 2))
    whole = quantiser.summary(z, quantiser.codes(z), Noise(0))
    monkeypatch.setattr("fourfold.networks.quantisers._world", lambda: 2)
    halves = [quantiser.summary(part, quantiser.codes(part), Noise(0)) for part in (z[:3], z[3:])]
    assert set(whole) == {"code_counts", "code_sums"}
    for name, value in whole.items():
        assert_close((halves[0][name] + halves[1][name]) / 2, value, rtol=0, atol=1e-14)


def test_k_means_finds_heaps(double):
    heaps = torch.tensor([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    points = heaps.repeat(20, 1) + 0.1 * Noise(0).normal((60, 2))
    centres, sizes = k_means(points, 3)
    assert_close(centres, torch.stack([points[i::3].mean(0) for i in range(3)]), rtol=0, atol=1e-12)
    assert sizes.tolist() == [20, 20, 20]
    few, counts = k_means(points[:2], 3)
    assert few[2].equal(few[0]) and counts.sum() == 2


def test_the_codebook_starts_from_the_first_batch(double):
    made, z = VectorQuantiser(Codebook(3, 2)), 5 + Noise(1).normal((30, 4, 2))
    told = made.summary(z, made.codes(z), Noise(2))
    assert made.begun == 0 and made.codebook.abs().max() < 3
    made.after_step(told)
    centres, _ = k_means(told["code_pool"], 3)
    assert made.begun == 1 and made.codebook.equal(centres)
    assert_close(made.usage.sum(), torch.tensor(120.0))  # four codes for each of thirty data
    assert_close(made.total / made.usage[:, None], centres)
    again = VectorQuantiser(Codebook(3, 2))
    again.load_state_dict(made.state_dict())
    for one in (made, again):  # one that begun long ago goes on
        one.after_step(one.summary(z, one.codes(z), Noise(3)))
    assert not made.codebook.equal(centres) and made.codebook.equal(again.codebook)


@pytest.mark.parametrize("learned", ["ema", "loss"])
def test_dead_codes_come_back_as_vectors_of_the_batch(learned: str, double):
    made = VectorQuantiser(Codebook(4, 2, learned, start="random"))
    with torch.no_grad():
        made.codebook.copy_(torch.tensor([[0.0, 0.0], [1.0, 1.0], [50.0, 0.0], [0.0, 50.0]]))
    if learned == "ema":
        made.total.copy_(made.codebook)
    z = Noise(1).uniform((20, 3, 2))
    steps = 0
    while (made.codebook > 40).any():
        made.after_step(made.summary(z, made.codes(z), Noise(steps)))
        steps += 1
        assert steps < 1000
    assert steps > 100  # it takes a while to be dead
    for back in made.codebook[2:].detach():
        assert (z.reshape(-1, 2) - back).norm(dim=1).min() < 1e-12
    assert not made.codebook[2].equal(made.codebook[3])
    made.after_step(made.summary(z, made.codes(z), Noise(steps)))
    assert made.codebook.abs().max() < 1.5  # and stays


def test_without_revival_the_dead_rest(double):
    made = VectorQuantiser(Codebook(2, 2, start="random", revival=0.0))
    made.codebook.copy_(torch.tensor([[0.0, 0.0], [50.0, 50.0]]))
    made.total.copy_(made.codebook)
    z = Noise(1).uniform((20, 3, 2))
    for step in range(600):
        made.after_step(made.summary(z, made.codes(z), Noise(step)))
    assert made.codebook[1].min() > 40 and made.in_use(made.usage)["codes_used"] == 1


def test_perplexity_is_that_of_the_shares(double):
    made = VectorQuantiser(Codebook(5, 2))
    even = made.in_use(torch.tensor([2.0, 2.0, 2.0, 2.0, 0.0]))
    assert_close(even["code_perplexity"], torch.tensor(4.0))
    assert even["codes_used"] == 4
    share = torch.tensor([0.5, 0.25, 0.25])
    wanted = (-(share * share.log()).sum()).exp()
    assert_close(made.in_use(torch.tensor([4.0, 2.0, 2.0, 0.0, 0.0]))["code_perplexity"], wanted)


@pytest.mark.parametrize("levels", [(8, 5, 5, 5), (2,), (3, 2), (4, 4, 7)], ids=str)
def test_finite_scalars_by_the_formula(levels: tuple[int, ...], double):
    made = FiniteScalar(levels)
    z = 3 * Noise(1).normal((200, len(levels)))
    codes = made.codes(z)
    for row, code in zip(z, codes, strict=True):
        rest = int(code)
        for value, n in zip(row, levels, strict=True):
            half, offset = (n - 1) * 1.001 / 2, 0.5 * (n % 2 == 0)
            level = torch.round(torch.tanh(value + torch.atanh(torch.tensor(offset / half))) * half - offset)
            assert rest % n == int(level) + n // 2
            rest //= n
        assert rest == 0
    every = torch.arange(made.levels)
    vectors = made.vectors(every)
    assert len(vectors.unique(dim=0)) == made.levels and vectors.abs().max() <= 1
    inside = torch.atanh((vectors * made.width + made.offset) / made.reach) - made.shift
    assert made.codes(inside).equal(every)  # each code is the one of its own vector
    assert_close((made.shown(z) - made.vectors(codes)).abs() * made.width, torch.zeros_like(z), rtol=0, atol=0.5)
    assert not made.losses(z, codes)


def test_finite_scalars_at_zero_are_in_the_middle_and_all_levels_are_reached():
    made = FiniteScalar((8, 5))
    wide = torch.linspace(-8, 8, 4000)
    assert len(made.codes(torch.stack((wide, torch.zeros(4000)), 1)).unique()) == 8
    assert len(made.codes(torch.stack((torch.zeros(4000), wide), 1)).unique()) == 5
    assert made.vectors(made.codes(torch.zeros(2))).equal(torch.zeros(2))


# The bound.


@pytest.mark.parametrize("learned", [False, True], ids=["uniform", "learned"])
def test_the_bound_is_below_the_evidence_of_all_codes(learned: bool, double):
    made, x = model(learned=learned).eval(), images()
    every = torch.tensor(list(product(range(K), repeat=6))).reshape(-1, 1, *LATENT)
    joint = made.at(x, (every.expand(-1, len(x), *LATENT),), q=False).log_joint
    assert_close(made.prior().log_prob(every[:, 0]).exp().sum(), torch.ones(()), rtol=0, atol=1e-12)
    evidence = joint.logsumexp(0)
    trace = made(x, draws=3)
    bound = ELBO()(trace).total + 0.25 * trace.penalties["commitment"].value
    (level,) = trace.levels
    which = (level.z[0].flatten(1) * K ** torch.arange(5, -1, -1)).sum(1)
    assert_close(bound, joint[which, torch.arange(len(x))], rtol=0, atol=1e-12)
    assert (bound < evidence).all() and (bound > evidence - 12).all()
    assert_close(IWAE(3)(trace).total + 0.25 * trace.penalties["commitment"].value, bound)
    rate = 6 * log(K) if not learned else -made.prior().log_prob(level.z[0])
    assert_close(level.kl, torch.as_tensor(rate).expand(len(x)), rtol=0, atol=1e-12)
    assert_close(level.log_ratio, level.kl.expand(3, len(x)), rtol=0, atol=1e-12)
    assert level.q.entropy().eq(0).all() and level.log_q.eq(0).all()


def test_another_code_has_no_probability_under_the_posterior():
    made, x = model(), images()
    (level,) = made(x).levels
    z = level.z.clone()
    z[0, 2, 0, 1, 1] = (z[0, 2, 0, 1, 1] + 1) % K
    assert made.at(x, (z,)).levels[0].log_q[0].tolist() == [0, 0, -float("inf"), 0, 0]


def test_one_hot_and_codes_are_distributions(double):
    logits = Noise(1).normal((5, 4, 2, 3))
    p = Codes(logits, 2)
    z = p.sample(Noise(2), 20_000)
    assert z.shape == (20_000, 5, 2, 3) and z.dtype == torch.long
    shares = one_hot(z, 4).double().mean(0).movedim(-1, 1)
    assert_close(shares, logits.softmax(1), rtol=0, atol=0.015)
    assert_close(p.log_prob_by_element(z)[0], logits.log_softmax(1).gather(1, z[:1].transpose(0, 1))[:, 0])
    assert_close(-p.log_prob(z).mean(0), p.entropy(), rtol=0.02, atol=0)
    q = OneHot(z[0], 4, 2)
    assert q.sample(Noise(0), 3).equal(z[:1].expand(3, 5, 2, 3)) and q.certain and not p.certain
    assert_close(q.kl(p), -p.log_prob(z[0]))
    assert q.kl_by_element(p).shape == (5, 2, 3)
    other = Codes(Noise(3).normal((5, 4, 2, 3)), 2)
    exact = (logits.softmax(1) * (logits.log_softmax(1) - other.logits.log_softmax(1))).sum((1, 2, 3))
    assert_close(p.kl(other), exact)
    assert p.centre.equal(logits.argmax(1)) and p.expand((3, 5)).log_prob(z[:3]).shape == (3, 5)
    with pytest.raises(ValueError, match="names have no mean"):
        _ = p.mean


# Gradients.


def test_the_gradient_goes_straight_through(double):
    """Of log p(x | z) by the encoder's vectors it is that by the codes' vectors, whatever these are."""
    made, x = model(), images()
    seen: list[Tensor] = []
    made.encoder.register_forward_hook(lambda *given: seen.append(given[2].mean))
    seen.clear()
    trace = made(x)
    (by_encoder,) = torch.autograd.grad(trace.log_likelihood.sum(), seen[0], retain_graph=True)
    vectors = made.decoded(trace.levels[0].z).detach().requires_grad_()
    p_x = made.likelihood(vectors, None)
    assert p_x.log_prob(x).equal(trace.log_likelihood)  # of the codes' own vectors, to the last digit
    (by_code,) = torch.autograd.grad(p_x.log_prob(x).sum(), vectors)
    assert_close(by_encoder, by_code[0], rtol=0, atol=1e-13)
    assert (by_code != 0).any()


def test_the_gradient_of_finite_scalars_is_that_of_the_bounded_value(double):
    made = FiniteScalar((5, 4))
    z = Noise(1).normal((10, 2)).requires_grad_()
    (found,) = torch.autograd.grad(made.shown(z).sum(), z)
    wanted = made.reach * (1 - torch.tanh(z + made.shift).square()) / made.width
    assert_close(found, wanted)
    assert not made.codes(z).requires_grad
    whole = model(FiniteScalar((3, 2)))
    assert all(through(whole(images()).log_likelihood.sum(), whole.encoder).values())


def test_each_loss_moves_its_own_part():
    made, x = model(VectorQuantiser(Codebook(K, 2, "loss", start="random"))), images()
    told = made(x).penalties
    commitment, codebook = told["commitment"], told["codebook"]
    assert isinstance(commitment, Term) and isinstance(codebook, Term)
    assert (commitment.weight, codebook.weight) == (-0.25, -1.0)
    assert_close(commitment.value, codebook.value)
    names = set(dict(made.named_parameters()))
    moved = {name for name, so in through(commitment.value.sum(), made).items() if so}
    assert moved == {name for name in names if name.startswith("encoder.")}
    assert [name for name, so in through(codebook.value.sum(), made).items() if so] == ["quantiser.codebook"]
    reached = through(made(x).log_likelihood.sum(), made)
    assert not reached.pop("quantiser.codebook") and all(reached.values())


def test_the_commitment_is_a_sum_over_numbers_and_places(double):
    made, x = model(), images()
    told = made(x).penalties["commitment"]
    z_e, vectors = made.encoder(x).mean, made.decoded(made.encode(x)[0])
    assert isinstance(told, Term) and told.unit == "squared units of z"
    assert_close(told.value, (z_e - vectors).square().sum((1, 2, 3)), rtol=0, atol=1e-13)
    terms = ELBO()(made(x))
    assert_close(terms.total, terms.parts["log_likelihood"].value - 6 * log(K) - 0.25 * told.value)


def test_the_prior_gets_its_gradient_and_moves_nothing_else():
    made, x = model(learned=True), images()
    reached = through(made(x).levels[0].kl.sum(), made)
    assert {name.split(".")[0] for name, so in reached.items() if so} == {"prior"}
    assert all(so for name, so in reached.items() if name.startswith("prior."))


def test_a_codebook_learns_only_where_its_encoder_does():
    made, x = model(), images()
    assert made(x).summary and not made.eval()(x).summary
    made.train().encoder.requires_grad_(False)
    assert not made(x).summary
    before = made.quantiser.codebook.clone()
    made.after_step({})
    assert made.quantiser.codebook.equal(before)


# The prior over codes.


def test_codes_one_after_the_other_are_those_of_the_whole_pass(double):
    p = model(learned=True).prior()
    z = p.expand((4,)).sample(Noise(1))
    assert z.shape == (4, *LATENT) and z.dtype == torch.long and z.max() < K
    steps, total = p.expand((4,)).conditionals(), torch.zeros(4)
    piece, where = next(steps)
    while True:
        value = z.flatten(1)[:, where]
        total = total + piece.log_prob(value)
        try:
            piece, where = steps.send(value)
        except StopIteration:
            break
    assert_close(total, p.log_prob(z), rtol=0, atol=1e-12)
    assert p.centre.shape == LATENT


def test_several_codes_a_place_are_seen_in_their_order(double):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        prior = PixelCodes((2, 1, 2), 3, STACKS)
    every = torch.tensor(list(product(range(3), repeat=4))).reshape(-1, 2, 1, 2)
    log_p = prior().log_prob(every)
    assert_close(log_p.exp().sum(), torch.ones(()), rtol=0, atol=1e-12)
    assert log_p.exp().std() > 1e-3


def test_a_prior_over_other_codes_is_refused(unchecked):
    made = model()
    others, shape = (UniformCodes(LATENT, K + 1), UniformCodes((1, 3, 2), K)), r"make 3 codes of shape \(1, 2, 3\)"
    density = (StandardNormal(LATENT), "wanted a probability of codes, got a density")
    for prior, said in (*((one, shape) for one in others), density):
        wrong = VQVAE(made.encoder, made.quantiser, prior, made.likelihood)
        with pytest.raises(ValueError, match=said):
            wrong(images())


def test_what_is_wrong_is_named(unchecked):
    for make, said in (
        (lambda: VectorQuantiser(Codebook(0, 2)), "size must be"),
        (lambda: VectorQuantiser(Codebook(learned="sgd")), "learned: unknown value 'sgd'"),
        (lambda: VectorQuantiser(Codebook(start="zero")), "start: unknown value 'zero'"),
        (lambda: VectorQuantiser(Codebook(), -1.0), "commitment must be"),
        (lambda: FiniteScalar((8, 1)), "wanted at least 2 each"),
        (lambda: Strided((1, 28, 28), (4, 6, 6)), "that halving leads to or from"),
        (lambda: Strided((1, 8, 8), (4, 4, 4), (1, 4, 4)), "of the size of"),
    ):
        with pytest.raises(ValueError, match=said):
            make()


@pytest.mark.parametrize(
    "large, small", [((1, 28, 28), (3, 7, 7)), ((2, 9, 15), (3, 2, 3)), ((1, 5, 5), (4, 5, 5))], ids=str
)
def test_strided_networks_lead_down_and_up(large, small):
    down, up = Strided(large, small, (2,), filters=4), Strided(small, large, filters=4)
    x = Noise(0).normal((2, *large))
    assert down(x, torch.ones(2, 2)).shape == (2, *small) and up(Noise(1).normal((2, *small))).shape == (2, *large)
    reached = through(up(Noise(1).normal((2, *small))).sum(), up)
    assert all(reached.values())


def test_a_place_sees_a_part_of_the_image(double):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        down = Strided((1, 32, 32), (2, 8, 8), filters=4, blocks=1)
    x = Noise(0).normal((1, 1, 32, 32))
    other = x.clone()
    other[..., 31, 31] += 9
    changed = (down(x) != down(other)).any(1)[0]
    assert changed[7, 7] and not changed[0].any()
