"""Metrics of disentanglement against exact values, other implementations and published fixtures."""

from math import inf, log

import numpy as np
import pytest
from known_codes import factors_of, source_of
from scipy import stats
from scipy.integrate import quad
from scipy.linalg import sqrtm
from sklearn.metrics import mutual_info_score, roc_auc_score

from fourfold.data import Factor
from fourfold.evaluation.disentanglement import (
    METRICS,
    Measuring,
    NotApplicable,
    Posteriors,
    Sample,
    Sampled,
    Tabled,
    beta_vae,
    characteristic_approx,
    characteristic_e,
    dci_boosted,
    dci_forest,
    dci_lasso,
    explicitness,
    factor_vae,
    gaussian_tc,
    gaussian_wasserstein,
    information,
    irs,
    mean_information,
    measure,
    mic_scores,
    mig_chen,
    mig_dlib,
    mig_sup,
    mig_sup_chen,
    modularity,
    perfect,
    r2,
    sap,
    udr_lasso,
    udr_spearman,
)
from fourfold.evaluation.disentanglement.bins import equal_width, labels
from fourfold.evaluation.disentanglement.predictive import _auc

SHAPE = Factor("shape", "categorical", values=("square", "ellipse", "heart"))
SIZE = Factor("size", "ordinal", values=(1, 2, 3, 4))
DEPTH = Factor("depth", "continuous", low=-2.0, high=2.0)
ANGLE = Factor("angle", "continuous", low=0.0, high=360.0, period=360.0)
MIXED = (SHAPE, SIZE, DEPTH, ANGLE)


def mixed(n: int = 3000, seed: int = 0, dead: int = 2) -> Sample:
    """Factors of every kind, a code of each, and codes that do not vary."""
    rng = np.random.default_rng(seed)
    v = np.stack([rng.integers(3, size=n), rng.integers(4, size=n), rng.uniform(-2, 2, n), rng.uniform(0, 360, n)], 1)
    return Sample(np.pad(v / [2, 3, 4, 360], ((0, 0), (0, dead)), constant_values=0.1), v, MIXED)


def test_information_is_that_of_another_implementation():
    sample = source_of("dsprites", "rotated").draw(2000, np.random.default_rng(1))
    found = information(sample)
    for j in range(5):
        # NumPy's histogram, as the published code bins
        edges = np.histogram(sample.codes[:, j], 20)[1][:-1]
        binned = np.digitize(sample.codes[:, j], edges)
        for k in range(5):
            assert found[j, k] == pytest.approx(mutual_info_score(binned, sample.factors[:, k]), abs=1e-10)
    assert np.all(found[5:] == 0)


def test_bins_are_of_equal_width():
    assert equal_width(np.array([[0.0], [0.99], [1.0], [1.99], [2.0]]), 2)[:, 0].tolist() == [0, 0, 1, 1, 1]
    assert np.all(equal_width(np.full((5, 1), 0.1)) == 0)


def test_bins_of_a_periodic_factor_lie_on_its_circle():
    turned = Factor("angle", "continuous", low=-90.0, high=270.0, period=360.0)
    v = np.array([[-90.0], [269.9], [270.0], [90.0]])
    assert labels(Sample(np.arange(4.0)[:, None], v, (turned,)), 4)[:, 0].tolist() == [0, 3, 0, 2]


def test_r2_by_least_squares_and_by_the_correlation_ratio():
    sample = mixed()
    rng = np.random.default_rng(5)
    codes = rng.standard_normal((3000, 3)) + np.stack(
        [np.cos(np.deg2rad(sample.factors[:, 3] - 40)), sample.factors[:, 2], (sample.factors[:, 0] == 1)], 1
    )
    found = r2(Sample(codes, sample.factors, MIXED))
    angle = np.deg2rad(sample.factors[:, 3])
    design = np.stack([np.ones(3000), np.cos(angle), np.sin(angle)], 1)
    for j, z in enumerate(codes.T):
        left = np.linalg.lstsq(design, z, rcond=None)[1][0] / np.square(z - z.mean()).sum()
        assert found[j, 3] == pytest.approx(1 - left, abs=1e-10)
        assert found[j, 2] == pytest.approx(np.corrcoef(z, sample.factors[:, 2])[0, 1] ** 2, abs=1e-10)
        means = np.array([z[sample.factors[:, 0] == s].mean() for s in range(3)])[sample.factors[:, 0].astype(int)]
        assert found[j, 0] == pytest.approx(means.var() / z.var(), abs=1e-10)
    assert found[2, 0] > 0.1 > np.corrcoef(codes[:, 2], sample.factors[:, 0])[0, 1] ** 2  # what a number would miss


def test_a_circle_is_a_line_in_its_cosine_and_sine():
    v = np.arange(0.0, 360.0, 5)[:, None]
    codes = np.concatenate([np.cos(np.deg2rad(v)), np.sin(np.deg2rad(2 * v))], 1)
    assert r2(Sample(codes, v, (ANGLE,)))[:, 0] == pytest.approx([1, 0], abs=1e-12)


def test_sap_of_continuous_factors_is_the_gap_of_squared_correlations():
    train, test = mixed(seed=0), mixed(seed=1)
    test = Sample(test.codes + np.random.default_rng(2).standard_normal(test.codes.shape), test.factors, MIXED)
    found = sap(train, test)
    assert found.parts["matrix"][:, 2] == pytest.approx(r2(test)[:, 2])
    assert found.parts["matrix"][:, 3] == pytest.approx(r2(test)[:, 3])
    best = np.sort(found.parts["matrix"], 0)[::-1]
    assert found.value == pytest.approx((best[0] - best[1]).mean())


def test_the_area_under_a_curve_is_scikit_learns():
    rng = np.random.default_rng(0)
    scores = rng.integers(10, size=(200, 3)) / 10  # with ties
    own = rng.random((200, 3)) < 0.3
    theirs = np.mean([roc_auc_score(own[:, c], scores[:, c]) for c in range(3)])
    assert _auc(scores, own) == pytest.approx(theirs, abs=1e-12)


def test_irs_by_hand():
    """Two groups; the greatest distance from the group's mean is 1 in each, from the mean of all 6."""
    v = np.array([[0], [0], [1], [1]])
    z = np.array([[0.0], [2.0], [10.0], [12.0]])
    found = irs(Sample(z, v, (Factor("side", "ordinal", values=(0, 1)),)), quantile=1.0)
    assert found.value == pytest.approx(1 - 1 / 6)


def test_mig_by_hand():
    """One code of a fair coin exactly, and its other half at 0.75 of the rows: I = log 2 − H(¼)."""
    v = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    z = np.stack([v, [0, 0, 0, 1, 1, 1, 1, 0]], 1)
    about = (Factor("coin", "ordinal", values=(0, 1)),)
    expected = (0.25 * log(4) + 0.75 * log(4 / 3)) / log(2)
    assert mig_dlib(Sample(z, v[:, None], about)).value == pytest.approx(expected, abs=1e-12)


def test_mig_sup_does_not_see_a_repeated_code_and_mig_does():
    rng = np.random.default_rng(0)
    v = rng.integers(4, size=(4000, 2)).astype(float)
    about = tuple(Factor(name, "ordinal", values=(0, 1, 2, 3)) for name in "ab")
    twice = Sample(np.concatenate([v, v], 1), v, about)
    assert mig_sup(twice).value > 0.99
    assert mig_dlib(twice).value < 0.01


def test_mig_sup_asks_codes_that_vary():
    """A code of both factors, with a variance of 4e-4: it would halve the mean, and does at ten times its size."""
    rng = np.random.default_rng(0)
    v = rng.integers(4, size=(4000, 2)).astype(float)
    about = tuple(Factor(name, "ordinal", values=(0, 1, 2, 3)) for name in "ab")
    both = (v[:, :1] + 4 * v[:, 1:]) / 200
    small, large = (Sample(np.concatenate([v, size * both], 1), v, about) for size in (1, 10))
    assert mig_sup(small).value > 0.99
    assert mig_sup(large).value == pytest.approx(2 / 3, abs=0.01)


@pytest.mark.parametrize("metric", [beta_vae, factor_vae])
def test_intervals_of_accuracies_are_as_wide_as_their_points_make_them(metric):
    found = metric(source_of("dsprites", "rotated"), np.random.default_rng(0))
    interval = found.interval(200, np.random.default_rng(1))
    assert interval is not None
    binomial = np.sqrt(found.value * (1 - found.value) / 5000)
    assert interval[1] == pytest.approx(binomial, rel=0.2)


def gaussians(means: np.ndarray, std: float, v: np.ndarray) -> Posteriors:
    about = (Factor("v", "ordinal", values=tuple(range(int(v.max()) + 1))), Factor("w", "ordinal", values=(0, 1)))
    other = np.arange(len(v)) % 2
    return Posteriors(Sample(means, np.stack([v, other], 1), about), np.full(means.shape, std))


def test_mig_chen_is_the_integral():
    """One code is ±1 by the factor with σ = 1, the other knows nothing: I of a mixture of two Gaussians."""
    n = 4000
    v = np.arange(n) // 2 % 2
    means = np.stack([2.0 * v - 1, np.zeros(n) + 1e-9 * np.arange(n)], 1)

    def integrand(z: float) -> float:
        p = 0.5 * stats.norm.pdf(z, 1) + 0.5 * stats.norm.pdf(z, -1)
        return -p * np.log(p)

    exact = quad(integrand, -12, 12)[0] - 0.5 * log(2 * np.pi * np.e)
    found = mig_chen(gaussians(means, 1.0, v), np.random.default_rng(0), exclude=("w",), samples=4000)
    assert found.value == pytest.approx(exact / log(2), abs=0.02)
    bounds = found.interval(200, np.random.default_rng(1))
    assert bounds is not None and bounds[0][0] < exact / log(2) < bounds[0][1]
    assert found.parts["information"].shape == (2, 1)


def test_mig_chen_of_sharp_posteriors_knows_the_factor_whole():
    v = np.arange(600) // 2 % 3
    sharp = gaussians(np.stack([v, np.arange(600) % 2], 1) * 1.0, 0.01, v)
    assert mig_chen(sharp, np.random.default_rng(0)).value == pytest.approx(1, abs=0.01)
    assert mig_sup_chen(sharp, np.random.default_rng(0)).value == pytest.approx(1, abs=0.01)


X = np.linspace(0, 1, 500)


@pytest.mark.parametrize(
    ("y", "approx", "equal"),
    [
        (X, (1.0, 1.0), (1.0, 0.98670)),
        (4 * (X - 0.5) ** 2, (1.0, 0.71673), (0.98582, 0.68657)),
        (np.sin(8 * np.pi * X), (1.0, 0.39477), (0.97027, 0.24946)),
        (4 * X**3 + X**2 - 4 * X, (1.0, 0.77031), (0.94885, 0.71391)),
    ],
)
def test_mic_and_tic_are_the_published_ones(y: np.ndarray, approx: tuple[float, float], equal: tuple[float, float]):
    for search, expected in ((characteristic_approx, approx), (characteristic_e, equal)):
        found = search(X, y)
        assert (found.mic, found.tic) == pytest.approx(expected, abs=0.005)
        turned = search(-X, y)
        assert (turned.mic, turned.tic) == pytest.approx((found.mic, found.tic), abs=0.02)


def test_mic_and_tic_of_independent_numbers():
    old = np.random.RandomState(0)  # the fixture's own
    x, y = old.rand(1000), old.rand(1000)
    found, equal = characteristic_approx(x, y), characteristic_e(x, y)
    assert (found.mic, found.tic) == pytest.approx((0.133, 0.050), abs=0.005)
    assert (equal.mic, equal.tic) == pytest.approx((0.037, 0.021), abs=0.005)


def test_mic_depends_on_order_only_and_takes_ties():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal(300), rng.integers(3, size=300).astype(float)
    assert characteristic_e(x, y) == characteristic_e(np.exp(x), 7 * y - 2)
    assert characteristic_e(y, y).mic == pytest.approx(1, abs=0.02)
    assert characteristic_e(np.zeros(300), y).mic == pytest.approx(0, abs=1e-12)
    best, total = mic_scores(source_of("shapes3d", "perfect").draw(600, rng), rng)
    assert best.value == pytest.approx(1, abs=0.03) and total.value <= best.value
    assert best.parts["matrix"].shape == (10, 6)


def test_mic_of_two_coins_is_their_information():
    """Each block of equal values holds both sides of the other coin; they stay two blocks, and one grid fits."""
    rng = np.random.default_rng(0)
    x = rng.integers(2, size=400).astype(float)
    y = np.where(rng.random(400) < 0.2, 1 - x, x)
    for search in (characteristic_e, characteristic_approx):
        assert search(x, y).mic == pytest.approx(mutual_info_score(x, y) / log(2), abs=1e-10)


def test_a_gaussian_is_as_dependent_as_its_covariance_says():
    rng = np.random.default_rng(0)
    codes = rng.multivariate_normal([0, 0], [[1.0, 0.8], [0.8, 1.0]], 20_000)
    assert gaussian_tc(codes) == pytest.approx(-0.5 * log(1 - 0.8**2), abs=0.02)
    sigma = np.cov(codes, rowvar=False)
    root = np.real(sqrtm(sigma))
    inner = np.real(sqrtm(root @ np.diag(np.diag(sigma)) @ root))
    expected = (2 * np.trace(sigma) - 2 * np.trace(inner)) / np.trace(sigma)
    assert gaussian_wasserstein(codes) == pytest.approx(expected, abs=1e-10)
    assert gaussian_tc(np.pad(codes, ((0, 0), (0, 3)), constant_values=2)) == pytest.approx(gaussian_tc(codes))
    assert gaussian_tc(codes[:, [0, 0]]) == inf
    apart = rng.integers(2, size=(5000, 2)).astype(float)
    assert mean_information(apart[:, [0, 0]]) == pytest.approx(log(2), abs=1e-3)
    assert mean_information(apart) < 1e-3


def test_runs_that_agree_up_to_order_and_sign_have_the_greatest_rank():
    rng = np.random.default_rng(0)
    z = rng.standard_normal((4000, 4))
    dead = rng.standard_normal((4000, 2))
    kl = np.array([1.0, 1, 1, 1, 0, 0])
    same = [np.concatenate([z[:, order] * sign, dead], 1) for order, sign in (([0, 1, 2, 3], 1), ([3, 1, 0, 2], -1))]
    turned = np.concatenate([z @ stats.ortho_group.rvs(4, random_state=1), dead], 1)
    for ranking, ceiling in ((udr_spearman, 0.95), (udr_lasso, 0.85)):  # a lasso shrinks its coefficients by α
        found = ranking([*same, turned, same[0]], [kl] * 4)
        assert found.informative.tolist() == [4, 4, 4, 4]
        assert found.scores[2] < 0.75 < ceiling < min(found.scores[[0, 1, 3]])
        assert np.isnan(np.diag(found.pairs)).all() and found.intervals(rng, 50).shape == (4, 2)
    exact = udr_lasso([z, z], [np.ones(4)] * 2, strength=0.1).scores
    assert exact == pytest.approx([0.9, 0.9], abs=0.02)
    assert udr_spearman([z, z], [np.zeros(4)] * 2).scores.tolist() == [0, 0]


def test_runs_that_do_not_match_are_refused():
    z = np.random.default_rng(0).standard_normal((50, 2))
    with pytest.raises(ValueError, match="at least two runs"):
        udr_lasso([z], [np.ones(2)])
    with pytest.raises(ValueError, match="run 1 has 40 data"):
        udr_lasso([z, z[:40]], [np.ones(2)] * 2)


def test_factors_of_every_kind_are_measured_and_dead_latents_give_no_nan():
    sample = mixed(600)
    cheap = [name for name in METRICS if name not in ("dci_boosted", "beta_vae_higgins")]
    found = measure(Posteriors(sample, np.full(sample.codes.shape, 0.05)), cheap)
    assert not found.left_out
    values = [value for entry in found.measured for value in (entry.score.value, *entry.controls.values())]
    assert np.isfinite(values).all()
    assert found["dci_lasso_informativeness"].score.value > 0.6
    assert found["mig_dlib"].score.value > 0.7
    boosted = dci_boosted(sample, mixed(300, seed=1))
    assert boosted.disentanglement.value > 0.9 and boosted.informativeness.value > 0.9


@pytest.mark.parametrize("n", [8, 30])
def test_small_tables_are_measured_without_complaint(n: int):
    """Warnings are errors here: of solvers that stop early, of infinite replicates."""
    found = measure(mixed(n, seed=n), options=Measuring(resamples=20))
    assert len(found.measured) == 19 and not found.left_out


def test_a_periodic_factor_is_learnt_over_its_edge():
    """A code that is the cosine: the number of the angle is no line in it, cosine and sine are."""
    parts = []
    for seed in (0, 1):
        v = np.random.default_rng(seed).uniform(0, 360, (2000, 1))
        codes = np.concatenate([np.cos(np.deg2rad(v)), np.sin(np.deg2rad(v))], 1)
        parts.append(Sample(codes, v, (ANGLE,)))
    plain = [Sample(part.codes, part.factors, (Factor("angle", "continuous", low=0, high=360),)) for part in parts]
    assert dci_lasso(*parts).informativeness.value > 0.99 > 0.7 > dci_lasso(*plain).informativeness.value
    assert dci_forest(*parts).informativeness.value > 0.99


def test_one_factor_is_too_few_for_some():
    about = (SIZE,)
    v = np.arange(40)[:, None] % 4
    sample = Sample(v + 0.0, v, about)
    for metric in (modularity, mig_sup):
        with pytest.raises(NotApplicable, match="at least two"):
            metric(sample)
    with pytest.raises(NotApplicable, match="must be two"):
        factor_vae(Tabled(sample), np.random.default_rng(0))
    found = measure(sample, ["mig_dlib", "modularity", "factor_vae"])
    assert set(found.left_out) == {"modularity", "factor_vae"} and found["mig_dlib"].score.value > 0.99


def test_codes_below_the_threshold_have_no_vote():
    small = Sampled(factors_of("dsprites"), lambda v: 1e-3 * v)
    assert factor_vae(small, np.random.default_rng(0)).value == 0.0


@pytest.mark.parametrize("tabled", [False, True])
def test_data_that_share_a_factor_share_it(tabled: bool):
    about = factors_of("shapes3d")
    source = Sampled(about, lambda v: v + 0.0)
    if tabled:
        source = Tabled(source.draw(5000, np.random.default_rng(1)))
    for k in range(len(about)):
        groups = source.alike(k, 500, 8, np.random.default_rng(k))
        assert groups.shape == (500, 8, 6)
        assert np.all(groups[:, :, k] == groups[:, :1, k])
        assert len(np.unique(groups[:, 0, k])) == about[k].size
        for other in set(range(6)) - {k}:  # the rest is as it comes
            same = (groups[:, 1:, other] == groups[:, :1, other]).mean()
            assert same == pytest.approx(1 / about[other].size, abs=0.05)


def test_a_row_is_never_compared_with_itself():
    v = np.repeat(np.arange(4), 2)[:, None]
    table = Tabled(Sample(np.arange(8.0)[:, None], v, (SIZE,)))
    pairs = table.alike(0, 400, 2, np.random.default_rng(0))[:, :, 0]
    assert np.all(np.abs(pairs[:, 0] - pairs[:, 1]) == 1)


def test_rows_alone_with_their_value_are_left_aside():
    v = np.array([[0], [1], [1], [2], [3]])
    table = Tabled(Sample(np.arange(5.0)[:, None], v, (SIZE,)))
    assert set(table.alike(0, 50, 2, np.random.default_rng(0)).ravel()) == {1.0, 2.0}
    alone = Tabled(Sample(np.arange(4.0)[:, None], np.arange(4)[:, None], (SIZE,)))
    with pytest.raises(NotApplicable, match=r"no two rows share a value of factor 'size'"):
        alone.alike(0, 5, 2, np.random.default_rng(0))


def test_a_continuous_factor_is_held_within_a_bin():
    v = np.random.default_rng(0).uniform(-2, 2, (2000, 1))
    groups = Tabled(Sample(v, v, (DEPTH,))).alike(0, 100, 5, np.random.default_rng(0))
    assert 0.05 < np.ptp(groups, axis=1).max() <= 4 / 20


def test_a_table_and_its_simulator_agree():
    """The same metric from 20,000 rows and from fresh draws."""
    exact = perfect(factors_of("smallnorb"), 10)
    turn = stats.ortho_group.rvs(10, random_state=0)
    source = Sampled(factors_of("smallnorb"), lambda v: exact(v) @ turn)
    rng = np.random.default_rng(0)
    fresh = factor_vae(source, rng)
    rows = factor_vae(Tabled(source.draw(20_000, rng)), rng)
    assert rows.value == pytest.approx(fresh.value, abs=0.03)


def test_explicitness_leaves_out_values_that_are_not_judged():
    sample = mixed(60)
    found = explicitness(sample.take(np.arange(30)), sample.take(np.arange(30, 60)))
    assert 0.5 < found.value <= 1


def test_an_interval_covers_what_other_rows_give():
    """MIG of noisy codes on 100 samples: nearly always within the interval of the first, centred on their mean."""
    about = factors_of("smallnorb")

    def draw(seed: int) -> Sample:
        rng = np.random.default_rng(seed)
        v = np.stack([rng.integers(f.size or 0, size=1000) for f in about], 1)
        return Sample(v / 5 + 0.3 * rng.standard_normal(v.shape), v, about)

    values = np.array([mig_dlib(draw(seed)).value for seed in range(100)])
    found = mig_dlib(draw(0)).interval(200, np.random.default_rng(0))
    assert found is not None
    (low, high), error = found
    assert error == pytest.approx(values.std(), rel=0.35)
    assert low < mig_dlib(draw(0)).value < high
    assert high - low == pytest.approx(4 * values.std(), rel=0.35)
