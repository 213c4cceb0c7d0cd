"""A recipe's equation for the terminal: the TeX that the documentation draws, as one line of plain text."""

__all__ = ["plain"]

import re
from collections.abc import Iterator

_SIGNS = {
    "alpha": "α", "beta": "β", "gamma": "γ", "delta": "δ", "eta": "η", "theta": "θ", "lambda": "λ", "mu": "μ",
    "epsilon": "ε", "pi": "π", "tau": "τ", "psi": "ψ", "le": "≤", "in": "∈", "to": "→", "cdot": "·", "times": "×",
    "rho": "ρ", "sigma": "σ", "phi": "φ", "nabla": "∇", "partial": "∂", "ge": "≥", "ne": "≠", "sim": "~", "mid": "|",
    "odot": "⊙", "dots": "…", "lVert": "‖", "rVert": "‖", "|": "‖", ",": " ", ";": " ", "quad": "  ", "qquad": "  ",
    "big": "", "Big": "", "mathbb": "", "mathcal": "", "propto": "∝", "Delta": "Δ",
}  # fmt: skip
_OPERATORS = {"log": "log", "ln": "ln", "max": "max", "det": "det", "min": "min", "arg": "arg", "sum": "Σ", "prod": "Π"}
_ACCENTS = {"hat": "\u0302", "tilde": "\u0303"}
_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|\s+|.")


def plain(tex: str) -> str:
    r"""The formula as one line of text; a command that is not known stays as it is written.

    Example:
        >>> print(plain(r"\log p(x \mid \tilde z) - \tfrac12 \sum_{k=1}^K \frac{\alpha_k^2}{MK}"))
        log p(x | z̃) − ½ Σ_{k=1}^K α_k²/(MK)
    """
    return _line(iter(_TOKEN.findall(tex))).strip()


def _line(tokens: Iterator[str], end: str = "") -> str:
    """Everything up to the end of the formula or of the group."""
    made = ""
    for token in tokens:
        if token == end:
            break
        made = _spaced(made, token, _one(token, tokens))
    return made


def _spaced(before: str, token: str, text: str) -> str:
    """Words and signs of operators stand apart from what they would run into."""
    name = token[1:] if token[0] == "\\" else ""
    word = name in _OPERATORS or name in ("mathrm", "text")
    after_word = re.search(r"(^|[^a-z])(log|ln|max|min|arg|det)$", before) and text[:1] not in (
        "",
        " ",
        "(",
        "[",
        "_",
        "^",
    )
    after_sum = re.search(r"[ΣΠ]_(\w+|\{[^}]*\})$", before) and re.match(r"[\w(\[]", text) and token not in ("^", "_")
    if after_word or after_sum or (word and re.search(r"[\w)\]}²]$", before)):
        return f"{before} {text}"
    # TeX has no spaces of its own: two that meet are one, but for those that part two formulas.
    return before + (text if text.strip() or not before.endswith(" ") or len(text) > 1 else "")


def _one(token: str, tokens: Iterator[str]) -> str:
    """One sign, or a command with its arguments."""
    if token in ("^", "_"):
        return _raised(token, _argument(tokens))
    if token == "{":
        return _line(tokens, "}")
    if token.isspace() or token == "-":
        return " " if token.isspace() else "−"
    if token[0] != "\\":
        return token
    name = token[1:]
    if name in ("frac", "tfrac"):
        return _fraction(_argument(tokens), _argument(tokens))
    if name in _ACCENTS:
        return _argument(tokens) + _ACCENTS[name]
    if name in ("mathrm", "text"):
        return _argument(tokens)
    if name in ("mathbb", "mathcal", "partial"):
        return _SIGNS[name] + _argument(tokens)
    return _OPERATORS.get(name, _SIGNS.get(name, token))


def _argument(tokens: Iterator[str]) -> str:
    """The next group or sign, spaces before it left out."""
    token = next((token for token in tokens if not token.isspace()), "")
    return _one(token, tokens) if token else ""


def _raised(where: str, what: str) -> str:
    if where == "^" and what == "2":
        return "²"
    what = what.replace(" ", "")
    return where + (what if what.isalnum() or len(what) == 1 else f"{{{what}}}")


def _fraction(above: str, below: str) -> str:
    if (above, below) == ("1", "2"):
        return "½"
    return f"{above}/({below})" if len(below) > 1 and below.isalnum() else f"{above}/{below}"
