"""The gap between log p(x) and the ELBO, taken apart: what the family of posteriors costs, and what the encoder."""

__all__ = ["GapOptions", "Gaps", "inference_gaps"]

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, log
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._checks import positive, positive_int
from ..conditional import NetworkConditional
from ..models import Model
from ..noise import Noise, NoiseSource
from .ais import Annealing, ais, trajectories
from .batches import BatchLike, ready, rows
from .bend import Bend
from .importance import Progress
from .local import Ascent, Local, climb, log_weight, weights
from .rows import Row

#: What families are called.
_FAMILIES = {
    "DiagonalGaussian": "diagonal Gaussian",
    "FullGaussian": "full Gaussian",
    "Mixture": "mixture",
    "PushForward": "member of the encoder's flow",
}
_TRIAL = 200  # draws that decide which posterior is taken, and count for nothing else
_BACKWARD = 3  # a step costs as much as decoding so many times its rows


@dataclass(frozen=True, slots=True)
class GapOptions:
    """How the gap is taken apart, and with what budget.

    Args:
        ascent: how the best posterior of each datum is looked for.
        samples: K, draws of z for each datum from each posterior: its ELBO is their mean log weight, the estimate of
            log p(x) the log of their mean weight.
        flow: look for the best flow of each datum too.
        annealing: estimate log p(x) by AIS too.
        tolerance: a search whose mean bound still rose by more nats than this over a tenth of its steps is reported as
            unfinished, if it did so by more than two standard errors.
        rows_per_chunk: how many rows (draws × batch) are decoded at once.
    """

    ascent: Ascent = field(default_factory=Ascent)
    samples: int = 5000
    flow: bool = True
    annealing: Annealing | None = None
    tolerance: float = 0.05
    rows_per_chunk: int = 2500

    def __post_init__(self) -> None:
        positive_int(self.samples, "GapOptions: samples")
        positive_int(self.rows_per_chunk, "GapOptions: rows_per_chunk")
        positive(self.tolerance, "GapOptions: tolerance")


@dataclass(frozen=True, slots=True)
class Gaps:
    """The gap of each of N data and its parts, in nats, as float64 arrays.

    Attributes:
        elbo: of the model's own posterior, ``(N,)``.
        elbo_best: of the best member of its family for each datum.
        elbo_flow: of the best flow on top of it; ``None`` where it was not asked for.
        evidence: estimates of log p(x) by name, each in expectation a lower bound.
        family: the family of posteriors.
        rises: by name of the search, how much the bound of each datum rose over the last tenth of the steps at full
            rate.
        stayed: by name of the search, for how many data it found nothing better.
        options: how.
        mass: whether p(x | z) is a probability mass.
    """

    elbo: np.ndarray
    elbo_best: np.ndarray
    elbo_flow: np.ndarray | None
    evidence: dict[str, np.ndarray]
    family: str
    rises: dict[str, np.ndarray]
    stayed: dict[str, int]
    options: GapOptions = field(default_factory=GapOptions)
    mass: bool = False

    @property
    def evidence_from(self) -> str:
        """The estimate of log p(x) that is highest on average: of lower bounds the best, and one for all data."""
        return max(self.evidence, key=lambda name: float(np.nan_to_num(self.evidence[name].mean(), nan=-inf)))

    @property
    def log_p(self) -> np.ndarray:
        """log p(x), as well as it is known: too low on average, but for the luck of the one that is chosen."""
        return self.evidence[self.evidence_from]

    @property
    def parts(self) -> dict[str, np.ndarray]:
        """The gaps by name; the first is the sum of the next two, the last two sum to the approximation gap."""
        found = {
            "bound_gap": self.log_p - self.elbo,
            "amortisation_gap": self.elbo_best - self.elbo,
            "approximation_gap": self.log_p - self.elbo_best,
        }
        if self.elbo_flow is not None:
            found |= {"flow_gain": self.elbo_flow - self.elbo_best, "flow_gap": self.log_p - self.elbo_flow}
        return found

    @property
    def numbers(self) -> dict[str, np.ndarray]:
        """All that there are rows of: the gaps, and the bounds they are differences of."""
        bounds = {"log_p": self.log_p, "elbo_encoder": self.elbo, "elbo_best": self.elbo_best}
        return {**self.parts, **bounds} | ({} if self.elbo_flow is None else {"elbo_flow": self.elbo_flow})

    def rows(self, protocol: Mapping[str, Any] | None = None) -> tuple[Row, ...]:
        """A row for each of the numbers; the standard errors of the gaps are those of paired differences."""
        ascent = self.options.ascent
        draws, search = f"{self.options.samples} draws", f"{ascent.steps} steps of Adam, {ascent.draws} draws each"
        own, best = "the encoder's own", f"best {self.family} of each datum ({search})"
        flow = f"best flow of each datum ({search})"
        how = {
            "log_p": self.evidence_from,
            "elbo_encoder": f"{own}, {draws}",
            "elbo_best": f"{best}, {draws}",
            "elbo_flow": f"{flow}, {draws}",
            "bound_gap": f"{self.evidence_from}; {own}, {draws}",
            "amortisation_gap": f"{best}, {draws}",
            "approximation_gap": f"{self.evidence_from}; {best}, {draws}",
            "flow_gain": f"{flow}, {draws}",
            "flow_gap": f"{self.evidence_from}; {flow}, {draws}",
        }
        told = {**(protocol or {}), "measure": "mass" if self.mass else "density"}
        return tuple(_row(name, values, how[name], told) for name, values in self.numbers.items())

    @property
    def notes(self) -> tuple[str, ...]:
        """What makes the numbers less than they say."""
        found = []
        for name, rise in self.rises.items():
            mean, error = _mean(rise)
            if mean > max(self.options.tolerance, 2 * (error or 0.0)):
                found.append(
                    f"the search for {name} had not come to rest: its bound still rose by {mean:.2f} nats over a tenth "
                    f"of the {self.options.ascent.steps} steps. Take more steps: what {name} wins is more than is told."
                )
        for name, values in self.numbers.items():
            if broken := int((~np.isfinite(values)).sum()):
                found.append(f"{name}: {broken} of {len(values)} values are not finite, and so is their mean.")
        return tuple(found)


def inference_gaps(
    model: Model,
    batches: Iterable[BatchLike],
    noise: Noise,
    options: GapOptions | None = None,
    evidence: Mapping[str, np.ndarray] | None = None,
    progress: Progress | None = None,
) -> Gaps:
    r"""The gap between log p(x) and the ELBO of each datum, and what it is made of.

    .. math:: \log p(x) - \mathcal L[q_\phi] = \underbrace{\log p(x) - \mathcal L[q^*]}_{\text{approximation}}
        + \underbrace{\mathcal L[q^*] - \mathcal L[q_\phi]}_{\text{amortisation}}

    q* is the best member of the family for each datum: the head's raw parameters (for a flow: its base and the context
    it sees; the flow's own weights are shared, and stay), moved from where the encoder put them. On top of it, a
    ``Bend`` for each datum tells what a richer family would win. Each search draws anew at every step; which of the
    posteriors is better for a datum is decided with draws that count for nothing else, so that q* is q_φ itself, and
    the amortisation gap 0, where the search won nothing; and bounds are means over draws that neither has seen, the
    same noise for all posteriors. A search that stopped early makes the amortisation gap too small and the
    approximation gap too large. log p(x) is the highest on average of lower bounds: the approximation gap is too small
    by what it lacks.

    Args:
        model: any model with one group of latents whose posterior is one network and a head, in eval mode.
        batches: the data; each batch is searched at once.
        noise: its forks draw z.
        options: how, and with what budget.
        evidence: further estimates of log p(x) by name, ``(N,)``, such as another budget gave.
        progress: ``progress(done, total)`` in decoded rows.

    Raises:
        ValueError: a model in training mode, with no latents or several groups of them, with a posterior that has no
            density or no raw parameters of a datum's own; grey data in a Bernoulli; no data; evidence of other data.

    References:
        Cremer, Li and Duvenaud 2018, "Inference suboptimality in variational autoencoders", arXiv:1801.03558.

    Example:
        >>> import torch
        >>> from fourfold.distributions import BernoulliHead, GaussianHead
        >>> from fourfold.evaluation.batches import Part
        >>> from fourfold.models import VAE
        >>> from fourfold.priors import StandardNormal
        >>> q = NetworkConditional(torch.nn.Linear(6, 4), GaussianHead(2), 6)
        >>> p = NetworkConditional(torch.nn.Linear(2, 6), BernoulliHead(6), 2)
        >>> model, data = VAE(q, StandardNormal(2), p).eval(), [Part(torch.ones(5, 6), None, None)]
        >>> found = inference_gaps(model, data, Noise(0), GapOptions(Ascent(steps=5), samples=20))
        >>> list(found.parts)
        ['bound_gap', 'amortisation_gap', 'approximation_gap', 'flow_gain', 'flow_gap']
    """
    ready(model, "inference_gaps")
    options, data = options or GapOptions(), list(batches)
    if not data:
        raise ValueError("inference_gaps: there are no data. Give at least one batch.")
    tell = _Work(progress, options, sum(len(batch.x) for batch in data))
    with torch.inference_mode(False), torch.no_grad():
        found = [_Search(model, batch, noise.fork(str(i)), options, tell).found() for i, batch in enumerate(data)]
    joined = {name: np.concatenate([one.arrays[name] for one in found]) for name in found[0].arrays}
    estimates = {name: np.concatenate([one.evidence[name] for one in found]) for name in found[0].evidence}
    if (how := options.annealing) is not None:
        key, told = noise.fork("ais"), tell.of_trajectories(how)
        parts = [ais(model, batch, key.fork(str(i)), how, told(len(batch.x))).bound for i, batch in enumerate(data)]
        estimates[how.estimator] = np.concatenate(parts)
    for name, values in (evidence or {}).items():
        if values.shape != joined["encoder"].shape:
            raise ValueError(
                f"inference_gaps: evidence {name!r} must be {joined['encoder'].shape}, got {values.shape}."
            )
        estimates[name] = np.asarray(values, np.float64)
    searches = ["the best member"] + ["the best flow"] * options.flow
    return Gaps(
        elbo=joined["encoder"],
        elbo_best=joined["best"],
        elbo_flow=joined["flow"] if options.flow else None,
        evidence=estimates,
        family=found[0].family,
        rises={name: np.concatenate([one.rises[i] for one in found]) for i, name in enumerate(searches)},
        stayed={name: sum(one.stayed[i] for one in found) for i, name in enumerate(searches)},
        options=options,
        mass=found[0].mass,
    )


@dataclass(slots=True)
class _Found:
    """What the searches found for one batch: arrays by posterior, and lists by search."""

    family: str
    mass: bool
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    evidence: dict[str, np.ndarray] = field(default_factory=dict)
    rises: list[np.ndarray] = field(default_factory=list)
    stayed: list[int] = field(default_factory=list)


class _Search:
    """The posteriors of one batch: the encoder's, the best of its family, the best flow."""

    def __init__(
        self, model: Model, batch: BatchLike, noise: Noise, options: GapOptions, tell: Callable[[int], None]
    ) -> None:
        self.model, self.batch, self.noise, self.options, self.tell = model, batch, noise, options, tell
        self.posterior = _posterior(model, batch)
        trace = model(batch.x, batch.c, 1, noise.fork("first"), batch.mask)
        self.q = trace.levels[0].q
        self.raw = self.posterior.raw(batch.x, model.encoded(batch.c))
        self.mass = trace.p_x.mass
        if not self.q.has_density:
            raise ValueError(
                f"inference_gaps: {type(self.q).__name__} has no density, so there is no bound on log p(x) and "
                "no gap to take apart. Take a model with a posterior that is no point."
            )

    def found(self) -> _Found:
        kind = type(self.q).__name__
        found = _Found(_FAMILIES.get(kind, kind), self.mass)
        chosen = self._measured(Local.of(self.q))
        self._note(found, "encoder", "z ~ q(z|x)", chosen)
        searches = [("best", "z ~ best of the family", self._best)]
        searches += [("flow", "z ~ best flow", self._flow)] * self.options.flow
        start: tuple[Tensor, ...] = (self.raw,)
        for name, proposal, search in searches:
            q, start, rise = search(start)
            tried = self._measured(q)
            better = tried[0] > chosen[0]  # never so where it is not a number
            chosen = tuple(np.where(better, new, old) for new, old in zip(tried, chosen, strict=True))
            found.rises.append(rise)
            found.stayed.append(int((~better).sum()))
            self._note(found, name, proposal, chosen)
        return found

    def _note(self, found: _Found, name: str, proposal: str, measured: tuple[np.ndarray, ...]) -> None:
        _, found.arrays[name], estimate = measured
        found.evidence[f"importance sampling, K = {self.options.samples}, {proposal}"] = estimate

    def _best(self, start: tuple[Tensor, ...]) -> tuple[Local, tuple[Tensor, ...], np.ndarray]:
        """The best member of the family, its parameters, and how it still rose."""
        return self._climbed("best", lambda parameters: Local.of(self.posterior.head(parameters[0])), start)

    def _flow(self, start: tuple[Tensor, ...]) -> tuple[Local, tuple[Tensor, ...], np.ndarray]:
        """The same for a flow on top of it."""
        head, key = self.posterior.head, self.noise.fork("bend")
        draws = Local.of(head(start[0])).base.sample(key.fork("draws"), _TRIAL)
        bend = Bend.identity(draws, key.fork("layers"))
        made = lambda parameters: Local.of(head(parameters[0]), bend.at(parameters[1:]))  # noqa: E731
        return self._climbed("flow", made, (start[0], *bend.parameters))

    def _climbed(
        self, name: str, made: Callable[[tuple[Tensor, ...]], Local], start: tuple[Tensor, ...]
    ) -> tuple[Local, tuple[Tensor, ...], np.ndarray]:
        def bound(parameters: tuple[Tensor, ...], noise: NoiseSource) -> Tensor:
            z, log_q = made(parameters).along_the_path(noise, self.options.ascent.draws)
            return log_weight(self.model, self.batch, z, log_q)

        def tell(rows: int) -> None:
            self.tell(_BACKWARD * rows)

        end, rise = climb(bound, start, self.noise.fork(name), self.options.ascent, tell)
        return made(end), end, rise

    def _measured(self, q: Local) -> tuple[np.ndarray, ...]:
        """The bound from the draws of the trial; from others the bound and the estimate of log p(x): each ``(B,)``."""
        trial, _ = self._means(q, self.noise.fork("trial"), _TRIAL)
        return trial, *self._means(q, self.noise.fork("measure"), self.options.samples)

    def _means(self, q: Local, noise: Noise, draws: int) -> tuple[np.ndarray, np.ndarray]:
        """The mean of the log weights, and the log of the mean weight."""
        total, most = torch.zeros((), dtype=torch.float64), torch.tensor(-inf, dtype=torch.float64)
        for chunk in weights(self.model, self.batch, q, noise, draws, self.options.rows_per_chunk):
            with torch.inference_mode():
                wide = chunk.double()
                total, most = total + wide.sum(0).cpu(), torch.logaddexp(most, wide.logsumexp(0).cpu())
            self.tell(chunk.numel())
        return (total / draws).numpy(), (most - log(draws)).numpy()


def _posterior(model: Model, batch: BatchLike) -> NetworkConditional:
    """The posterior whose raw parameters can be moved, or why there is none."""
    if not model.latent_shapes:
        raise ValueError("inference_gaps: this model has no latents: its bound is log p(x), and there is no gap.")
    if len(model.latent_shapes) > 1:
        # Below the top q(z_l | z_{l+1}, x) is a function of a draw: a datum's best one is no set of numbers.
        raise ValueError(
            f"inference_gaps: {type(model).__name__} has {len(model.latent_shapes)} groups of latents. The posterior "
            "of a lower one is a function of the draws above it, so a datum has no parameters of its own to move. "
            "fourfold evidence tells the whole gap."
        )
    posterior, one = getattr(model, "posterior", None), rows(batch, slice(1))
    if model(one.x, one.c, 1, Noise(0, device=one.x.device), one.mask).levels[0].q.certain:
        raise ValueError(
            "inference_gaps: the latents of this model are codes, and q(z|x) is one code: there are no raw parameters "
            "that could be moved for each datum."
        )
    if not isinstance(posterior, NetworkConditional):
        raise ValueError(
            f"inference_gaps: the posterior ({type(posterior).__name__}) is no NetworkConditional (a network and a "
            "head, as gaussian(…), iaf(…) give): it has no raw parameters that could be moved for each datum."
        )
    if model.support == "binary" and _grey(batch):
        raise ValueError(
            "inference_gaps: grey values in a Bernoulli have no likelihood, so there is no log p(x) to be far from. "
            "Train with binarize dynamic."
        )
    return posterior


def _grey(batch: BatchLike) -> bool:
    modelled = torch.ones_like(batch.x) if batch.mask is None else batch.mask.expand(batch.x.shape)
    return bool(((batch.x != 0) & (batch.x != 1) & (modelled != 0)).any())


class _Work:
    """Counts decoded rows, and tells."""

    def __init__(self, progress: Progress | None, options: GapOptions, n: int) -> None:
        searches = 1 + options.flow
        climbed = _BACKWARD * options.ascent.steps * options.ascent.draws
        self.total = n * (searches * climbed + (1 + searches) * (_TRIAL + options.samples))
        if (how := options.annealing) is not None:
            self.total += n * _BACKWARD * how.chains * how.leapfrog * trajectories(how)
        self.progress, self.done = progress, 0

    def __call__(self, rows: int) -> None:
        self.done += rows
        if self.progress:
            self.progress(self.done, self.total)

    def of_trajectories(self, how: Annealing) -> Callable[[int], Progress]:
        """From the number of data what AIS of them tells, in trajectories."""
        return lambda n: lambda done, total: self(n * _BACKWARD * how.chains * how.leapfrog)


def _mean(values: np.ndarray) -> tuple[float, float | None]:
    """The mean, and its standard error where it has one."""
    with np.errstate(invalid="ignore"):
        mean = float(values.mean())
    error = float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 and np.isfinite(values).all() else None
    return mean, error


def _row(metric: str, values: np.ndarray, estimator: str, protocol: Mapping[str, Any]) -> Row:
    mean, error = _mean(values)
    broken = int((~np.isfinite(values)).sum())
    return Row(metric, mean, "nats", error, estimator, len(values), dict(protocol), broken)
