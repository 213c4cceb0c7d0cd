"""``fourfold compare`` and ``fourfold results``."""

import csv
import json
import shutil
from pathlib import Path

import pytest

from fourfold.cli import main
from fourfold.runs import Run

SMALL = ["--hidden", "8", "--latent", "2", "--epochs", "1", "--quiet", "--no-report"]


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of another recipe; not to be changed."""
    folder = tmp_path_factory.mktemp("other") / "other"
    assert main(["train", "iwae", "--out", str(folder), *SMALL]) == 0
    return folder


@pytest.fixture
def pair(run: Path, other: Path, tmp_path: Path) -> list[str]:
    """Copies of two runs."""
    return [str(run), str(shutil.copytree(other, tmp_path / "other"))]


def test_compare_says_which_is_better_and_by_how_much(pair: list[str], capsys: pytest.CaptureFixture):
    assert main(["compare", *pair]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("−ELBO of 179 test data of digits") and said[0].endswith("seed 0; 1 draw")
    elbos = [Run.open(path).score(Run.open(path).split("test"))["elbo"] for path in pair]
    leader = ["run", "other"][int(elbos[1].mean() > elbos[0].mean())]
    gap = abs(float((elbos[0] - elbos[1]).mean()))
    assert said[3].startswith(f"{leader} is better by {gap:.2f}"[:-1]) and "95 % interval" in said[3]
    assert "5000 resamples, seed 0" in said[4] and "one seed of training each" in said[5]


def test_json_is_one_document_and_the_picture_is_one(pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture):
    picture = tmp_path / "new" / "differences.png"
    words = ["--metric", "nll_is", "--importance-samples", "3", "--importance-data", "40", "--out", str(picture)]
    assert main(["compare", *pair, *words, "--json", "-q"]) == 0
    document = json.loads(capsys.readouterr().out)
    (found,) = document["pairs"]
    assert (found["n"], found["better"], found["a"], found["b"]) == (40, "lower", "run", "other")
    assert found["interval"][0] < found["difference"] < found["interval"][1]
    assert picture.read_bytes()[:4] == b"\x89PNG" and document["picture"] == str(picture)
    assert main(["compare", *pair, "--metric", "nll_is", "--seed", "0"]) == 0  # with what they have kept
    assert "K = 3" in capsys.readouterr().out


def test_more_runs_are_a_table(pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture):
    third = shutil.copytree(pair[0], tmp_path / "third")
    assert main(["compare", *pair, str(third)]) == 0
    said = capsys.readouterr().out
    assert "p (Holm)" in said and "adjusted for 3 pairs (Holm)" in said
    line = next(line for line in said.splitlines() if line.startswith("run ") and "third" in line)
    assert "not told apart" in line and " 1 " in line  # the same weights


def test_other_data_can_be_compared_on(pair: list[str], tmp_path: Path, capsys: pytest.CaptureFixture):
    import numpy as np

    import fourfold as ff

    np.savez(tmp_path / "my.npz", x=ff.data.digits().test.x[:30])
    assert main(["compare", *pair, "--data", str(tmp_path / "my.npz")]) == 0
    assert "−ELBO of 30 train data of my, split all" in capsys.readouterr().out
    assert main(["compare", *pair, "--split", "validation"]) == 0
    assert "179 validation data of digits" in capsys.readouterr().out


def test_seeds_of_two_recipes(tmp_path: Path, capsys: pytest.CaptureFixture):
    groups = {"vae": [], "iwae": []}
    for recipe, made in groups.items():
        for seed in "01":
            made.append(str(tmp_path / f"{recipe}-{seed}"))
            assert main(["train", recipe, "--seed", seed, "--out", made[-1], *SMALL]) == 0
    capsys.readouterr()
    assert main(["compare", *groups["vae"], "--against", *groups["iwae"]]) == 0
    said = capsys.readouterr().out
    assert "vae, seed 0" in said and "iwae, seed 1" in said and "Welch's t over runs" in said
    assert main(["compare", groups["vae"][0], "--against", groups["iwae"][0]]) == 2
    assert "at least two runs on each side, got 1 and 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "at least two runs, got 1"),
        (["nowhere"], "nowhere: not a run folder"),
        (["--out", "picture.txt"], "--out: wanted a name that ends in .png or .pdf or .svg"),
        (["--matric", "elbo"], "Did you mean --metric"),
    ],
)
def test_wrong_usage_is_one_line(run: Path, here: Path, words: list[str], message: str, capsys: pytest.CaptureFixture):
    import re

    assert main(["compare", str(run), *words]) == 2
    said = capsys.readouterr()
    assert re.search(message, said.err) and not said.out and len(said.err.splitlines()) == 1


def test_results_are_a_table_in_every_format(pair: list[str], here: Path, capsys: pytest.CaptureFixture):
    assert main(["compare", *pair, "-q"]) == 0
    (here / "runs").mkdir()
    for path in pair:
        shutil.move(path, here / "runs" / Path(path).name)
    (here / "runs" / "broken").mkdir()
    (here / "runs" / "broken" / "run.json").touch()
    capsys.readouterr()
    assert main(["results"]) == 0
    said = capsys.readouterr()
    assert said.err == "fourfold: left out: runs/broken/run.json: not valid JSON. The file was altered or torn.\n"
    assert [line.split()[0] for line in said.out.splitlines()[:3]] == ["run", "runs/other", "runs/run"]
    for name, part in {
        "t.md": "| runs/run | vae |",
        "t.tex": r"\toprule",
        "t.txt": "runs/run",
        "t.csv": "runs/run,elbo,-",
        "t.json": '"metric": "elbo"',
    }.items():
        assert main(["results", "runs", "--out", name]) == 0
        assert capsys.readouterr().out == f"{name}: 2 runs\n"
        assert part in (here / name).read_text()
    read = list(csv.DictReader((here / "t.csv").read_text().splitlines()))
    rows = json.loads((here / "runs" / "run" / "results.json").read_text())
    mine = {entry["metric"]: float(entry["value"]) for entry in read if entry["run"] == "runs/run"}
    assert mine == {row["metric"]: row["value"] for row in rows}
    assert main(["results", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert len(document["problems"]) == 1 and document["runs"][1]["facts"]["recipe"] == "vae"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "there is no folder runs"),
        (["."], "no run that can be read in ."),
        (["--format", "html"], "invalid choice"),
        (["--out", "t.pdf"], "wanted a name that ends in .txt"),
        (["--json", "--format", "csv"], "are two formats"),
    ],
)
def test_results_that_are_not_there(here: Path, words: list[str], message: str, capsys: pytest.CaptureFixture):
    assert main(["results", *words]) == 2
    assert message in capsys.readouterr().err
