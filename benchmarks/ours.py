"""Fourfold's own training loop, an interval at a time, so that it can be raced against others."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.floor import Call, played, recorded
from benchmarks.harness import Absent, timed
from benchmarks.loops import Kind, images_of
from benchmarks.system import keep_pages

__all__ = [
    "MODELS",
    "fourfold",
    "fourfold_floor",
    "options_for",
    "prepared_for",
    "recorded_model",
    "settle",
]

_TWO_HUNDRED = {"latent": 50, "hidden": (200, 200), "activation": "tanh"}
#: Rows of the tables → recipe, its arguments, and the images it sees.
MODELS: dict[str, tuple[str, dict[str, Any], Kind]] = {
    "vae": ("vae", _TWO_HUNDRED, "dense"),
    "conv": ("conv_vae", {"latent": 10}, "conv"),
    "iwae": ("iwae", {**_TWO_HUNDRED, "draws": 50}, "dense"),
    "pixel_vae": ("pixel_vae", {}, "dense"),
    "lvae": ("lvae", {}, "dense"),
}


def settle() -> bool:
    """The process settings of the `fourfold` command, as it makes them; whether it made any."""
    from fourfold import _process

    return _process.settle()


def options_for(mode: str, **options: Any) -> Any:
    """Training options of a mode: `eager`, `compiled`, `bf16` (compiled) or `bf16 eager`.

    No checkpoint is saved: it is due by the clock on the wall, which goes on while a candidate waits for its turn.
    """
    from fourfold.training import Training

    fixed: dict[str, Any] = {"epochs": 10_000, "quiet": True, "checkpoint_seconds": 1e6}
    fixed |= {"compile": "on" if mode in ("compiled", "bf16") else "off"}
    return Training(**{**fixed, "precision": "bf16" if mode.startswith("bf16") else "32", **options})


def prepared_for(model: str, images: Any, options: Any, held_out: int = 0, **changes: Any) -> tuple[Any, Any]:
    """The step and its course, and the data, of a row; images are binary already, as for the others, or a `DataSet`.

    `changes` are arguments of the recipe, beside or instead of those of `MODELS`.
    """
    import fourfold as ff
    from fourfold.data import DataSet, Split
    from fourfold.runs.prepare import prepare

    name, arguments, kind = MODELS[model]
    plan = getattr(ff.recipes, name)(**{**arguments, **changes})
    if isinstance(images, DataSet):
        return prepare(plan, images, options), images
    x = images.view(-1, 1, 28, 28).numpy() if kind == "dense" else images.numpy()
    data = DataSet("binary", Split(x), Split(x[:held_out]) if held_out else None, None, levels=2, classes=None)
    return prepare(plan, data, options), data


def fourfold(
    model: str,
    batch: int,
    steps: int,
    mode: str = "eager",
    *,
    settled: bool = True,
    held_out: int = 0,
    accelerator: str = "cpu",
    graphs: bool = True,
    **changes: Any,
) -> Callable[[], float]:
    """A function that trains `steps` steps more and gives the seconds an image of them took.

    All that `fit` does for a step is in it: data order, view, trace, terms, reading the numbers, metrics.jsonl. With
    `settled`, the process is set up as the `fourfold` command sets up its own; without, it is as a program finds it
    that calls the library. With `held_out`, the piece is an epoch that ends with a validation on so many images.
    Without `graphs`, a compiled step is launched kernel by kernel on a GPU as well. `changes` are arguments of the
    recipe.

    Raises:
        Absent: where it did not compile what it was to compile.
    """
    if settled:
        settle()
    if not graphs:
        _without_graphs()
    from fourfold.training import Job, Outcome, intervals, launch

    options = options_for(mode, batch_size=batch, log_steps=steps, accelerator=accelerator)
    images = images_of(MODELS[model][2], batch)
    if held_out:
        images = images[: steps * batch]
    prepared, data = prepared_for(model, images, options, held_out, **changes)
    folder = Path(tempfile.mkdtemp())
    job = Job(prepared.step, data.train, data.validation, options, folder, quiet=True, stages=prepared.stages)
    loop = intervals(job, launch(options))
    state = Outcome()

    def piece() -> float:
        nonlocal state
        done, start = state.step, time.perf_counter()
        state = next(loop)
        seconds = time.perf_counter() - start
        return seconds / ((state.step - done) * batch)  # the interval at the end of an epoch can be a short one

    piece()  # the first is start-up, and compiles
    if options.compile == "on" and (off := [told for told in state.compiled.values() if told.startswith("off")]):
        raise Absent(f"compile: {off[0]}")
    return piece


def _without_graphs() -> None:
    """From here on in this process, what is compiled is not captured as a CUDA graph."""
    import torch

    real = torch.compile

    def plainly(*arguments: Any, options: dict[str, Any], **named: Any) -> Any:
        return real(*arguments, options={k: v for k, v in options.items() if k != "triton.cudagraphs"}, **named)

    torch.compile = plainly  # type: ignore[assignment]


def recorded_model(model: str, batch: int) -> list[Call]:
    """The products and convolutions of one step of a recipe."""
    import torch

    from fourfold.noise import Noise

    images = images_of(MODELS[model][2], batch, batch)
    prepared, data = prepared_for(model, images, options_for("eager", batch_size=batch))
    raw, noise = torch.from_numpy(data.train.x), Noise(0)
    return recorded(lambda: prepared.step(raw, None, noise)[0].backward())


def fourfold_floor(model: str, batch: int, steps: int, precision: str = "32") -> Callable[[], float]:
    """The products and convolutions of so many steps of a recipe alone, where no other program has the model."""
    import torch

    keep_pages()
    step = played(recorded_model(model, batch), torch.bfloat16 if precision == "bf16" else torch.float32)
    return timed(lambda: [step() for _ in range(steps)], steps * batch)
