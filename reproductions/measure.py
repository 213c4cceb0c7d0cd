"""What is measured of every finished run, the same for all: bounds, active units, the NLL in pieces."""

__all__ = ["measured", "nll", "saying"]

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fourfold._files import whole
from fourfold.data import Batch
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
        if any(row.metric == "perplexity" for row in rows):
            rows.append(_perplexity(run, rows[-1], values))
    return rows, arrays


def _perplexity(run: Run, nll: Row, values: np.ndarray) -> Row:
    """exp of nats a token, of the NLL, with the error of a ratio: nats and lengths vary together."""
    masks = [piece.mask for piece in _pieces(run, nll.n, 0) if piece.mask is not None]
    lengths = torch.cat(masks).sum(1).cpu().numpy()
    each = values.sum() / lengths.sum()
    error = float((values - lengths * each).std(ddof=1) / lengths.mean() / np.sqrt(nll.n) * np.exp(each))
    return replace(nll, metric="perplexity_is", value=float(np.exp(each)), unit="words", standard_error=error)


def saying(row: Row, more: dict[str, Any]) -> Row:
    """The row with more in its protocol."""
    return replace(row, protocol={**row.protocol, **more})


def _checksum(run: Run, images: int) -> str:
    """Of the test data, binarised, that the NLL is of: rows with the same one may be compared image by image."""
    seen = torch.cat([piece.x for piece in _pieces(run, images, 0)]).cpu().numpy()
    return hashlib.md5(seen.astype(np.uint8 if seen.max() < 256 else np.int32).tobytes()).hexdigest()


def nll(run: Run, file: Path, limit: Limit, images: int, samples: int, seed: int = 0) -> np.ndarray:
    """−log p(x) of the first test data by importance sampling, ``(images,)``; saved in pieces, taken up again.

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
    for piece in _pieces(run, images, seed):
        if start >= len(found):
            limit.check()
            fresh = nll_importance(run.model, [piece], noise.fork(str(start)), Sampling(samples))
            found = np.concatenate([found, fresh])
            with whole(file) as out:
                np.savez(out, nll_is=found, asked=asked)
        start += len(piece.x)
    return found[:images]


def _pieces(run: Run, images: int, seed: int) -> Iterator[Batch]:
    """The first test data, so many at a time as are saved together."""
    left = images
    for batch in run.batches(run.split("test"), seed)():
        for i in range(0, len(batch.x), _PIECE):
            if left <= 0:
                return
            rows = slice(i, i + min(_PIECE, left))
            mask = batch.mask  # of each sentence its own; of images one for all
            own = mask is not None and mask.ndim == batch.x.ndim
            c = None if batch.c is None else batch.c[rows]
            yield Batch(batch.x[rows], c, mask[rows] if mask is not None and own else mask)
            left -= rows.stop - i
