"""The gap of a run, taken apart: measured on the first of its data, kept in its folder, drawn."""

__all__ = ["draw_gaps", "gaps_of"]

from dataclasses import asdict
from pathlib import Path

import numpy as np

from .. import pictures
from .._checks import positive_int
from ..evaluation import GapOptions, Gaps, Row, inference_gaps
from ..evaluation.batches import first
from ..evaluation.importance import Progress
from ..noise import Noise
from .run import Run
from .support import digest


def gaps_of(
    run: Run,
    options: GapOptions,
    *,
    data: int = 100,
    split: str = "test",
    seed: int = 0,
    progress: Progress | None = None,
) -> tuple[Gaps, tuple[Row, ...]]:
    """The gap of the first so many rows of a split; rows and the numbers of each datum go into the run folder.

    Nothing is written before all of it is known.

    Args:
        run: with its folder.
        options: how the gap is taken apart.
        data: how many rows.
        split: which.
        seed: of binarisation and draws.
        progress: told (done, total) decoded rows.
    """
    batches, n = run.batches(run.split(split), seed), min(positive_int(data, "gap: data"), len(run.split(split)))
    noise = Noise(seed, stream="gap", device=run.model.device)
    found = inference_gaps(run.model, first(batches(), n), noise.fork("gaps"), options, progress=progress)
    protocol = {
        **run.protocol(split, seed),
        "rows": f"the first {n:,}",
        "options": asdict(options),
        "data_digest": digest(first(batches(), n)),
    }
    rows = found.rows(protocol)
    if run.path is not None:
        run.keep(rows, [found.numbers[row.metric] for row in rows])
    return found, rows


def draw_gaps(run: Run, found: Gaps) -> Path | None:
    """``gap.png`` among the pictures of the run: a stacked bar, and every datum; none where some are not finite."""
    if not all(np.isfinite(values).all() for values in found.parts.values()):
        return None
    name = run.path.name if run.path else "run"
    return pictures.save(pictures.gap_bars({name: found.parts}), run.folder.pictures() / "gap.png")
