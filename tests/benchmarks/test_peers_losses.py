"""The comparison of losses with pythae: its own arithmetic, what it says without pythae, and the kept result."""

import json
import sys
from pathlib import Path

import pytest
import torch

from fourfold.objectives import Decomposed
from fourfold.objectives.decomposition import log_weights_of

ROOT = Path(__file__).parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("benchmarks/ is not part of this copy", allow_module_level=True)
sys.path.insert(0, str(ROOT))
from benchmarks.peers import losses  # noqa: E402
from benchmarks.peers.scene import LATENT, made, scene  # noqa: E402


def test_without_pythae_it_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "pythae", None)
    assert losses.main(["--out", str(tmp_path)]) == 2
    assert "benchmarks/README.md" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_parts_it_predicts_with_are_those_of_the_objective(double: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOURFOLD_DATA", raising=False)
    seen = scene(*made(), draws=1)
    assert seen.z.shape == (1, 64, LATENT) and seen.z.dtype == torch.float64
    for estimator in ("mss", "mws"):
        terms = Decomposed(data_size=500, estimator=estimator)(seen.trace)
        ours = [terms.parts[f"{name}_{estimator}"].value.mean() for name in ("mi", "tc", "dwkl")]
        torch.testing.assert_close(
            torch.stack(losses.parts(seen, log_weights_of(estimator, 64, 500))), torch.stack(ours)
        )


def test_in_the_kept_result_every_difference_is_explained() -> None:
    kept = json.loads((ROOT / "benchmarks" / "results" / "peers_losses.json").read_text())
    lines = {line["loss"]: line for line in kept["losses"]}
    compared = [line for line in lines.values() if line["ours"] is not None]
    assert len(compared) == 8 and len(lines) == 9
    for line in compared:
        assert line["theirs"] - line["ours"] == pytest.approx(line["explained"], abs=1e-9)
        assert line["explained_gradient"] < 1e-9
    assert lines["IWAE, K = 50"]["theirs"] < lines["IWAE, K = 50"]["ours"] - 1
    exact, mss, wrong, mean, _ = ([row[part] for part in ("mi", "tc", "dwkl")] for row in kept["rate"])
    assert sum(exact) == pytest.approx(sum(mss)) == pytest.approx(sum(wrong))
    assert abs(mss[1] - exact[1]) < 0.5 < abs(wrong[1] - exact[1])
    assert wrong == pytest.approx(mean, abs=0.1)
