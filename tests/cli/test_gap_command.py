"""``fourfold gap`` on a tiny run: what it prints, writes and refuses."""

import json
from pathlib import Path

import numpy as np
import pytest

from fourfold.cli import main
from fourfold.evaluation import Ascent, GapOptions
from fourfold.runs import Run
from fourfold.runs.gap import gaps_of

FAST = ["-q", "--data-count", "12", "--steps", "30", "--importance-samples", "40"]
PARTS = ("bound_gap", "amortisation_gap", "approximation_gap", "flow_gain", "flow_gap")


def test_it_prints_a_tree_draws_it_and_keeps_the_rows(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gap", str(run), *FAST]) == 0
    told = capsys.readouterr().out
    assert "digits, test, the first 12, binarize dynamic, seed 0" in told
    for label in ("bound gap", "├ amortisation", "└ approximation", "  ├ won by a flow", "  └ left"):
        assert f"\n{label} " in told
    assert "30 steps of Adam, 8 fresh draws each; ELBOs: 40 others" in told
    assert (run / "pictures" / "gap.png").stat().st_size > 10_000
    rows = {row["metric"]: row for row in json.loads((run / "results.json").read_text())}
    assert {*PARTS, "log_p", "elbo_encoder", "elbo_best", "elbo_flow"} == rows.keys()
    assert rows["bound_gap"]["value"] == pytest.approx(
        rows["amortisation_gap"]["value"] + rows["approximation_gap"]["value"]
    )
    assert rows["bound_gap"]["n"] == 12 and rows["bound_gap"]["protocol"]["data_digest"]
    assert rows["bound_gap"]["protocol"]["options"]["ascent"]["steps"] == 30
    numbers = Run.open(run).folder.per_datum(rows["amortisation_gap"])
    assert numbers is not None and numbers.mean() == pytest.approx(rows["amortisation_gap"]["value"])


def test_json_is_one_document_and_the_flow_may_be_left_out(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gap", str(run), *FAST, "--no-flow", "--json", "--ais", "4"]) == 0
    document = json.loads(capsys.readouterr().out)
    rows = {row["metric"]: row for row in document["rows"]}
    assert "flow_gain" not in rows and rows["approximation_gap"]["n"] == 12
    assert any(name.startswith("AIS, T = 4") for name in document["log_p"]) and len(document["log_p"]) == 3
    assert document["picture"].endswith("gap.png") and list(document["nothing_better"]) == ["the best member"]


def test_the_numbers_are_those_of_the_same_images_as_evaluate_binarises(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    opened = Run.open(run)
    bound = opened.evaluate(save=False, draws=200).per_datum["elbo"][:12]
    found, _ = gaps_of(opened, GapOptions(Ascent(steps=2), samples=200, flow=False), data=12)
    assert np.corrcoef(found.elbo, bound)[0, 1] > 0.99
    again, _ = gaps_of(opened, GapOptions(Ascent(steps=2), samples=200, flow=False), data=12, seed=1)
    assert not np.allclose(again.elbo, found.elbo, atol=0.5)


def test_an_interrupted_search_leaves_the_run_as_it_was(run: Path) -> None:
    before = {path.name: path.stat().st_mtime_ns for path in run.rglob("*")}

    def interrupt(done: int, total: int | None) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        gaps_of(Run.open(run), GapOptions(Ascent(steps=2), samples=20), data=5, progress=interrupt)
    assert {path.name: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_bar_stands_on_standard_error_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gap", str(run), *FAST[1:], "--no-flow", "--json"]) == 0
    json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--steps", "0"], "Ascent: steps must be an integer of at least 1, got 0."),
        (["--data-count", "0"], "gap: data must be an integer of at least 1, got 0."),
        (["--importance-samples", "-1"], "GapOptions: samples"),
        (["--sample", "3"], "unknown flag --sample"),
    ],
)
def test_wrong_flags_are_refused(run: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gap", str(run), *words]) == 2
    said = capsys.readouterr()
    assert message in said.err and not said.out and not (run / "results.json").exists()


def test_an_autoencoder_has_no_gap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--hidden", "4", "--latent", "2", "--epochs", "1", "--quiet", "--no-report"]
    assert main(["train", "autoencoder", "--out", str(tmp_path / "ae"), *small]) == 0
    capsys.readouterr()
    assert main(["gap", str(tmp_path / "ae"), *FAST]) == 2
    assert "Point has no density" in capsys.readouterr().err
