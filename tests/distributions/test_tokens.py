"""Token sequences against enumeration: every sequence of a tiny vocabulary, scored one by one."""

from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from fourfold._tokens import EOS, PAD, UNK
from fourfold.distributions import TokenHead, TokenSequence
from fourfold.networks import RecurrentSizes, RecurrentTokens
from fourfold.noise import Noise

WORDS, T, Z = 5, 3, 2  # <pad> <eos> <unk> a b

KINDS = {
    "lstm": {"cell": "lstm"},
    "gru": {"cell": "gru"},
    "two layers": {"cell": "lstm", "layers": 2},
    "first state alone": {"cell": "gru", "repeated": False},
    "inputless": {"cell": "lstm", "inputless": True},
    "nothing given": {"cell": "lstm", "given": None},
}


def head(kind: str, length: int = T, words: int = WORDS) -> TokenHead:
    """A head with weights large enough that probabilities differ."""
    told = dict(KINDS[kind])
    given = told.pop("given", Z)
    how = {key: told.pop(key) for key in ("repeated", "inputless") if key in told}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = RecurrentTokens(RecurrentSizes(words, embedding=4, hidden=6, **told), given, **how)
        for parameter in network.parameters():
            nn.init.normal_(parameter, std=0.8)
    return TokenHead((length,), network, None if given is None else (given,))


def made(kind: str, length: int = T, words: int = WORDS) -> TokenSequence:
    """The distribution; given two z, where it is given any."""
    found = head(kind, length, words)
    return found.alone() if KINDS[kind].get("given", Z) is None else found(torch.tensor([[0.3, -1.0], [2.0, 0.5]]))


def every_event(length: int = T, words: int = WORDS) -> Tensor:
    """Every row that there is: up to T − 1 words and <eos>, or T words that go on."""
    rows = []
    for n in range(length + 1):
        for found in product(range(UNK, words), repeat=n):
            rows.append([*found, *([EOS] if n < length else []), *[PAD] * (length - n - 1)])
    return torch.tensor(rows, dtype=torch.get_default_dtype())


@pytest.mark.parametrize("kind", KINDS)
def test_the_masses_of_all_sequences_sum_to_one(kind: str, double: None) -> None:
    p, rows = made(kind), every_event()
    mass = p.log_prob(rows[:, None]).exp().sum(0)
    assert len(rows) == 1 + 3 + 9 + 27 and mass.shape == (p.lead_shape or (1,))
    assert_close(mass, torch.ones_like(mass), rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_log_prob_is_the_product_of_the_steps(kind: str, double: None) -> None:
    """An independent calculation: one token after the other, through the kept state."""
    p, rows = made(kind), every_event()
    lead = p.lead_shape or (1,)
    for row in rows[::3]:
        given = None if p.given is None else p.given
        steps, before = p.head.network.walk(given, lead[0]), torch.full(lead, EOS)
        total = torch.zeros(lead)
        for token in row.long().tolist():
            if token == PAD:
                break
            total = total + steps.next(before).log_softmax(-1)[:, token - 1]
            before = torch.full(lead, token)
        assert_close(p.log_prob(row.expand(*lead, T)), total, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", ["lstm", "nothing given"])
def test_padding_changes_nothing(kind: str, double: None) -> None:
    p = made(kind)
    rows = every_event()
    ended = rows[(rows == EOS).any(1)]
    longer = torch.cat([ended, torch.zeros(len(ended), 4)], 1)
    assert_close(p.log_prob(longer[:, None]), p.log_prob(ended[:, None]), rtol=0, atol=1e-12)
    alone = torch.stack([p.log_prob(row[: int((row != PAD).sum())].expand(2, -1))[0] for row in ended])
    assert_close(p.log_prob(ended[:, None]).expand(-1, 2)[:, 0], alone, rtol=0, atol=1e-12)


def test_what_is_masked_is_not_scored_but_seen(double: None) -> None:
    p, x = made("lstm"), torch.tensor([3.0, 4.0, 1.0]).expand(2, 3)
    head_, tail = torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    assert_close(p.log_prob(x, head_) + p.log_prob(x, tail), p.log_prob(x), rtol=0, atol=1e-12)
    other = torch.tensor([4.0, 4.0, 1.0]).expand(2, 3)
    assert not torch.allclose(p.log_prob(x, tail), p.log_prob(other, tail))


@pytest.mark.parametrize("kind", KINDS)
def test_draws_come_as_often_as_they_are_probable(kind: str) -> None:
    p, rows, n = made(kind), every_event(), 40_000
    drawn = p.sample(Noise(0), n)
    assert drawn.shape == (n, *p.lead_shape, T)
    first = drawn.reshape(n, -1, T)[:, 0]
    with torch.no_grad():
        mass = p.log_prob(rows[:, None]).exp().reshape(len(rows), -1)[:, 0]
    code = torch.tensor([WORDS**2, WORDS, 1.0])
    found = (first @ code)[:, None] == (rows @ code)
    assert (found.sum(1) == 1).all()  # each draw is an event
    assert ((found.float().mean(0) - mass).abs() < 4 * (mass * (1 - mass) / n).sqrt() + 1e-4).all()


def test_a_draw_does_not_depend_on_its_neighbours() -> None:
    p = made("gru", length=6)
    both = p.sample(Noise(3))
    numbers = Noise(3).uniform((2, 6))
    from fourfold.noise import Replay

    alone = p.head(p.given[:1]).sample(Replay((numbers[:1],)))  # type: ignore[index]
    assert both[:1].equal(alone)


def test_the_centre_is_greedy() -> None:
    p = made("lstm", length=5)
    for z, found in zip(p.given, p.centre, strict=True):  # type: ignore[arg-type]
        steps, before, wanted = p.head.network.walk(z[None], 1), torch.tensor([EOS]), []
        while len(wanted) < 5 and (not wanted or wanted[-1] != EOS):
            before = steps.next(before).argmax(-1) + 1
            wanted.append(int(before))
        assert found.tolist() == [*wanted, *[PAD] * (5 - len(wanted))]


def test_many_draws_are_scored_in_pieces_alike(double: None, monkeypatch: pytest.MonkeyPatch) -> None:
    from fourfold.distributions import tokens

    p = head("lstm", 4)(torch.randn(7, 2, Z, generator=torch.Generator().manual_seed(0)))
    x = torch.tensor([[3.0, 4.0, 3.0, 1.0], [2.0, 1.0, 0.0, 0.0]])
    whole = p.log_prob(x)
    monkeypatch.setattr(tokens, "_AT_ONCE", 300)
    with torch.no_grad():
        pieces = p.log_prob(x)
    assert whole.shape == (7, 2)
    assert_close(pieces, whole.detach(), rtol=0, atol=1e-12)


def test_an_inputless_decoder_sees_no_word(double: None) -> None:
    p, seeing = made("inputless"), made("lstm")
    tail = torch.tensor([0.0, 0.0, 1.0])
    one, other = (torch.tensor([first, 4.0, 1.0]).expand(2, 3) for first in (3.0, 4.0))
    assert p.log_prob(one, tail).equal(p.log_prob(other, tail))
    assert not seeing.log_prob(one, tail).equal(seeing.log_prob(other, tail))


def test_inputs_stand_in_for_the_tokens_before_alone(double: None) -> None:
    p, x = made("lstm"), torch.tensor([3.0, 4.0, 1.0]).expand(2, 3)
    unknown = torch.tensor([2.0, 2.0, 1.0]).expand(2, 3)
    first = torch.tensor([1.0, 0.0, 0.0])
    assert p.log_prob_fed(x, x).equal(p.log_prob(x))
    assert p.log_prob_fed(x, unknown, first).equal(p.log_prob(x, first))  # before the first word there is none
    assert not torch.allclose(p.log_prob_fed(x, unknown), p.log_prob(x))
    steps, before, total = p.head.network.walk(p.given, 2), torch.full((2,), EOS), torch.zeros(2)
    for token, shown in ((3, 2), (4, 2), (1, 1)):
        total = total + steps.next(before).log_softmax(-1)[:, token - 1]
        before = torch.full((2,), shown)
    assert_close(p.log_prob_fed(x, unknown), total, rtol=0, atol=1e-12)


def test_what_it_is_not(unchecked: None) -> None:
    p = made("lstm")
    with pytest.raises(ValueError, match="numbers of words have no mean"):
        _ = p.mean
    with pytest.raises(ValueError, match=r"wanted a sequence \(T,\)"):
        TokenHead((1, 2, 3), p.head.network)
    with pytest.raises(TypeError, match="wanted one as TokenNetwork tells, got Linear"):
        TokenHead((3,), nn.Linear(2, 2))
    from fourfold.distributions import BernoulliHead

    with pytest.raises(ValueError, match="no inputs to corrupt"):
        BernoulliHead(2)(torch.zeros(1, 2)).log_prob_fed(torch.zeros(1, 2), torch.zeros(1, 2))
