"""What an objective is: a module from a trace to named terms in nats, to be maximised."""

__all__ = [
    "Objective",
    "at_least_two",
    "by_level",
    "latents",
    "one_level",
    "plain_terms",
    "rate",
    "reconstruction",
    "reported",
    "with_penalties",
]

from abc import ABC, abstractmethod
from collections.abc import Mapping
from math import isclose
from typing import Any, Self

import torch
from torch import Tensor, nn

from .._checks import non_negative, positive_int
from ..noise import NoiseSource, Recorder, Replay
from ..trace import Level, Term, Terms, Trace
from .schedules import Schedule


class Objective(nn.Module, ABC):
    """Trace → Terms: the parts of what is maximised, in nats per datum, each with its weight; nothing is hidden.

    Every objective lists ``log_likelihood`` and, where there are latents with a density, ``rate`` among its parts, so
    that the plain ELBO can always be told; a part that is only reported has weight 0.

    Args:
        draws: how many draws of z for each datum the objective is to be given.
    """

    #: ``True`` for a term that belongs to a whole batch (MMD, total correlation) and cannot be accumulated in pieces.
    batch_statistic: bool = False
    #: ``True`` for one that differentiates z by x: the step then asks for the gradient of x, in validation too.
    input_gradient: bool = False
    #: ``False`` for one that never looks at the prior, and so holds neither the latents to it nor their noise open.
    sees_prior: bool = True
    #: How many draws are differentiated in place of all ``draws``, which then pass without gradient; 0: all of them.
    alone: int = 0

    def __init__(self, draws: int = 1) -> None:
        super().__init__()
        self.draws = positive_int(draws, f"{type(self).__name__}: draws")
        self.schedules: dict[str, Schedule] = {}
        self.values: dict[str, float] = {}

    @abstractmethod
    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        """The terms for each datum of the batch; an objective that draws (prior samples, probes) takes the noise."""

    def surrogate(self, model: Any, trace: Trace, terms: Terms) -> Tensor:
        """What is differentiated instead of the total, ``(B,)``: where a gradient estimator differs, the value kept.

        Args:
            model: the model that gave the trace, for its conditionals at given latents (``model.at``).
            trace: the pass.
            terms: what ``forward`` made of it.
        """
        return terms.total

    def again(self, model: Any, trace: Trace, seen: Recorder) -> Replay:
        """The noise of the draws that are differentiated alone: the model passes them again, for ``surrogate``.

        Args:
            model: the model that gave the trace.
            trace: the pass of all draws, without gradient.
            seen: the noise of that pass; which draws are chosen comes from its source.
        """
        raise NotImplementedError(f"{type(self).__name__} differentiates all its draws.")

    def after_step(self, summary: Mapping[str, Tensor]) -> None:
        """State of the objective that changes after a step (a running mean, a controller), from ``Terms.summary``."""

    def check_batch(self, batch: int) -> None:
        """Refuses, before anything is trained, batches of a size with which the objective would be another one.

        Args:
            batch: rows of a training batch.

        Raises:
            ValueError: with what to do about it; by default never.
        """

    def hyper(self, name: str, value: float | Schedule) -> None:
        """Registers a hyper-parameter as a 0-d buffer, so that schedules and compiled steps share one program."""
        where = f"{type(self).__name__}: {name}"
        if isinstance(value, Schedule):
            self.schedules[name] = value
            value = value(0)
        self.values[name] = non_negative(value, where)
        self.register_buffer(name, torch.tensor(self.values[name]), persistent=False)

    def advance(self, step: int) -> None:
        """Sets every scheduled hyper-parameter to its value at this step."""
        for name, schedule in self.schedules.items():
            self.values[name] = non_negative(schedule(step), f"{type(self).__name__}: {name} at step {step}")
            self.get_buffer(name).fill_(self.values[name])

    def settled(self, step: int, last: int) -> bool:
        """Whether every schedule has the value it will have at the last step: values before are of other objectives."""
        return all(isclose(s(step), s(last), rel_tol=1e-3, abs_tol=1e-9) for s in self.schedules.values())

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        """Moves and casts as any module; hyper-parameters then get back the digits that a narrower type had cost."""
        moved = super()._apply(fn, recurse)
        for name, value in self.values.items():
            self.get_buffer(name).fill_(value)
        return moved


def latents(trace: Trace, owner: str, lacking: str) -> tuple[Level, ...]:
    """The groups of latents of the trace; a model without any is refused, with what it has none of."""
    if not trace.levels:
        raise ValueError(f"{owner}: a model without latents has no {lacking}. Take ELBO.")
    return trace.levels


def one_level(trace: Trace, owner: str) -> Level:
    """The only group of latents of the trace."""
    if len(trace.levels) != 1:
        raise ValueError(f"{owner} is of one group of latents, and this model has {len(trace.levels)}. Take ELBO.")
    return trace.levels[0]


def at_least_two(batch: int, owner: str) -> None:
    """For the ``check_batch`` of an objective that compares the rows of a batch with each other."""
    if batch < 2:
        raise ValueError(
            f"batch_size: {owner} compares the rows of a batch, and got a batch of one. Raise batch_size; there must "
            "be as many training data."
        )


def rate(level: Level, monte_carlo: bool = False) -> Tensor:
    """KL(q ‖ p) of one level in nats, ``(B,)``: in closed form where there is one, else by Monte Carlo over draws."""
    kl = None if monte_carlo else level.kl
    if kl is None:
        return level.log_ratio.mean(0)
    return kl.mean(0) if kl.ndim > 1 else kl


def plain_terms(trace: Trace, monte_carlo: bool = False) -> dict[str, Tensor]:
    """Raw log-likelihood and rate, ``(B,)`` in nats, and the model's penalties."""
    parts = {"log_likelihood": trace.log_likelihood.mean(0)}
    rates = [rate(level, monte_carlo) for level in trace.levels]
    if rates:
        parts["rate"] = torch.stack(rates).sum(0) if len(rates) > 1 else rates[0]
    return parts


def by_level(trace: Trace, monte_carlo: bool = False) -> dict[str, Term]:
    """The rate of each of several levels from the top, ``rate_1``, ``rate_2`` …, for reading only."""
    if len(trace.levels) < 2 or not all(level.q.has_density for level in trace.levels):
        return {}
    with torch.no_grad():
        return {f"rate_{i}": Term(rate(level, monte_carlo), 0.0) for i, level in enumerate(trace.levels, 1)}


def reported(trace: Trace) -> dict[str, Term]:
    """The parts of the plain ELBO with weight 0, for objectives that are not made of them."""
    return {**{name: Term(value, 0.0) for name, value in plain_terms(trace).items()}, **by_level(trace)}


def reconstruction(trace: Trace) -> dict[str, Term]:
    """The log-likelihood with weight 1; the rate with weight 0, where there is one."""
    dense = all(level.q.has_density for level in trace.levels)
    told = reported(trace) if dense else {}
    return {**told, "log_likelihood": Term(trace.log_likelihood.mean(0), 1.0)}


def with_penalties(parts: dict[str, Term], trace: Trace) -> Terms:
    """The parts, and the model's own penalties with weight −1 where they bring none."""
    own = {k: value if isinstance(value, Term) else Term(value, -1.0) for k, value in trace.penalties.items()}
    return Terms({**parts, **own})
