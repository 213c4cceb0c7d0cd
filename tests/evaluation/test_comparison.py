"""Comparisons: intervals that cover, errors in closed form, signs, and p-values that go with their intervals."""

import json
from math import inf, nan

import numpy as np
import pytest
from scipy import stats

from fourfold.evaluation import Comparison, every_pair, holm, paired, unpaired

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray]:
    """Two models on 400 data that differ far more than the models do; the first has the lower numbers."""
    rng = np.random.default_rng(0)
    base = rng.normal(90, 20, 400)
    return base - 0.8 + rng.gamma(1, 2, 400) - 2, base


def test_mean_and_error_are_those_of_the_differences(pair: tuple[np.ndarray, np.ndarray]):
    a, b = pair
    found = paired(a, b)
    assert found.difference == pytest.approx((a - b).mean(), rel=1e-12)
    assert found.standard_error == pytest.approx(stats.sem(a - b), rel=1e-12)
    apart = np.sqrt(stats.sem(a) ** 2 + stats.sem(b) ** 2)
    assert found.standard_error is not None and found.standard_error < apart / 10  # which is why it is paired
    assert (found.n, found.m, found.non_finite) == (400, None, 0)


@pytest.mark.parametrize("shape", [0.5, 1.0, 30.0])
def test_the_interval_is_scipys(shape: float):
    """The same BCa interval as another implementation, to the noise of resampling."""
    d = np.random.default_rng(1).gamma(shape, 1.0, 60)
    found = paired(d, np.zeros(60), resamples=50_000)
    asked = {"method": "BCa", "n_resamples": 50_000, "rng": np.random.default_rng(2)}
    other = stats.bootstrap((d,), np.mean, **asked).confidence_interval
    assert found.interval == pytest.approx(tuple(other), abs=0.08 * stats.sem(d))
    if shape < 2:  # skewed: a symmetric interval would be elsewhere
        middle = sum(found.interval or ()) / 2
        assert middle > found.difference + 0.1 * stats.sem(d)


def test_the_interval_covers_as_often_as_it_says():
    """500 simulated pairs of normals: the true difference lies inside 95 % of the intervals; 5 % of nulls are told."""
    rng, n = np.random.default_rng(3), 30
    inside = told = 0
    for seed in range(500):
        base = rng.normal(0, 5, n)
        a, b = base + 0.7 + rng.normal(0, 1, n), base + rng.normal(0, 1, n)
        low, high = paired(a, b, resamples=2000, seed=seed).interval or (nan, nan)
        inside += low <= 0.7 <= high
        told += paired(a - 0.7, b, resamples=2000, seed=seed).p_value <= 0.05
    assert inside / 500 == pytest.approx(0.95, abs=0.03)
    assert told / 500 == pytest.approx(0.05, abs=0.03)
    assert told == 500 - inside  # the p-value is the inverse of the interval


def test_the_p_value_crosses_where_the_interval_leaves_zero():
    """Shifted bit by bit, skewed differences are told exactly from where 0 is outside of the interval."""
    d = np.random.default_rng(4).gamma(0.7, 1.0, 40)
    for shift in np.linspace(d.mean() - 4 * stats.sem(d), d.mean() + 4 * stats.sem(d), 81):
        for level in (0.8, 0.95, 0.99):
            found = paired(d, np.full(40, shift), level=level, resamples=2000)
            low, high = found.interval or (nan, nan)
            assert (found.p_value <= 1 - level) == (not low <= 0 <= high), (shift, level)


def test_where_no_resample_comes_near_zero_p_is_that_of_a_normal():
    rng = np.random.default_rng(5)
    for mean in (0.6, 1.5, -1.5):  # 6 and 15 standard errors
        d = rng.normal(mean, 1, 100)
        z = d.mean() / stats.sem(d)
        assert paired(d, np.zeros(100)).p_value == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-6)


@pytest.mark.parametrize(
    ("better", "leader", "word"),
    [("lower", 0, "a is better by"), ("higher", 1, "b is better"), (None, 1, "b is higher")],
)
def test_which_way_is_better(pair: tuple[np.ndarray, np.ndarray], better: str | None, leader: int, word: str):
    a, b = pair
    found = paired(a, b, better=better)
    assert found.difference < 0
    assert found.leader == leader
    said = found.verdict(("a", "b"))
    assert said.startswith(word) and "−" not in said
    assert found.advantage == pytest.approx(-found.difference if better == "lower" else found.difference)
    low, high = found.advantage_interval or (nan, nan)
    assert low < found.advantage < high
    turned = paired(b, a, better=better)
    assert turned.leader == 1 - leader
    assert turned.difference == pytest.approx(-found.difference, rel=1e-12)
    # The resamples are the same data, so the interval is the mirrored one.
    assert turned.interval == pytest.approx((-found.interval[1], -found.interval[0]) if found.interval else None)


def test_the_sentence_has_the_digits_of_the_error():
    def found(**changes: object) -> Comparison:
        given = {"difference": -0.8123, "standard_error": 0.1049, "interval": (-1.021, -0.604), "p_value": 0.001}
        more = {"adjusted_p": 0.001, "n": 9, "m": None, "better": "lower", "level": 0.95, "method": "bootstrap"}
        return Comparison(**{**given, **more, **changes})  # type: ignore[arg-type]

    assert found().verdict(("iwae", "vae")) == "iwae is better by 0.81 ± 0.10 nats (95 % interval 0.60 … 1.02)"
    assert found(better="higher").verdict() == "B is better by 0.81 ± 0.10 nats (95 % interval 0.60 … 1.02)"
    untold = found(adjusted_p=0.06, interval=(-0.95, 0.05)).verdict()
    assert untold == "no difference can be told: A is better by 0.81 ± 0.10 nats (95 % interval −0.05 … 0.95)"
    coarse = found(difference=-103.2, standard_error=21.2, interval=(-140.0, -60.0)).verdict(unit="bits")
    assert coarse == "A is better by 103 ± 21 bits (95 % interval 60 … 140)"


def test_equal_numbers_are_not_told_apart_and_constant_ones_are():
    x = np.arange(10.0)
    same, moved = paired(x, x), paired(x + 1, x)
    assert (same.p_value, same.interval, same.leader) == (1.0, (0.0, 0.0), None)
    assert (moved.p_value, moved.interval, moved.leader) == (0.0, (1.0, 1.0), 1)
    assert "no difference can be told" in same.verdict()


@pytest.mark.parametrize("bad", [inf, -inf, nan])
def test_what_is_not_finite_is_counted_and_nothing_is_told(bad: float):
    a = np.arange(10.0)
    b = a.copy()
    a[3] = b[3] = bad  # inf − inf
    a[4] = bad
    found = paired(a, b)
    assert (found.non_finite, found.standard_error, found.interval, found.leader) == (2, None, None, None)
    assert found.verdict() == "nothing can be told: 2 of the numbers are not finite"
    json.dumps(found.to_dict(), allow_nan=False)
    group = unpaired([1.0, bad, 2.0], [1.0, 2.0])
    assert (group.non_finite, group.leader) == (1, None)


def test_every_pair_is_each_pair_with_adjusted_p_values():
    rng = np.random.default_rng(6)
    base = rng.normal(0, 9, 100)
    moves = rng.normal(0, 1, 100)
    models = [base, base + moves - moves.mean() + 0.23, base + rng.normal(0, 1, 100), np.full(100, nan)]
    found = every_pair(models, seed=4)
    assert list(found) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    for (i, j), one in found.items():
        alone = paired(models[i], models[j], seed=4)
        assert (alone.p_value, alone.standard_error) == (one.p_value, one.standard_error)
        assert alone.adjusted_p == alone.p_value
        assert alone.interval == (one.interval and pytest.approx(one.interval, rel=1e-12))
    assert [one.adjusted_p for one in found.values()] == holm([one.p_value for one in found.values()])
    raw = found[0, 1].p_value
    assert raw <= 0.05 < found[0, 1].adjusted_p and found[0, 1].leader is None  # told alone, not among six


def test_the_seed_decides_the_resamples(pair: tuple[np.ndarray, np.ndarray]):
    assert paired(*pair, seed=1) == paired(*pair, seed=1)
    assert paired(*pair, seed=1).interval != paired(*pair, seed=2).interval


def test_large_data_are_resampled_in_parts(monkeypatch: pytest.MonkeyPatch, pair: tuple[np.ndarray, np.ndarray]):
    whole = paired(*pair)
    monkeypatch.setattr("fourfold.evaluation.comparison._AT_ONCE", 400 * 700)
    assert paired(*pair).interval == pytest.approx(whole.interval, rel=1e-12)


def test_holm():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([0.2]) == [0.2]
    assert holm([]) == []


def test_groups_are_welchs():
    rng = np.random.default_rng(7)
    a, b = rng.normal(90, 0.3, 4), rng.normal(91, 1.5, 7)
    found, wanted = unpaired(a, b), stats.ttest_ind(a, b, equal_var=False)
    assert found.p_value == pytest.approx(wanted.pvalue, rel=1e-12)
    assert found.interval == pytest.approx(tuple(wanted.confidence_interval(0.95)), rel=1e-12)
    assert found.standard_error == pytest.approx(np.hypot(stats.sem(a), stats.sem(b)), rel=1e-12)
    assert (found.n, found.m) == (4, 7)
    assert f"{wanted.df:.1f} degrees" in found.method
    equal = unpaired([1.0, 1.0], [2.0, 2.0], better="higher")
    assert (equal.p_value, equal.leader) == (0.0, 1)


@pytest.mark.parametrize(
    ("arrays", "options", "message"),
    [
        (([1.0, 2.0], [1.0, 2.0, 3.0]), {}, r"one length of at least 2, .* got \(2,\), \(3,\)"),
        (([1.0], [2.0]), {}, "at least 2"),
        (([[1.0, 2.0]], [[1.0, 2.0]]), {}, r"wanted arrays \(N,\)"),
        (([1.0, 2.0], [1.0, 3.0]), {"resamples": 1999}, "resamples must be at least 2000, got 1999"),
        (([1.0, 2.0], [1.0, 3.0]), {"level": 95}, "level must be from 0.5 to 0.999, got 95"),
        (([1.0, 2.0], [1.0, 3.0]), {"better": "smaller"}, "better: unknown value 'smaller'"),
    ],
)
def test_what_cannot_be_compared_is_refused(arrays: tuple, options: dict, message: str):
    with pytest.raises(ValueError, match=message):
        paired(*arrays, **options)


def test_groups_of_one_are_refused():
    with pytest.raises(ValueError, match=r"at least 2 numbers in each group, got \(1,\), \(3,\)"):
        unpaired([1.0], [1.0, 2.0, 3.0])


@pytest.mark.parametrize("n", [2, 3, 8])
def test_of_few_data_no_more_is_told_than_chance_allows(n: int):
    """The bootstrap of two equal models finds a difference every other time where n = 2."""
    d = np.random.default_rng(6).normal(0, 1, (400, n))
    found = [paired(one, np.zeros(n)) for one in d]
    assert np.mean([one.p_value <= 0.05 for one in found]) == pytest.approx(0.05, abs=0.033)
    for one, numbers in zip(found[:20], d, strict=False):
        test = stats.ttest_1samp(numbers, 0)
        assert one.p_value == pytest.approx(test.pvalue) and one.method == f"Student's t over {n} data"
        assert one.interval == pytest.approx(tuple(test.confidence_interval()))
