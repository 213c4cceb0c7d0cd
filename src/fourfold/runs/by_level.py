"""A part of the diagnostics: what each level of latents adds to what is known of the data, and its rate."""

__all__ = ["by_level"]

from typing import TYPE_CHECKING

import numpy as np

from ..evaluation import Row, Undecomposable
from ..evaluation.batches import first
from ..evaluation.levels import level_information
from ..pictures.levels import level_bars
from .diagnose import Found

if TYPE_CHECKING:
    from .diagnose import Diagnostics


def by_level(diagnostics: "Diagnostics", samples: int = 100, data: int = 500) -> Found:
    """Rates and information level by level, of the first so many data.

    Args:
        diagnostics: of a run.
        samples: draws of z.
        data: how many posteriors they are held against.
    """
    name, model = "levels", diagnostics.run.model
    try:
        few = first(diagnostics.batches(), data)
        found = level_information(model, few, diagnostics.noise.fork(name), samples, diagnostics.progress)
    except Undecomposable as error:
        return Found(name, notes=(f"{name}: {error}",))
    added, rates = found.added.mean(0), found.rates.mean(0)
    errors = found.added.std(0, ddof=1) / len(found.added) ** 0.5 if len(found.added) > 1 else np.zeros(len(added))
    joint = found.added.sum(1)
    error = float(joint.std(ddof=1) / len(joint) ** 0.5) if len(joint) > 1 else None
    how = f"{found.estimator}, at most {found.most:.2f}"
    row = Row("mi", float(joint.mean()), "nats", error, how, len(joint), diagnostics.protocol)
    lines = tuple(
        f"level {i}: rate {cost:.2f} nats, adds {more:.2f} ± {spread:.2f} of information"
        for i, (cost, more, spread) in enumerate(zip(rates, added, errors, strict=True), 1)
    )
    if joint.mean() > found.most - 0.5:
        lines += (f"I(x; z) is near log N = {found.most:.2f}: of more data the levels inferred last would add more",)
    figure = level_bars(rates, added, errors, found.most, found.upward)
    arrays = {"rates": rates, "added": added, "added_standard_error": errors}
    return diagnostics.keep(Found(name, (row,), lines, (), arrays), figure)
