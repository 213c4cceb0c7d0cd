"""What a split and a data set accept, refuse and say of themselves."""

import json

import numpy as np
import pytest

from fourfold.data import DataSet, DataSpec, Rows, Split

pytestmark = pytest.mark.usefixtures("unchecked")


def grey(n: int = 4, shape: tuple[int, ...] = (1, 2, 2)) -> np.ndarray:
    return np.arange(n * int(np.prod(shape)), dtype=np.uint8).reshape(n, *shape) + 100


def floats(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


@pytest.mark.parametrize(
    ("x", "labels", "words"),
    [
        (floats(0, 3), None, ["at least one row", "(0, 3)"]),
        (floats(3), None, ["shape (3,)", "from_arrays"]),
        (floats(3, 0), None, ["at least one row"]),
        (floats(3, 2, 2), None, ["(C, H, W)"]),
        (np.array([[1.0, np.nan]], np.float32), None, ["row 0", "NaN"]),
        (np.array([[1.0, 1.0], [0.0, -np.inf]], np.float32), None, ["row 1", "infinity"]),
        (np.zeros((2, 2), complex), None, ["complex128", "astype"]),
        (np.array([[None, 1]], object), None, ["object"]),
        (np.zeros((2, 2)), None, ["float64", "astype(np.float32)"]),
        ([[1.0]], None, ["NumPy array", "list"]),
        (floats(3, 2), np.zeros(2, int), ["one per row", "(3,)", "(2,)"]),
        (floats(3, 2), np.zeros((3, 1), int), ["one per row"]),
        (floats(3, 2), np.array([0.0, 1.0, 2.0]), ["whole numbers", "float64"]),
        (floats(3, 2), np.array([0, -1, 2]), ["count from 0", "-1"]),
    ],
)
def test_a_split_refuses_what_means_nothing(x, labels, words):
    with pytest.raises(ValueError) as error:
        Split(x, labels)
    for word in ["Split", *words]:
        assert word in str(error.value)


def test_nan_far_into_a_file_is_found(tmp_path):
    x = np.zeros((10_000, 2), np.float32)
    x[9_321, 1] = np.nan
    np.save(tmp_path / "x.npy", x)
    for rows in (Rows(tmp_path / "x.npy"), np.load(tmp_path / "x.npy", mmap_mode="r")):
        with pytest.raises(ValueError, match="row 9321"):
            Split(rows)


def test_labels_are_kept_as_int64():
    split = Split(grey(), np.array([0, 1, 2, 1], np.uint8))
    assert split.labels is not None
    assert split.labels.dtype == np.int64
    assert split.labels.tolist() == [0, 1, 2, 1]
    assert (len(split), split.shape) == (4, (1, 2, 2))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"levels": 16}, ["levels", "16"]),
        ({"levels": None}, ["float32", "uint8"]),
        ({"levels": 2}, ["0 and 1", "256"]),
        ({"test": Split(grey(3, (4,)))}, ["test", "(4,)", "(1, 2, 2)"]),
        ({"validation": Split(floats(3, 1, 2, 2))}, ["validation", "float32"]),
        ({"classes": 3}, ["labels and classes"]),
        ({"protocol": {"x": np.zeros(2)}}, ["JSON"]),
    ],
)
def test_a_data_set_refuses_what_does_not_fit(change, words):
    arguments = {"train": Split(grey()), "validation": None, "test": None, "levels": 256, "classes": None} | change
    with pytest.raises(ValueError) as error:
        DataSet("mine", **arguments)
    for word in ["'mine'", *words]:
        assert word in str(error.value)


def test_labels_stay_below_the_number_of_classes():
    split = Split(grey(2), np.array([0, 3]))
    with pytest.raises(ValueError, match=r"label 3 is outside 0\.\.2"):
        DataSet("mine", split, None, None, 256, 3)
    with pytest.raises(ValueError, match="labels and classes"):
        DataSet("mine", split, Split(grey(2)), None, 256, 4)


def test_a_data_set_knows_its_spec_and_protocol():
    data = DataSet("mine", Split(grey(4)), None, Split(grey(2)), 256, None, {"split": "given", "seed": 3})
    assert data.spec == DataSpec((1, 2, 2), 256, None)
    assert np.allclose(data.spec.mean, data.train.x.mean(axis=0) / 255)
    assert list(data.parts) == ["train", "test"]
    wanted = {"dataset": "mine", "n_train": 4, "n_validation": 0, "n_test": 2, "split": "given", "seed": 3}
    assert json.loads(json.dumps(data.protocol)) == wanted
    assert "train 4" in repr(data)
    assert "validation" not in repr(data)
