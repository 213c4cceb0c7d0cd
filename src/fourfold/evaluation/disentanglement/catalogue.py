"""All metrics by name: what each is, what it costs, and how it is run."""

__all__ = ["DEFAULT", "METRICS", "Job", "Metric"]

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import final

import numpy as np

from .characteristic import characteristic_approx, characteristic_e, mic_scores
from .chen import Posteriors, mig_chen, mig_sup_chen
from .dci import dci_boosted, dci_forest, dci_lasso
from .fixed import BETA_DLIB, BETA_HIGGINS, beta_vae, factor_vae
from .irs import irs
from .mig import mig_dlib, mig_sup, modularity
from .predictive import explicitness, sap
from .sample import Sample
from .score import NotApplicable, Score, Tick
from .source import Source
from .unsupervised import gaussian_tc, gaussian_wasserstein, mean_information


@final
@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One set of codes, as a metric is given them.

    Attributes:
        source: where codes with a fixed factor come from.
        train: rows to fit on; what needs no other rows is of these.
        test: rows to judge by.
        posteriors: of all data, where they are known.
        rng: what the metric may draw from.
        seed: of the predictors.
        exclude: factors left out by the metrics whose authors leave some out.
        tick: told how far a long metric is.
    """

    source: Source
    train: Sample
    test: Sample
    posteriors: Posteriors | None
    rng: np.random.Generator
    seed: int
    exclude: tuple[str, ...]
    tick: Tick


@final
@dataclass(frozen=True, slots=True)
class Metric:
    """How a metric is run by its name.

    Attributes:
        summary: what it is, in a line.
        run: from codes to its scores: one, or as many as it has.
        replicates: at most so many for an interval: each costs something.
        costly: minutes at 10,000 rows, or of a second protocol: not run unless named.
    """

    summary: str
    run: Callable[[Job], tuple[Score, ...]]
    replicates: int = 200
    costly: bool = False


def _posteriors(job: Job, metric: str) -> Posteriors:
    if job.posteriors is None:
        raise NotApplicable(f"{metric} is of posteriors, not of means alone: give their standard deviations.")
    return job.posteriors


def _unsupervised(name: str, function: Callable[[np.ndarray], float], said: str) -> Callable[[Job], tuple[Score, ...]]:
    def run(job: Job) -> tuple[Score, ...]:
        codes = job.train.codes

        def again(rng: np.random.Generator) -> float:
            return function(codes[rng.integers(len(codes), size=len(codes))])

        return (Score(name, function(codes), said, len(codes), "the rows of the table", again),)

    return run


#: name → metric.
METRICS = {
    "mig_dlib": Metric("mutual information gap, means in 20 bins", lambda job: (mig_dlib(job.train),)),
    "mig_chen": Metric(
        "mutual information gap, densities of posteriors",
        lambda job: (mig_chen(_posteriors(job, "mig_chen"), job.rng, job.exclude, tick=job.tick),),
        replicates=100,
        costly=True,
    ),
    "mig_sup": Metric("the gap seen from the codes, in 20 bins", lambda job: (mig_sup(job.train),)),
    "mig_sup_chen": Metric(
        "the gap seen from the codes, densities of posteriors",
        lambda job: (mig_sup_chen(_posteriors(job, "mig_sup_chen"), job.rng, job.exclude, tick=job.tick),),
        replicates=100,
        costly=True,
    ),
    "sap": Metric("separated attribute predictability", lambda job: (sap(job.train, job.test),)),
    "modularity": Metric("does each code know of one factor only?", lambda job: (modularity(job.train),)),
    "explicitness": Metric(
        "do all codes together tell each value?", lambda job: (explicitness(job.train, job.test),), replicates=50
    ),
    "irs": Metric("interventional robustness", lambda job: (irs(job.train),), replicates=100),
    "beta_vae_dlib": Metric(
        "which factor was fixed? L = 64", lambda job: (beta_vae(job.source, job.rng, BETA_DLIB, job.tick),)
    ),
    "beta_vae_higgins": Metric(
        "which factor was fixed? L = 200",
        lambda job: (beta_vae(job.source, job.rng, replace(BETA_HIGGINS, exclude=job.exclude), job.tick),),
        costly=True,
    ),
    "factor_vae": Metric(
        "which factor was fixed? by variance", lambda job: (factor_vae(job.source, job.rng, tick=job.tick),)
    ),
    "dci_boosted": Metric(
        "disentanglement, completeness, informativeness: boosted trees, as published",
        lambda job: dci_boosted(job.train, job.test, job.seed, job.tick).scores,
        costly=True,
    ),
    "dci_forest": Metric(
        "the same by extremely randomised trees", lambda job: dci_forest(job.train, job.test, job.seed, job.tick).scores
    ),
    "dci_lasso": Metric("the same by lasso regressions", lambda job: dci_lasso(job.train, job.test).scores),
    "mic_e": Metric("MIC and TIC, equicharacteristic", lambda job: mic_scores(job.train, job.rng, characteristic_e)),
    "mic_approx": Metric(
        "MIC and TIC, as first published",
        lambda job: mic_scores(job.train, job.rng, characteristic_approx),
        costly=True,
    ),
    "gaussian_tc": Metric(
        "total correlation of a Gaussian, nats",
        _unsupervised("gaussian_tc", gaussian_tc, "covariance of the codes, no factors"),
    ),
    "gaussian_wasserstein": Metric(
        "Wasserstein distance from uncorrelated, in shares of the variance",
        _unsupervised("gaussian_wasserstein", gaussian_wasserstein, "covariance of the codes, no factors"),
    ),
    "mean_information": Metric(
        "mean information of two codes, nats",
        _unsupervised("mean_information", mean_information, "20 equal-width bins, no factors"),
        replicates=50,
    ),
}
#: What is measured where nothing is named: what takes seconds.
DEFAULT = tuple(name for name, metric in METRICS.items() if not metric.costly)
