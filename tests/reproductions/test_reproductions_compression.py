"""The table of compressed files, in small."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
if not (ROOT / "reproductions").is_dir():
    pytest.skip("reproductions/ is not part of this copy", allow_module_level=True)
pytest.importorskip("constriction")
sys.path.insert(0, str(ROOT))
from reproductions import compression  # noqa: E402

WORDS = ["--data", "digits", "--epochs", "0.3", "--images", "60"]


def filled(home: Path, *entries: str, **more: str) -> int:
    words = [*WORDS, "--entries", *entries, "--runs", str(home / "runs"), "--results", str(home)]
    return compression.main([*words, *(word for name, value in more.items() for word in (f"--{name}", value))])


def rows_of(home: Path) -> dict[str, dict[str, Any]]:
    rows = json.loads((home / "compression.json").read_text())
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        entry = row["protocol"]["entry"]
        found.setdefault(entry, {})[row["estimator"] if "others" in entry else row["metric"]] = row
    return found


def test_the_table_fills_in_slices_and_is_then_left_alone(tmp_path: Path) -> None:
    assert filled(tmp_path, "bb_binary", minutes="1e-9") == 3
    assert filled(tmp_path, "bb_binary", "bb_full") == 0
    found = rows_of(tmp_path)
    assert set(found) == {"bb_binary", "bb_full", "others_binary", "others_full"}
    for name in ("bb_binary", "bb_full"):
        rows = found[name]
        value = {metric: row["value"] for metric, row in rows.items()}
        file = rows["bits_per_dim_file"]["protocol"]
        assert file["round_trip"] == "equal" and file["threads"] == 1
        assert value["bits_per_dim_file"] == pytest.approx(8 * file["bytes"] / (60 * 64))
        assert file["bytes"] * 8 > file["coded_bits"] > file["initial_bits"] > 0
        assert value["file_over_bound"] == pytest.approx(value["bits_per_dim_file"] / value["bits_per_dim_bound"])
        # The bound of 60 images and one draw is near that of all. Without the initial bits, the code is at it: a little
        # below where the hardly trained model has pixels less probable than the coder's least probability.
        assert value["bits_per_dim_bound"] == pytest.approx(value["bits_per_dim"], rel=0.05)
        net = (file["coded_bits"] - file["initial_bits"]) / (60 * 64)
        assert net == pytest.approx(value["bits_per_dim_bound"], rel=0.03)
        others = found["others_" + name.removeprefix("bb_")]
        assert {row["protocol"]["images"] for row in others.values()} == {file["images"]}
    raw = {name: found[name][how]["value"] for name, how in RAW.items()}
    assert raw == {"others_binary": 1.0, "others_full": 8.0}
    page = (tmp_path / "compression.md").read_text()
    assert f"| bb_full | beta_binomial | {found['bb_full']['bits_per_dim']['value']:.4f} ±" in page
    before = (tmp_path / "compression.json").stat().st_mtime_ns
    assert filled(tmp_path, "bb_binary", "bb_full") == 0
    assert (tmp_path / "compression.json").stat().st_mtime_ns == before


RAW = {"others_binary": "raw, 1 bit a value", "others_full": "raw, 8 bits a value"}


def test_a_file_that_gives_other_images_back_is_not_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(model: object, path: Path, out: Path) -> None:
        np.save(out, np.zeros((60, 1, 8, 8), dtype=np.uint8))

    monkeypatch.setattr(compression, "decompress", wrong)
    with pytest.raises(RuntimeError, match="bb_binary: the images that came back are not those"):
        filled(tmp_path, "bb_binary")
    assert not (tmp_path / "compression.json").exists()
