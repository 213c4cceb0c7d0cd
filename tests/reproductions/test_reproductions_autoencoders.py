"""The table of autoencoders, in small."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
if not (ROOT / "reproductions").is_dir():
    pytest.skip("reproductions/ is not part of this copy", allow_module_level=True)
sys.path.insert(0, str(ROOT))
from reproductions import autoencoders  # noqa: E402

ENTRIES = ["pca", "linear", "deep", "stacked", "unstacked"]


def test_principal_components_leave_what_they_should() -> None:
    random = np.random.default_rng(0)
    train, test = (random.integers(0, 256, (n, 1, 3, 4), dtype=np.uint8) for n in (50, 7))
    assert autoencoders.pca_error(train, test, 12) == pytest.approx(0, abs=1e-20)
    centred = (test.reshape(7, 12) - train.reshape(50, 12).mean(0)) / 255
    _, _, axes = np.linalg.svd(train.reshape(50, 12) - train.reshape(50, 12).mean(0))
    wanted = np.square(centred @ axes[5:].T).sum(1)
    np.testing.assert_allclose(autoencoders.pca_error(train, test, 5), wanted)


def test_the_table_fills_in_slices_and_is_then_left_alone(tmp_path: Path) -> None:
    words = ["--data", "digits", "--epochs", "0.3", "--short", "0.3"]
    words += ["--runs", str(tmp_path / "runs"), "--results", str(tmp_path)]
    assert autoencoders.main([*words, "--minutes", "1e-9"]) == 3
    assert autoencoders.main(words) == 0
    table = tmp_path / "autoencoders.json"
    rows = json.loads(table.read_text())
    assert [row["protocol"]["entry"] for row in rows] == ENTRIES
    errors = {row["protocol"]["entry"]: row["value"] for row in rows}
    assert errors["pca"] == min(errors.values()) and all(row["standard_error"] > 0 for row in rows)
    run = json.loads((tmp_path / "runs" / "stacked" / "run.json").read_text())
    assert run["view"]["binarize"] is None and run["recipe"]["arguments"]["pretraining"] == 0.5
    before = table.stat().st_mtime_ns
    assert autoencoders.main(words) == 0 and table.stat().st_mtime_ns == before
