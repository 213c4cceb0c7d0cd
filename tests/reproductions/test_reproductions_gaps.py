"""reproductions/gaps.py: lines made once, verdicts that are what they say."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
if not (ROOT / "reproductions").is_dir():
    pytest.skip("reproductions/ is not part of this copy", allow_module_level=True)
sys.path.insert(0, str(ROOT))
from reproductions import gaps  # noqa: E402

SMALL = ["--data", "digits", "--epochs", "0.2", "--images", "6", "--steps", "3", "--samples", "10"]


def test_a_line_is_made_once_with_its_page_and_picture(tmp_path: Path) -> None:
    words = [*SMALL, "--runs", str(tmp_path), "--only", "vae_small"]
    assert gaps.main(words) == 0
    rows = json.loads((tmp_path / "gaps.json").read_text())
    assert {row["protocol"]["entry"] for row in rows} == {"vae_small"} and rows[0]["n"] == 6
    assert rows[0]["protocol"]["arguments"]["encoder"]["kwargs"] == {"hidden": [50], "activation": "tanh"}
    page = (tmp_path / "gaps.md").read_text()
    assert "| vae_small: diagonal Gaussian, encoder 50 |" in page and "not there yet" in page
    assert (tmp_path / "gaps" / "gaps.png").stat().st_size > 5000
    stamp = (tmp_path / "gaps.json").stat().st_mtime_ns
    assert gaps.main(words) == 0
    assert (tmp_path / "gaps.json").stat().st_mtime_ns == stamp


@pytest.mark.parametrize(("shift", "said"), [(1.0, "confirmed"), (-1.0, "refuted"), (0.0, "not told apart")])
def test_a_verdict_needs_two_paired_standard_errors(tmp_path: Path, shift: float, said: str) -> None:
    (tmp_path / "gaps").mkdir()
    common, noise = np.linspace(0, 50, 40), np.tile([1.0, -1.0], 20)
    np.savez(tmp_path / "gaps" / "a.npz", part=common + shift + noise)
    np.savez(tmp_path / "gaps" / "b.npz", part=common)
    found = gaps.verdict(gaps.Claim(("a", "part"), ("b", "part"), "a > b"), tmp_path)
    assert (found["verdict"], found["n"]) == (said, 40)
    assert found["difference"] == pytest.approx(shift)
    assert found["standard_error"] == pytest.approx(noise.std(ddof=1) / 40**0.5)


def test_claims_are_of_models_in_the_plan() -> None:
    assert {name for claim in gaps.CLAIMS for name, _ in (claim.larger, claim.smaller)} == set(gaps.PLAN)
    assert len(gaps.CLAIMS) == 10
