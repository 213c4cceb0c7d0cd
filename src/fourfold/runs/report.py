"""The report of a run: one HTML page that holds its pictures and asks nothing of any network."""

__all__ = ["Passage", "Picture", "Report", "ways_back", "write_report"]

import json
import shlex
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from math import isfinite
from pathlib import Path
from typing import Any

from .._files import whole
from .._metrics import Metric, metric_of, rounded
from .._version import __version__

_Result = Mapping[str, Any]

# What is said first: the first of each kind that is known; and of a model that is no bound on anything, the last line.
_HEADLINES = (
    ("elbo",),
    ("nll_is", "nll_mc"),
    ("bits_per_dim_is", "bits_per_dim", "perplexity_is", "perplexity"),
    ("active_units",),
)
_NO_BOUND = (("distortion", "cross_entropy"), ("reconstruction_mse",))


@dataclass(frozen=True, slots=True)
class Picture:
    """A section of the page with one picture.

    Args:
        title: its heading.
        file: a PNG; it is copied into the page.
        caption: what one sees.
    """

    title: str
    file: Path
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Passage:
    """A section of the page with lines of text.

    Args:
        title: its heading.
        lines: a paragraph each; those of one pair are a list of their own.
        caption: what one reads.
    """

    title: str
    lines: Sequence[str | Sequence[str]]
    caption: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All that the page says.

    Args:
        title: the heading: recipe and data.
        facts: short things to know at once, by name: recipe, data, source, training, parameters …
        results: the entries of ``results.json``: metric, value, unit, standard_error, estimator, n, protocol; a
            ``"label"`` replaces the name that the page has for a metric.
        pictures: and passages, in the order of the page.
        configuration: tables by heading: recipe arguments, training options, data protocol, versions …
        commands: pairs of what it does and what to type; see ``ways_back``.
    """

    title: str
    facts: Mapping[str, str]
    results: Sequence[_Result] = ()
    pictures: Sequence[Picture | Passage] = ()
    configuration: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    commands: Sequence[tuple[str, str]] = ()


def ways_back(folder: str | Path, *, sentences: bool = False) -> list[tuple[str, str]]:
    """How to come back to a run: pairs of what it does and what to type, with the folder as seen from here.

    Example:
        >>> ways_back("runs/vae-digits-1")[0]
        ('Evaluate it', 'fourfold evaluate runs/vae-digits-1')
    """
    path = Path(folder)
    try:
        path = path.resolve().relative_to(Path.cwd().resolve())
    except ValueError:
        path = Path(path.resolve().name)
    name = path.as_posix()
    typed = shlex.quote(name)
    moved = ("Move one latent at a time", f"fourfold traverse {typed}")
    return [
        ("Evaluate it", f"fourfold evaluate {typed}"),
        ("Draw samples", f"fourfold sample {typed} -n 64"),
        ("Reconstruct test data", f"fourfold reconstruct {typed}"),
        *(() if sentences else (moved,)),
        ("Continue its training", f"fourfold train --resume {typed}"),
        ("Take the model up in Python", f"model = fourfold.load({name!r})"),
    ]


def write_report(folder: str | Path, report: Report) -> Path:
    """Write ``report.html`` into the folder: the old page or the new one is there, never a part of it.

    Raises:
        ValueError: a picture is not a PNG.
        FileNotFoundError: a picture is not there.
    """
    path = Path(folder) / "report.html"
    page = _page(report)
    with whole(path) as file:
        file.write(page.encode())
    return path


def _page(report: Report) -> str:
    sections = [
        ("In short", _in_short(report.results)),
        ("Results", _results(report.results)),
        *((picture.title, _figure(picture)) for picture in report.pictures),
        ("Configuration", _configuration(report.configuration)),
        ("How to come back", _commands(report.commands)),
    ]
    shown = [(f"part-{i}", title, body) for i, (title, body) in enumerate(sections) if body]
    links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, title, _ in shown)
    bodies = "".join(f'<section id="{key}"><h2>{escape(title)}</h2>{body}</section>\n' for key, title, body in shown)
    facts = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(str(v))}</dd></div>" for k, v in report.facts.items())
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(report.title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<header><p class="kind">Report of a run</p><h1>{escape(report.title)}</h1><dl class="facts">{facts}</dl></header>
<nav aria-label="Sections">{links}</nav>
<main>
{bodies}</main>
<footer>Written by fourfold {escape(__version__)}. Everything on this page is in this file.</footer>
</body>
</html>
"""


def _in_short(results: Sequence[_Result]) -> str:
    """The numbers one asks for first: of the test data where there are any, the latest of each kind."""
    tested = [row for row in results if row.get("protocol", {}).get("data_part") == "test"] or results
    latest = {row["metric"]: row for row in tested}
    kinds = _HEADLINES if "elbo" in latest else (*_NO_BOUND, *_HEADLINES)
    chosen = [next((latest[metric] for metric in kind if metric in latest), None) for kind in kinds]
    cards = []
    for row in [row for row in chosen if row] or list(latest.values())[:3]:
        value, error = _rounded(row)
        spread = f"± {error} " if error else ""
        where = ", ".join(part for part in (_part_of(row), _count(row), str(row.get("estimator", ""))) if part)
        cards.append(
            f'<div class="card"><h3>{escape(_label(row))}</h3><p class="value">{escape(value)}</p>'
            f'<p class="unit">{escape(spread + str(row.get("unit", "")))}</p><p>{escape(where)}</p></div>'
        )
    return f'<div class="cards">{"".join(cards)}</div>' if cards else "<p>Not evaluated yet.</p>"


def _results(results: Sequence[_Result]) -> str:
    if not results:
        return ""
    lines = []
    for row in results:
        value, error = _rounded(row)
        said = (
            ("", _label(row)),
            ("number", value),
            ("number error", f"± {error}" if error else ""),
            ("", str(row.get("unit", ""))),
            ("more", str(row.get("estimator", ""))),
            ("more", _data_of(row)),
            ("more number", _count(row)),
        )
        cells = "".join(f'<td class="{kind}">{escape(entry)}</td>' for kind, entry in said)
        lines.append(f"<tr>{cells}</tr>")
    heads = ("Metric", "Value", "± s.e.", "Unit", "Estimator", "Data", "Number")
    head = "".join(f'<th scope="col">{word}</th>' for word in heads)
    body = f'<table class="results"><thead><tr>{head}</tr></thead><tbody>{"".join(lines)}</tbody></table>'
    details = f"<details><summary>Full protocol of these numbers</summary>{_protocols(results)}</details>"
    return f'<div class="wide">{body}</div>{details}'


def _protocols(results: Sequence[_Result]) -> str:
    """What all rows share, once; then what each row has of its own."""
    protocols = [dict(row.get("protocol", {})) for row in results]
    first = protocols[0]
    shared = {k: v for k, v in first.items() if all(k in p and p[k] == v for p in protocols)}
    parts = [_table(shared)]
    for row, protocol in zip(results, protocols, strict=True):
        own = {k: v for k, v in protocol.items() if k not in shared}
        if own:
            parts.append(f"<h3>{escape(_label(row))}, {escape(str(row.get('estimator', '')))}</h3>{_table(own)}")
    return "".join(parts)


def _figure(picture: Picture | Passage) -> str:
    if isinstance(picture, Passage):
        return _passage(picture)
    data = Path(picture.file).read_bytes()
    if data[:8] != b"\x89PNG\r\n\x1a\n" or data[12:16] != b"IHDR":
        raise ValueError(
            f"write_report: the picture {Path(picture.file).name} must be a PNG. Write it with fourfold.pictures.save."
        )
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    source = b64encode(data).decode("ascii")
    return (
        f'<figure><div class="paper"><img alt="{escape(picture.caption or picture.title)}" width="{width}" '
        f'height="{height}" src="data:image/png;base64,{source}"></div>{caption}</figure>'
    )


def _passage(passage: Passage) -> str:
    groups = [[line] if isinstance(line, str) else line for line in passage.lines]
    body = "".join(f"<li>{'<br>'.join(escape(line) for line in group)}</li>" for group in groups)
    return f'<ul class="passage">{body}</ul><p class="told">{escape(passage.caption)}</p>'


def _configuration(configuration: Mapping[str, Mapping[str, Any]]) -> str:
    return "".join(
        f"<details><summary>{escape(title)}</summary>{_table(entries)}</details>"
        for title, entries in configuration.items()
        if entries
    )


def _commands(commands: Sequence[tuple[str, str]]) -> str:
    return "".join(f"<p>{escape(what)}</p><pre><code>{escape(typed)}</code></pre>" for what, typed in commands)


def _table(entries: Mapping[str, Any]) -> str:
    lines = "".join(f'<tr><th scope="row">{escape(str(k))}</th><td>{_value(v)}</td></tr>' for k, v in entries.items())
    return f'<div class="wide"><table class="pairs"><tbody>{lines}</tbody></table></div>'


def _value(value: Any) -> str:
    """A value as a person reads it: a table in a table, a list with commas, no null and no true."""
    if isinstance(value, Mapping) and value:
        return _table(value)
    if isinstance(value, Sequence) and not isinstance(value, str) and not any(isinstance(v, Mapping) for v in value):
        return escape(", ".join(str(v) for v in value)) or "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None or value == "":
        return "–"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    return escape(value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False))


def _told(row: _Result) -> Metric:
    """How the metric of a row is told: a label of its own comes before the table's."""
    return Metric(str(row["label"])) if row.get("label") else metric_of(str(row["metric"]))


def _label(row: _Result) -> str:
    return _told(row).label


def _rounded(row: _Result) -> tuple[str, str]:
    """The value and its standard error, to two digits of the latter."""
    value = _told(row).sign * float(row["value"])
    if not isfinite(value):
        return "not finite", ""
    shown, error = rounded(value, row.get("standard_error"))
    return shown.replace("-", "−"), error


def _count(row: _Result) -> str:
    if "n" not in row:
        return ""
    broken = f", {row['non_finite']:,} of them not finite" if row.get("non_finite") else ""
    return f"n = {row['n']:,}{broken}"


def _part_of(row: _Result) -> str:
    part = row.get("protocol", {}).get("data_part")
    return f"{part} data" if part else ""


def _data_of(row: _Result) -> str:
    """Data set, part, split and what was done to the values, in a few words."""
    protocol = row.get("protocol", {})
    said = [str(protocol[key]) for key in ("dataset", "data_part") if protocol.get(key)]
    if protocol.get("split"):
        said.append(f"split {protocol['split']}")
    if protocol.get("binarize") not in (None, "none"):
        said.append(f"{protocol['binarize']} binarisation")
    if protocol.get("dequantize"):
        said.append("dequantised")
    return ", ".join(said)


_STYLE = """
:root { --ink: #1f2328; --quiet: #59636e; --ground: #f6f7f9; --sheet: #fff; --rule: #d9dee3; --accent: #0b5cad }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e9ed; --quiet: #9aa4af; --ground: #12161b; --sheet: #1a2027; --rule: #323b45; --accent: #79b8ff }
}
* { box-sizing: border-box }
html { scroll-behavior: smooth }
body { margin: 0 auto; padding: 2rem 1.25rem 3rem; max-width: 64rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif }
h1 { margin: 0 0 1rem; font-size: 1.9rem; line-height: 1.2; overflow-wrap: anywhere }
h2 { margin: 2.5rem 0 .75rem; font-size: 1.25rem }
h3 { margin: 1rem 0 .25rem; font-size: .95rem }
p { margin: .25rem 0 }
a { color: var(--accent) }
.kind { margin: 0; color: var(--quiet); font-size: .875rem }
.facts { display: grid; grid-template-columns: repeat(auto-fill, minmax(13rem, 1fr)); gap: .75rem 1.5rem; margin: 0 }
dt { color: var(--quiet); font-size: .8rem }
dd { margin: 0; overflow-wrap: anywhere }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin-top: 1.5rem; padding: .6rem 0; font-size: .875rem;
  border-block: 1px solid var(--rule) }
nav a { text-decoration: none }
nav a:hover { text-decoration: underline }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(13rem, 1fr)); gap: 1rem }
.card { padding: .9rem 1.1rem; background: var(--sheet); border: 1px solid var(--rule); border-radius: .5rem }
.card h3 { margin: 0; color: var(--quiet); font-weight: 500; font-size: .875rem }
.card p { color: var(--quiet); font-size: .8rem }
.card .value { margin: 0; color: var(--ink); font-size: 1.75rem; font-variant-numeric: tabular-nums; line-height: 1.3 }
.card .unit { margin: 0 0 .4rem; font-size: .875rem }
.error { color: var(--quiet) }
.wide { overflow-x: auto }
table { border-collapse: collapse; font-size: .875rem }
.results { width: 100%; margin-bottom: .75rem; background: var(--sheet); border: 1px solid var(--rule) }
td, th { padding: .4rem .75rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--rule) }
thead th:nth-child(2), thead th:nth-child(3), thead th:last-child { text-align: right }
thead th { color: var(--quiet); font-weight: 500; white-space: nowrap }
.results td:first-child { white-space: nowrap; font-weight: 600 }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
td.error { padding-left: 0 }
details > .wide > .pairs { width: 100% }
.pairs th { width: 1%; color: var(--quiet); font-weight: 400; white-space: nowrap }
.pairs td { overflow-wrap: anywhere; min-width: 8rem }
.pairs .pairs td, .pairs .pairs th { border: 0; padding-block: .1rem }
details { margin-top: .5rem; padding: .5rem .9rem; background: var(--sheet); border: 1px solid var(--rule);
  border-radius: .5rem }
summary { cursor: pointer }
details[open] > summary { margin-bottom: .5rem }
.passage { margin: 0; padding: .75rem 1.1rem .75rem 2rem; background: var(--sheet); border: 1px solid var(--rule);
  border-radius: .5rem }
.passage li { margin: .35rem 0 }
.told { color: var(--quiet); font-size: .875rem }
figure { margin: 0 }
.paper { padding: .75rem; background: #fff; border: 1px solid var(--rule); border-radius: .5rem }
img { display: block; margin: 0 auto; max-width: 100%; height: auto }
figcaption { margin-top: .5rem; color: var(--quiet); font-size: .875rem; max-width: 46rem }
pre { margin: .1rem 0 .9rem; padding: .6rem .9rem; overflow-x: auto; background: var(--sheet);
  border: 1px solid var(--rule); border-radius: .5rem; font-size: .875rem }
code { font-family: ui-monospace, "SFMono-Regular", Menlo, Consolas, "DejaVu Sans Mono", monospace }
footer { margin-top: 3rem; color: var(--quiet); font-size: .8rem }
@media (max-width: 40rem) {
  body { padding: 1.25rem .75rem 2rem }
  h1 { font-size: 1.5rem }
  .paper { padding: .35rem }
  .results thead { display: none }
  .results tr { display: block; padding: .5rem .75rem; border-bottom: 1px solid var(--rule) }
  .results td { display: inline; padding: 0 .15rem 0 0; border: 0 }
  .results td:first-child, .results td.more { display: block; text-align: left }
  .results td.more { color: var(--quiet) }
}
@media print {
  :root { --ink: #000; --quiet: #444; --ground: #fff; --sheet: #fff; --rule: #ccc }
  body { padding: 0; max-width: none; font-size: 10pt }
  nav { display: none }
  figure, .card, tr, pre { break-inside: avoid }
  h2 { break-after: avoid }
  .paper { border: 0; padding: 0 }
  img { width: auto; max-height: 22cm }
  details::details-content { content-visibility: visible; block-size: auto }
}
"""
