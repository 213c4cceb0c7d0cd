"""What a check answers: a diagnosis with its evidence and remedy, a clean bill, or why there is neither."""

__all__ = ["Answer", "Checkup", "Diagnosis", "Measured", "Sound", "Unchecked"]

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass
from math import isfinite
from typing import Any

from ..._checks import choice
from ..._metrics import rounded

#: How bad: the model is of no use as it is; something is to be had; no illness, but to be known.
_SEVERITIES = ("serious", "warning", "note")

#: Of two that are equally bad, what may be the cause of the other comes first.
_ORDER = (
    "diverged",
    "unfinished",
    "scale_collapsed",
    "grey_data",
    "not_converged",
    "density_of_levels",
    "scale_too_wide",
    "over_regularised",
    "collapsed",
    "decoder_ignores_z",
    "collapsed_levels",
    "dead_codes",
    "under_regularised",
    "prior_mismatch",
    "overfitted",
    "narrow_posterior",
    "wide_posterior",
    "amortisation_gap",
    "few_data_pay",
    "no_rate",
    "inactive_latents",
    "stopped_early",
)


@dataclass(frozen=True, slots=True)
class Measured:
    """One number that speaks for a diagnosis.

    Args:
        what: what was measured.
        value: its value.
        unit: of it.
        error: its standard error, where it has one.
        limit: the threshold that it was held against, if it was.
        ill: the side of the threshold on which it speaks for the illness, ``"below"`` or ``"above"``.
    """

    what: str
    value: float
    unit: str = ""
    error: float | None = None
    limit: float | None = None
    ill: str = ""

    def __str__(self) -> str:
        value, error = rounded(self.value, self.error)
        shown = f"{value} ± {error}" if error else value
        against = "" if self.limit is None else f" (ill {self.ill} {self.limit:.3g})"
        return f"{self.what} {f'{shown} {self.unit}'.rstrip()}{against}"

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it; what is not finite is text."""
        made = {"what": self.what, "value": _number(self.value), "unit": self.unit, "error": _number(self.error)}
        return made | {"limit": self.limit, "ill": self.ill}


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Something that is wrong, or that ought to be known.

    Args:
        name: one of ``_ORDER``.
        severity: ``"serious"``: the numbers of the model are not what they seem, or its latents are of no use;
            ``"warning"``: something is to be had; ``"note"``: no illness by itself.
        words: what is wrong, in plain words.
        measured: the evidence.
        remedies: what to try, the most promising first.
    """

    name: str
    severity: str
    words: str
    measured: tuple[Measured, ...] = ()
    remedies: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        choice(self.name, _ORDER, "Diagnosis: name")
        choice(self.severity, _SEVERITIES, "Diagnosis: severity")

    @property
    def place(self) -> tuple[int, int]:
        """Where it stands among others: the worst first, and of these the cause."""
        return _SEVERITIES.index(self.severity), _ORDER.index(self.name)

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        measured = [one.to_dict() for one in self.measured]
        told = {"name": self.name, "severity": self.severity, "words": self.words}
        return told | {"measured": measured, "remedies": list(self.remedies)}


@dataclass(frozen=True, slots=True)
class Sound:
    """Something that was looked at and is as it should be.

    Args:
        name: of the check.
        words: what was found.
        measured: the numbers.
    """

    name: str
    words: str
    measured: tuple[Measured, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"name": self.name, "words": self.words, "measured": [one.to_dict() for one in self.measured]}


@dataclass(frozen=True, slots=True)
class Unchecked:
    """Something that could not be looked at.

    Args:
        name: of the check.
        reason: why.
    """

    name: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return {"name": self.name, "reason": self.reason}


Answer = Diagnosis | Sound | Unchecked


@dataclass(frozen=True, slots=True)
class Checkup:
    """All answers of the doctor.

    Attributes:
        diagnoses: what was found, the most serious first.
        sound: what was looked at and is well.
        unchecked: what could not be looked at.
    """

    diagnoses: tuple[Diagnosis, ...]
    sound: tuple[Sound, ...]
    unchecked: tuple[Unchecked, ...]

    @classmethod
    def of(cls, answers: Iterable[Answer]) -> "Checkup":
        """The answers, sorted."""
        kinds: tuple[list[Any], ...] = ([], [], [])
        for one in answers:
            kinds[(Diagnosis, Sound, Unchecked).index(type(one))].append(one)
        return cls(tuple(sorted(kinds[0], key=lambda one: one.place)), tuple(kinds[1]), tuple(kinds[2]))

    @property
    def healthy(self) -> bool:
        """Whether nothing was found but what is no illness."""
        return all(one.severity == "note" for one in self.diagnoses)

    @property
    def first(self) -> Diagnosis | None:
        """The most serious diagnosis; ``None`` for a healthy model."""
        return None if self.healthy else self.diagnoses[0]

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        parts = {"diagnoses": self.diagnoses, "sound": self.sound, "unchecked": self.unchecked}
        return {"healthy": self.healthy} | {name: [one.to_dict() for one in part] for name, part in parts.items()}

    def __str__(self) -> str:
        lines = ["healthy: nothing was found that is wrong" if self.healthy else _counted(self.diagnoses)]
        for i, one in enumerate(self.diagnoses, 1):
            lines += ["", f"{i}. {one.severity}: {one.name.replace('_', ' ')}", _folded(one.words, "   ", "   ")]
            lines += [f"   measured: {measured}" for measured in one.measured]
            lines += [_folded(remedy, "   try: ", "        ") for remedy in one.remedies]
        lines += ["", "checked, and well:"] if self.sound else []
        for one in self.sound:
            numbers = "; ".join(map(str, one.measured))
            lines.append(_folded(f"{one.name}: {one.words}" + (f" ({numbers})" if numbers else ""), "  ", "    "))
        lines += ["", "not checked:"] if self.unchecked else []
        return "\n".join(lines + [_folded(f"{one.name}: {one.reason}", "  ", "    ") for one in self.unchecked])


def _folded(text: str, first: str, later: str) -> str:
    """The text in lines of a terminal."""
    return textwrap.fill(
        text, 110, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
    )


def _counted(diagnoses: tuple[Diagnosis, ...]) -> str:
    counts = {name: sum(one.severity == name for one in diagnoses) for name in _SEVERITIES}
    said = [f"{n} {name}{'s' if n > 1 and name != 'serious' else ''}" for name, n in counts.items() if n]
    return "found: " + ", ".join(said)


def _number(value: float | None) -> float | str | None:
    return value if value is None or isfinite(value) else str(value)
