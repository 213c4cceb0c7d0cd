"""Every metric with its interval, beside the same of perfect, rotated and random codes."""

__all__ = ["Measured", "Measurement", "Measuring", "Progress", "measure"]

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any, final
from zlib import crc32

import numpy as np
from jaxtyping import Float

from ..._checks import choice, fraction, positive_int, unknown
from ..._metrics import metric_of
from ...data.factors import Factor
from ..rows import Row
from .catalogue import DEFAULT, METRICS, Job
from .chen import Posteriors
from .controls import CONTROLS, ROTATION_SEED, controls
from .information import information, r2
from .sample import Sample
from .score import NotApplicable, Score, Tick
from .source import Encode, Source, Tabled

#: ``progress(what, done, total)``: before each metric of each set of codes, and within long ones.
Progress = Callable[[str, int, int], None]

_SHARP = 0.1  # of the step between two values: the posteriors of controls


def _shown(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"  # no minus before zero


@final
@dataclass(frozen=True, slots=True)
class Measuring:
    """How much is measured.

    Args:
        train: rows that metrics of a table are of, and that predictors are fitted to; a small table is parted in the
            same ratio.
        test: rows that predictors are judged by.
        resamples: replicates of each value for its interval; costly ones have fewer.
        level: of the intervals.
        seed: of everything that is drawn.
        exclude: factors left out by ``mig_chen``, ``mig_sup_chen`` and ``beta_vae_higgins``; of dSprites their authors
            leave out the shape.
    """

    train: int = 10_000
    test: int = 5_000
    resamples: int = 200
    level: float = 0.95
    seed: int = 0
    exclude: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for field in ("train", "test", "resamples"):
            positive_int(getattr(self, field), f"Measuring: {field}")
        fraction(self.level, "Measuring: level")


@final
@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One score beside its controls.

    Attributes:
        score: of the codes.
        interval: of its value; None where nothing was resampled, for the reason that ``score.resampled`` gives.
        standard_error: the spread of the replicates.
        replicates: how many there were.
        controls: control → value of the same metric, at the same points and seeds.
        better: ``"higher"`` or ``"lower"``.
    """

    score: Score
    interval: tuple[float, float] | None
    standard_error: float | None
    replicates: int
    controls: Mapping[str, float]
    better: str


@final
@dataclass(frozen=True, slots=True, eq=False)
class Measurement:
    """A table of metrics.

    Attributes:
        measured: one entry for each score.
        left_out: metric → why it means nothing here.
        about: the factors.
        options: how it was measured.
        information: of each code on each factor, in shares of the factor's entropy, ``(D, K)``, of the rows to fit on.
        r2: the share of each code's variance that is linear in each factor, ``(D, K)``.
    """

    measured: tuple[Measured, ...]
    left_out: Mapping[str, str]
    about: tuple[Factor, ...]
    options: Measuring
    information: Float[np.ndarray, "D K"]
    r2: Float[np.ndarray, "D K"]

    def __getitem__(self, metric: str) -> Measured:
        """The entry of this score."""
        known = {entry.score.metric: entry for entry in self.measured}
        if metric not in known:
            raise KeyError(self.left_out.get(metric) or unknown("score", metric, known))
        return known[metric]

    def rows(self) -> tuple[Row, ...]:
        """One row for each score, as other results have them: interval, controls and seed are in its protocol."""
        return tuple(self._row(entry) for entry in self.measured)

    def _row(self, entry: Measured) -> Row:
        score = entry.score
        protocol: dict[str, Any] = {
            "interval": list(entry.interval) if entry.interval else None,
            "level": self.options.level,
            "replicates": entry.replicates,
            "resampled": score.resampled,
            "controls": {name: v if isfinite(v) else str(v) for name, v in entry.controls.items()},
            "rotation_seed": ROTATION_SEED,
            "seed": self.options.seed,
            "better": entry.better,
            "factors": [factor.name for factor in self.about],
        }
        broken = 0 if isfinite(score.value) else 1
        error = entry.standard_error
        return Row(score.metric, score.value, "", error, score.protocol, score.n, protocol, broken)

    def text(self) -> str:
        """Aligned text: each score, its interval, and the controls."""
        lines: list[tuple[str, ...]] = [("", "value", f"{self.options.level:.0%} interval", *CONTROLS)]
        for entry in self.measured:
            interval = "–" if entry.interval is None else " – ".join(map(_shown, entry.interval))
            beside = (_shown(entry.controls[name]) for name in CONTROLS)
            lines.append((entry.score.metric, _shown(entry.score.value), interval, *beside))
        wide = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
        shown = ["  ".join(f"{cell:<{wide[i]}}" for i, cell in enumerate(line)).rstrip() for line in lines]
        return "\n".join(shown + [f"{name} is left out: {why}" for name, why in self.left_out.items()])


def measure(
    subject: Source | Sample | Posteriors,
    metrics: Sequence[str] = DEFAULT,
    options: Measuring = Measuring(),
    progress: Progress | None = None,
) -> Measurement:
    """Metrics of codes, each with an interval by bootstrap, and beside it the same of three controls.

    The controls are made from the same factors, of the same rows or draws: perfect codes (each factor in a code of its
    own, the rest dead), these rotated at random (seed 7), and random ones. A metric that gives a rotated code what it
    gives a perfect one does not see entanglement; one that gives it to random codes sees nothing.

    An interval says how the value moves on other rows, votes or points; each score says which. That models of other
    seeds differ, mostly by more, it cannot know.

    Args:
        subject: codes and factors; or posteriors, for the metrics of Chen et al. too; or a source: a model and a
            simulator.
        metrics: names from ``METRICS``; by default all but the costly ones.
        options: points, replicates, seed.
        progress: told what is being measured, and how far it is; by default it takes half a minute at 10,000 rows.

    Raises:
        ValueError: a metric that there is not, or codes and factors that cannot be measured.

    Example:
        >>> import numpy as np
        >>> x, y = (Factor(name, "ordinal", values=tuple(range(8))) for name in "xy")
        >>> factors = np.random.default_rng(0).integers(8, size=(900, 2))
        >>> found = measure(Sample(factors / 7, factors, (x, y)), ["mig_dlib"], Measuring(resamples=20))
        >>> found["mig_dlib"].score.value > 0.9, found["mig_dlib"].controls["random"] < 0.1
        (True, True)
    """
    for name in metrics:
        choice(name, METRICS, "measure: metrics")
    posteriors = subject if isinstance(subject, Posteriors) else None
    table = subject.means if isinstance(subject, Posteriors) else subject
    source = Tabled(table) if isinstance(table, Sample) else table
    jobs = list(_jobs(source, posteriors, options))
    entries: list[Measured] = []
    left_out: dict[str, str] = {}
    steps = len(jobs) + 1
    names = tuple(dict.fromkeys(metrics))
    total = len(names) * steps
    for i, name in enumerate(names):
        try:
            found = {
                codes: METRICS[name].run(make(name, _telling(progress, f"{name}, {codes}", i * steps + j, total)))
                for j, (codes, make) in enumerate(jobs)
            }
        except NotApplicable as reason:
            left_out[name] = str(reason)
            continue
        _telling(progress, f"{name}, intervals", (i + 1) * steps - 1, total)
        entries.extend(_entries(name, found, options))
    if progress:
        progress("measured", total, total)
    train = jobs[0][1]("", lambda done, of: None).train
    return Measurement(tuple(entries), left_out, source.about, options, information(train, normalised=True), r2(train))


#: From a metric and what it tells to its job.
_Make = Callable[[str, Tick], Job]
_Parts = tuple[Sample, Sample]
_Known = Posteriors | None


def _jobs(source: Source, posteriors: Posteriors | None, options: Measuring) -> Iterator[tuple[str, _Make]]:
    """The codes, then the controls."""
    latents = source.latents

    def coded(name: str) -> tuple[Source, Encode | None]:
        if name == "codes":
            return source, None
        encode = controls(source.about, latents, options.seed)[name]
        return source.recoded(encode), encode

    for name in ("codes", *CONTROLS):
        each, encode = coded(name)
        parts = each.parts(options.train, options.test, np.random.default_rng(options.seed))
        known = posteriors if posteriors is None or encode is None else _sharp(posteriors, encode)

        def make(metric: str, tick: Tick, name: str = name, parts: _Parts = parts, known: _Known = known) -> Job:
            # The generator begins anew, and so do random codes: a metric gives the same whatever else is measured.
            rng = np.random.default_rng([options.seed, crc32(metric.encode())])
            return Job(coded(name)[0], parts[0], parts[1], known, rng, options.seed, options.exclude, tick)

        yield name, make


def _sharp(posteriors: Posteriors, encode: Encode) -> Posteriors:
    """Posteriors of a control: narrow beside the steps of the finest factor."""
    means = posteriors.means
    codes = encode(means.factors)
    finest = max(factor.size or 20 for factor in means.about)
    return Posteriors(Sample(codes, means.factors, means.about), np.full(codes.shape, _SHARP / (finest - 1)))


def _telling(progress: Progress | None, what: str, done: int, total: int) -> Tick:
    if progress is None:
        return lambda part, of: None
    progress(what, done, total)
    return lambda part, of: progress(f"{what}: {part} of {of}", done, total)


def _entries(name: str, scores: Mapping[str, tuple[Score, ...]], options: Measuring) -> Iterator[Measured]:
    """The scores of one metric, each with its interval."""
    metric = METRICS[name]
    for i, score in enumerate(scores["codes"]):
        replicates = min(options.resamples, metric.replicates)
        rng = np.random.default_rng([options.seed, crc32(score.metric.encode()), 1])
        found = score.interval(replicates, rng, options.level)
        beside = {control: scores[control][i].value for control in CONTROLS}
        better = metric_of(score.metric).better or "higher"
        if found is None:
            yield Measured(score, None, None, 0, beside, better)
        else:
            yield Measured(score, *found, replicates, beside, better)
