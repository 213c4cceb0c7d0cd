"""The benchmark of metrics of disentanglement: what is timed is the metric, and a missing rival is called missing."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("benchmarks/ is not part of this copy", allow_module_level=True)
sys.path.insert(0, str(ROOT))
from benchmarks import disentanglement  # noqa: E402
from benchmarks.harness import Absent  # noqa: E402

METRICS = ("MIG", "SAP", "FactorVAE", "DCI, lasso", "DCI, random trees", "MIC_e, 2,000 rows", "MIC_e, all rows")


@pytest.mark.parametrize("metric", METRICS)
def test_what_is_timed_is_the_metric(metric: str):
    assert 0 < disentanglement.ours(metric, 300, value=True)() < 1
    assert disentanglement.ours(metric, 300)() > 0  # seconds


def test_the_codes_are_those_of_the_rotated_control():
    assert disentanglement.ours("MIG", 10_000, value=True)() == pytest.approx(0.236, abs=0.01)


def test_without_the_rival_a_row_says_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(disentanglement, "_without_torchvision", lambda: None)
    monkeypatch.setitem(sys.modules, "disent", None)
    with pytest.raises(Absent, match="disent is not there"):
        disentanglement.disent("MIG", 300)
