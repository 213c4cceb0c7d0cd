"""The table of flat recipes as Markdown."""

__all__ = ["by_entry", "cell", "page"]

from collections.abc import Sequence
from typing import Any

_HEAD = """# Flat recipes on dynamically binarised MNIST

Written by `python -m reproductions.flat_table`, whose docstring is the protocol; not edited by hand. Nats, ± one
standard error over the test images: −ELBO of {elbo:,}, NLL of the first {nll:,} ({estimator}).
The time is that of training, on {threads} thread(s) of a shared machine.

| recipe | −ELBO | NLL | rate | active units | −log p(x given z) | squared error | minutes |
|---|---|---|---|---|---|---|---|
"""


def page(rows: Sequence[dict[str, Any]], order: Sequence[str]) -> str:
    """One line an entry, in this order; what does not exist is a dash, and the reason stands below."""
    entries = by_entry(rows)
    anywhere = {metric: row for found in entries.values() for metric, row in found.items()}
    nll = anywhere.get("nll_is")
    head = _HEAD.format(
        elbo=anywhere["distortion"]["n"],
        nll=nll["n"] if nll else 0,
        estimator=nll["estimator"] if nll else "none yet",
        threads=anywhere["distortion"]["protocol"]["threads"],
    )
    names = [name for name in order if name in entries]
    reasons: dict[str, list[str]] = {}
    for name in names:
        if reason := entries[name]["distortion"]["protocol"].get("no_rate"):
            reasons.setdefault(reason, []).append(name)
    notes = "".join(f"\n– of {', '.join(who)}: {reason}.\n" for reason, who in reasons.items())
    return head + "".join(_line(name, entries[name]) for name in names) + notes


def by_entry(rows: Sequence[dict[str, Any]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Entry → metric → row."""
    entries: dict[str, dict[str, dict[str, Any]]] = {}
    for row in rows:
        entries.setdefault(row["protocol"]["entry"], {})[row["metric"]] = row
    return entries


def _line(name: str, found: dict[str, dict[str, Any]]) -> str:
    columns = ("elbo", "nll_is", "rate", "active_units", "distortion", "reconstruction_mse")
    minutes = found["distortion"]["protocol"]["training_seconds"] / 60
    cells = [cell(found[metric], metric) if metric in found else "–" for metric in columns]
    return "| " + " | ".join([name, *cells, f"{minutes:.1f}"]) + " |\n"


def cell(row: dict[str, Any], metric: str) -> str:
    """The value and its error, −ELBO for the ELBO."""
    value, error = float(row["value"]), row["standard_error"]
    if metric == "active_units":
        return f"{value:.0f}"
    if metric == "reconstruction_mse":
        return f"{value:.5f} a pixel"
    sign = -1 if metric == "elbo" else 1
    broken = f" ({row['non_finite']} not finite)" if row["non_finite"] else ""
    return f"{sign * value:.2f}" + ("" if error is None else f" ± {error:.2f}") + broken
