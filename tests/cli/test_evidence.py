"""``fourfold evidence``."""

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fourfold.cli import main
from fourfold.runs import RunFolder

QUICK = ["--data-count", "12", "--ais", "20", "--chains", "4", "--bdmc", "6", "--importance-samples", "50", "-q"]


def test_it_prints_the_bounds_and_keeps_them(run: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["evidence", str(run), *QUICK]) == 0
    said = capsys.readouterr().out
    lines = said.splitlines()
    assert lines[0].endswith("test, the first 12, binarize dynamic, seed 0")
    for label in ("−ELBO", "NLL (IS)", "NLL (AIS)", "log p(x) − ELBO", "log p(x) − IS", "sandwich, simulated data"):
        assert any(line.startswith(label) for line in lines), label
    assert "12  AIS, T = 20, 4 chains, 10 leapfrog steps, from q(z|x)" in said
    assert "On 6 data simulated from the model" in said and "Mean acceptance: real 0." in said
    assert lines[-1] == f"picture: {run / 'pictures' / 'evidence.png'}"
    assert (run / "pictures/evidence.png").read_bytes()[:4] == b"\x89PNG"
    folder = RunFolder(run)
    rows = {row["metric"]: row for row in folder.results()}
    assert rows.keys() >= {"elbo", "nll_is", "nll_ais", "bound_gap", "is_gap", "bdmc_lower", "bdmc_upper", "bdmc_gap"}
    assert rows["nll_ais"]["protocol"]["rows"] == "the first 12"
    assert rows["nll_ais"]["protocol"]["options"]["annealing"]["temperatures"] == 20
    numbers = folder.per_datum(rows["nll_ais"])
    assert numbers is not None and numbers.mean() == pytest.approx(rows["nll_ais"]["value"])
    # Again: the same numbers, in the place of the old ones.
    assert main(["evidence", str(run), *QUICK]) == 0
    assert [(row["metric"], row["value"]) for row in folder.results()] == [(r, rows[r]["value"]) for r in rows]


def test_json_curve_prior_and_other_parts(run: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["--curve", "--start", "prior", "--split", "validation", "--data-count", "3", "--bdmc", "0", "--ais", "5"]
    assert main(["evidence", str(run), *words, "-q", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["metric"] for row in found["rows"]] == ["elbo", *["nll_is"] * 4, "nll_ais", "bound_gap", "is_gap"]
    assert found["rows"][4]["estimator"] == "importance sampling, K = 10000, z ~ q(z|x)"
    assert found["rows"][5]["estimator"].endswith("from p(z)")
    assert found["rows"][0]["protocol"]["data_part"] == "validation"
    assert found["trust"] is None and found["notes"] == []


def test_without_annealing(run: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["evidence", str(run), "--ais", "0", "--data-count", "4", "--importance-samples", "20", "-q"]) == 0
    said = capsys.readouterr().out
    assert "AIS" not in said and "simulated" not in said and "K = 20" in said


def test_what_is_wrong_is_said(run: Path, capsys: pytest.CaptureFixture) -> None:
    for words, message in (
        (["--data-count", "0"], "evidence: data must be an integer of at least 1, got 0"),
        (["--ais", "-3"], "Annealing: temperatures must be an integer of at least 1, got -3"),
        (["--importance-samples", "1"], "must have 1 (the ELBO) and a larger K"),
        (["--start", "posterior"], "invalid choice: 'posterior'"),
        (["--bdmc", "-1"], "EvidenceOptions: simulated"),
    ):
        assert main(["evidence", str(run), *words, "-q"]) == 2
        assert message in capsys.readouterr().err
    assert not (run / "results.json").exists() and not (run / "pictures/evidence.png").exists()


def test_an_autoencoder_has_only_the_prior(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    folder = tmp_path / "run"
    words = ["--hidden", "8", "--latent", "2", "--epochs", "1", "--quiet", "--no-report", "--binarize", "dynamic"]
    assert main(["train", "autoencoder", "--out", str(folder), *words]) == 0
    assert main(["evidence", str(folder), *QUICK]) == 2
    assert "Point has no density. Start from the prior" in capsys.readouterr().err
    assert main(["evidence", str(folder), *QUICK, "--start", "prior"]) == 0
    said = capsys.readouterr().out
    assert "NLL (AIS)" in said and "not computed: ELBO, IS: Point has no density" in said and "picture" not in said


@pytest.mark.slow
def test_ctrl_c_leaves_nothing_half_written(run: Path, program: Callable[..., subprocess.Popen[str]]) -> None:
    before = sorted(path.name for path in run.rglob("*"))
    process = program("evidence", str(run), "--ais", "100000", "--importance-samples", "10")
    time.sleep(8)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in said and "Traceback" not in said
    assert sorted(path.name for path in run.rglob("*")) == before
