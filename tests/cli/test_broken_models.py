"""Diagnostics, evidence and gap of models whose numbers are not finite, of hierarchies, grey data and torn results."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fourfold.cli import main
from fourfold.runs import Run

QUICK = {
    "evidence": ["--data-count", "3", "--importance-samples", "9", "--ais", "4", "--chains", "3", "--bdmc", "3"],
    "gap": ["--data-count", "3", "--steps", "4", "--importance-samples", "9"],
    "diagnose": ["-n", "30", "--outlier-data", "9", "--importance-samples", "3", "--regret-steps", "2"],
}


@pytest.fixture
def diverged(run: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """A run whose posterior, or likelihood, has weights that are no numbers."""
    opened = Run.open.__func__  # type: ignore[attr-defined]

    def made(room: str) -> Path:
        def broken(cls: type[Run], *given: object, **more: object) -> Run:
            found = opened(cls, *given, **more)
            with torch.no_grad():
                for name, parameter in found.model.named_parameters():
                    if room in name:
                        parameter.fill_(float("nan"))
            return found

        monkeypatch.setattr(Run, "open", classmethod(broken))
        return run

    return made


def told(capsys: pytest.CaptureFixture[str], command: str, run: Path, *words: str) -> dict:
    """The JSON of a command, in which no number is NaN."""
    capsys.readouterr()
    assert main([command, str(run), *QUICK[command], *words, "--json", "-q"]) == 0

    def refused(constant: str) -> None:
        raise AssertionError(f"{constant} in JSON")

    return json.loads(capsys.readouterr().out, parse_constant=refused)


@pytest.mark.parametrize("room", ["likelihood", "posterior"])
def test_what_is_not_finite_is_told_and_never_trusted(
    room: str, diverged: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = diverged(room)
    found = told(capsys, "evidence", run)
    assert all(row["value"] == "nan" and row["non_finite"] == 3 for row in found["rows"])
    assert "no number" in found["trust"] and "to be trusted" not in found["trust"]
    found = told(capsys, "gap", run)
    assert found["picture"] is None and set(found["log_p"].values()) == {"nan"}
    assert any("not finite" in note for note in found["notes"])
    parts = {
        part["part"]: part
        for part in told(capsys, "diagnose", run, "--information", "--calibration", "--outliers", "noise")["runs"][0][
            "parts"
        ]
    }
    assert parts["calibration"]["rows"] == [] and "not finite" in parts["calibration"]["notes"][0]
    assert [row["metric"] for row in parts["outliers_noise"]["rows"]] == ["auc_complexity"]
    assert any("auc_nll: 18 of the scores" in note for note in parts["outliers_noise"]["notes"])
    broken = {row["metric"]: row["non_finite"] for row in parts["information"]["rows"]}
    assert broken == dict.fromkeys(("mi", "tc", "marginal_kl"), 30 if room == "posterior" else 0)


def test_one_simulated_datum_is_no_reason_to_trust(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = told(capsys, "evidence", run, "--bdmc", "1")["trust"]
    assert "± 0.00" not in said and "simulate more data" in said


def test_of_a_way_up_there_is_no_density_of_the_top(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "hvae"
    words = ["--latents", "3,2", "--hidden", "8,8", "--epochs", "1", "--quiet", "--no-report", "--out", str(run)]
    assert main(["train", "hvae", *words]) == 0
    (note,) = told(capsys, "diagnose", run, "--information")["runs"][0]["parts"][0]["notes"]
    assert "levels below it" in note and "DiagonalGaussian" not in note


def test_a_prior_with_a_network_has_information(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "af"
    words = ["--latent", "2", "--epochs", "1", "--quiet", "--no-report", "--out", str(run)]
    assert main(["train", "af_prior_vae", *words]) == 0
    rows = told(capsys, "diagnose", run, "--information")["runs"][0]["parts"][0]["rows"]
    assert [row["metric"] for row in rows] == ["mi", "tc", "marginal_kl"]


def test_grey_data_in_a_bernoulli_have_no_outliers(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record = json.loads((run / "run.json").read_text())
    record["view"]["binarize"] = None
    (run / "run.json").write_text(json.dumps(record))
    calibration, outliers = told(capsys, "diagnose", run, "--calibration", "--outliers", "noise")["runs"][0]["parts"]
    assert outliers["rows"] == [] and "no likelihood" in outliers["notes"][0]
    assert "grey" in calibration["notes"][0] and "PIT" not in calibration["notes"][0]


def test_a_rate_beyond_the_end_of_the_curve_is_told(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["diagnose", str(run), "--rate-distortion", "--curve-data", "3", "--temperatures", "5", "-q"]
    assert main([*words, "--beta", "0.001"]) == 0
    assert "beyond the end of the curve" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["{}", "[1]", "null", '[{"metric": "elbo"}]', "\xff"])
def test_results_that_are_none_are_refused_by_name(text: str, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "results.json").write_text(text, encoding="latin-1")
    for command in (["gap"], ["diagnose", "--information"]):
        assert main([command[0], str(run), *command[1:], *QUICK[command[0]], "-q"]) == 2
        said = capsys.readouterr().err
        assert "results.json" in said and "altered" in said
    assert (run / "results.json").read_text(encoding="latin-1") == text


def test_what_was_found_on_the_way_is_no_protocol(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(run), "--calibration", "--generation", "--draws", "60", "-q"]) == 0
    rows = json.loads((run / "results.json").read_text())
    for row in rows:
        row["estimator"] = row["estimator"].replace("s.d. ", "s.d. 9").replace(" by chance", "9 by chance")
    other = run.parent / "other"
    other.mkdir()
    for name in ("run.json", "results.json"):
        (other / name).write_text((run / name).read_text())
    (other / "results.json").write_text(json.dumps(rows))
    capsys.readouterr()
    assert main(["results", str(run), str(other), "--metric", "calibration_error,kid_like"]) == 0
    assert "estimator" not in capsys.readouterr().out


def test_the_encoder_of_a_run_as_features_is_named_by_its_weights(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, "diagnose", run, "--generation", "--draws", "50", "--features", str(run))
    rows = {row["metric"]: row["estimator"] for row in found["runs"][0]["parts"][0]["rows"]}
    assert "features: posterior means of run (" in rows["frechet_like"]
