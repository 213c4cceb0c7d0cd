"""Sentences of a run: samples, reconstructions and paths as text, and other text in the words of the run."""

__all__ = [
    "in_words_of",
    "interpolated",
    "passages",
    "reconstructed",
    "refuse_sentences",
    "sampled",
    "vocabulary_of",
]

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .._checks import positive_int
from .._tokens import PAD
from ..data import DataSet, Split, Vocabulary
from ..noise import Noise
from .report import Passage

if TYPE_CHECKING:
    from .run import Run


def vocabulary_of(spec: Mapping[str, Any]) -> Vocabulary | None:
    """The words that a model was trained on, from the record of its data; ``None`` where they were no sentences."""
    return None if spec.get("vocabulary") is None else Vocabulary.from_dict(spec["vocabulary"])


def in_words_of(data: DataSet, words: Vocabulary, shape: tuple[int, ...]) -> DataSet:
    """Other sentences as a model sees them that was trained on these words, in rows of this shape.

    Raises:
        ValueError: for data that are no sentences, and for sentences longer than the longest of its data set.
    """
    if data.vocabulary is None:
        raise ValueError(f"data: this model takes sentences, and {data.name} holds none. Give text, a sentence a line.")
    same = data.vocabulary.words[: data.vocabulary.known] == words.words
    if same and data.shape == shape:
        return data
    table = np.arange(len(data.vocabulary), dtype=np.int32) if same else data.vocabulary.numbers_in(words)
    parts = {
        name: Split(_fitted(table[split.x[:]], shape[0], name), split.labels) for name, split in data.parts.items()
    }
    known = data.vocabulary if same else words
    told = {**data.protocol, "vocabulary": {**words.protocol, "tokens": data.vocabulary.rule}}
    return replace(data, **parts, vocabulary=known, protocol=told)


def _fitted(x: np.ndarray, length: int, part: str) -> np.ndarray:
    """The rows with more <pad> or less, so that they have this length."""
    used = (x != PAD).sum(axis=1)
    if used.max() > length:
        raise ValueError(
            f"data: {part} row {int(used.argmax())} has {used.max() - 1} words; the longest sentence of the data "
            f"set that this model was trained on has {length - 1}. Leave longer ones out."
        )
    made = np.full((len(x), length), PAD, np.int32)
    wide = min(length, x.shape[1])
    made[:, :wide] = x[:, :wide]
    return made


def sampled(run: "Run", n: int, seed: int = 0, temperature: float | Sequence[float] = 1.0) -> list[str]:
    """n sentences drawn from the model, its latents with deviations times a temperature, or one for each level."""
    noise = Noise(seed, stream="samples", device=run.model.device)
    drawn = run.model.sample(positive_int(n, "sample: n"), None, noise, mean=False, temperature=temperature)
    return _text(run, drawn)


@torch.no_grad()
def reconstructed(run: "Run", n: int = 10, seed: int = 0, split: str = "test") -> list[tuple[str, str]]:
    """The first n sentences of a split, and what the model makes of the posterior mean of each, word by likeliest word.

    Raises:
        ValueError: a model that keeps nothing of a sentence.
    """
    _refuse_without_latents(run, "reconstruct")
    rows = run.split(split)
    few = Split(rows.x[:n], None if rows.labels is None else rows.labels[:n])
    batch = next(run.batches(few, seed, size=n)())
    words = run.dataset().vocabulary
    assert words is not None
    original = words.decode(few.x[:])
    return list(zip(original, _decoded(run, run.model.encode(batch.x, batch.c), batch.c), strict=True))


@torch.no_grad()
def interpolated(run: "Run", i: int, j: int, steps: int = 7, split: str = "test") -> list[str]:
    """The likeliest words along the straight line from the posterior mean of row i to that of row j of a split.

    Args:
        run: of a model with latents.
        i: the row to begin with, from 0.
        j: the row to end with.
        steps: how many sentences, both ends among them.
        split: train, validation or test.

    Raises:
        ValueError: a model without latents, rows that are not there, fewer than 2 steps.
    """
    _refuse_without_latents(run, "interpolate")
    rows = run.split(split)
    for index in (i, j):
        if not 0 <= index < len(rows):
            raise ValueError(f"interpolate: index must be from 0 to {len(rows) - 1}, got {index}.")
    if steps < 2:
        raise ValueError(f"interpolate: steps must be at least 2, got {steps}.")
    labels = None if rows.labels is None else rows.labels[[i, j]]
    batch = next(run.batches(Split(np.ascontiguousarray(rows.x[:][[i, j]]), labels), size=2)())
    share = torch.linspace(0, 1, steps, device=run.model.device, dtype=run.model.dtype)
    between = [
        (1 - along) * z[:1] + along * z[1:]
        for z in run.model.encode(batch.x, batch.c)
        for along in [share.reshape(-1, *[1] * (z.ndim - 1))]
    ]
    c = None if batch.c is None else batch.c[:1].expand(steps, *batch.c.shape[1:])
    return _decoded(run, tuple(between), c)


def passages(run: "Run", part: str) -> list[Passage]:
    """What the report of a run has to read: samples, reconstructions, and a path between two sentences."""
    drawn = "z from the prior, then word by word" if run.model.latent_shapes else "word by word"
    found = [Passage("Samples", sampled(run, 10), f"Draws: {drawn}.")]
    if run.model.latent_shapes:
        pairs = reconstructed(run, 6, split=part)
        told = f"{part.capitalize()} sentences, and below each the likeliest words at its posterior mean, one by one."
        found.append(Passage("Reconstructions", pairs, told))
        told = f"The likeliest words on the straight line between the posterior means of {part} sentences 0 and 1."
        if len(run.split(part)) > 1:
            found.append(Passage("From one sentence to another", interpolated(run, 0, 1, split=part), told))
    return found


def refuse_sentences(run: "Run", command: str) -> None:
    """Refuses to draw a picture of sentences, and says what there is."""
    if run.vocabulary is not None:
        fix = (
            "fourfold interpolate moves between two of them" if command == "traverse" else "They are text: a .txt file"
        )
        raise ValueError(f"{command}: this run is of sentences, which make no picture. {fix}.")


def _refuse_without_latents(run: "Run", command: str) -> None:
    if not run.model.latent_shapes:
        raise ValueError(f"{command}: this model has no latents: it keeps nothing of a sentence. Take a sentence_vae.")


def _decoded(run: "Run", z: tuple[Tensor, ...], c: Tensor | None) -> list[str]:
    """The greedy sentences of given latents."""
    return _text(run, run.model.generate(len(z[0]), c, lambda level, p: z[level]).p_x.centre)


def _text(run: "Run", x: Tensor) -> list[str]:
    if run.vocabulary is None:
        raise ValueError(f"{run.path}: its model is of images or numbers, not of sentences.")
    return run.vocabulary.decode(x.cpu().numpy())
