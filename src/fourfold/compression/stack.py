"""The stack of bits: what is pushed last is popped first."""

__all__ = ["Empty", "Stack", "coder", "seed_words"]

import hashlib
from typing import Any, final

import numpy as np
from jaxtyping import Int32, UInt32

# A coder of constriction holds two words in its head, and takes the next one where the head falls below this.
_FULL = 1 << 32
# So many words are stirred: more than are popped at a time where a level has no more than some hundred latents.
_STIRRED = 1 << 11


class Empty(ValueError):
    """More was popped than had been pushed: what came out last is garbage."""


def coder() -> Any:
    """The library constriction's ``stream``.

    Raises:
        ImportError: where it is not installed.
    """
    try:
        import constriction
    except ImportError as error:
        raise ImportError(
            "Lossless compression needs the library constriction, which is not installed. "
            "Install it: pip install 'fourfold[compress]'."
        ) from error
    library: Any = constriction  # it tells type checkers nothing of its contents
    return library.stream


@final
class Stack:
    """Asymmetric numeral systems: a stack of 32-bit words on which symbols take −log₂ of their probability.

    To pop under a distribution is to draw from it, with the words as the randomness. It knows how deep it was ever
    popped.

    Args:
        words: the bottom first; the topmost is not 0.
        seed: of what it is stirred with.

    References:
        Duda 2009, arXiv:0902.0271; Townsend, Bird and Barber 2019, arXiv:1901.04866.
    """

    def __init__(self, words: UInt32[np.ndarray, " words"], seed: int) -> None:
        self._size, self._seed = len(words), seed
        self._coder = coder().stack.AnsCoder(words)
        self.lowest = self.trough = self.depth

    @classmethod
    def seeded(cls, seed: int, size: int) -> "Stack":
        """One with so many pseudo-random words."""
        return cls(seed_words(str(seed), size), seed)

    def push(self, symbols: Int32[np.ndarray, " n"], model: Any, *parameters: np.ndarray) -> None:
        """Symbols, each under its own parameters; the first of them ends on top."""
        if len(symbols):
            self._coder.encode_reverse(symbols, model, *parameters)

    def pop(self, model: Any, *parameters: np.ndarray) -> Int32[np.ndarray, " n"]:
        """As many symbols as there are parameters.

        Raises:
            Empty: there were not enough words.
        """
        if not len(parameters[0]):
            return np.zeros(0, dtype=np.int32)
        symbols = self._coder.decode(model, *parameters)
        position, head = self._coder.pos()
        if head < _FULL:
            raise Empty("Stack: there are no words left.")
        self.lowest, self.trough = min(self.lowest, position), min(self.trough, position)
        return symbols

    def stir(self, name: str) -> None:
        """Flips what looks like random bits of the words on top: by the same name, twice is not at all.

        What was pushed last is no randomness: popped under much the same distribution, latents of one datum would
        come out as those of the next.
        """
        words = self.words
        noise = seed_words(f"{self._seed} {name}", min(len(words) - 1, _STIRRED))
        words[len(words) - 1 - len(noise) : -1] ^= noise  # but for the topmost, which may not become 0
        self._coder = coder().stack.AnsCoder(words)

    @property
    def depth(self) -> int:
        """How many words it holds, without the two at the top."""
        return self._coder.pos()[0]

    def mark(self) -> int:
        """Begins to look anew how deep it is popped; gives its depth."""
        self.trough = self.depth
        return self.trough

    @property
    def words(self) -> UInt32[np.ndarray, " words"]:
        """All of it, the bottom first."""
        return self._coder.get_compressed()

    def trimmed(self) -> tuple[UInt32[np.ndarray, " words"], int]:
        """All of it but the words at the bottom that were never reached; and how many of the first words remain."""
        return self.words[self.lowest :], self._size - self.lowest


def seed_words(name: str, size: int) -> UInt32[np.ndarray, " size"]:
    """Pseudo-random words, the same on every machine: those on top do not depend on how many are below."""
    drawn = hashlib.shake_256(f"fourfold stack {name}".encode()).digest(4 * size)
    words = np.frombuffer(drawn, dtype="<u4").astype(np.uint32)[::-1].copy()
    if size:
        words[-1] |= np.uint32(1)  # the topmost may not be 0
    return words
