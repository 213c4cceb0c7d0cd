"""What is measured of every finished run, the same for all: bounds, active units, the NLL in pieces."""

__all__ = ["measured", "nll", "saying"]

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fourfold._files import whole
from fourfold.evaluation import Row, Sampling, nll_importance
from fourfold.noise import Noise
from fourfold.runs import Run

from .slices import Limit

_PIECE = 100  # images between two savings of the NLL: half a minute at K = 5,000 in the slowest model


def measured(
    run: Run, limit: Limit, samples: int, images: int | None, said: dict[str, Any]
) -> tuple[list[Row], dict[str, np.ndarray]]:
    """Rows, and arrays in nats by name: ``distortion`` and, where they are, ``elbo``, ``rate`` and ``nll_is``.

    Args:
        run: a finished one, with its folder.
        limit: the slice of time.
        samples: K of the NLL.
        images: the NLL is of the first so many test images; ``None``: all.
        said: what else goes into the protocol of each row.

    Raises:
        OutOfTime: when the slice is over.
    """
    with limit.stopping():
        found = run.evaluate("test", seed=0, save=False)
    n = min(images or len(run.split("test")), len(run.split("test")))
    more = {**said, "images": _checksum(run, n)}
    if "elbo" not in found.per_datum:
        more["no_rate"] = "; ".join(found.notes)
    rows = [saying(row, more) for row in found.rows]
    arrays = {key: found.per_datum[key] for key in ("elbo", "rate", "distortion") if key in found.per_datum}
    if "elbo" in arrays:
        assert run.path is not None
        values = arrays["nll_is"] = nll(run, run.path / "nll.npz", limit, n, samples)
        broken = int((~np.isfinite(values)).sum())
        error = None if broken else float(values.std(ddof=1) / np.sqrt(n))
        protocol = {**rows[0].protocol, "importance_data": f"the first {n:,} test images"}
        how = Sampling(samples).estimator if run.model.latent_shapes else rows[0].estimator  # without latents: exact
        rows.append(Row("nll_is", float(values.mean()), "nats", error, how, n, protocol, broken))
    return rows, arrays


def saying(row: Row, more: dict[str, Any]) -> Row:
    """The row with more in its protocol."""
    return replace(row, protocol={**row.protocol, **more})


def _checksum(run: Run, images: int) -> str:
    """Of the binarised test images that the NLL is of: rows with the same one may be compared image by image."""
    seen = torch.cat([batch.x for batch in run.batches(run.split("test"), 0)()])[:images]
    return hashlib.md5(seen.numpy().astype(np.uint8).tobytes()).hexdigest()


def nll(run: Run, file: Path, limit: Limit, images: int, samples: int, seed: int = 0) -> np.ndarray:
    """−log p(x) of the first test images by importance sampling, ``(images,)``; saved in pieces, taken up again.

    The binarisation is that of ``run.evaluate`` with this seed. Every piece has noise of its own, so that the numbers
    do not depend on where the work was cut.

    Raises:
        OutOfTime: when the slice is over; what was found is saved.
    """
    asked = json.dumps({"samples": samples, "seed": seed, "steps": run.outcome.step})
    found = np.empty(0)
    if file.exists():
        with np.load(file) as kept:
            found = kept["nll_is"] if kept["asked"].item() == asked else found
    noise, start = Noise(seed, stream="evaluate").fork("nll_is"), 0
    for batch in run.batches(run.split("test"), seed)():
        for x in batch.x.split(_PIECE):
            x = x[: max(images - start, 0)]
            if start >= len(found) and len(x):
                limit.check()
                piece = nll_importance(run.model, [replace(batch, x=x)], noise.fork(str(start)), Sampling(samples))
                found = np.concatenate([found, piece])
                with whole(file) as out:
                    np.savez(out, nll_is=found, asked=asked)
            start += len(x)
        if start >= images:
            break
    return found[:images]
