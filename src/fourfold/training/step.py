"""The one module that is trained: a batch in, a loss and named numbers out."""

__all__ = ["Step", "readable"]

import torch
from torch import Tensor, nn

from ..data import View
from ..models import Model
from ..noise import NoiseSource
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

    def forward(self, raw: Tensor, labels: Tensor | None, noise: NoiseSource) -> tuple[Tensor, Tensor]:
        """The loss, and the numbers that ``names`` names: the total, then each part's batch mean and its weight."""
        batch = self.view(raw, labels, noise)
        trace = self.model(batch.x, batch.c, draws=self.objective.draws, noise=noise, mask=batch.mask)
        terms: Terms = self.objective(trace)
        values = {name: part.value.mean() for name, part in terms.parts.items()}
        weights = {name: torch.as_tensor(part.weight).to(raw.device) for name, part in terms.parts.items()}
        total = sum(
            (weights[name] * value for name, value in values.items()), start=raw.new_zeros((), dtype=torch.float32)
        )
        self.names = ("objective", *values, *(f"weight/{name}" for name in weights))
        numbers = torch.stack([total, *values.values(), *(w.to(total.dtype) for w in weights.values())])
        return -total, numbers.detach()


def readable(names: tuple[str, ...], numbers: list[float]) -> dict[str, float]:
    """Step's numbers under the keys of metrics.jsonl: raw and weighted parts, their unit in the key, and the ELBO."""
    given = dict(zip(names, numbers, strict=True))
    parts = [n for n in names if f"weight/{n}" in given]
    row = {"objective [nats]": given["objective"]}
    if "rate" in given or "log_likelihood" in given:
        row["distortion [nats]"] = -given["log_likelihood"]
    if "rate" in given:
        row["rate [nats]"] = given["rate"]
        row["elbo [nats]"] = given["log_likelihood"] - given["rate"]
    for name in parts:
        row[f"{name} raw [nats]"] = given[name]
        row[f"{name} weighted [nats]"] = given[name] * given[f"weight/{name}"]
    return row
