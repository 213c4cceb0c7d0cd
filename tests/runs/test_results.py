"""The results of many runs: nothing of another protocol passes unmarked, and every format gives the numbers back."""

import csv
import io
import json
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fourfold.runs import results as module
from fourfold.runs.results import Cell, Table, collect, long_form, tabulate
from fourfold.runs.tables import as_csv, as_latex, as_markdown, as_text

pytestmark = pytest.mark.usefixtures("unchecked")


def row(metric: str, value: float | str, error: float | None = None, **changes: Any) -> dict[str, Any]:
    """A row of results, with changes at its top or in its protocol."""
    protocol = {"dataset": "digits", "split": "random", "split_seed": 0, "data_part": "test", "binarize": "dynamic"}
    protocol |= {"dequantize": False, "condition": None, "seed": 0, "measure": "mass", "checkpoint": "last"}
    made = {"metric": metric, "value": value, "unit": "nats", "standard_error": error, "estimator": "1 draw"}
    made |= {"n": 179, "non_finite": 0, "protocol": {**protocol, "arguments": {"latent": 2}}}
    for key, change in changes.items():
        (made if key in made else made["protocol"])[key] = change
    return made


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """Writes the folder of a run as training and evaluation would, without either."""

    def made(name: str, rows: list[dict[str, Any]] | None, state: dict[str, Any] | None = None, **record: Any) -> Path:
        path = tmp_path / "runs" / name
        (path / "checkpoints").mkdir(parents=True)
        recipe = {"recipe": record.pop("recipe", "vae"), "arguments": {"latent": record.pop("latent", 2)}}
        data = {"protocol": {"dataset": record.pop("data", "digits")}, "origin": None}
        whole = {"format": 1, "recipe": recipe, "training": {"seed": 0, "lr": 0.001}, "data": data, "view": {}}
        (path / "run.json").write_text(json.dumps({**whole, "spec": {}, "parameters": 1234567, **record}))
        if rows is not None:
            (path / "results.json").write_text(json.dumps(rows))
        state = {"step": 29_000, "finished": True, "seconds": 90.0, **(state or {})}
        header = {"__metadata__": {"fourfold": json.dumps({"state": state})}}
        text = json.dumps(header).encode()
        (path / "checkpoints" / "last.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)
        return path

    return made


def shown(tmp_path: Path, **asked: Any) -> Table:
    return tabulate(collect([tmp_path / "runs"])[0], **asked)


def column(table: Table, name: str) -> list[Cell]:
    return [line[table.head.index(name)] for line in table.lines]


def test_one_line_a_run_with_the_digits_of_its_errors(make: Callable[..., Path], tmp_path: Path):
    make(
        "vae-10",
        [
            row("elbo", -24.9512, 0.2871),
            row("active_units", 5.0, unit="units", estimator="Var"),
            row("rate", 2.5, 0.0123),
        ],
    )
    make("vae-2", [row("elbo", -25.0, 1.234)], latent=5, recipe="iwae")
    table = shown(tmp_path)
    heads = ["run", "recipe", "data", "seed", "steps", "parameters", "−ELBO [nats]", "rate [nats]", "active units"]
    assert table.head == heads
    assert [cell.text for cell in column(table, "run")] == [str(tmp_path / "runs" / n) for n in ("vae-2", "vae-10")]
    assert column(table, "−ELBO [nats]") == [Cell("25.0", "1.2"), Cell("24.95", "0.29")]
    assert column(table, "rate [nats]") == [Cell(), Cell("2.500", "0.012")]
    assert column(table, "active units") == [Cell(), Cell("5")]
    assert [cell.text for cell in column(table, "parameters")] == ["1,234,567"] * 2
    assert table.notes == {}
    assert (
        table.protocols[0]
        == "−ELBO, rate of 179 test data of digits, split random, dynamic binarisation, seed 0; 1 draw"
    )


def test_a_perplexity_tells_how_many_words_are_known(make: Callable[..., Path], tmp_path: Path):
    words = {"known": 9876, "words": "ab12", "tokens": "blanks"}
    make("text", [row("perplexity", 120.0, 1.0, unit="words", vocabulary=words, binarize=None)], data="text")
    assert "seed 0" in shown(tmp_path).protocols[0] and "9,876 known words" in shown(tmp_path).protocols[0]


@pytest.mark.parametrize(
    ("change", "note"),
    [
        ({"n": 1000}, "n 1,000, not 179"),
        ({"estimator": "10 draws"}, "estimator 10 draws, not 1 draw"),
        ({"binarize": "threshold"}, "binarisation threshold, not dynamic"),
        ({"binarize": None}, "binarisation none, not dynamic"),
        ({"split": "other"}, "split other, not random"),
        ({"seed": 3}, "seed of binarisation and draws 3, not 0"),
        ({"measure": "density"}, "measure (mass or density) density, not mass"),
        ({"data_part": "train"}, "part of the data train, not test"),
        ({"dataset": "mnist", "n": 5}, "data set mnist, not digits; n 5, not 179"),
    ],
    ids=str,
)
def test_another_protocol_is_marked(make: Callable[..., Path], tmp_path: Path, change: dict[str, Any], note: str):
    for i in range(3):
        make(f"usual-{i}", [row("elbo", -20.0, 0.1)])
    make("odd-1", [row("elbo", -10.0, 0.1, **change)])
    make("odd-2", [row("elbo", -11.0, 0.1, **change)])
    make("usual-3", [row("elbo", -20.0, 0.1), row("elbo", -1.0, 0.1, **change)])  # has both: shown as the others
    table = shown(tmp_path)
    assert table.notes == {"a": note}
    marks = dict(
        zip([Path(cell.text).name for cell in column(table, "run")], column(table, "−ELBO [nats]"), strict=True)
    )
    assert {name: cell.marks for name, cell in marks.items() if cell.marks} == {"odd-1": "a", "odd-2": "a"}
    assert marks["usual-3"].text == "20.00"


def test_data_sets_have_protocols_of_their_own_where_the_table_tells_them(make: Callable[..., Path], tmp_path: Path):
    make("a", [row("elbo", -20.0, 0.1)])
    make("b", [row("elbo", -90.0, 0.1, dataset="mnist", n=10_000, split="burda")], data="mnist")
    assert shown(tmp_path).notes == {} and len(shown(tmp_path).protocols) == 2
    blind = shown(tmp_path, columns=["run"])
    assert list(blind.notes.values()) == ["data set digits, not mnist; n 179, not 10,000"]


def test_where_runs_have_several_parts_the_test_data_are_shown(make: Callable[..., Path], tmp_path: Path):
    for name in "ab":
        rows = [row("elbo", -20.0, 0.1), row("elbo", -1.0, 0.1, data_part="train", n=5000)]
        make(name, rows if name == "a" else rows[::-1])
    table = shown(tmp_path)
    assert [cell.text for cell in column(table, "−ELBO [nats]")] == ["20.00", "20.00"] and table.notes == {}


def test_the_newest_of_a_protocol_counts(make: Callable[..., Path], tmp_path: Path):
    make("a", [row("elbo", -20.0, 0.1, evaluated="first"), row("elbo", -21.0, 0.1, evaluated="then")])
    assert column(shown(tmp_path), "−ELBO [nats]")[0].text == "21.00"
    assert [entry["value"] for entry in long_form(collect([tmp_path])[0])] == [-21.0]


def test_other_data_of_one_name_are_marked(make: Callable[..., Path], tmp_path: Path):
    make("a", [row("elbo", -20.0, 0.1, data_digest="aa")])
    make("b", [row("elbo", -21.0, 0.1, data_digest="bb")])
    assert list(shown(tmp_path).notes.values()) == ["the data themselves (digest) bb, not aa"] or list(
        shown(tmp_path).notes.values()
    ) == ["the data themselves (digest) aa, not bb"]


def test_values_that_are_not_finite_are_marked_and_come_last(make: Callable[..., Path], tmp_path: Path):
    make("a", [row("elbo", "nan", non_finite=3)])
    make("b", [row("elbo", "-inf", non_finite=1)])
    make("c", [row("elbo", -20.0, 0.1)])
    table = shown(tmp_path, sort="elbo")
    assert [Path(cell.text).name for cell in column(table, "run")] == ["c", "b", "a"]
    assert [cell.text for cell in column(table, "−ELBO [nats]")] == ["20.00", "inf", "nan"]
    assert list(table.notes.values()) == ["1 of 179 not finite", "3 of 179 not finite"]


def test_sorted_by_any_column_and_metric(make: Callable[..., Path], tmp_path: Path):
    make("a", [row("elbo", -20.0), row("nll_is", 19.0)], latent=20, recipe="vae")
    make("b", [row("elbo", -18.0), row("nll_is", 19.5)], latent=3, recipe="iwae")
    make("c", None, latent=100, recipe="beta_vae")

    def order(by: str | None) -> str:
        return "".join(Path(cell.text).name for cell in column(shown(tmp_path, sort=by), "run"))

    assert {by: order(by) for by in (None, "elbo", "nll_is", "latent", "recipe", "run")} == {
        None: "abc",
        "elbo": "bac",  # −ELBO, lowest first
        "nll_is": "abc",
        "latent": "bac",
        "recipe": "cba",
        "run": "abc",
    }


def test_columns_are_any_option_and_wrong_ones_are_named(make: Callable[..., Path], tmp_path: Path):
    make("a", [row("elbo", -20.0)], latent=20)
    table = shown(tmp_path, columns=["latent", "lr", "minutes"], metrics=["elbo"])
    assert [cell.text for cell in table.lines[0]] == ["20", "0.001", "1.5", "20"]
    with pytest.raises(ValueError, match=r"unknown column 'latents'\. Did you mean 'latent'"):
        shown(tmp_path, columns=["latents"])
    with pytest.raises(ValueError, match=r"unknown metric 'nll'\. .*Known: elbo"):
        shown(tmp_path, metrics=["nll"])
    with pytest.raises(ValueError, match="unknown column 'x'"):
        shown(tmp_path, sort="x")


def test_broken_folders_are_named_and_unfinished_runs_marked(make: Callable[..., Path], tmp_path: Path):
    make("good", [row("elbo", -20.0)])
    make("short", [row("elbo", -20.0)], {"step": 1200, "finished": False})
    make("bare", None)
    (make("young", [row("elbo", -20.0)]) / "checkpoints" / "last.safetensors").write_bytes(b"torn")
    (make("torn", []) / "results.json").write_text("[{")
    (make("odd", []) / "results.json").write_text('[{"metric": "elbo"}]')
    (make("list", []) / "results.json").write_text('{"a": 1}')
    (make("empty", []) / "run.json").write_text("")
    (tmp_path / "runs" / "begun" / "checkpoints").mkdir(parents=True)
    (make("newer", []) / "run.json").write_text('{"format": 99}')
    (tmp_path / "runs" / ".hidden" / "checkpoints").mkdir(parents=True)
    (tmp_path / "runs" / "deep" / "er").mkdir(parents=True)
    (tmp_path / "runs" / "again").symlink_to(tmp_path / "runs")
    found, problems = collect([tmp_path / "runs", tmp_path / "runs" / "good"])
    assert [one.path.name for one in found] == ["bare", "good", "short", "young"]
    assert len(problems) == 6
    for name, said in {
        "torn": "not valid JSON",
        "odd": "not the results of a run",
        "list": "not the results of a run",
        "empty": "not valid JSON",
        "begun": "no run.json",
        "newer": "newer than this",
    }.items():
        assert any(name in problem and said in problem for problem in problems), (name, problems)
    table = tabulate(found)
    marks = [[table.notes[mark] for mark in cell.marks] for cell in column(table, "run")]
    assert marks == [["not evaluated yet"], [], ["stopped at step 1,200, unfinished"], ["has no checkpoint yet"]]
    with pytest.raises(ValueError, match="there is no folder nowhere"):
        collect(["nowhere"])


NASTY = r"a_b & 50% of #1 {x} $y$ ~z ^2 \n <i> |"


@pytest.fixture
def nasty(make: Callable[..., Path], tmp_path: Path) -> Table:
    """A table whose names and notes are full of what LaTeX and Markdown take for themselves."""
    make(NASTY.replace("/", ""), [row("elbo", -20.0, 0.1), row("reconstruction_mse", 0.1)], recipe=NASTY)
    make("b", [row("elbo", -3.0, 0.1, estimator=NASTY, binarize=NASTY)], recipe="ladder")
    make("c", [row("elbo", -3.0, 0.1)], recipe="ladder", latent=3)
    return shown(tmp_path, columns=["recipe", "data", "latent"])


def test_latex_is_whole_and_nothing_in_it_is_taken_for_a_command(nasty: Table):
    text = as_latex(nasty)
    commands = set(re.findall(r"\\([a-zA-Z]+)", text))
    known = {"begin", "end", "toprule", "midrule", "bottomrule", "textsuperscript", "par", "footnotesize", "pm"}
    known |= {"textbackslash", "textasciitilde", "textasciicircum", "textless", "textgreater", "textbar"}
    assert commands == known
    # What is left without commands and escaped signs has no sign of its own but braces, maths and columns.
    bare = re.sub(r"\\([a-zA-Z]+|[{}&%$#_])", "", text).replace("\\\\", "")
    assert not set(bare) & set("\\%#_~^")
    assert bare.count("{") == bare.count("}") and bare.count("$") % 2 == 0
    depth = 0
    for sign in bare:
        depth += {"{": 1, "}": -1}.get(sign, 0)
        assert depth >= 0
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 4
    assert all(len(re.findall(r"(?<!\\)&", line)) == len(nasty.head) - 1 for line in rows)
    kinds = re.search(r"\\begin{tabular}{([lr]+)}", text)
    assert kinds and kinds[1] == "llrrr"
    assert r"$-$ELBO [nats]" in text and r"20.00 $\pm$ 0.10" in text and r"\textsuperscript{a}" in text
    assert text.isascii()


def test_markdown_keeps_its_columns(nasty: Table):
    lines = as_markdown(nasty).splitlines()
    table = [line for line in lines if line.startswith("|")]
    assert len(table) == 5 and set(table[1]) == {"|", "-"}
    assert all(len(re.findall(r"(?<!\\)\|", line)) == len(nasty.head) + 1 for line in table)
    assert "| 3.00 ± 0.10 <sup>a</sup> |" in "\n".join(table)
    assert any(line.startswith("<sup>a</sup> binarisation a\\_b & 50%") for line in lines)
    assert not re.search(r"<(?!/?sup>)(?<!\\<)", "\n".join(lines))


def test_text_is_aligned(nasty: Table):
    lines = as_text(nasty).splitlines()
    assert lines[0].split("  ")[0] == "recipe"
    assert lines[1].index("digits") == lines[0].index("data") == lines[2].index("digits")
    assert "3.00 ± 0.10 [a]" in lines[2] or "3.00 ± 0.10 [a]" in lines[3]
    assert any(line.startswith("[a] ") for line in lines)


def test_csv_gives_every_number_and_its_protocol_back(make: Callable[..., Path], tmp_path: Path):
    rows = [row("elbo", -20.123456789012344, 0.1), row("elbo", -19.0, 0.2, data_part="train"), row("rate", "inf")]
    rows[2]["non_finite"] = 2
    path = make('with, "quotes"\nand lines', rows, latent=7)
    make("other", [row("elbo", -1.0, 0.1, extra={"a": [1, 2]})])
    entries = long_form(collect([tmp_path])[0])
    read = list(csv.DictReader(io.StringIO(as_csv(entries))))
    assert [entry["value"] for entry in read] == ["-1.0", "-20.123456789012344", "-19.0", "inf"]
    back = [entry for entry in read if entry["run"] == str(path)]
    assert [float(entry["value"]) for entry in back] == [float(row["value"]) for row in rows]
    for entry, given in zip(back, rows, strict=True):
        for key in ("metric", "unit", "estimator"):
            assert entry[key] == given[key]
        for key, value in given["protocol"].items():
            cell = "" if value is None else json.dumps(value) if isinstance(value, dict) else str(value)
            assert entry[key] == cell
    assert json.loads(read[0]["extra"]) == {"a": [1, 2]} and read[1]["extra"] == ""
    assert [entry["metric"] for entry in long_form(collect([tmp_path])[0], ["rate"])] == ["rate"]
    assert as_csv([]) == ""


def test_notes_beyond_the_alphabet():
    notes: dict[str, str] = {}
    marks = [module._mark(f"note {i}", notes) for i in range(30)]
    assert len(set(marks)) == 30 and marks[:2] == ["a", "b"] and marks[26] == "aa"
    assert module._mark("note 3", notes) == "d"


def test_no_function_is_hidden_by_a_module_of_its_name():
    """What a package fetches when first used must not be the name of one of its modules: the import would set that."""
    from fourfold import data, runs

    for package in (data, runs):
        modules = {file.stem for file in Path(package.__file__ or "").parent.glob("*.py")}
        assert not modules & package._HOME.keys()


def test_results_are_read_without_torch(make: Callable[..., Path], tmp_path: Path, fresh_python: Callable[[str], str]):
    make("a", [row("elbo", -20.0, 0.1)])
    said = fresh_python(
        f"""
import sys
from fourfold.cli import main
for form in ("table", "csv", "latex", "markdown", "json"):
    assert main(["results", {str(tmp_path)!r}, "--format", form]) == 0
found = {{"torch", "scipy", "sklearn", "matplotlib", "PIL"}} & set(sys.modules)
assert not found, found
"""
    )
    assert said.count("20.0") >= 4
