"""Text as a data set: a sentence a line, its words as numbers."""

__all__ = ["from_lines", "from_text", "sentences_parts"]

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._checks import choice
from .dataset import DataSet, Split
from .locate import content
from .splits import shuffled
from .vocabulary import Vocabulary, split_words

_LONGEST = 1000  # words: more in one line is a text without lines

_MIN_COUNT = 3


def from_lines(
    lines: Sequence[str] | Mapping[str, Sequence[str]],
    *,
    name: str = "text",
    split: str | None = None,
    seed: int = 0,
    rule: str = "words",
    min_count: int = 3,
) -> DataSet:
    """A data set of sentences.

    Args:
        lines: the sentences, or those of ``"train"`` and perhaps ``"validation"`` and ``"test"``; empty ones are left
            out.
        name: for people and for the protocol.
        split: ``"random"`` (80/10/10, the default) or ``"all"`` (all in train); ``"given"`` where parts are given.
        seed: of the random split.
        rule: how a line is cut: ``"blanks"`` (text that was tokenised before), or into ``"words"`` and punctuation.
        min_count: words that come less often in training are shown to a model as <unk>.

    Raises:
        ValueError: for lines that are none, too long ones, and too few.

    Example:
        >>> data = from_lines(["a b", "b", "a a c"], split="all", min_count=2)
        >>> data
        DataSet('text', shape=(4,), levels=None, classes=None, 5 of 6 words known, train 3)
        >>> data.train.x.tolist()
        [[3, 4, 1, 0], [4, 1, 0, 0], [3, 3, 5, 1]]
    """
    return _assembled(name, lines, split, seed, (rule, min_count), {"source": "lines"})


def from_text(path: Path, split: str | None = None, seed: int = 0) -> DataSet:
    """A data set of a text file, plain or gzip: a sentence a line.

    Raises:
        ValueError: for a file that is no UTF-8 text, is damaged, or holds too few lines.
    """
    data, md5 = content(path)
    name = path.name.removesuffix(".gz").removesuffix(".txt")
    return _assembled(
        name, _every_line(data, str(path)), split, seed, ("words", _MIN_COUNT), {"source": str(path), "checksum": md5}
    )


def sentences_parts(found: Mapping[str, tuple[bytes, str]], seed: int) -> tuple[Split, Split, Split, Vocabulary]:
    """The three files of tokenised sentences."""
    names = ("train", "validation", "test")
    every = {part: _every_line(data, file) for part, (file, (data, _)) in zip(names, found.items(), strict=True)}
    _refuse_long(every, "blanks", "sentences")
    lines = {part: [line for line in given if line] for part, given in every.items()}
    splits, vocabulary = _encoded(lines, ("blanks", _MIN_COUNT))
    return splits["train"], splits["validation"], splits["test"], vocabulary


def _every_line(data: bytes, name: str) -> list[str]:
    """The lines of a text, without blanks at their ends."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{name}: wanted UTF-8 text, a sentence a line ({error}). Save it as UTF-8.") from None
    return [line.strip() for line in text.split("\n")]


def _refuse_long(parts: Mapping[str, Sequence[str]], rule: str, name: str) -> None:
    """Refuses a line of more words than a sentence has, by its number in the text."""
    for part, lines in parts.items():
        for i, line in enumerate(lines, 1):
            words = len(split_words(line, rule)) if len(line) > _LONGEST else 0
            if words > _LONGEST:
                where = f"line {i}" if len(parts) == 1 else f"{part} line {i}"
                raise ValueError(
                    f"data {name!r}: wanted a sentence a line, of at most {_LONGEST:,} words, and {where} is a line of "
                    f"{words:,} words. Put each of its sentences on a line of its own."
                )


def _assembled(
    name: str,
    lines: Sequence[str] | Mapping[str, Sequence[str]],
    split: str | None,
    seed: int,
    how: tuple[str, int],
    protocol: Mapping[str, Any],
) -> DataSet:
    given = isinstance(lines, Mapping)
    allowed = ("given",) if given else ("random", "all")
    split = choice(split or allowed[0], allowed, f"data {name!r}: split")
    _refuse_long(lines if isinstance(lines, Mapping) else {"train": lines}, how[0], name)
    parts = _full(lines, name) if isinstance(lines, Mapping) else _cut(_full({"train": lines}, name), split, seed, name)
    splits, vocabulary = _encoded(parts, how)
    seeded = {"seed": seed} if split == "random" else {}
    held = splits.get("validation"), splits.get("test")
    told = {"split": split, **seeded, **protocol, "vocabulary": {**vocabulary.protocol, "min_count": how[1]}}
    return DataSet(name, splits["train"], *held, None, None, told, vocabulary=vocabulary)


def _full(parts: Mapping[str, Sequence[str]], name: str) -> dict[str, list[str]]:
    """The lines that hold anything, of every part that there is."""
    for part in parts:
        choice(part, ("train", "validation", "test"), f"data {name!r}: lines")
    kept = {part: [line for line in lines if line.strip()] for part, lines in parts.items()}
    if not kept.get("train"):
        raise ValueError(f"data {name!r}: wanted at least one line of text to learn from, got none.")
    return {part: lines for part, lines in kept.items() if lines}


def _cut(parts: dict[str, list[str]], split: str, seed: int, name: str) -> dict[str, list[str]]:
    """All lines together, or 80 % of them to learn from and 10 % each held out."""
    lines = parts["train"]
    if split == "all":
        return parts
    if len(lines) < 3:
        raise ValueError(f"data {name!r}: split='random' wants at least 3 lines, got {len(lines)}. Use split='all'.")
    tenth = max(1, len(lines) // 10)
    rows = shuffled(len(lines), seed, tenth, tenth)
    return {part: [lines[i] for i in which] for part, which in zip(("train", "validation", "test"), rows, strict=True)}


def _encoded(parts: Mapping[str, list[str]], how: tuple[str, int]) -> tuple[dict[str, Split], Vocabulary]:
    """Every part as rows of one length, and the words: known are those that training holds often enough."""
    others = (line for part, lines in parts.items() if part != "train" for line in lines)
    vocabulary = Vocabulary.of(parts["train"], *how, more=others)
    rows = {part: vocabulary.encode(lines) for part, lines in parts.items()}
    longest = max(x.shape[1] for x in rows.values())
    return {
        part: Split(vocabulary.encode(lines, longest)) if rows[part].shape[1] < longest else Split(rows[part])
        for part, lines in parts.items()
    }, vocabulary
