"""Data sets of the hub, through a stand-in for the package that fetches them."""

import io
import sys
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fourfold.data import load


class Picture:
    """A column of pictures, encoded."""

    def __init__(self, decode: bool = True) -> None:
        self.decode = decode


class Label:
    """A column of numbered classes."""

    def int2str(self, number: int) -> str:
        return ["a/b", "c"][number]


class Table:
    """Rows of columns, as far as they are used."""

    def __init__(self, columns: dict[str, list[Any]], features: dict[str, Any]) -> None:
        self.columns, self.features = columns, features

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key):
        return self.columns[key] if isinstance(key, str) else {k: v[key] for k, v in self.columns.items()}

    def cast_column(self, column: str, kind: Picture) -> "Table":
        assert not kind.decode
        return self


def table(values: list[int], labels: list[int] | None, folder=None) -> Table:
    cells = []
    for value in values:
        picture = io.BytesIO()
        Image.new("L", (3, 2), value).save(picture, "png")
        path = None if folder is None else folder / f"{value}.png"
        if path is not None:
            path.write_bytes(picture.getvalue())
        cells.append({"bytes": picture.getvalue() if path is None else None, "path": path and str(path)})
    columns, features = {"id": list(values), "image": cells}, {"id": object(), "image": Picture()}
    if labels is not None:
        columns["label"], features["label"] = labels, Label()
    return Table(columns, features)


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Tables by the name of the repository."""
    tables: dict[str, dict[str, Table]] = {}
    stand_in = SimpleNamespace(Image=Picture, ClassLabel=Label, load_dataset=tables.__getitem__)
    monkeypatch.setitem(sys.modules, "datasets", stand_in)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tables


def test_parts_and_labels_are_kept(hub):
    hub["me/toy"] = {"train": table([1, 2, 3], [1, 0, 1]), "test": table([4, 5], [0, 0]), "extra": table([6], [0])}
    data = load("hf:me/toy")
    assert (data.name, data.shape, data.classes) == ("toy", (1, 2, 3), 2)
    assert data.class_names == ("a_b", "c")
    assert data.protocol["source"] == "hf:me/toy"
    assert list(data.parts) == ["train", "test"]
    assert np.asarray(data.train.x)[:, 0, 0, 0].tolist() == [1, 2, 3]
    assert data.train.labels is not None and data.train.labels.tolist() == [1, 0, 1]


def test_one_part_is_split_at_random(hub, tmp_path):
    hub["me/toy"] = {"train": table(list(range(20)), [-1] * 20, folder=tmp_path)}
    data = load("hf:me/toy", seed=1)
    assert [len(part) for part in data.parts.values()] == [16, 2, 2]
    assert data.classes is None


def test_tables_without_pictures_are_refused(hub):
    hub["me/text"] = {"train": Table({"text": ["a"]}, {"text": object()})}
    with pytest.raises(ValueError, match=r"hf:me/text has no column of images. Its columns: text"):
        load("hf:me/text")


def test_without_the_package_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(ImportError, match=r"pip install 'fourfold\[hf\]'"):
        load("hf:me/toy")
