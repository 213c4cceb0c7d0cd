"""The words of a text and their numbers."""

__all__ = ["RULES", "Vocabulary", "split_words"]

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, final

import numpy as np
from jaxtyping import Int

from .._checks import choice, positive_int
from .._tokens import EOS, PAD, SPECIAL, UNK

RULES = ("blanks", "words")
"""How a line is cut: at blanks only, as text that was tokenised before; or into words and runs of punctuation."""

# A word may hold apostrophes and hyphens, and begin with an apostrophe; what is left are marks. What this cuts is cut
# the same way again when its pieces are joined by blanks.
_WORDS = r"['’]?\w+(?:['’\-]\w+|[.,]\d+)*|[^\w\s]+?(?=['’]\w|\w|\s|$)"


@final
@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The words of a text by number: <pad> 0, <eos> 1, <unk> 2, then the words.

    Data keep all their words, so that nothing of the text is lost. A model is shown the first ``known`` of them; the
    others, too rare in training or never seen there, it is shown as <unk>.

    Args:
        words: by number, the special ones first.
        known: how many of them a model knows.
        rule: how lines are cut: ``"blanks"`` or ``"words"``.

    Raises:
        ValueError: words that do not begin with the special ones, or come twice; nothing known besides those.

    Example:
        >>> Vocabulary(("<pad>", "<eos>", "<unk>", "a", "b"), 4).decode(np.array([[3, 4, 1, 0], [2, 1, 0, 0]]))
        ['a b', '<unk>']
    """

    words: tuple[str, ...]
    known: int
    rule: str = "words"

    def __post_init__(self) -> None:
        choice(self.rule, RULES, "Vocabulary: rule")
        if self.words[: len(SPECIAL)] != SPECIAL or len(set(self.words)) < len(self.words):
            raise ValueError(f"Vocabulary: words must begin with {' '.join(SPECIAL)}, and each may come once only.")
        if not len(SPECIAL) <= positive_int(self.known, "Vocabulary: known") <= len(self.words):
            raise ValueError(
                f"Vocabulary: known must be from {len(SPECIAL)} to the {len(self.words)} words there are, got "
                f"{self.known}."
            )

    @staticmethod
    def of(lines: Iterable[str], rule: str = "words", min_count: int = 3, more: Iterable[str] = ()) -> "Vocabulary":
        """The words of these lines, the most frequent first; known are those that come ``min_count`` times or more.

        Args:
            lines: of training.
            rule: how they are cut.
            min_count: how often a word must come to be known.
            more: lines whose other words are kept too, and not known.
        """
        from collections import Counter

        least = positive_int(min_count, "Vocabulary: min_count")
        counts = Counter(word for line in lines for word in split_words(line, rule))
        others = {word for line in more for word in split_words(line, rule)} - counts.keys()
        order = sorted(counts.keys() - set(SPECIAL), key=lambda word: (-counts[word], word))
        known = len(SPECIAL) + sum(counts[word] >= least for word in order)
        return Vocabulary((*SPECIAL, *order, *sorted(others - set(SPECIAL))), known, rule)

    @property
    def shown(self) -> "Vocabulary":
        """The words that a model knows, alone."""
        return Vocabulary(self.words[: self.known], self.known, self.rule)

    def encode(self, lines: Sequence[str], length: int | None = None) -> Int[np.ndarray, "N T"]:
        """Lines as rows of numbers, each ended by <eos> and filled up with <pad>.

        Args:
            lines: one a row, cut by the rule.
            length: T; that of the longest line and its <eos> if not given.

        Raises:
            ValueError: a line of more than T − 1 words.
        """
        found = _tokenizer(self.words, self.rule).encode_batch(list(lines), add_special_tokens=False)
        longest = 1 + max((len(one.ids) for one in found), default=0)
        if length is not None and longest > length:
            raise ValueError(f"Vocabulary: length: wanted at most {length - 1} words a line, got {longest - 1}.")
        rows = np.full((len(found), length or longest), PAD, np.int32)
        for row, one in zip(rows, found, strict=True):
            row[: len(one.ids)] = one.ids
            row[: len(one.ids)][row[: len(one.ids)] < UNK] = UNK  # a text may hold the word <pad>
            row[len(one.ids)] = EOS
        return rows

    def decode(self, rows: np.ndarray) -> list[str]:
        """Rows of numbers as text: words up to <eos>, apart by blanks."""
        return [" ".join(self.words[i] for i in _until_end(row)) for row in np.asarray(rows).astype(np.int64)]

    def numbers_in(self, other: "Vocabulary") -> Int[np.ndarray, " words"]:
        """For each of these words its number among the other's known ones; <unk> where it is not one of them."""
        numbers = {word: i for i, word in enumerate(other.words[: other.known])}
        return np.array([numbers.get(word, UNK) for word in self.words], np.int32)

    @property
    def protocol(self) -> dict[str, Any]:
        """What a number per token depends on: how many words are known and which, and how lines are cut."""
        digest = hashlib.blake2b("\n".join(self.words[: self.known]).encode(), digest_size=8).hexdigest()
        return {"known": self.known, "words": digest, "tokens": self.rule}

    def to_dict(self) -> dict[str, Any]:
        """The known words as JSON can hold them: in one text, as no word holds a blank."""
        return {"words": " ".join(self.words[: self.known]), "tokens": self.rule}

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> "Vocabulary":
        """The vocabulary that :meth:`to_dict` described."""
        words = tuple(fields["words"].split(" "))
        return Vocabulary(words, len(words), fields["tokens"])

    def __len__(self) -> int:
        return len(self.words)

    def __repr__(self) -> str:
        return f"Vocabulary({self.known:,} of {len(self.words):,} words known, rule={self.rule!r})"


def split_words(line: str, rule: str) -> list[str]:
    """The words of a line.

    Example:
        >>> split_words("Don't panic -- it's well-known.", "words")
        ["Don't", 'panic', '--', "it's", 'well-known', '.']
    """
    return [word for word, _ in _cutter(rule).pre_tokenize_str(line)]


def _until_end(row: np.ndarray) -> list[int]:
    ends = np.flatnonzero((row == EOS) | (row == PAD))
    return row[: ends[0] if len(ends) else len(row)].tolist()


@cache
def _cutter(rule: str) -> Any:
    try:
        from tokenizers import Regex, pre_tokenizers
    except ImportError:
        raise ImportError("text is cut into words by tokenizers: pip install 'fourfold[text]'.") from None
    if rule == "blanks":
        return pre_tokenizers.WhitespaceSplit()
    return pre_tokenizers.Split(Regex(_WORDS), "removed", invert=True)


def _tokenizer(words: tuple[str, ...], rule: str) -> Any:
    cutter = _cutter(rule)
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel

    made = Tokenizer(WordLevel({word: i for i, word in enumerate(words)}, unk_token=SPECIAL[UNK]))
    made.pre_tokenizer = cutter
    return made
