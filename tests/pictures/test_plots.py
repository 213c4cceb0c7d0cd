"""Plots show the numbers they are given, under the names they have, and the writing of figures is all or nothing."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fourfold.pictures import code_bars, curves, grid, kl_bars, latent_scatter, png, save

pytestmark = pytest.mark.usefixtures("unchecked")

CODES = np.random.default_rng(0).normal(size=(60, 3))


def points(figure: Any) -> dict[tuple[float, float], tuple[float, ...]]:
    """Every point of a scatter, with its colour."""
    found = {}
    for drawn in figure.axes[0].collections:
        offsets, colours = np.asarray(drawn.get_offsets()), drawn.get_facecolors()
        for i, place in enumerate(offsets):
            found[tuple(place)] = tuple(colours[i % len(colours)][:3])
    return found


def test_a_scatter_shows_every_code_at_its_place_on_equal_axes():
    figure = latent_scatter(CODES, dims=(2, 0))
    assert set(points(figure)) == {(c, a) for a, _, c in CODES}
    axes = figure.axes[0]
    assert axes.get_aspect() == 1.0
    meaning = "posterior mean (for a flow: its centre)"
    assert (axes.get_xlabel(), axes.get_ylabel()) == (f"z2, {meaning}", f"z0, {meaning}")
    assert axes.get_legend() is None


@pytest.mark.parametrize("classes", [2, 10, 25])
def test_classes_have_a_look_and_a_name_each(classes: int):
    labels = np.arange(60) % classes
    figure = latent_scatter(CODES, labels)
    found = points(figure)
    assert len(found) == 60
    colour = {}
    for code, label in zip(CODES, labels, strict=True):
        assert colour.setdefault(label, found[tuple(code[:2])]) == found[tuple(code[:2])]
    assert len(set(colour.values())) == min(classes, 10)
    assert len(figure.axes[0].collections) == -(-classes // 10), "one marker for every ten classes"
    legend = figure.axes[0].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == [str(i) for i in range(classes)]
    png(figure)


def test_more_classes_than_looks_get_a_scale():
    figure = latent_scatter(CODES, np.arange(60))
    assert "59 last" in figure.axes[1].get_ylabel()
    assert figure.axes[0].get_legend() is None


def test_names_of_classes_are_words_and_no_formulas():
    figure = latent_scatter(CODES, np.where(CODES[:, 0] > 0, "$5", "_low"))
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["$5", "_low"]
    png(figure)


def test_many_points_are_small_and_faint():
    few, many = (latent_scatter(np.zeros((n, 2))).axes[0].collections[0] for n in (50, 20_000))
    assert many.get_sizes()[0] < few.get_sizes()[0]
    assert many.get_alpha() < few.get_alpha()


def test_code_bars_are_shares_of_an_even_one_and_tell_the_perplexity():
    figure = code_bars([1, 0, 2, 1])
    assert [bar.get_height() for bar in figure.axes[0].patches] == [2.0, 1.0, 1.0, 0.0]
    assert "perplexity 2.8 of 4 codes, 3 used" in figure.axes[0].get_title(loc="left") + figure.axes[0].get_title()


def test_kl_bars_are_sorted_and_say_what_active_means():
    figure = kl_bars([0.5, 2.0, 0.0, 1.0], [True, True, False, True], threshold=0.02)
    axes = figure.axes[0]
    assert [bar.get_height() for bar in axes.patches] == [2.0, 1.0, 0.5, 0.0]
    assert [tick.get_text() for tick in axes.get_xticklabels()] == ["z1", "z3", "z0", "z2"]
    assert len({bar.get_facecolor() for bar in axes.patches[:3]}) == 1
    assert axes.patches[3].get_facecolor() != axes.patches[0].get_facecolor()
    said = [text.get_text() for text in axes.get_legend().get_texts()]
    assert said == ["active: variance of the posterior mean > 0.02 (3)", "inactive (1)"]
    assert axes.get_title(loc="left") == "3.50 nats in 4 latents"
    assert axes.get_ylabel() == "KL [nats per datum]"


def rows(steps: int, **terms: Any) -> list[dict[str, Any]]:
    """Metrics of as many steps."""
    return [{"step": s, "epoch": s, **{k: f(s) for k, f in terms.items()}} for s in range(1, steps + 1)]


def test_curves_show_training_and_validation_together():
    given = rows(40, **{"train/elbo [nats]": lambda s: -100 - 50 / s, "train/rate [nats]": lambda s: 20.0 + s / 100})
    given += rows(2, **{"validation/elbo [nats]": lambda s: -103.5 + s, "validation/objective [nats]": lambda s: 7.0})
    figure = curves(given)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["−ELBO", "rate"]
    assert {axes.get_ylabel() for axes in figure.axes} == {"nats per datum"}
    train, validation = figure.axes[0].lines
    np.testing.assert_allclose(train.get_ydata(), [100 + 50 / s for s in range(1, 41)])
    np.testing.assert_allclose(validation.get_xydata(), [(1, 102.5), (2, 101.5)])
    said = [text.get_text() for text in figure.axes[0].get_legend().get_texts()]
    assert said == ["train  101.25", "validation  101.50"]


def test_the_wild_beginning_does_not_flatten_the_rest():
    axes = curves(rows(100, **{"train/elbo [nats]": lambda s: -1e6 if s == 1 else -100.0 - 10 / s})).axes[0]
    low, high = axes.get_ylim()
    assert low < 100.1 and 102 <= high < 103


def test_where_there_is_no_bound_what_was_logged_is_drawn():
    given = rows(5, **{"train/objective [nats]": float, "train/images [1/s]": float, "lr": float})
    figure = curves(given)
    assert [(a.get_title(loc="left"), a.get_ylabel()) for a in figure.axes] == [
        ("objective", "nats per datum"),
        ("images", "1/s"),
    ]


def staged(scale: float) -> list[dict[str, Any]]:
    """Metrics of two short stages and a long one."""
    given = [{"step": s, "train/one/distortion [nats]": scale + s} for s in range(1, 11)]
    given += [{"step": s, "train/two/distortion [nats]": 30.0 + s} for s in range(11, 21)]
    return given + [
        {"step": s, "train/distortion [nats]": 20.0, "train/critic/rate [nats]": 1.0} for s in range(21, 61)
    ]


STAGES = [("one", 10), ("two", 20), ("main", 60)]


def test_every_stage_is_drawn_and_begins_at_a_mark_with_its_name():
    (axes,) = curves(staged(40), STAGES).axes
    assert axes.get_title(loc="left") == "distortion" and axes.get_yscale() == "linear"
    one, two, main, *marks = axes.lines
    assert [(line.get_xdata()[0], line.get_xdata()[-1]) for line in (one, two, main)] == [(1, 10), (11, 20), (21, 60)]
    np.testing.assert_allclose(two.get_ydata(), range(41, 51))
    assert [mark.get_xdata()[0] for mark in marks] == [10, 20]
    assert [text.get_text() for text in axes.texts] == ["one", "two", "main"]
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["train  20.00"]
    assert axes.get_ylim()[1] > 50 + 5, "there is room for the names"


def test_stages_far_apart_share_a_log_scale_and_those_to_come_are_not_shown():
    assert curves(staged(900), STAGES).axes[0].get_yscale() == "log"
    (axes,) = curves(staged(40)[:7], STAGES).axes
    assert [text.get_text() for text in axes.texts] == ["one"] and len(axes.lines) == 1


def test_a_single_row_is_a_dot_and_what_is_not_finite_is_left_out():
    given = [{"step": 1, "train/elbo [nats]": -5.0}, {"step": 2, "train/elbo [nats]": float("nan")}]
    (line,) = curves(given).axes[0].lines
    assert line.get_marker() == "o"
    assert line.get_xydata().tolist() == [[1, 5]]


BAD = [
    (lambda: latent_scatter(CODES[:, :1]), "codes must be numbers (N, L) with L of at least 2, got (60, 1)"),
    (lambda: latent_scatter(CODES[0]), "got (3,)"),
    (lambda: latent_scatter(CODES[:0]), "got (0, 3)"),
    (lambda: latent_scatter(CODES * np.inf), "not finite"),
    (lambda: latent_scatter(CODES, [1, 2]), "labels must be (60,), one a code, got (2,)"),
    (lambda: latent_scatter(CODES, dims=(0, 3)), "dims must be two latents from 0 to 2, got (0, 3)"),
    (lambda: code_bars([0, 0]), "counts must be numbers (K,) of at least 0"),
    (lambda: kl_bars([]), "kl_per_latent must be finite numbers (L,)"),
    (lambda: kl_bars([[1.0]]), "got (1, 1)"),
    (lambda: kl_bars([np.nan]), "kl_per_latent must be finite"),
    (lambda: kl_bars([1.0, 2.0], [True]), "active must be booleans (2,)"),
    (lambda: kl_bars([1.0, 2.0], [1, 0]), "got int64"),
    (lambda: curves([]), "none of the 0 rows does"),
    (lambda: curves([{"step": 1, "loss": 3.0}]), "under 'step' and 'train/NAME [UNIT]'"),
    (lambda: save(grid(np.zeros((1, 4))), "picture"), "path must end with a format"),
]


@pytest.mark.parametrize(("draw", "message"), BAD, ids=[message for _, message in BAD])
def test_what_cannot_be_drawn_is_refused(draw: Any, message: str):
    with pytest.raises(ValueError) as refused:
        draw()
    assert message in str(refused.value)


def test_saving_makes_the_folder_and_one_file(tmp_path: Path):
    path = save(kl_bars([1.0, 2.0]), tmp_path / "new" / "kl.png")
    assert list(path.parent.iterdir()) == [path]
    with Image.open(path) as image:
        image.load()
        assert image.format == "PNG" and 660 <= image.width <= 1100
    assert save(kl_bars([1.0]), tmp_path / "new" / "kl.svg").read_text().startswith("<?xml")


def test_a_failed_save_leaves_the_old_file_and_nothing_else(tmp_path: Path):
    path = tmp_path / "kl.nonsense"
    path.write_text("old")
    with pytest.raises(ValueError, match="nonsense"):
        save(kl_bars([1.0, 2.0]), path)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_nothing_global_of_matplotlib_changes():
    program = """
import sys
import numpy as np
from fourfold import pictures
assert "matplotlib" not in sys.modules and "torch" not in sys.modules
import matplotlib
before = matplotlib.rcParams.copy()  # to read its backend would import pyplot
pictures.png(pictures.grid(np.zeros((3, 1, 4, 4))))
pictures.png(pictures.latent_scatter(np.eye(3), [0, 1, 1]))
assert str(matplotlib.rcParams.copy()) == str(before)
assert "matplotlib.pyplot" not in sys.modules and "torch" not in sys.modules
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 0, ran.stderr
