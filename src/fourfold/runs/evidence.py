"""The evidence of a run: estimated on the first of its data, kept in its folder, drawn."""

__all__ = ["draw_evidence", "evidence_of"]

from dataclasses import asdict
from pathlib import Path

from .. import pictures
from .._checks import positive_int
from ..evaluation import Evidence, EvidenceOptions, evidence
from ..evaluation.batches import first
from ..evaluation.evidence import Stage
from ..noise import Noise
from .run import Run
from .support import digest


def evidence_of(
    run: Run,
    options: EvidenceOptions,
    *,
    data: int = 100,
    split: str = "test",
    seed: int = 0,
    progress: Stage | None = None,
) -> Evidence:
    """The evidence of the first so many rows of a split; rows and the numbers of each datum go into the run folder.

    Nothing is written before all of it is known.

    Args:
        run: with its folder.
        options: what is estimated.
        data: how many rows.
        split: which.
        seed: of binarisation and draws.
        progress: told the stage, and how far it is.
    """
    batches, data = run.batches(run.split(split), seed), positive_int(data, "evidence: data")
    data = min(data, len(run.split(split)))
    protocol = {
        **run.protocol(split, seed),
        "rows": f"the first {data:,}",
        "options": asdict(options),
        "data_digest": digest(first(batches(), data)),
    }
    found = evidence(
        run.model,
        lambda: first(batches(), data),
        Noise(seed, stream="evidence", device=run.model.device),
        options=options,
        protocol=protocol,
        progress=progress,
    )
    if run.path is not None:
        run.keep(found.rows, found.numbers)
    return found


def draw_evidence(run: Run, found: Evidence) -> Path | None:
    """``evidence.png`` among the pictures of the run: the curve of importance sampling below annealing."""
    if found.curve is None:
        return None
    gap = None if found.sandwich is None else found.sandwich.gap
    figure = pictures.evidence_curve(found.curve.samples, found.curve.bounds, found.ais, gap)
    return pictures.save(figure, run.folder.pictures() / "evidence.png")
