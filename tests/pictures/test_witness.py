"""Pictures of the witness function: the order of the images, the colours of the plane, and clear errors."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fourfold.pictures import png, witness_images, witness_plane

pytestmark = pytest.mark.usefixtures("unchecked")


def coloured(figure: Any) -> np.ndarray:
    with Image.open(BytesIO(png(figure))) as image:
        return np.asarray(image.convert("RGB")).astype(int)


def flat(levels: np.ndarray) -> np.ndarray:
    return np.ones((1, 1, 6, 6)) * levels[:, None, None, None]


def test_images_are_in_the_order_of_their_values():
    """Brightness is the value itself: rows of real high and low, made high and low, from the extreme inwards."""
    values = np.array([0.5, 0.1, 0.9, 0.3, 0.7, 0.2])
    figure = witness_images(flat(values), values, flat(values), values - 1, many=3)
    seen, box = coloured(figure)[:, :, 0], figure.axes[0].get_position()
    height, width = seen.shape
    x = ((box.x0 + (np.arange(3) + 0.5) / 3 * box.width) * width).astype(int)
    top, size = (1 - box.y1) * height, box.height * height
    middles = [(r + 0.5) * (size - 10) / 4 + (10 if r >= 2 else 0) for r in range(4)]
    found = seen[np.ix_((top + np.array(middles)).astype(int), x)] / 255
    np.testing.assert_allclose(found, [[0.9, 0.7, 0.5], [0.1, 0.2, 0.3]] * 2, atol=0.02)
    words = " ".join(text.get_text() for text in figure.texts)
    assert "real, highest: +0.900 to +0.500" in words and "made, lowest: −0.900 to −0.700" in words


def test_few_images_are_shown_once():
    values = np.linspace(-1, 1, 5)
    assert witness_images(flat(values * 0), values, flat(values[:4] * 0), values[:4], many=12).axes


def test_the_plane_is_orange_where_there_is_more_of_the_first():
    axis = np.linspace(-1, 1, 21)
    figure = witness_plane(np.add.outer(axis, 0 * axis), [[0.5, 0.0]], [[-0.5, 0.0]], (-1.0, 1.0), ("codes", "prior"))
    figure.canvas.draw()
    seen, axes = coloured(figure), figure.axes[0]

    def colour(at: tuple[float, float]) -> np.ndarray:
        x, y = axes.transData.transform(at)
        return seen[int(len(seen) - y), int(x)]

    right, left = colour((0.9, -0.4)), colour((-0.9, -0.4))
    assert right[0] > right[2] + 60 and left[2] > left[0] + 20  # red above blue, and blue above red
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["codes", "prior"]
    assert [text.get_text() for text in figure.axes[1].get_yticklabels()] == ["more prior", "0", "more codes"]


ONE, PAIR = np.zeros((3, 1, 4, 4)), np.zeros((3, 2))


@pytest.mark.parametrize(
    ("draw", "words"),
    [
        (lambda: witness_images(ONE, np.zeros(2), ONE, np.zeros(3)), "real_values must have the shape (3,)"),
        (lambda: witness_images(ONE, np.zeros(3), ONE, np.full(3, np.nan)), "made_values must be finite"),
        (lambda: witness_images(ONE, np.zeros(3), np.zeros((3, 1, 5, 5)), np.zeros(3)), "shape (1, 4, 4)"),
        (lambda: witness_plane(np.zeros((2, 3)), PAIR, PAIR, (0.0, 1.0)), "(k, k)"),
        (lambda: witness_plane(np.zeros((3, 3)), np.zeros((3, 3)), PAIR, (0.0, 1.0)), "(3, 2)"),
        (lambda: witness_plane(np.zeros((3, 3)), PAIR, PAIR, (1.0, 1.0)), "rise"),
    ],
)
def test_what_cannot_be_drawn_is_refused(draw, words: str):
    with pytest.raises(ValueError) as caught:
        draw()
    assert words in str(caught.value)
