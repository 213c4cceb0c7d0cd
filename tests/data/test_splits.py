"""Named splits: sizes, order, and the draws of the published code."""

import numpy as np
import pytest

from fourfold.data import Split
from fourfold.data.splits import burda, larochelle, random_split, shuffled, vamp


@pytest.fixture(scope="module")
def sixty() -> tuple[Split, Split]:
    """As many rows as MNIST, each naming its place."""

    def rows(n: int) -> Split:
        x = np.zeros((n, 4), np.uint8)
        x[:, 0], x[:, 1], x[:, 2], x[:, 3] = np.arange(n) // 256, np.arange(n) % 256, 0, 255
        return Split(x, np.arange(n) % 10)

    return rows(60_000), rows(10_000)


def places(split: Split) -> list[int]:
    x = np.asarray(split.x)
    return (x[:, 0].astype(int) * 256 + x[:, 1]).tolist()


def test_burda_holds_out_the_last_400(sixty):
    train, validation, test = burda(*sixty)
    assert places(train) == list(range(59_600))
    assert places(validation) == list(range(59_600, 60_000))
    assert test is sixty[1]
    assert validation.labels is not None and validation.labels[:3].tolist() == [0, 1, 2]


def test_larochelle_keeps_the_order(sixty):
    train, validation, test = larochelle(*sixty)
    assert places(train) == list(range(50_000))
    assert places(validation) == list(range(50_000, 60_000))
    assert test is sixty[1]


def test_vamp_draws_validation_then_test_once_at_777(sixty):
    train, validation, test = vamp(*sixty)
    assert places(train) == list(range(50_000))
    np.random.seed(777)  # as the published code did: the global generator, validation first, floats of 32 bits
    for part, source in ((validation, sixty[0].x[50_000:]), (test, sixty[1].x)):
        drawn = np.random.binomial(1, source.astype("float32") / np.float32(255.0))
        assert np.array_equal(part.x, drawn * 255)
    assert (len(validation), len(test)) == (10_000, 10_000)
    assert np.array_equal(np.unique(np.asarray(test.x)), [0, 255])
    assert not np.asarray(test.x)[:, 2].any() and (np.asarray(test.x)[:, 3] == 255).all()


def test_splits_leave_the_global_generator_alone(sixty):
    before = np.random.get_state()[1].copy()
    vamp(*sixty)
    shuffled(100, 0, 10)
    assert np.array_equal(np.random.get_state()[1], before)


def test_a_random_split_is_every_row_once():
    x = np.arange(105, dtype=np.float32)[:, None]
    parts = random_split(x, np.arange(105), seed=3)
    assert [len(part) for part in parts] == [85, 10, 10]
    assert sorted(np.concatenate([part.labels for part in parts]).tolist()) == list(range(105))
    for part in parts:
        assert np.array_equal(part.x[:, 0], part.labels)
    again, other = random_split(x, None, seed=3), random_split(x, None, seed=4)
    assert np.array_equal(again[1].x, parts[1].x)
    assert not np.array_equal(other[1].x, parts[1].x)


def test_shuffled_never_changes():
    assert [part.tolist() for part in shuffled(10, 0, 2, 3)[1:]] == [[6, 7], [0, 3, 5]]
    assert len(shuffled(10, -1, 2)[1]) == 2


def test_three_rows_are_enough_and_two_are_not():
    assert [len(part) for part in random_split(np.zeros((3, 1), np.float32), None, 0)] == [1, 1, 1]
    with pytest.raises(ValueError, match=r"mine: .*at least 3 rows, got 2.*split='all'"):
        random_split(np.zeros((2, 1), np.float32), None, 0, "mine")
