"""The likelihood of each datum by annealed importance sampling: many small steps from what can be drawn to p(x, z)."""

__all__ = [
    "Annealed",
    "Annealing",
    "Counter",
    "Pilot",
    "Tell",
    "ais",
    "forward",
    "log_mean_exp",
    "path_of",
    "reverse",
    "step_sizes",
    "trajectories",
]

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import choice, fraction, positive, positive_int
from ..models import Model
from ..noise import Noise
from .batches import BatchLike, ready, rows
from .hmc import Place, transition
from .importance import Progress
from .paths import EncoderPath, Path, PriorPath

_RADIUS = 4.0  # of the sigmoid that spaces the temperatures


@dataclass(frozen=True, slots=True)
class Pilot:
    """The run that finds the step sizes, on chains that count for nothing else.

    Args:
        temperatures: at how many of them step sizes are looked for; those between are interpolated.
        rounds: trajectories at each, the last of which are averaged.
        chains: for each datum.
        data: the first so many of the data.
        acceptance: what the mean acceptance of chains and data shall be.
    """

    temperatures: int = 40
    rounds: int = 5
    chains: int = 4
    data: int = 16
    acceptance: float = 0.65

    def __post_init__(self) -> None:
        for name in ("temperatures", "rounds", "chains", "data"):
            positive_int(getattr(self, name), f"Pilot: {name}")
        positive(fraction(self.acceptance, "Pilot: acceptance"), "Pilot: acceptance")


@dataclass(frozen=True, slots=True)
class Annealing:
    """The path, and the budget that is spent on it.

    Args:
        temperatures: T, steps from β = 0 to 1, spaced by a sigmoid.
        chains: C, independent chains for each datum.
        leapfrog: steps of each trajectory; there is one trajectory at each temperature.
        start: ``"prior"``: p(z) p(x|z)^β; ``"encoder"``: q(z|x)^(1−β) p(x,z)^β.
        pilot: how step sizes are found.
        keep: at how many temperatures (of T + 1, evenly by number, both ends among them) weights and likelihoods are
            kept; 0 keeps none.
        rows_per_chunk: how many rows (chains × data) are decoded at once, if it is at least C.
    """

    temperatures: int = 1000
    chains: int = 16
    leapfrog: int = 10
    start: str = "prior"
    pilot: Pilot = Pilot()
    keep: int = 0
    rows_per_chunk: int = 800

    def __post_init__(self) -> None:
        for name in ("temperatures", "chains", "leapfrog", "rows_per_chunk"):
            positive_int(getattr(self, name), f"Annealing: {name}")
        if self.keep:
            positive_int(self.keep, "Annealing: keep")
        choice(self.start, ("prior", "encoder"), "Annealing: start")

    @property
    def betas(self) -> np.ndarray:
        """β from 0 to 1, ``(T + 1,)``: σ(4 (2t/T − 1)), brought to [0, 1]."""
        raw = 1 / (1 + np.exp(-_RADIUS * np.linspace(-1, 1, self.temperatures + 1)))
        return (raw - raw[0]) / (raw[-1] - raw[0])

    @property
    def kept(self) -> np.ndarray:
        """The numbers of the temperatures that are kept."""
        return np.unique(np.linspace(0, self.temperatures, self.keep).round().astype(np.int64)) if self.keep else _NONE

    @property
    def estimator(self) -> str:
        """The estimator and its budget, in words."""
        start = "p(z)" if self.start == "prior" else "q(z|x)"
        return f"AIS, T = {self.temperatures}, {self.chains} chains, {self.leapfrog} leapfrog steps, from {start}"


_NONE = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class Annealed:
    """What the chains found for N data.

    Attributes:
        log_weight: log w of each chain, float64; E[w] = p(x).
        betas: β, ``(T + 1,)``.
        step_sizes: at each temperature from the first step to the last, ``(T,)``.
        acceptance: mean acceptance there, over chains and data, ``(T,)``.
        kept_betas: β where statistics were kept, ``(M,)``.
        running: log weights on arrival there, float64: E[w] = Z_β, the normaliser of f_β.
        log_likelihood: log p(x | z) there, after the move: with the weights ``running`` a sample of f_β / Z_β.
    """

    log_weight: Float[np.ndarray, "C N"]
    betas: np.ndarray
    step_sizes: np.ndarray
    acceptance: np.ndarray
    kept_betas: Float[np.ndarray, " M"]
    running: Float[np.ndarray, "M C N"]
    log_likelihood: Float[np.ndarray, "M C N"]

    @property
    def bound(self) -> Float[np.ndarray, " N"]:
        """log mean_c w_c: in expectation a lower bound on log p(x), in nats."""
        return log_mean_exp(self.log_weight)

    @property
    def effective_chains(self) -> Float[np.ndarray, " N"]:
        """(Σ w)² / Σ w², from 1 (one chain counts) to C (all count alike)."""
        with np.errstate(invalid="ignore"):  # weights that are all 0, or no numbers: neither is what this makes of them
            w = np.exp(self.log_weight - self.log_weight.max(0))
            return w.sum(0) ** 2 / (w**2).sum(0)


def ais(
    model: Model, batch: BatchLike, noise: Noise, options: Annealing = Annealing(), progress: Progress | None = None
) -> Annealed:
    r"""Annealed importance sampling of log p(x) of each datum of a batch, by Hamiltonian Monte Carlo.

    .. math:: \log w = \sum_{t=1}^T \log f_{\beta_t}(z_{t-1}) - \log f_{\beta_{t-1}}(z_{t-1}), \qquad E[w] = p(x)

    where z_t is reached from z_{t−1} by a trajectory that leaves f_β_t as it is. The mean of w over chains is unbiased,
    so its logarithm is in expectation a lower bound on log p(x). The step sizes come from a pilot run and are fixed
    before the first chain starts: sizes that follow a chain's own acceptances make a number that is no bound. All
    levels of a hierarchy move together, in a path from the prior in z, from the encoder in its noise.

    Args:
        model: any model with continuous latents and a likelihood that is differentiable in them, in eval mode.
        batch: the data.
        noise: its forks draw the pilot run, the starts and the moves.
        options: the path and its budget.
        progress: ``progress(done, total)`` in trajectories of all chains, the pilot's too.

    Raises:
        ValueError: a model in training mode, without latents, or with discrete ones; a start from an encoder that has
            no density, or that draws by more than normal noise.

    References:
        Neal 2001, "Annealed importance sampling"; Wu, Burda, Salakhutdinov and Grosse 2016, arXiv:1611.04273.
    """
    tell = Counter(progress, trajectories(options))
    table = step_sizes(model, batch, noise.fork("pilot"), options, tell)
    return forward(path_of(model, batch, options), table, noise, options, tell)


def path_of(model: Model, batch: BatchLike, options: Annealing, chains: int | None = None) -> Path:
    """The path of the options for these data, with as many of them at once as the chains let fit."""
    ready(model, "ais")
    if not model.latent_shapes:
        raise ValueError("ais: this model has no latents: its log-likelihood is exact. Take it from evaluate.")
    kind = PriorPath if options.start == "prior" else EncoderPath
    with torch.inference_mode(False), torch.no_grad():
        return kind(model, batch, max(options.rows_per_chunk // (chains or options.chains), 1))


class Counter:
    """Counts trajectories, and tells."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def __call__(self) -> None:
        self.done += 1
        if self.progress:
            self.progress(self.done, self.total)


Tell = Callable[[], None]


def step_sizes(model: Model, batch: BatchLike, noise: Noise, options: Annealing, tell: Tell) -> Float[np.ndarray, " T"]:
    """The step size of each temperature, from a pilot run; it depends on the data and on nothing the chains do."""
    pilot, betas = options.pilot, options.betas
    path = path_of(model, rows(batch, slice(pilot.data)), options, pilot.chains)
    with torch.inference_mode(False), torch.no_grad():
        place, moves = path(path.draw(pilot.chains, noise.fork("start"))), noise.fork("moves")
        size, found = log(0.1), []
        visited = _visited(options)
        for i, t in enumerate(visited):
            tried = []
            for k in range(pilot.rounds * (_FIRST if i == 0 else 1)):
                step = place.z.new_tensor(exp(size))
                place, accept = transition(path, place, float(betas[t]), step, options.leapfrog, moves)
                gain = 1.0 if i == 0 and k < pilot.rounds * (_FIRST - 2) else _GAIN
                size += gain * (float(accept.mean()) - pilot.acceptance)
                tried.append(size)
                tell()
            found.append(np.mean(tried[-max(pilot.rounds - 1, 1) :]))
    return np.exp(np.interp(np.arange(1, options.temperatures + 1), visited, found))


_FIRST = 5  # times as many rounds at the first temperature, where nothing is known; it is looked for in great strides
_GAIN = 0.3  # of log step sizes on acceptances, afterwards; where these fall steeply, a larger one overshoots


def _visited(options: Annealing) -> np.ndarray:
    """The numbers of the temperatures that the pilot run visits."""
    count = min(options.pilot.temperatures, options.temperatures)
    return np.unique(np.linspace(1, options.temperatures, count).round().astype(np.int64))


def trajectories(options: Annealing) -> int:
    """How many each chain of ``ais`` makes, those of the pilot run with it."""
    return options.temperatures + options.pilot.rounds * (len(_visited(options)) + _FIRST - 1)


def forward(path: Path, table: np.ndarray, noise: Noise, options: Annealing, tell: Tell) -> Annealed:
    """Chains from exact draws of the start to p(x, z), with fixed step sizes."""
    with torch.inference_mode(False), torch.no_grad():
        z, moves = path.draw(options.chains, noise.fork("start")), noise.fork("moves")
        record = _Record(options, table)
        place, betas = path(z), options.betas
        weight = torch.zeros_like(place.ratio, dtype=torch.float64)
        record.keep(0, weight, place)
        for t in range(1, options.temperatures + 1):
            weight = weight + (betas[t] - betas[t - 1]) * place.ratio.double()
            place = record.move(path, place, t, moves)
            record.keep(t, weight, place)
            tell()
    return record.annealed(weight)


def reverse(path: Path, table: np.ndarray, z: Tensor, noise: Noise, options: Annealing, tell: Tell) -> Annealed:
    """Chains from exact draws z of the posterior, ``(C, N, D)``, back to the start: E[1/w] = 1/p(x).

    The moves are those of ``forward`` in reverse order. Nothing is kept on the way: ``running`` and
    ``log_likelihood`` are empty.
    """
    with torch.inference_mode(False), torch.no_grad():
        moves, record = noise.fork("moves"), _Record(options, table)
        place, betas = path(z), options.betas
        weight = torch.zeros_like(place.ratio, dtype=torch.float64)
        for t in range(options.temperatures, 0, -1):
            place = record.move(path, place, t, moves)
            weight = weight + (betas[t] - betas[t - 1]) * place.ratio.double()
            tell()
    return record.annealed(weight)


class _Record:
    """Moves chains, and notes how that went."""

    def __init__(self, options: Annealing, table: np.ndarray) -> None:
        self.options, self.table = options, table
        self.acceptance = np.zeros(options.temperatures)
        self.running: list[np.ndarray] = []
        self.log_likelihood: list[np.ndarray] = []

    def move(self, path: Path, place: Place, t: int, moves: Noise) -> Place:
        step = place.z.new_tensor(self.table[t - 1])
        place, accept = transition(path, place, float(self.options.betas[t]), step, self.options.leapfrog, moves)
        self.acceptance[t - 1] = float(accept.mean())
        return place

    def keep(self, t: int, weight: Tensor, place: Place) -> None:
        if t in self.options.kept:
            self.running.append(weight.cpu().numpy())
            self.log_likelihood.append(place.log_likelihood.double().cpu().numpy())

    def annealed(self, weight: Tensor) -> Annealed:
        betas, count = self.options.betas, len(self.running)
        none = np.empty((0, *weight.shape))
        return Annealed(
            log_weight=weight.cpu().numpy(),
            betas=betas,
            step_sizes=self.table,
            acceptance=self.acceptance,
            kept_betas=betas[self.options.kept][:count],
            running=np.stack(self.running) if count else none,
            log_likelihood=np.stack(self.log_likelihood) if count else none,
        )


def log_mean_exp(values: np.ndarray) -> np.ndarray:
    """log of the mean of exponentials over the first dimension, in float64."""
    most = values.max(0)
    shift = np.where(np.isfinite(most), most, 0.0)
    with np.errstate(divide="ignore"):
        return np.log(np.exp(values - shift).mean(0)) + shift
