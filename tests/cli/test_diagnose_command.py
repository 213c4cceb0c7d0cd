"""``fourfold diagnose`` on a tiny run: what it prints, writes and refuses."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fourfold.cli import main

FAST = ["-q", "-n", "40"]
HUNT = ["-q", "--outlier-data", "60", "--importance-samples", "5", "--regret-steps", "3"]


def results(run: Path) -> dict[str, dict]:
    return {row["metric"]: row for row in json.loads((run / "results.json").read_text())}


def document(capsys: pytest.CaptureFixture[str]) -> dict:
    return json.loads(capsys.readouterr().out)


def test_without_flags_the_cheap_parts(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(run), *FAST]) == 0
    told = capsys.readouterr().out
    for part in ("information", "aggregate", "calibration"):
        assert f"{part}: run, digits test" in told
        assert (run / "pictures" / f"diagnose_{part}.png").stat().st_size > 5000
    kept = results(run)
    assert {"mi", "tc", "marginal_kl", "aggregate_mmd_p", "aggregate_ksd_p", "calibration_error"} <= kept.keys()
    assert kept["mi"]["protocol"]["dataset"] == "digits" and kept["mi"]["protocol"]["data_digest"]
    assert kept["mi"]["n"] == 40 and "at most" in kept["mi"]["estimator"]
    with np.load(run / "diagnose" / "information.npz") as arrays:
        assert arrays["mi"].shape == arrays["kl"].shape == (2,)


def test_rows_stand_beside_those_of_evaluate(run: Path) -> None:
    assert main(["evaluate", str(run), "-q", "--no-report"]) == 0
    before = results(run)
    assert main(["diagnose", str(run), "--calibration", "-q"]) == 0
    assert results(run) == before | {"calibration_error": results(run)["calibration_error"]}
    assert main(["diagnose", str(run), "--rate-distortion", "--curve-data", "0", "-q"]) == 0
    assert results(run)["elbo"]["value"] == before["elbo"]["value"]
    # The numbers of each datum are still there for a paired comparison.
    assert len(list((run / "per_datum").glob("*.npz"))) >= 3


def test_json_is_one_document_with_the_arrays(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--json", "--information", "--rate-distortion", "--curve-data", "4", "--temperatures", "6"]
    assert main(["diagnose", str(run), *words, *FAST]) == 0
    told = document(capsys)
    (found,) = told["runs"]
    assert [part["part"] for part in found["parts"]] == ["information", "rate_distortion"]
    curve = found["parts"][1]["arrays"]
    assert curve["betas"][0] == 0 and curve["betas"][-1] == 5 and len(curve["rate"]) == len(curve["betas"]) == 7
    assert {row["metric"] for row in found["parts"][1]["rows"]} >= {"elbo", "rate", "distortion", "distortion_excess"}
    assert Path(told["rate_distortion"]).stat().st_size > 5000


def test_several_runs_share_a_plane_if_their_protocols_agree(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Path(shutil.copytree(run, tmp_path / "other"))
    assert main(["diagnose", str(run), str(other), "--rate-distortion", "-q"]) == 0
    assert (run / "pictures" / "diagnose_rate_distortion.png").exists()
    assert not (other / "pictures" / "diagnose_rate_distortion.png").exists()
    assert "distortion_excess" not in results(run)
    record = json.loads((other / "run.json").read_text())
    record["view"]["binarize"] = "threshold"
    (other / "run.json").write_text(json.dumps(record))
    capsys.readouterr()
    assert main(["diagnose", str(run), str(other), "--rate-distortion", "-q"]) == 2
    assert "do not belong in one plane" in capsys.readouterr().err


def test_generation_names_its_features(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(run), "--generation", "--draws", "60", "--json", "-q"]) == 0
    (part,) = document(capsys)["runs"][0]["parts"]
    rows = {row["metric"]: row for row in part["rows"]}
    assert "features: conv-classifier, digits, seed 0 (" in rows["frechet_like"]["estimator"]
    assert rows["frechet_like"]["n"] == 60 and rows["frechet_like_floor"]["value"] < rows["frechet_like"]["value"]
    assert main(["diagnose", str(run), "--generation", "--draws", "60", "--features", str(run), "-q"]) == 0
    assert "features: posterior means of run" in results(run)["kid_like"]["estimator"]


def test_outliers_by_every_score(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(run), "--outliers", "noise", "flipped", "--ensemble", str(run), *HUNT]) == 0
    told = capsys.readouterr().out
    assert "outliers noise: run, digits test" in told and "outliers flipped" in told
    kept = [row for row in json.loads((run / "results.json").read_text()) if row["metric"].startswith("auc_")]
    scores = {"auc_nll", "auc_elbo", "auc_regret", "auc_waic", "auc_complexity", "auc_excess"}
    assert {row["metric"] for row in kept} == scores and len(kept) == 2 * len(scores)
    noise = {row["metric"]: row["value"] for row in kept if row["estimator"].endswith("of noise")}
    # Two equal runs have no variance: WAIC is the likelihood.
    assert noise["auc_nll"] > 0.95 and noise["auc_excess"] > 0.95 and noise["auc_waic"] == noise["auc_nll"]
    assert (run / "pictures" / "diagnose_outliers_noise.png").stat().st_size > 5000
    file = tmp_path / "dark.npz"
    np.savez(file, x=np.random.default_rng(0).integers(0, 40, (30, 8, 8), dtype=np.uint8))
    assert main(["diagnose", str(run), "--outliers", str(file), *HUNT]) == 0
    assert "60 of test against 30 of dark" in capsys.readouterr().out


def test_an_autoencoder_says_what_it_has_not(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "ae"
    words = ["--hidden", "8", "--latent", "2", "--epochs", "1", "--quiet", "--no-report", "--out", str(run)]
    assert main(["train", "autoencoder", *words]) == 0
    capsys.readouterr()
    parts = ["--information", "--aggregate", "--calibration", "--rate-distortion", "--outliers", "noise"]
    assert main(["diagnose", str(run), *parts, *FAST]) == 0
    told = capsys.readouterr().out
    assert told.count("not computed") >= 4 and "Point has no density" in told


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--samples", "0"], "--samples"),
        (["--curve-data", "5"], "--rate-distortion"),
        (["--ensemble", "RUN"], "--outliers"),
        (["--features", "RUN"], "--generation"),
        (["--outliers", "nothing_of_the_kind"], "nothing_of_the_kind"),
        (["--regret-steps", "-1"], "--regret-steps"),
        (["--beta", "0", "--rate-distortion"], "--beta"),
    ],
)
def test_what_it_refuses(run: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["diagnose", str(run), "-q", *(str(run) if word == "RUN" else word for word in words)]) == 2
    assert said in capsys.readouterr().err


def test_the_distance_to_the_curve_is_vertical() -> None:
    from fourfold.evaluation.distortion import Curve
    from fourfold.noise import Noise
    from fourfold.runs.diagnose import _excess

    rate = np.linspace(0, 10, 6)[:, None] + np.zeros((6, 40))
    curve = Curve(np.linspace(0, 5, 6), rate, 50 - 3 * rate, 0.6, "AIS")
    own = 4 + np.random.default_rng(0).normal(0, 0.1, 40)
    excess, error = _excess(curve, own, 50 - 3 * own + 2.5, Noise(0))
    assert excess == pytest.approx(2.5) and error == pytest.approx(0, abs=1e-9)


def test_the_excess_over_the_png_is_of_the_levels_that_were_dequantised(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "gauss"
    words = ["--likelihood", "gaussian", "--dequantize", "--hidden", "8", "--latent", "2", "--epochs", "1"]
    assert main(["train", "vae", *words, "--quiet", "--no-report", "--out", str(run)]) == 0
    capsys.readouterr()
    assert main(["diagnose", str(run), "--outliers", "noise", "--json", *HUNT]) == 0
    found = document(capsys)["runs"][0]["parts"][0]["arrays"]
    nll, bits, excess = (np.array(found[f"{name}_in"]) for name in ("nll", "complexity", "excess"))
    # A density of 64 pixels in [0, 1] that were levels of 256: 8 bits more for each.
    np.testing.assert_allclose(excess, nll / np.log(2) + 8 * 64 - bits, rtol=1e-6)
