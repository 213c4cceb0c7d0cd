"""Every command on hierarchies, from the bottom up and from the top down: what they answer, and what they refuse."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fourfold as ff
from fourfold.cli import main

SIZES = ["--latents", "3,2", "--hidden", "12,8", "--depth", "1", "--batch-norm", "--quiet", "--no-report"]
NAMES = pytest.mark.parametrize("name", ["hvae", "lvae"])


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each; commands add to them."""
    home = tmp_path_factory.mktemp("runs")
    for name in ("hvae", "lvae"):
        words = ["--beta-schedule", "linear:0.001:1:10", "--epochs", "2", "--out", str(home / name)]
        assert main(["train", name, *SIZES, *words]) == 0
    return {name: home / name for name in ("hvae", "lvae")}


def told(capsys: pytest.CaptureFixture[str], *words: object) -> Any:
    """What a command prints, as JSON."""
    capsys.readouterr()
    assert main([str(word) for word in (*words, "--json", "-q")]) == 0
    return json.loads(capsys.readouterr().out)


@NAMES
def test_metrics_tell_the_rate_of_each_level(runs: dict[str, Path], name: str) -> None:
    last = [json.loads(line) for line in (runs[name] / "metrics.jsonl").read_text().splitlines()][-1]
    each = [last[f"validation/rate_{i} raw [nats]"] for i in (1, 2)]
    assert sum(each) == pytest.approx(last["validation/rate [nats]"], rel=1e-5)
    assert name == "hvae" or min(each) > 0


@NAMES
def test_images_come_back_bit_for_bit(runs: dict[str, Path], name: str, tmp_path: Path) -> None:
    x = (np.asarray(ff.data.digits().test.x[:20, 0]) > 127).astype(np.uint8)
    np.savez(tmp_path / "digits.npz", x=x)
    words = [str(tmp_path / "digits.npz"), str(tmp_path / "d.ff"), "--no-baselines", "-q"]
    assert main(["compress", str(runs[name]), *words]) == 0
    assert (
        main(["decompress", str(tmp_path / "d.ff"), "--run", str(runs[name]), "--out", str(tmp_path / "b.npz"), "-q"])
        == 0
    )
    with np.load(tmp_path / "b.npz") as back:
        assert np.array_equal(back["x"], x) and back["x"].dtype == x.dtype


@pytest.mark.slow
@NAMES
def test_evidence_stands_in_order(runs: dict[str, Path], name: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--data-count", "8", "--ais", "12", "--chains", "3", "--bdmc", "4", "--importance-samples", "50"]
    rows = {row["metric"]: row["value"] for row in told(capsys, "evidence", runs[name], *words)["rows"]}
    assert rows["elbo"] < -rows["nll_is"] + 0.05 and rows["bdmc_lower"] < rows["bdmc_upper"] + 0.2
    assert abs(rows["nll_ais"] - rows["nll_is"]) < 2
    assert (runs[name] / "pictures" / "evidence.png").exists()


@NAMES
def test_no_datum_has_a_best_posterior_of_its_own(
    runs: dict[str, Path], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gap", str(runs[name]), "-q", "--data-count", "3"]) == 2
    said = capsys.readouterr().err
    assert "2 groups of latents" in said and "fourfold evidence tells the whole gap" in said


def test_they_are_compared_and_scored(
    runs: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, "compare", runs["hvae"], runs["lvae"])
    assert [side["name"] for side in found["sides"]] == ["hvae", "lvae"] and len(found["pairs"]) == 1
    for name, run in runs.items():
        out = tmp_path / f"{name}.csv"
        assert main(["score", str(run), "--out", str(out), "--importance-samples", "5", "-q"]) == 0
        with out.open() as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(ff.data.digits().test)
        bound, likelihood = (np.array([float(row[f"{name} [nats]"]) for row in rows]) for name in ("elbo", "nll_is"))
        assert np.isfinite(bound).all() and likelihood.mean() < -bound.mean()
