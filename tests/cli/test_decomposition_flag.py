"""``fourfold evaluate --decomposition``."""

import json
from pathlib import Path

import pytest

from fourfold.cli import main


def test_the_parts_of_the_rate_are_rows(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", str(run), "--no-report", "--quiet"]
    assert main([*words, "--decomposition", "60", "--json"]) == 0
    rows = {row["metric"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert all(
        rows[name]["n"] == 60 and "60 draws of z against all" in rows[name]["estimator"]
        for name in ("mi", "tc", "dwkl")
    )
    assert main(words) == 0
    assert "total correlation" not in capsys.readouterr().out
    assert main([*words, "--decomposition", "60"]) == 0
    assert "total correlation" in capsys.readouterr().out
