"""The view: values, draws, conditions and masks; what may be binarised."""

import json
import math

import numpy as np
import pytest
import torch

from fourfold.data import DataSet, DataSpec, Quadrants, Split, View, check_binarize
from fourfold.noise import Noise, Recorder, Replay

GREY = torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8)
QUIET = Replay([])  # any draw from it is an error


def test_levels_become_grey_values():
    x = View(256)(GREY, None, QUIET).x
    assert x.dtype == torch.float32
    assert x.min() == 0 and x.max() == 1
    assert torch.allclose(x * 255, GREY.float())


def test_values_have_the_default_type(double):
    x = View(256)(GREY, None, QUIET).x
    assert x.dtype == torch.float64
    assert x.flatten()[51] == 0.2
    assert View(None)(torch.ones(2, 3), None, QUIET).x.dtype == torch.float64


def test_binary_and_real_rows_are_shown_as_they_are():
    bits = torch.tensor([[0, 1], [1, 1]], dtype=torch.uint8)
    assert View(2, binarize="static")(bits, None, QUIET).x.equal(bits.float())
    real = torch.tensor([[-3.5, 7.0]])
    assert View(None)(real, None, QUIET).x.equal(real)


def test_threshold_is_one_half():
    x = View(256, binarize="threshold")(GREY, None, QUIET).x
    assert x.flatten().tolist() == [0.0] * 128 + [1.0] * 128


def test_dynamic_binarisation_has_the_frequencies_of_the_pixels():
    n = 20_000
    raw = torch.tensor([[0, 1, 64, 128, 250, 255]], dtype=torch.uint8).expand(n, 6)
    x = View(256, binarize="dynamic")(raw, None, Noise(0)).x
    assert set(x.unique().tolist()) == {0.0, 1.0}
    p = raw[0] / 255
    error = (x.mean(0) - p).abs()
    assert (error <= 4 * (p * (1 - p) / n).sqrt()).all()  # exactly 0 for the pixels that are black or white
    again = View(256, binarize="dynamic")(raw, None, Noise(0)).x
    other = View(256, binarize="dynamic")(raw, None, Noise(0, step=1)).x
    assert again.equal(x) and not other.equal(x)


def test_dynamic_binarisation_of_floats_uses_their_value():
    x = View(None, binarize="dynamic")(torch.full((10_000, 1), 0.3), None, Noise(1)).x
    assert abs(x.mean().item() - 0.3) < 4 * math.sqrt(0.21 / 10_000)


def test_dequantised_values_stay_in_their_cell():
    noise = Recorder(Noise(0))
    x = View(256, dequantize=True)(GREY, None, noise).x
    assert torch.allclose(x * 256, GREY + noise.tensors[0])
    assert ((x * 256).floor() == GREY).all()
    assert len(noise.requests) == 1


@pytest.mark.parametrize("kind", [{"binarize": "dynamic"}, {"dequantize": True}])
def test_processes_draw_what_one_would(kind):
    whole = View(256, **kind)(GREY, None, Noise(0)).x
    halves = [View(256, **kind)(GREY[2 * i : 2 * i + 2], None, Noise(0, shard=(i, 2))).x for i in range(2)]
    assert torch.cat(halves).equal(whole)


def test_a_label_is_passed_on():
    labels = torch.tensor([3, 1, 4, 1])
    batch = View(256, condition="label")(GREY, labels, QUIET)
    assert batch.c is labels and batch.mask is None
    assert View(256)(GREY, labels, QUIET).c is None
    with pytest.raises(ValueError, match="data have none"):
        View(256, condition="label")(GREY, None, QUIET)


@pytest.mark.parametrize(("observed", "hidden"), [(1, 588), (2, 392), (3, 196)])
def test_quadrants_hide_what_the_task_predicts(observed, hidden):
    raw = torch.full((2, 1, 28, 28), 255, dtype=torch.uint8)
    batch = View(256, condition=Quadrants(observed))(raw, None, QUIET)
    assert batch.mask is not None and batch.c is not None
    assert batch.mask.shape == (1, 28, 28) and batch.mask.sum() == hidden
    assert batch.c.shape == (2, 2, 28, 28)
    assert batch.x.equal(torch.ones(2, 1, 28, 28))
    assert batch.c[0, 0].equal(1 - batch.mask[0]) and batch.c[1, 1].equal(1 - batch.mask[0])


def test_quadrants_are_where_they_should_be():
    top_left, top_right, bottom_left, bottom_right = (0, 0), (0, -1), (-1, 0), (-1, -1)
    wanted = {1: {bottom_left}, 2: {top_left, bottom_left}, 3: {top_left, top_right, bottom_left}}
    for observed, seen in wanted.items():
        mask = Quadrants(observed).mask((1, 28, 28))
        corners = {corner for corner in (top_left, top_right, bottom_left, bottom_right) if mask[0][corner] == 0}
        assert corners == seen
    assert Quadrants(1).mask((2, 5, 3))[1].tolist() == [[1, 1, 1], [1, 1, 1], [0, 1, 1], [0, 1, 1], [0, 1, 1]]


def test_quadrants_show_the_binary_draws_of_the_image():
    batch = View(256, binarize="dynamic", condition=Quadrants(3))(GREY, None, Noise(0))
    assert batch.c is not None and batch.mask is not None
    assert batch.c[:, :1].equal(batch.x * (1 - batch.mask))


def test_shapes_of_conditions():
    spec = DataSpec((3, 8, 8), 256, 10)
    assert View(256).condition_shape(spec) is None
    assert View(256, condition="label").condition_shape(spec) == (10,)
    assert View(256, condition=Quadrants(1)).condition_shape(spec) == (6, 8, 8)
    with pytest.raises(ValueError, match="labels"):
        View(256, condition="label").condition_shape(DataSpec((4,), 256, None))
    with pytest.raises(ValueError, match="images"):
        View(256, condition=Quadrants(1)).condition_shape(DataSpec((4,), 256, None))


@pytest.mark.parametrize(
    "view",
    [
        View(256, binarize="dynamic", condition="label"),
        View(256, dequantize=True),
        View(2, binarize="static", condition=Quadrants(2)),
        View(None),
    ],
)
def test_a_view_survives_json(view):
    fields = json.loads(json.dumps(view.to_dict()))
    assert View.from_dict(fields).to_dict() == view.to_dict()
    assert View.from_dict(fields).condition == view.condition


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"levels": 16}, "levels"),
        ({"levels": 256, "binarize": "dynamik"}, "dynamic"),
        ({"levels": 256, "binarize": "dynamic", "dequantize": True}, "Choose one"),
        ({"levels": None, "dequantize": True}, "256 levels"),
        ({"levels": 2, "binarize": "dynamic"}, "0 and 1 already"),
        ({"levels": 2, "binarize": "threshold"}, "0 and 1 already"),
        ({"levels": 256, "condition": "lable"}, "lable"),
    ],
)
def test_views_that_mean_nothing_are_refused(arguments, words):
    with pytest.raises(ValueError, match=words):
        View(**arguments)


def test_rows_of_another_kind_are_refused(unchecked):
    with pytest.raises(ValueError, match=r"levels=256.*float32"):
        View(256)(torch.ones(2, 3), None, QUIET)
    with pytest.raises(ValueError, match=r"levels=None.*uint8"):
        View(None)(GREY, None, QUIET)
    for observed in (0, 4, True):
        with pytest.raises(ValueError, match="1, 2 or 3"):
            Quadrants(observed)


COMPILED = """
import torch
from fourfold.data import Quadrants, View
from fourfold.noise import Noise, Recorder, Replay

raw = torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8)
labels = torch.arange(4)
quadrants, label = {"binarize": "dynamic", "condition": Quadrants(3)}, {"dequantize": True, "condition": "label"}
for arguments in (quadrants, label, {"binarize": "threshold"}):
    view = View(256, **arguments)

    def shown(raw, labels, *numbers):
        return view(raw, labels, Replay(numbers))

    recorder = Recorder(Noise(0))
    plain = view(raw, labels, recorder)
    fast = torch.compile(shown, fullgraph=True, backend="eager")(raw, labels, *recorder.tensors)
    assert fast.x.equal(plain.x), arguments
    assert (fast.c is None) == (plain.c is None) == ("condition" not in arguments)
    assert fast.c is None or fast.c.equal(plain.c), arguments
"""


def test_the_view_compiles_without_a_break(fresh_python):
    fresh_python(COMPILED)


def data_of(x: np.ndarray, levels: int | None) -> DataSet:
    return DataSet("mine", Split(x), None, Split(x), levels, None)


BITS = np.array([[0, 1], [1, 1]], np.uint8)
LEVELS = np.array([[0, 255], [10, 1]], np.uint8)
UNIT = np.array([[0.0, 0.25]], np.float32)
REAL = np.array([[-1.0, 200.0]], np.float32)


@pytest.mark.parametrize(
    ("x", "levels", "binarize", "resolved"),
    [
        (BITS, 2, None, "static"),
        (BITS, 2, "static", "static"),
        (LEVELS, 256, None, None),
        (LEVELS, 256, "dynamic", "dynamic"),
        (LEVELS, 256, "threshold", "threshold"),
        (BITS * 255, 256, "static", "static"),
        (UNIT, None, "dynamic", "dynamic"),
        (UNIT.round(), None, "static", "static"),
        (REAL, None, None, None),
    ],
)
def test_binarisations_that_fit(x, levels, binarize, resolved):
    assert check_binarize(data_of(x, levels), binarize) == resolved


@pytest.mark.parametrize(
    ("x", "levels", "binarize", "dequantize", "words"),
    [
        (BITS, 2, "dynamic", False, "0 and 1 already"),
        (BITS, 2, None, True, "dequantize"),
        (LEVELS, 256, "static", False, "'mine', train holds grey values"),
        (UNIT, None, "static", False, "grey values"),
        (REAL, None, "dynamic", False, r"from -1 to 200; .*\[0, 1\]"),
        (REAL, None, "threshold", False, "real values"),
        (UNIT, None, None, True, "256 levels"),
        (LEVELS, 256, "dynamic", True, "Choose one"),
        (LEVELS, 256, "binary", False, "unknown value 'binary'"),
    ],
)
def test_binarisations_that_do_not_fit(x, levels, binarize, dequantize, words):
    with pytest.raises(ValueError, match=words):
        check_binarize(data_of(x, levels), binarize, dequantize=dequantize)
