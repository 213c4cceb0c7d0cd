"""Tables as text, Markdown and LaTeX; rows as CSV."""

__all__ = ["as_csv", "as_latex", "as_markdown", "as_text"]

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from .results import Cell, Table

_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "−": r"$-$",
    "–": "--",
    "±": r"$\pm$",
    "²": r"$^2$",
    "…": r"\dots{}",
    "β": r"$\beta$",
    "σ": r"$\sigma$",
}


def as_text(table: Table) -> str:
    """Aligned columns, with notes and protocols beneath."""
    rows = [table.head, *([_plain(cell) for cell in line] for line in table.lines)]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, wide, strict=True)).rstrip() for row in rows]
    notes = [f"[{mark}] {text}" for mark, text in table.notes.items()]
    return "\n".join([*lines, "", *table.protocols, *notes]).rstrip()


def as_markdown(table: Table) -> str:
    """A table of GitHub's Markdown, with notes and protocols beneath."""

    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(cells) + " |"

    def cell(one: Cell) -> str:
        return _md(_value(one)) + (f" <sup>{one.marks}</sup>" if one.marks else "")

    rows = [line([_md(name) for name in table.head]), "|" + "---|" * len(table.head)]
    rows += [line([cell(one) for one in cells]) for cells in table.lines]
    notes = [f"<sup>{mark}</sup> {_md(text)}" for mark, text in table.notes.items()]
    beneath = "\n".join(f"{text}  " for text in (*map(_md, table.protocols), *notes))
    return "\n".join([*rows, "", beneath]).rstrip()


def as_latex(table: Table) -> str:
    r"""A tabular with the rules of booktabs: put ``\usepackage{booktabs}`` into the preamble."""

    def cell(one: Cell) -> str:
        return _tex(_value(one)) + (rf"\textsuperscript{{{one.marks}}}" if one.marks else "")

    def line(cells: Sequence[str]) -> str:
        return "  " + " & ".join(cells) + r" \\"

    numeric = [all(_is_number(line[i].text) for line in table.lines) for i in range(len(table.head))]
    kinds = "".join("r" if right and table.lines else "l" for right in numeric)
    body = [line([_tex(name) for name in table.head]), r"  \midrule"]
    body += [line([cell(one) for one in cells]) for cells in table.lines]
    notes = [rf"\textsuperscript{{{mark}}} {_tex(text)}." for mark, text in table.notes.items()]
    beneath = [rf"\par{{\footnotesize {text}}}" for text in (*(f"{_tex(text)}." for text in table.protocols), *notes)]
    whole = [rf"\begin{{tabular}}{{{kinds}}}", r"  \toprule", *body, r"  \bottomrule", r"\end{tabular}", *beneath]
    return "\n".join(whole)


def as_csv(entries: Sequence[Mapping[str, Any]]) -> str:
    """One line an entry, all of one set of keys; what is itself a table or a list is JSON in its cell."""
    if not entries:
        return ""
    held = io.StringIO()
    writer = csv.DictWriter(held, list(entries[0]), lineterminator="\n")
    writer.writeheader()
    for entry in entries:
        writer.writerow({key: json.dumps(v) if isinstance(v, dict | list) else v for key, v in entry.items()})
    return held.getvalue().rstrip("\n")


def _value(cell: Cell) -> str:
    return f"{cell.text} ± {cell.error}" if cell.error else cell.text


def _plain(cell: Cell) -> str:
    return _value(cell) + (f" [{cell.marks}]" if cell.marks else "")


def _md(text: str) -> str:
    for sign in "\\|*_`<":
        text = text.replace(sign, "\\" + sign)
    return text


def _tex(text: str) -> str:
    return "".join(_TEX.get(sign, sign) for sign in text)


def _is_number(text: str) -> bool:
    return text == "–" or text.replace("−", "-").replace(",", "").replace(".", "", 1).lstrip("-").isdigit()
