"""The diagnostics of a run: each part measures, draws its picture, and gives rows for the results."""

__all__ = ["Diagnostics", "Found", "draw_rates"]

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from .. import pictures
from .._files import whole
from .._metrics import rounded
from ..data import Batch, Split
from ..evaluation import Row, Undecomposable, elbo, two_sample
from ..evaluation.aggregate import aggregate
from ..evaluation.ais import Annealing
from ..evaluation.batches import first
from ..evaluation.calibration import Calibration, Uncalibrated, pit, reliability
from ..evaluation.distortion import CURVE, Curve, rate_distortion
from ..evaluation.features import Features, generation, train_features
from ..evaluation.importance import Progress
from ..evaluation.information import information
from ..noise import Noise
from ..pictures import diagnose as drawn
from ..trace import Level
from .support import digest

if TYPE_CHECKING:
    from ..statistics import Finding
    from .run import Run

#: The feature network sees so many training rows at most.
_TAUGHT = 20_000
_RESAMPLES = 200


@dataclass(frozen=True, slots=True)
class Found:
    """What one part of the diagnostics found.

    Attributes:
        name: of the part, and of its picture and arrays.
        rows: the results.
        lines: what else to tell a reader.
        notes: what could not be computed, and why.
        arrays: the numbers of the picture.
        per_datum: by metric the numbers ``(N,)`` that a row is the mean of.
        picture: where it was drawn.
    """

    name: str
    rows: tuple[Row, ...] = ()
    lines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    per_datum: dict[str, np.ndarray] = field(default_factory=dict)
    picture: Path | None = None


class Diagnostics:
    """The diagnostics of one run on one part of its data.

    Pictures go into ``pictures/diagnose_*.png`` of the run folder, their numbers into ``diagnose/*.npz``, and the rows,
    with those that ``evaluate`` wrote, into ``results.json``.

    Args:
        run: the run, speaking of the data that are meant.
        part: which part of them.
        seed: of binarisation and draws.
        progress: told (done, total) of whatever is being counted.

    Example:
        >>> Diagnostics(run, "test").information()  # doctest: +SKIP
    """

    def __init__(self, run: "Run", part: str = "test", seed: int = 0, progress: Progress | None = None) -> None:
        self.run, self.part, self.seed, self.progress = run, part, seed, progress
        self.split: Split = run.split(part)
        self.batches: Callable[[], Iterator[Batch]] = run.batches(self.split, seed)
        self.noise = Noise(seed, stream="diagnose", device=run.model.device)

    @cached_property
    def protocol(self) -> dict[str, Any]:
        """What goes with every number."""
        return {**self.run.protocol(self.part, self.seed), "data_digest": digest(self.batches())}

    @property
    def title(self) -> str:
        """Which run and which data."""
        name = self.run.path.name if self.run.path else "run"
        return f"{name}, {self.protocol['dataset']} {self.part}"

    def information(self, samples: int = 1000) -> Found:
        """What every latent knows of the data, and what it costs."""
        name = "information"
        try:
            found = information(self.run.model, self.batches(), self.noise.fork(name), samples, self.progress)
        except Undecomposable as error:
            return Found(name, notes=(f"{name}: {error}",))
        bound = elbo(self.run.model, self.batches(), self.noise.fork("elbo"))
        kl = None if bound.kl_per_latent[0] is None else bound.kl_per_latent[0].ravel()
        most = f", at most {found.most:.2f}"
        rows = [self._mean("mi", found.joint, found.estimator + most), self._mean("tc", found.tc, found.estimator)]
        if found.marginal_kl is not None:
            rows.append(self._mean("marginal_kl", found.marginal_kl, found.estimator))
        means, errors = found.by_latent.mean(0), _errors(found.by_latent, 0)
        if not np.isfinite(found.joint.mean() + means).all():
            notes = (f"{name}: latent by latent, as some numbers are not finite",)
            return self.keep(Found(name, tuple(rows), notes=notes), None)
        figure = drawn.information_bars(means, kl, float(found.joint.mean()), found.most)
        arrays = {"mi": means, "mi_standard_error": errors} | ({} if kl is None else {"kl": kl})
        numbers = {"mi": found.joint, "tc": found.tc}
        numbers |= {} if found.marginal_kl is None else {"marginal_kl": found.marginal_kl}
        lines = _by_latent(means, errors, kl)
        if found.joint.mean() > found.most - 0.5:
            lines += (
                f"I(x; z) is near log N: q(z|x) tells all {found.posteriors} data apart. For q(z) of more data it "
                "would be larger, and the total correlation and KL(q(z) ‖ p(z)) smaller",
            )
        return self.keep(Found(name, tuple(rows), lines, (), arrays, numbers), figure)

    def aggregate(self, samples: int = 2000) -> Found:
        """Where the aggregate posterior is not the prior."""
        name = "aggregate"
        if reason := self.no_density() or self.codes():
            return Found(name, notes=(f"{name}: {reason}",))
        found = aggregate(self.run.model, self.batches(), self.noise.fork(name), samples)
        rows = self._tested(("aggregate_mmd2", "aggregate_mmd_p"), found.mmd)
        told = f"q(z) against p(z): MMD² p = {found.mmd.p_value:.3g}"
        notes: tuple[str, ...] = ()
        if found.ksd is not None:
            rows += self._tested(("aggregate_ksd2", "aggregate_ksd_p"), found.ksd)
            told += f", KSD² p = {found.ksd.p_value:.3g}"
        else:
            notes = (f"aggregate_ksd: {found.reason}",)
        at = found.plane
        arrays = {"mmd2_by_latent": found.by_latent, "directions": at.directions, "witness": at.surface}
        arrays |= {"posterior": at.posterior, "prior": at.prior, "extent": np.array(at.extent)}
        one, two = (_combination(weights) for weights in found.plane.directions)
        plane = f"in the plane where they differ most, by other draws: p = {found.plane.test.p_value:.3g}"
        lines = (found.mmd.verdict(), plane, f"its coordinates: {one}", f"                 {two}")
        title = f"{self.title}: {told}\n{plane}"
        figure = drawn.aggregate_plane(at.surface, at.posterior, at.prior, at.extent, (one, two), title)
        return self.keep(Found(name, tuple(rows), lines, notes, arrays), figure)

    def calibration(self) -> Found:
        """Whether p(x | z) is as sure as it should be: reliability of a Bernoulli, the transform of all others."""
        name, binary = "calibration", self.run.model.support == "binary"
        try:
            measure = reliability if binary else pit
            found = measure(self.run.model, self.batches(), self.noise.fork(name), progress=self.counted(self.split))
        except Uncalibrated as error:
            return Found(name, notes=(f"{name}: {error}",))
        metric = "calibration_error" if binary else "pit_distance"
        kind = "ECE" if binary else "KS of the PIT"
        row = Row(metric, found.distance, "", found.standard_error, found.estimator, found.n, self.protocol)
        title = f"{self.title}: {kind} = {found.distance:.2g}, by chance alone {found.floor:.2g}"
        if binary:
            figure = drawn.reliability_diagram(found.expected, found.observed, found.spread, found.counts, title)
        else:
            figure = drawn.transform_histogram(found.observed, found.spread, title)
        return self.keep(Found(name, (row,), (_worst(found, binary),), (), _arrays(found)), figure)

    def generation(self, n: int = 2000, features: Features | None = None) -> Found:
        """Whether draws of the model look like data: a two-sample test, and distances in a feature space."""
        name, model = "generation", self.run.model
        if reason := self.grey():
            return Found(name, notes=(f"{name}: {reason}",))
        try:
            test = two_sample(model, self.batches(), self.noise.fork("two_sample"), min(n, 1000))
            features = features or self.features()
            found = generation(model, self.batches(), features, self.noise.fork(name), n)
        except ValueError as error:
            return Found(name, notes=(f"{name}: {error}",))
        rows = self._tested(("two_sample_mmd2", "two_sample_p"), test)
        space, size = f"{features}, {found.size} numbers", f"{found.n:,} a side"
        for metric, value, how in (
            ("frechet_like", found.frechet, f"draws and data, {size}"),
            ("frechet_like_limit", found.limit, f"draws and data, n/4 to {size}, for n → ∞"),
            ("frechet_like_floor", found.floor, f"data and other data, {size}"),
        ):
            rows.append(Row(metric, value, "", None, f"{how}; {space}", found.n, self.protocol))
        for metric, kid in (("kid_like", found.kid), ("kid_like_floor", found.kid_floor)):
            how = f"{kid.subsets} subsets of {kid.size}, s.d. {kid.std:.2g}; {space}"
            rows.append(Row(metric, kid.mean, "", None, how, found.n, self.protocol))
        lines = (test.verdict(), f"not FID: the features are not Inception's, but {features.name}")
        return self.keep(Found(name, tuple(rows), lines), None)

    def features(self) -> Features:
        """The default features, of the run's training data; the same for all runs on these data with this seed."""
        rows = self.run.split("train")
        rows = Split(np.asarray(rows.x[:_TAUGHT]), None if rows.labels is None else rows.labels[:_TAUGHT])
        x = torch.cat([batch.x for batch in self.run.batches(rows, self.seed)()])
        labels = None if rows.labels is None else torch.from_numpy(rows.labels).to(x.device)
        key = Noise(self.seed, stream="features", device=x.device)
        return train_features(x, labels, key, str(self.protocol["dataset"]), progress=self.progress)

    def rates(self, data: int = 50, options: Annealing = CURVE, most: float = 5.0) -> tuple[Found, drawn.Point | None]:
        """The run's own rate and distortion, and the curve of its decoder on the first so many data; 0 leaves it out.

        The point is for ``draw_rates``: on the data of the curve where there is one, else on all.
        """
        name = "rate_distortion"
        if reason := self.no_density():
            return Found(name, notes=(f"{name}: {reason}",)), None
        measured = self.run.evaluate(self.part, seed=self.seed, save=False, latent_data=2)
        rows = [row for row in measured.rows if row.metric.partition("_")[0] in ("elbo", "rate", "distortion")]
        if not any(row.metric == "elbo" for row in rows):
            return Found(name, tuple(rows), (), (f"{name}: there is no bound; {'; '.join(measured.notes)}",)), None
        label = self.run.path.name if self.run.path else "run"
        rate, distortion = (measured.per_datum[key] for key in ("rate", "distortion"))
        point = drawn.Point(label, float(rate.mean()), float(distortion.mean()))
        codes = self.codes() if data else None
        if codes or not data:
            notes = (f"{name}: the curve: {codes}",) if codes else ()
            return self.keep(Found(name, tuple(rows), notes=notes, per_datum=measured.per_datum), None), point
        few = list(first(self.batches(), data))
        curve = rate_distortion(self.run.model, few, self.noise.fork(name), options, most, self.progress)
        own = elbo(self.run.model, few, self.noise.fork("own"), draws=20)
        assert own.rate is not None
        one = int(np.abs(curve.betas - 1).argmin())
        excess, error = _excess(curve, own.rate, own.distortion, self.noise.fork("bootstrap"))
        how = f"vertical distance of (R, D) to the curve; {curve.estimator}, acceptance {curve.acceptance:.2f}"
        rows.append(Row("distortion_excess", excess, "nats", error, how, len(own.rate), self.protocol))
        means = curve.means()
        point = replace(
            point, rate=float(own.rate.mean()), distortion=float(own.distortion.mean()), curve=means, one=one
        )
        errors = [_errors(part, 1) for part in (curve.rate, curve.distortion)]
        together, best = float((own.rate + own.distortion).mean()), means[0][one] + means[1][one]
        lines = (
            *_by_beta(curve),
            f"R + D at β = {curve.betas[one]:.2f} is {best:.2f} on the curve, {together:.2f} of the model, same data",
        )
        if own.rate.mean() > means[0].max():
            lines += ("the model's rate is beyond the end of the curve: the distance is larger. Take a larger --beta",)
        arrays = {"betas": curve.betas, "rate": means[0], "distortion": means[1]}
        arrays |= {"rate_standard_error": errors[0], "distortion_standard_error": errors[1]}
        return self.keep(Found(name, tuple(rows), lines, (), arrays, measured.per_datum), None), point

    def _levels(self) -> tuple[Level, ...]:
        with torch.inference_mode():
            batch = next(iter(first(self.batches(), 1)))
            return self.run.model(batch.x, batch.c, 1, self.noise.fork("look"), batch.mask).levels

    def codes(self) -> str | None:
        """Why latents cannot be moved or compared by distances, if so: codes are names."""
        certain = any(level.q.certain for level in self._levels())
        return "the latents are codes: names, with neither distances nor gradients between them." if certain else None

    def no_density(self) -> str | None:
        """Why the posterior has nothing to compare, if so: an autoencoder's is a point."""
        levels = self._levels()
        if not levels:
            return "the model has no latents."
        points = [type(level.q).__name__ for level in levels if not level.q.has_density]
        return (
            f"{points[0]} has no density, so there is no rate and no aggregate posterior to speak of."
            if points
            else None
        )

    def grey(self) -> str | None:
        """Why there is no likelihood, if so: grey values in a Bernoulli have none."""
        model = self.run.model
        if model.support == "binary" and elbo(model, first(self.batches(), 500), self.noise.fork("grey")).grey:
            return "the data are grey: in a Bernoulli they have no likelihood, and draws of the model are 0 and 1."
        return None

    def counted(self, split: Split) -> Progress | None:
        return None if self.progress is None else lambda done, _: self.progress and self.progress(done, len(split))

    def _mean(self, metric: str, values: np.ndarray, estimator: str) -> Row:
        n, broken = len(values), int((~np.isfinite(values)).sum())
        error = float(values.std(ddof=1) / n**0.5) if n > 1 and not broken else None
        with np.errstate(invalid="ignore"):
            mean = float(values.mean())
        return Row(metric, mean, "nats", error, estimator, n, self.protocol, broken)

    def _tested(self, names: tuple[str, str], found: "Finding") -> list[Row]:
        how, values = f"{found.name}, {found.kernel}, {found.method}", (found.statistic, found.p_value)
        return [Row(n, v, "", None, how, found.n, self.protocol) for n, v in zip(names, values, strict=True)]

    def keep(self, found: Found, figure: Any) -> Found:
        """Rows into the results, arrays and picture into the run folder."""
        if figure is not None:
            path = pictures.save(figure, self.run.folder.pictures() / f"diagnose_{found.name}.png")
            found = replace(found, picture=path)
        if found.arrays:
            file = self.run.folder.path / "diagnose" / f"{found.name}.npz"
            file.parent.mkdir(exist_ok=True)
            with whole(file) as out:
                np.savez(out, **found.arrays)  # pyright: ignore[reportArgumentType]
        self.run.keep(found.rows, [found.per_datum.get(row.metric) for row in found.rows])
        return found


def draw_rates(points: Sequence[drawn.Point], out: Path) -> Path:
    """All these models in one plane of rate and distortion."""
    return pictures.save(drawn.rate_distortion_plane(points), out)


def _errors(values: np.ndarray, axis: int) -> np.ndarray:
    """Standard errors of means over an axis; not numbers where it has one value alone."""
    n, means = values.shape[axis], values.mean(axis)
    return values.std(axis, ddof=1) / n**0.5 if n > 1 else np.full_like(means, np.nan)


def _by_latent(mi: np.ndarray, errors: np.ndarray, kl: np.ndarray | None, many: int = 10) -> tuple[str, ...]:
    """The dearest latents, a line each, and how many know nothing."""
    order = np.argsort(-(mi if kl is None else kl), kind="stable")
    lines = ["latent      KL   I(x; z_d)" if kl is not None else "latent   I(x; z_d)"]
    for d in order[:many]:
        cost = "" if kl is None else f"{kl[d]:6.3f}   "
        lines.append(f"{f'z{d}':<8}{cost}{mi[d]:.3f}" + (f" ± {errors[d]:.3f}" if np.isfinite(errors[d]) else ""))
    know = int((mi > 0.01).sum())
    lines.append(f"{know} of {len(mi)} latents know more than 0.01 nats; Σ I(x; z_d) = {mi.sum():.2f}")
    return tuple(lines)


def _combination(weights: np.ndarray, many: int = 4) -> str:
    """A direction as the sum of the latents that weigh most in it."""
    order = np.argsort(-np.abs(weights), kind="stable")[:many]
    terms = [f"{'−' if weights[d] < 0 else '+'} {abs(weights[d]):.2f} z{d}" for d in order]
    said = " ".join(terms).removeprefix("+ ")
    return ("−" + said[2:] if said.startswith("− ") else said) + (" …" if len(weights) > many else "")


def _by_beta(curve: Curve) -> tuple[str, ...]:
    """The curve at a few β."""
    lines = ["   β       R       D   R + βD"]
    rate, distortion = curve.means()
    for beta in (0.0, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0):
        i = int(np.abs(curve.betas - beta).argmin())
        b, r, d = curve.betas[i], rate[i], distortion[i]
        line = f"{b:4.2f} {r:7.2f} {d:7.2f}  {r + b * d:7.2f}"
        lines += [] if line in lines else [line]
    return tuple(lines)


def _excess(curve: Curve, rate: np.ndarray, distortion: np.ndarray, noise: Noise) -> tuple[float, float | None]:
    """How far above the mean curve the mean point lies, and its standard error by bootstrap over the data."""

    def above(rows: np.ndarray) -> float:
        r, d = curve.rate[:, rows].mean(1), curve.distortion[:, rows].mean(1)
        order = np.argsort(r, kind="stable")
        return float(distortion[rows].mean() - np.interp(rate[rows].mean(), r[order], d[order]))

    n = len(rate)
    if n < 2:
        return above(np.arange(n)), None
    drawn_rows = (noise.uniform((_RESAMPLES, n), dtype=torch.float64) * n).long().cpu().numpy()
    return above(np.arange(n)), float(np.std([above(rows) for rows in drawn_rows], ddof=1))


def _worst(found: Calibration, binary: bool) -> str:
    """Where what is seen is furthest, in standard errors, from what was said."""
    with np.errstate(invalid="ignore", divide="ignore"):
        off = (found.observed - found.expected) / found.spread
    held = np.isfinite(off)
    if not held.any():
        return "too few data to say where it is off"
    i = int(np.where(held, np.abs(off), -1).argmax())
    if binary:
        seen, error = rounded(100 * float(found.observed[i]), 100 * float(found.spread[i]))
        said = 100 * float(found.expected[i])
        return f"furthest off, in standard errors: where {said:.3g} % is said, {seen} ± {error} % of the pixels are 1"
    k, (seen, error) = len(found.observed), rounded(100 * float(found.observed[i]), 100 * float(found.spread[i]))
    where = f"F(x) from {i / k:.2f} to {(i + 1) / k:.2f}"
    return f"furthest off, in standard errors: {where} holds {seen} ± {error} % of the elements, not {100 / k:.3g}"


def _arrays(found: Calibration) -> dict[str, np.ndarray]:
    return {name: getattr(found, name) for name in ("expected", "observed", "spread", "counts")}
