"""Pictures of levels."""

import numpy as np
import pytest

from fourfold.pictures import interpolations, level_rates, moves, resampled


def test_rates_are_of_validation_where_there_was_any_and_of_all_stages() -> None:
    rows = [
        {"epoch": e, f"train/{mark}rate_{i} raw [nats]": 0.1 * e * i, f"validation/{mark}rate_{i} raw [nats]": e * i}
        for e, mark in ((1, "level1/"), (2, ""), (3, ""))
        for i in (1, 2, 3)
    ]
    lines = level_rates(rows).axes[0].lines
    assert [[*np.asarray(line.get_ydata())] for line in lines] == [[1, 2, 3], [2, 4, 6], [3, 6, 9]]
    names = [line.get_label() for line in lines]
    assert names == ["level 1, the top: 3.00", "level 2: 6.00", "level 3, the bottom: 9.00"]
    once = [{**rows[0], "epoch": 1}, {"epoch": 2, "train/rate_1 raw [nats]": -0.5}]
    axes = level_rates(once).axes[0]
    assert [*np.asarray(axes.lines[0].get_ydata())] == [0.1, -0.5] and axes.get_ylim()[0] < -0.5
    with pytest.raises(ValueError, match="level_rates: rows must hold"):
        level_rates([{"epoch": 1, "train/rate raw [nats]": 1.0}])


def test_shapes_that_do_not_agree_are_refused() -> None:
    images = np.zeros((2, 3, 1, 4, 4))
    moves(images, ["z0", "z1"], ["−1", "0", "1"], "t", ["n"])
    with pytest.raises(ValueError, match="moves: images must be 1 names × 3 values"):
        moves(images, ["z0"], ["−1", "0", "1"], "t", [])
    resampled(images[:, 0], images, ["1", "2", "3"])
    with pytest.raises(ValueError, match="resampled: made must be"):
        resampled(images[:, 0], images, ["1"])
    interpolations(images[:, 0], images, ["line", "arc"])
    with pytest.raises(ValueError, match="interpolations: wanted two ends"):
        interpolations(images[:1, 0], images, ["line", "arc"])
