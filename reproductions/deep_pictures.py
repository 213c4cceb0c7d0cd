"""The pictures of ``deep_curves``, and the numbers that they are drawn from."""

__all__ = ["LADDERS", "PICTURES", "draw", "levels", "likeness", "lossy"]

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from fourfold import Noise, pictures
from fourfold._files import whole
from fourfold.pictures.cells import Labels, sheet
from fourfold.pictures.figures import SMALL, blank, tidy
from fourfold.runs import Run
from fourfold.runs.folder import RunFolder

from .compare import row_of
from .pooled import mnist_14
from .store import HOME

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
#: Lines of the table whose levels are drawn → what each is.
LADDERS = {
    "lvae": "ladder, warm-up and BN",
    "lvae_plain": "ladder, neither",
    "hvae": "chain, warm-up and BN",
    "hvae_plain": "chain, neither",
}
_WINDOWS = ("2x1", "4x2", "6x3", "10x5")
_DEPTHS = (0, 1, 2, 4)
_SHOWN, _DRAWS, _IMAGES = 3, 64, 200
_COLOURS = ("#1f5fa8", "#c8553d", "#2f8f6b", "#8a5fb0", "#b8860b")


def draw(home: Path, runs: Path, table: Path, out: Path) -> None:
    """Everything that there are numbers for.

    Args:
        home: folder of the results.
        runs: of the points.
        table: the runs of the table.
        out: folder of the pictures.
    """
    if found := levels(table, home):
        _draw_levels(found, out / "deep_levels.png")
    names = [f"vlae_{window}" for window in _WINDOWS]
    if all(row_of(name, "nll_is", home, "deep_curves") for name in names):
        words = [window.replace("x", " × ") for window in _WINDOWS]
        _draw_curve({"": names}, words, "pixels seen: width × rows above", home, out / "deep_windows.png")
    latent = [f"pixel_vae_{depth}" for depth in _DEPTHS]
    alone = [f"pixel_cnn_{depth}" for depth in _DEPTHS if depth]
    if all(row_of(name, "nll_is", home, "deep_curves") for name in (*latent, *alone)):
        lines = {"PixelVAE": latent, "PixelCNN alone": alone}
        _draw_curve(lines, [str(depth) for depth in _DEPTHS], "layers of the PixelCNN", home, out / "deep_depths.png")
    done = [window for window in _WINDOWS if row_of(f"vlae_{window}", "nll_is", home, "deep_curves")]
    there = {window: runs / f"vlae_{window}" for window in done if (runs / f"vlae_{window}" / "checkpoints").exists()}
    lossy(there, home)
    if len(there) > 1:
        _draw_lossy(there[done[0]], there[done[-1]], (done[0], done[-1]), out / "deep_lossy.png")


def levels(table: Path, home: Path = HOME) -> dict[str, Any]:
    """Line → epochs, and the held-out rate of each level there, from the top: kept, so that runs may be thrown away."""
    found = _kept(home / "deep_levels.json")
    for name in LADDERS:
        rows = RunFolder(table / name).metrics() if (table / name).exists() else []
        rows = [row for row in rows if "validation/rate_1 raw [nats]" in row]
        if rows:
            keys = sorted(
                (key for key in rows[0] if key.startswith("validation/rate_") and " raw " in key), key=_number
            )
            found[name] = {
                "epochs": [round(row["epoch"], 3) for row in rows],
                "rates": [[round(row[key], 4) for row in rows] for key in keys],
            }
    _keep(home / "deep_levels.json", found)
    return found


def _number(key: str) -> int:
    return int(key.removeprefix("validation/rate_").split()[0])


def lossy(runs: Mapping[str, Path], home: Path = HOME) -> dict[str, Any]:
    """How like the datum is what is drawn for its z, in its coarse and in its fine part, window by window."""
    found = _kept(home / "deep_lossy.json")
    for window, folder in runs.items():
        if window not in found:
            run = Run.open(folder, data=_data(folder))
            x, drawn = _drawn(run, list(range(min(_IMAGES, len(run.split("test"))))), 1)
            found[window] = {**likeness(x, drawn[0]), "images": len(x), "dataset": run.dataset().name}
    _keep(home / "deep_lossy.json", found)
    return found


def likeness(x: np.ndarray, drawn: np.ndarray) -> dict[str, float]:
    """Correlations, over images and pixels, of data with draws: of 2 × 2 means less the mean image, and of the rest.

    Args:
        x: data ``(N, 1, H, W)``.
        drawn: one draw for each.
    """

    def parts(images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        height, width = images.shape[2] // 2 * 2, images.shape[3] // 2 * 2
        blocks = images[:, 0, :height, :width].reshape(len(images), height // 2, 2, width // 2, 2)
        coarse = blocks.mean((2, 4), keepdims=True)
        return coarse - x_mean(coarse), blocks - coarse

    def x_mean(images: np.ndarray) -> np.ndarray:
        return images.mean(0, keepdims=True)

    pairs = zip(("coarse", "fine"), parts(x), parts(drawn), strict=True)
    return {name: round(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]), 4) for name, a, b in pairs}


@torch.no_grad()
def _drawn(run: Run, rows: Sequence[int], draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Test images, binarised once, and draws of p(x | z) at one z ~ q(z | x) each, ``(draws, N, C, H, W)``."""
    seen = torch.cat([batch.x for batch in run.batches(run.split("test"), 0)()])[list(rows)]
    place = run.model.device
    p_x = run.model(seen, noise=Noise(0, stream="lossy", device=place)).p_x
    made = [p_x.sample(Noise(i, stream="draws", device=place))[0] for i in range(draws)]
    return seen.cpu().numpy(), torch.stack(made).cpu().numpy()


def _data(folder: Path) -> Any:
    """The data that a point was trained on; ``None`` for those that can be loaded by name."""
    return None if RunFolder(folder).record()["data"]["origin"] else mnist_14()


def _draw_lossy(small: Path, wide: Path, windows: tuple[str, str], out: Path) -> None:
    """One datum of each class above draws at the same z and their mean, of a small window and of a wide one."""
    rows, labels = [], ["data"]
    for folder, window in ((small, windows[0]), (wide, windows[1])):
        run = Run.open(folder, data=_data(folder))
        marks = run.split("test").labels
        assert marks is not None
        x, drawn = _drawn(run, [int(np.argmax(marks == label)) for label in range(int(marks.max()) + 1)], _DRAWS)
        rows = [*(rows or [x]), *drawn[:_SHOWN], drawn.mean(0)]
        said = [*(f"draw {i + 1}" for i in range(_SHOWN)), f"mean of {_DRAWS}"]
        labels += [f"window {window.replace('x', ' × ')}, {what}" for what in said]
    title = "Draws of p(x given z), at one z a column and model"
    pictures.save(sheet(np.stack(rows), None, Labels(title=title, rows=labels)), out)


def _draw_levels(found: dict[str, Any], out: Path) -> None:
    names = [name for name in LADDERS if name in found]
    figure = blank(3.1 * len(names), 3.0)
    for i, name in enumerate(names):
        axes = figure.add_subplot(1, len(names), i + 1)
        rates = found[name]["rates"]
        for level, values in enumerate(rates):
            place = " (top)" if level == 0 else " (bottom)" if level == len(rates) - 1 else ""
            colour = _COLOURS[level % len(_COLOURS)]
            axes.plot(
                found[name]["epochs"], np.maximum(values, 1e-3), color=colour, lw=1.3, label=f"{level + 1}{place}"
            )
        tidy(axes, LADDERS[name], "epoch", "rate in nats" if i == 0 else "")
        axes.set_yscale("log")
        axes.set_ylim(1e-2, 100)
    figure.axes[0].legend(fontsize=SMALL, frameon=False, ncols=2, title="level", title_fontsize=SMALL)
    pictures.save(figure, out)


def _draw_curve(lines: Mapping[str, Sequence[str]], words: Sequence[str], x: str, home: Path, out: Path) -> None:
    """Rate and NLL of points over their places; a line that lacks the first places stands at the last ones."""
    figure = blank(7.0, 2.9)
    for i, (metric, title) in enumerate((("rate", "Rate"), ("nll_is", "NLL"))):
        axes = figure.add_subplot(1, 2, i + 1)
        for colour, (label, names) in zip(_COLOURS, lines.items(), strict=False):
            rows = [row_of(name, metric, home, "deep_curves") for name in names]
            if metric == "nll_is" or any(row and row["value"] for row in rows):
                _plot(axes, rows, len(words) - len(names), label, colour)
        axes.set_xticks(range(len(words)), words)
        tidy(axes, title, x, "nats")
        if len(lines) > 1:
            axes.legend(fontsize=SMALL, frameon=False)
    pictures.save(figure, out)


def _plot(axes: "Axes", rows: Sequence[dict[str, Any] | None], start: int, label: str, colour: str) -> None:
    values = [float(row["value"]) for row in rows if row]
    errors = [row["standard_error"] or 0.0 for row in rows if row]
    places = range(start, start + len(values))
    axes.errorbar(places, values, errors, color=colour, lw=1.3, marker="o", ms=4, capsize=2, label=label)


def _kept(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()) if path.exists() else {}


def _keep(path: Path, found: dict[str, Any]) -> None:
    if found and found != _kept(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as file:
            file.write((json.dumps(found) + "\n").encode())
