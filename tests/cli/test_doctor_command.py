"""``fourfold doctor`` on a tiny run: what it says, in words and in JSON, and that it leaves the run as it was."""

import json
from pathlib import Path

import pytest

from fourfold.cli import main
from fourfold.data import from_arrays
from fourfold.runs import Run


def stand(folder: Path) -> dict[str, int]:
    return {str(file.relative_to(folder)): file.stat().st_mtime_ns for file in folder.rglob("*")}


def test_it_says_what_is_wrong_first_and_writes_nothing(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = stand(trained)
    assert main(["doctor", str(trained), "-q"]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{trained}, last checkpoint, 179 data of digits test, seed 0\nfound: ")
    assert (
        "1. serious: not converged" in told and f"   try: train for longer: fourfold train --resume {trained}" in told
    )
    assert "   measured: steps of training 14" in told
    assert "checked, and well:\n" in told and "not checked:\n" in told
    assert "  codebook: the model has no codebook" in told and "  amortisation: not asked for" in told
    assert max(map(len, told.splitlines()[2:])) <= 120
    assert stand(trained) == before


def test_json_is_one_document_with_evidence_thresholds_and_remedies(
    trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", str(trained), "--json", "-q", "-n", "50", "--gap", "5", "--split", "validation"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["n"], document["part"], document["healthy"]) == (50, "validation", False)
    first = document["diagnoses"][0]
    assert first["name"] == "not_converged" and first["severity"] == "serious" and first["remedies"]
    assert first["measured"][-1] == {
        "what": "steps of training",
        "value": 14,
        "unit": "",
        "error": None,
        "limit": 100,
        "ill": "below",
    }
    looked = {one["name"] for part in ("sound", "unchecked") for one in document[part]}
    assert {"finite numbers", "kind of data", "codebook"} <= looked
    gap = {one["name"] for one in (*document["sound"], *document["diagnoses"])}
    assert gap & {"amortisation", "amortisation_gap"}


def test_python_has_the_same(trained: Path) -> None:
    found = Run.open(trained).doctor(data=40)
    assert found.first is not None and found.first.name == "not_converged"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["-n", "0"], "--data-count"),
        (["--gap", "-1"], "--gap"),
        (["--curve-data", "3"], "unknown flag --curve-data"),
    ],
)
def test_wrong_words_are_refused(
    words: list[str], said: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", str(trained), *words]) == 2
    assert said in capsys.readouterr().err


def test_a_run_without_a_checkpoint_is_told_how_to_get_one(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for which, fix in (("last", "Take the other: checkpoint best"), ("best", f"Train: fourfold train --resume {run}")):
        (run / "checkpoints" / f"{which}.safetensors").unlink()
        assert main(["doctor", str(run)]) == 2
        said = capsys.readouterr().err
        assert f"{run}: there is no last checkpoint" in said and fix in said


def test_one_datum_is_told_to_be_few(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", str(trained), "-q", "-n", "1", "--json"]) == 0
    reasons = {one["name"]: one["reason"] for one in json.loads(capsys.readouterr().out)["unchecked"]}
    for name in ("generalisation", "swap of latents"):
        assert "take more data: --split train or -n" in reasons[name]


def test_of_other_data_nothing_is_said_to_be_learnt(trained: Path) -> None:
    run = Run.open(trained)
    other = run.dataset().test
    reasons = {one.name: one.reason for one in run.doctor(data=40).unchecked}
    assert "generalisation" not in reasons
    run.data = from_arrays(other.x, other.labels, name="other")
    reasons = {one.name: one.reason for one in run.doctor(data=40).unchecked}
    assert "no other data beside these" in reasons["generalisation"]
