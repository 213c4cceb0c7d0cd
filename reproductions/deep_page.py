"""The table of deep models as Markdown."""

__all__ = ["levels_of", "page"]

import re
from collections.abc import Sequence
from typing import Any

from fourfold.training import Training

from .flat_page import by_entry, cell

_HEAD = """# Models with levels of latents, with decoders that look at their own output, with codes

Written by `python -m reproductions.deep_table{flag}`, whose docstring is the protocol; not edited by hand. Nats, ± one
standard error over the test data; −ELBO of all of them with one draw, NLL as its column says. Rates and active units
are lists from the top level to the bottom one. Minutes are of CPU, all slices together; in brackets the budget.
"""
_PARTS = {
    "mnist": "MNIST, binarised dynamically",
    "mnist_14": "MNIST pooled to 14 × 14, binarised dynamically: for pixel by pixel decoders on a CPU",
    "sentences": "Sentences",
}
_COLUMNS = "| line | −ELBO | NLL | estimated by | rate per level | active units per level | training | measuring |"
_COMMON = ("epochs", "seed", "log_steps", "binarize", "dequantize")
_APART = "Not to be compared with the numbers of the other parts of this page."


def page(rows: Sequence[dict[str, Any]], order: Sequence[str], flag: str = "") -> str:
    """One part for each data set, one line an entry, in this order; what does not exist is a dash."""
    entries = by_entry(rows)
    parts: dict[str, list[str]] = {}
    for name in order:
        if name in entries:
            found = next(iter(entries[name].values()))["protocol"]
            parts.setdefault(found["dataset"], []).append(name)
    text = _HEAD.format(flag=flag)
    for data, names in parts.items():
        more = any("perplexity" in entries[name] for name in names)
        head = _COLUMNS + (" perplexity |" if more else "")
        text += f"\n## {_PARTS.get(data, data)}\n\n{_APART}\n\n{head}\n|{'---|' * (head.count('|') - 1)}\n"
        text += "".join(_line(name, entries[name], more) for name in names) + "\n"
        text += "".join(_told(name, entries[name]) for name in names)
    return text


def levels_of(found: dict[str, dict[str, Any]], metric: str) -> list[float]:
    """The values of a metric for each level, from the top to the bottom; none for a model without latents."""
    of_levels = {int(key[len(metric) + 1 :]): row for key, row in found.items() if re.fullmatch(rf"{metric}_\d+", key)}
    if of_levels:
        return [float(of_levels[i]["value"]) for i in sorted(of_levels)]
    exact = str(found.get("elbo", {}).get("estimator", "")).startswith("exact")
    return [] if exact or metric not in found else [float(found[metric]["value"])]


def _told(name: str, found: dict[str, dict[str, Any]]) -> str:
    """What was trained, and how."""
    said = next(iter(found.values()))["protocol"]
    chosen = ", ".join(f"{key}={_plainly(value)}" for key, value in said["chosen"].items())
    how = [f"{said['epochs']:g} epochs"]
    how += [f"{key} {said[key]}" for key in Training.__dataclass_fields__ if key in said and key not in _COMMON]
    return f"- {name}: `{said['recipe']}({chosen})`, {said['parameters']:,} parameters; {', '.join(how)}.\n"


def _plainly(value: Any) -> str:
    return f"({', '.join(map(str, value))})" if isinstance(value, list) else str(value)


def _line(name: str, found: dict[str, dict[str, Any]], more: bool) -> str:
    protocol = next(iter(found.values()))["protocol"]
    cells = [cell(found[metric], metric) if metric in found else "–" for metric in ("elbo", "nll_is")]
    nll = found.get("nll_is")
    cells.append(f"{nll['estimator'].removesuffix(', z ~ q(z|x)')}, first {nll['n']:,}" if nll else "–")
    for metric, form in (("rate", "{:.1f}"), ("active_units", "{:.0f}")):
        cells.append(", ".join(form.format(value) for value in levels_of(found, metric)) or "–")
    spent = {key: protocol.get(f"{key}_cpu_seconds") for key in ("training", "measuring")}
    minutes = {key: "–" if seconds is None else f"{seconds / 60:.1f}" for key, seconds in spent.items()}
    budget = protocol.get("budget_cpu_minutes")
    cells += [minutes["training"] + (f" ({budget:g})" if budget else ""), minutes["measuring"]]
    if more:
        cells.append(cell(found["perplexity"], "perplexity") if "perplexity" in found else "–")
    return "| " + " | ".join([name, *cells]) + " |\n"
