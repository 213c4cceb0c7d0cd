"""The one module that is trained: a batch in, a loss and named numbers out."""

__all__ = ["Step", "readable", "untouched"]

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor, nn

from ..data import View
from ..models import Model
from ..noise import NoiseSource, Recorder
from ..objectives import Objective
from ..trace import Terms


class Step(nn.Module):
    """View, model and objective in one: the engine wraps it, processes synchronise it, the compiler compiles it.

    The trace never leaves it. Only here is an objective negated and averaged over the batch.

    Args:
        view: turns stored rows into what the model sees.
        model: infers and scores.
        objective: what is maximised.
    """

    def __init__(self, view: View, model: Model, objective: Objective) -> None:
        super().__init__()
        self.view, self.model, self.objective = view, model, objective
        self.names: tuple[str, ...] = ()
        self.weights: dict[str, float] = {}
        self.units: dict[str, str] = {}
        self.summary: dict[str, Tensor] = {}

    def forward(self, raw: Tensor, labels: Tensor | None, noise: NoiseSource) -> tuple[Tensor, Tensor]:
        """The loss, and what ``names`` names: the total, each part's batch mean, and the weights that may move."""
        batch = self.view(raw, labels, noise)
        with torch.enable_grad() if self.objective.input_gradient else nullcontext():
            x = batch.x.detach().requires_grad_() if self.objective.input_gradient else batch.x
            few = self.objective.alone if torch.is_grad_enabled() else 0
            source = Recorder(noise) if few else noise
            with torch.no_grad() if few else nullcontext():
                trace = self.model(x, batch.c, draws=self.objective.draws, noise=source, mask=batch.mask)
                terms: Terms = self.objective(trace, noise)
        total = terms.total
        self.summary = {name: value.detach() for name, value in (*trace.summary.items(), *terms.summary.items())}
        # Weights that are plain numbers are told once; those that a schedule may move are read with the rest.
        moving = {name: part.weight for name, part in terms.parts.items() if isinstance(part.weight, Tensor)}
        self.weights = {n: float(p.weight) for n, p in terms.parts.items() if not isinstance(p.weight, Tensor)}
        self.units = {name: part.unit for name, part in terms.parts.items()}
        self.names = ("objective", *terms.parts, *(f"weight/{name}" for name in moving))
        with torch.no_grad():
            means = torch.stack([total, *(part.value for part in terms.parts.values())]).mean(1)
            numbers = torch.cat([means, torch.stack(list(moving.values())).to(means)]) if moving else means
        if few and isinstance(source, Recorder):
            chosen = self.objective.again(self.model, trace, source)
            trace = self.model(x, batch.c, draws=few, noise=chosen, mask=batch.mask)
        learnt = self.objective.surrogate(self.model, trace, terms) if torch.is_grad_enabled() else total
        return -learnt.mean(), numbers


@contextmanager
def untouched(step: Step) -> Iterator[None]:
    """For a pass that trains nothing: buffers that change within it stand afterwards as they stood."""
    kept = [(part, name, b, b.clone()) for part in step.modules() for name, b in part._buffers.items() if b is not None]
    try:
        yield
    finally:
        with torch.no_grad():
            for part, name, buffer, before in kept:
                part._buffers[name] = buffer.copy_(before)


def readable(step: Step, numbers: list[float]) -> dict[str, float]:
    """A step's numbers under the keys of metrics.jsonl: raw and weighted parts, their unit in the key, and the ELBO."""
    given = dict(zip(step.names, numbers, strict=True))
    given |= {f"weight/{name}": weight for name, weight in step.weights.items()}
    parts = [n for n in given if f"weight/{n}" in given]
    row = {"objective [nats]": given["objective"]}
    if "rate" in given or "log_likelihood" in given:
        row["distortion [nats]"] = -given["log_likelihood"]
    if "rate" in given:
        row["rate [nats]"] = given["rate"]
        row["elbo [nats]"] = given["log_likelihood"] - given["rate"]
    for name in parts:
        row[f"{name} raw [{step.units[name]}]"] = given[name]
        row[f"{name} weighted [nats]"] = given[name] * given[f"weight/{name}"]
    return row
