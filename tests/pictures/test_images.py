"""Pictures of data: every pixel in its place, the words beside it, and clear errors for what cannot be drawn."""

from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fourfold import pictures
from fourfold.pictures import grid, manifold, reconstructions, traversal

pytestmark = pytest.mark.usefixtures("unchecked")


def pixels(figure: Any) -> np.ndarray:
    """The red channel of the PNG, as 0–255."""
    with Image.open(BytesIO(pictures.png(figure))) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB"))[:, :, 0]


def words(figure: Any) -> list[str]:
    """All text of a figure, from top to bottom and left to right."""
    texts = sorted(figure.texts, key=lambda text: (-round(text.get_position()[1], 4), text.get_position()[0]))
    return [text.get_text() for text in texts]


def cells(figure: Any, rows: int, columns: int) -> np.ndarray:
    """The brightness at the middle of each cell of the sheet in a figure."""
    box = figure.axes[0].get_position()
    seen = pixels(figure)
    height, width = seen.shape
    top, left = (1 - box.y1) * height, box.x0 * width
    y = top + (np.arange(rows) + 0.5) * box.height * height / rows
    x = left + (np.arange(columns) + 0.5) * box.width * width / columns
    return seen[np.ix_(y.astype(int), x.astype(int))]


def flat(*levels: float, shape: tuple[int, ...] = (1, 6, 6)) -> np.ndarray:
    """One even image for each level."""
    return np.stack([np.full(shape, level, np.float32) for level in levels])


def test_a_grid_shows_the_images_row_by_row():
    levels = np.linspace(0, 0.9, 6)
    seen = cells(grid(flat(*levels), columns=3), 2, 3)
    np.testing.assert_allclose(seen.ravel() / 255, levels, atol=0.01)


def test_every_pixel_of_an_image_covers_a_whole_number_of_pixels():
    board = np.indices((7, 5)).sum(0) % 2
    seen = pixels(grid(board[None, None].astype(float)))
    inked = seen[np.ix_((seen == 0).any(1), (seen == 0).any(0))]
    times = inked.shape[0] // 7
    assert inked.shape == (7 * times, 5 * times)
    np.testing.assert_array_equal(inked[::times, ::times], 255 * board)
    np.testing.assert_array_equal(inked, (255 * board).repeat(times, 0).repeat(times, 1))


def test_a_short_last_row_is_left_blank():
    assert cells(grid(flat(0, 0, 0, 0, 0), columns=3), 2, 3).tolist() == [[0, 0, 0], [0, 0, 255]]


def test_bytes_are_levels_and_colours_are_colours():
    assert cells(grid(np.full((1, 1, 4, 4), 51, np.uint8)), 1, 1)[0, 0] == 51
    red = np.zeros((1, 3, 4, 4))
    red[:, 0] = 1
    assert cells(grid(red), 1, 1)[0, 0] == 255
    red[:, 0], red[:, 2] = 0, 1
    assert cells(grid(red), 1, 1)[0, 0] == 0


def test_channels_that_are_no_colours_stand_side_by_side_and_it_is_said():
    image = np.stack([np.full((8, 8), level) for level in (0.0, 0.2, 0.4, 0.6)])[None]
    figure = grid(image)
    assert cells(figure, 1, 4)[0].tolist() == [0, 51, 102, 153]
    assert words(figure) == ["Each picture: its 4 channels, side by side."]


def test_values_outside_of_0_and_1_are_clipped_and_it_is_said():
    figure = grid(flat(-0.5, 0.5, 1.5, 0.5))
    assert cells(figure, 1, 4)[0].tolist() == [0, 128, 255, 128]
    assert words(figure) == ["50.0 % of the values lie outside [0, 1] and are drawn as 0 or 1."]
    assert words(grid(flat(0, 1))) == []


def test_images_too_large_for_the_page_are_averaged():
    board = (np.indices((1200, 1200)).sum(0) % 2)[None, None].astype(float)
    figure = grid(board)
    assert figure.get_size_inches()[0] * 110 <= 900
    assert 126 <= cells(figure, 1, 1)[0, 0] <= 129


def test_vectors_are_lines_on_one_scale():
    from matplotlib.collections import LineCollection

    figure = grid(np.array([[0.0, 1.0, 2.0], [0.0, 0.0, 4.0]]), columns=2)
    (lines,) = [c for c in figure.axes[0].collections if isinstance(c, LineCollection)]
    first, second = (path.vertices for path in lines.get_paths())
    height = first[0, 1] - first[2, 1]
    assert second[0, 1] == first[0, 1], "both begin at 0, the bottom of the scale"
    np.testing.assert_allclose(second[0, 1] - second[2, 1], 2 * height, rtol=1e-5)
    assert first[:, 0].max() < second[:, 0].min()
    assert "3 elements" in words(figure)[-1] and "0 to 4" in words(figure)[-1]
    assert pixels(grid(np.ones((3, 1)))).min() < 255, "one element is a dot"


def test_titles_are_words_and_no_formulas():
    figure = grid(flat(0.5), title="$not maths$ " * 30)
    assert " ".join(words(figure)) == ("$not maths$ " * 30).strip()
    assert figure.get_size_inches()[0] < 10
    pixels(figure)


def test_reconstructions_stand_under_their_data():
    data, back = flat(*np.linspace(0, 0.4, 12)), flat(*np.linspace(0.5, 0.9, 12))
    figure = reconstructions(data, back)
    assert words(figure) == ["data", "reconstruction"] * 2
    seen = cells(reconstructions(data[:4], back[:4]), 2, 4) / 255
    np.testing.assert_allclose(seen[0], data[:4, 0, 0, 0], atol=0.01)
    np.testing.assert_allclose(seen[1], back[:4, 0, 0, 0], atol=0.01)


def test_a_traversal_shows_the_dearest_latent_first():
    rows = np.stack([flat(level, level + 0.05) for level in (0.1, 0.4, 0.7)])
    figure = traversal(rows, [12, 3, 0], [0.004, 2.409, 1.0], [-3, 3])
    np.testing.assert_allclose(cells(figure, 3, 2)[:, 0] / 255, [0.4, 0.7, 0.1], atol=0.01)
    said = [label.replace("\u2007", "") for label in words(figure)]
    assert said == ["value of the latent", "−3.0", "3.0", "z3  KL 2.41 nats", "z0  KL 1.00 nats", "z12  KL 0.00 nats"]


def test_a_traversal_tells_what_is_committed_and_goes_by_the_rest():
    rows = np.stack([flat(0, 0.5, 1), flat(1, 0, 0), flat(0, 0, 1)])
    figure = traversal(rows, [2, 1, 0], [2.0, 1.5, 0.5], [-1, 0, 1], [1.9, 0.5, 0.0])
    assert [word for word in words(figure) if "KL" in word] == [
        "z1  KL 1.50 nats, 0.50 committed",
        "z0  KL 0.50 nats, 0.00 committed",
        "z2  KL 2.00 nats, 1.90 committed",
    ]
    with pytest.raises(ValueError, match="traversal: committed must have the shape"):
        traversal(rows, [2, 1, 0], [2.0, 1.5, 0.5], [-1, 0, 1], [1.9])


def test_a_traversal_tells_values_as_exactly_as_they_are():
    figure = traversal(flat(0, 0.5, 1)[None], [0], [1.0], [-0.75, 0, 0.75])
    assert words(figure)[1:4] == ["−0.75", "0.00", "0.75"]


def test_on_the_manifold_z0_grows_to_the_right_and_z1_upwards():
    plane = np.zeros((3, 3, 1, 6, 6))
    plane[2, 0] = 1.0  # z0 high, z1 low
    plane[2, 2] = 0.5  # both high
    figure = manifold(plane, pictures.normal_quantiles(3))
    assert cells(figure, 3, 3).tolist() == [[0, 0, 128], [0, 0, 0], [0, 0, 255]]
    assert words(figure) == ["0.97", "z1", "0.00", "−0.97", "−0.97", "0.00", "0.97", "z0"]


def test_normal_quantiles_cut_the_prior_into_equal_shares():
    from scipy.stats import norm

    np.testing.assert_allclose(norm.cdf(pictures.normal_quantiles(10)), np.arange(0.05, 1, 0.1), atol=1e-12)


IMAGES = flat(0.1, 0.2)
BAD = [
    (lambda: grid(np.zeros((3, 8, 8))), "grid: images must be (N, C, H, W) for images or (N, D) for vectors"),
    (lambda: grid(np.zeros(8)), "got (8,)"),
    (lambda: grid(np.zeros((0, 1, 8, 8))), "has nothing to draw"),
    (lambda: grid(np.zeros((2, 0))), "has nothing to draw"),
    (lambda: grid(["a", "b"]), "must be an array of numbers"),
    (lambda: grid([{}]), "must be an array of numbers"),
    (lambda: grid(IMAGES * np.nan), "72 numbers of 72 that are not finite. Is the model trained?"),
    (lambda: grid(IMAGES * 1000), "got values up to 200. Divide them by 255."),
    (lambda: grid(np.zeros((5000, 1, 2, 2))), "has 5,000 pictures"),
    (lambda: grid(IMAGES, columns=0), "grid: columns must be an integer of at least 1"),
    (lambda: reconstructions(IMAGES, IMAGES[:1]), "must have the shape of x, (2, 1, 6, 6), got (1, 1, 6, 6)"),
    (lambda: reconstructions(IMAGES[0, 0, 0], IMAGES), "reconstructions: x must be"),
    (lambda: traversal(IMAGES, [0, 1], [1, 1], [0]), "traversal: images must be (K, steps, C, H, W)"),
    (lambda: traversal(IMAGES[None], [0, 1], [1], [0, 1]), "traversal: latents must have the shape (1,)"),
    (lambda: traversal(IMAGES[None], [0], [1, 2], [0, 1]), "traversal: kl must have the shape (1,)"),
    (lambda: traversal(IMAGES[None], [0], [np.nan], [0, 1]), "traversal: kl must be finite"),
    (lambda: traversal(IMAGES[None], [0], [1], [0, 1, 2]), "traversal: values must have the shape (2,)"),
    (lambda: manifold(IMAGES[None], [0]), "manifold: images must be n × n, got 1 × 2"),
    (lambda: manifold(IMAGES[None, :1], [0, 1]), "manifold: values must have the shape (1,)"),
    (lambda: pictures.normal_quantiles(0), "normal_quantiles: n must be an integer of at least 1"),
]


@pytest.mark.parametrize(("draw", "message"), BAD, ids=[message for _, message in BAD])
def test_what_cannot_be_drawn_is_refused(draw: Any, message: str):
    with pytest.raises(ValueError) as refused:
        draw()
    assert message in str(refused.value)
