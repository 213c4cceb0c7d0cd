"""The benchmark of lossless coding, in small."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
if not (ROOT / "benchmarks").is_dir():
    pytest.skip("benchmarks/ is not part of this copy", allow_module_level=True)
pytest.importorskip("constriction")
sys.path.insert(0, str(ROOT))
from benchmarks import coding  # noqa: E402


def test_every_candidate_runs_and_speeds_follow_from_the_times(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("FOURFOLD_DATA", raising=False)
    monkeypatch.setattr(coding, "_TRAINED", 200)
    coding.main(["--rounds", "2", "--binary", "12", "--grey", "4", "--out", str(tmp_path)])
    (file,) = tmp_path.iterdir()
    kept = json.loads(file.read_text())
    assert kept["data"] == "synthetic" and kept["images"] == [12, 4] and len(kept["tables"]) == 2
    shown = capsys.readouterr().out
    for title, rows in kept["tables"].items():
        assert [row["name"] for row in rows] == ["encode", "decode", "passes", "gzip -9", "xz -9e", "PNG, each"]
        for row in rows:
            assert not row["absent"] and len(row["times"]) == 2
            rate = kept["rates"][title][row["name"]]
            assert rate["images_per_s"] == pytest.approx(1e6 / row["median"], rel=1e-3)
            assert rate["mb_per_s"] == pytest.approx(rate["images_per_s"] * 784 / 1e6, rel=1e-3)
        assert f"{title} (2 rounds)" in shown


def test_a_code_that_gives_other_images_back_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    from fourfold.compression import Codec

    x, _ = coding.images(20)
    trained = coding.model((x > 127).astype("uint8"), "bernoulli", 3, 5)
    monkeypatch.setattr(Codec, "decode", lambda self, block: x)
    with pytest.raises(ArithmeticError, match="other images came back"):
        coding.decoding(trained, (x > 127).astype("uint8"))
