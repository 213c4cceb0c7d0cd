"""``reproductions.evidence``: what is measured of each model, the verdicts, and that nothing is measured twice."""

import sys
from pathlib import Path

import numpy as np
import pytest

import fourfold as ff

ROOT = Path(__file__).parents[2]
if not (ROOT / "reproductions").is_dir():
    pytest.skip("reproductions/ is not part of this copy", allow_module_level=True)
sys.path.insert(0, str(ROOT))
from reproductions import evidence  # noqa: E402
from reproductions.store import kept  # noqa: E402

pytestmark = pytest.mark.usefixtures("unchecked")
SMALL = ["--images", "8", "--samples", "100", "--temperatures", "10", "--chains", "4", "--simulated", "5"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for name in ("vae", "iwae50"):
        recipe = ff.recipes.vae(latent=2, hidden=(8,))
        ff.fit(recipe, ff.data.digits(), epochs=1, out=folder / name, quiet=True)
    return folder


def test_each_model_has_its_rows_once(runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = [*SMALL, "--runs", str(runs), "--home", str(tmp_path)]
    assert evidence.main([*words, "--only", "vae", "--minutes", "0"]) == 3
    assert kept("evidence", tmp_path) == []
    assert evidence.main([*words, "--only", "vae"]) == 0
    rows = kept("evidence", tmp_path)
    assert [row["metric"] for row in rows[:6]] == ["elbo", "nll_is", "nll_is", "nll_ais", "bound_gap", "is_gap"]
    assert {row["protocol"]["entry"] for row in rows} == {"vae"}
    with np.load(tmp_path / "evidence" / "vae.npz") as arrays:
        assert arrays["ais"].shape == (8,) and arrays["curve"].shape == (3, 8) and arrays["bdmc_upper"].shape == (5,)
        assert -arrays["ais"].mean() == pytest.approx(rows[3]["value"])
    monkeypatch.setattr(evidence, "measured", None)  # would be called if it were measured again
    assert evidence.main([*words, "--only", "vae"]) == 0
    monkeypatch.undo()
    assert evidence.main([*words, "--only", "vae", "iwae50"]) == 0
    page = (tmp_path / "evidence.md").read_text()
    assert page.count("\n| vae |") == 1 and page.count("\n| iwae50 |") == 1
    assert "8 images (the first 8 of the test set" in page and "All models saw the same." in page
    assert "importance sampling, K = 100" in page and "Is importance sampling about a nat too low on IWAE-50?" in page
    assert {row["protocol"]["entry"] for row in kept("evidence", tmp_path)} == {"vae", "iwae50"}


def test_verdicts() -> None:
    assert evidence._order(0.3, 0.1) == "yes"
    assert evidence._order(-0.3, 0.1) == "no"
    assert evidence._order(0.15, 0.1) == "not told apart"
    assert "0.90 ± 0.10 nats here: confirmed" in evidence._claim((0.9, 0.1))
    assert "but less than by a nat" in evidence._claim((0.6, 0.1))
    assert "but more than by a nat" in evidence._claim((3.0, 0.1))
    assert "not settled" in evidence._claim((0.5, 0.4))
