"""The lines of the table of deep models, each with a schedule of its own: on a CPU in minutes, and in full on a GPU."""

__all__ = ["DATA", "FULL", "SHORT", "Entry", "small"]

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import fourfold as ff
from fourfold.data.text import from_lines

from .pooled import mnist_14


@dataclass(frozen=True)
class Entry:
    """A line: a recipe, its arguments, its data, and its budget.

    Args:
        recipe: its name.
        arguments: of the recipe.
        epochs: of training.
        minutes: of CPU that training may take; 0 where nothing is said of it.
        data: a name in ``DATA``.
        training: options of training.
        samples: K of the NLL.
        images: the NLL is of the first so many test data; ``None``: all.
    """

    recipe: str
    arguments: dict[str, Any]
    epochs: float
    minutes: float = 0
    data: str = "mnist"
    training: dict[str, Any] = field(default_factory=dict)
    samples: int = 1000
    images: int | None = 2000


#: Name → the data; loaded once.
DATA: dict[str, Callable[[], ff.DataSet]] = {
    "mnist": cache(lambda: ff.data.load("mnist", split="burda")),
    "mnist_14": cache(mnist_14),
    "sentences": cache(partial(ff.data.load, "sentences")),
}


def small(data: str) -> ff.DataSet:
    """What a trial takes instead: digits, or a few made-up sentences."""
    if data != "sentences":
        return ff.data.digits()
    nouns, verbs = ("a film", "the plot", "this", "nothing"), ("is", "seems", "was never", "remains")
    lines = [f"{n} {v} {how} ." for n in nouns for v in verbs for how in ("dull", "very fine", "a joy to see", "what")]
    return from_lines(3 * lines, name="sentences", min_count=1)


_FALLING = {"batch_size": 100, "lr": 1e-3, "lr_schedule": "decay:0.1:0.4"}

# Hierarchies of dense layers: the sizes of the paper, 30 epochs for its 2,000.
_WARM_UP = "linear:0.001:1:4000"  # 7 epochs of 30; the paper has 200 of 2,000
_LEVELS = {"latents": (64, 32, 16, 8, 4), "hidden": (512, 256, 128, 64, 64), "activation": "leaky_relu:0.1"}
_TRICKS = {**_LEVELS, "batch_norm": True, "beta_schedule": _WARM_UP}
_CHAIN = {"scale": "softplus"}  # as the ladder has it
_PLAIN = {**_LEVELS, "batch_norm": False, "beta_schedule": "linear:1:1:1"}  # 1 throughout: lvae has its own default
_DENSE: dict[str, Any] = {"epochs": 30, "minutes": 10, "training": _FALLING, "images": None}

# Pixel by pixel. A convolutional encoder leaves z idle for long on images so small; a draw costs a whole PixelCNN.
_PIXELS: dict[str, Any] = {
    "minutes": 10,
    "data": "mnist_14",
    "training": {"batch_size": 100, "lr": 2e-3, "lr_schedule": "cosine"},
    "samples": 250,
    "images": 1000,
}
_DEPTH = {"layers": 2, "filters": 16, "kernel": 3}
_CODE = {"latent": 16, "network": "dense", "hidden": (256,)}

# Convolutional ones on 28 × 28: few epochs, and few draws, are what a CPU has time for.
_FEW: dict[str, Any] = {"training": {"batch_size": 100, "lr": 2e-3, "lr_schedule": "cosine"}, "images": 1000}

# Sentences: 8,544 are few, and the best epoch by the held-out bound is not the last.
_WORDS: dict[str, Any] = {
    "minutes": 8,
    "data": "sentences",
    "training": {"batch_size": 32, "lr": 2e-3, "patience": 2},
    "samples": 100,
    "images": 1000,
}

#: On a CPU.
SHORT: dict[str, Entry] = {
    "vae": Entry("vae", {"latent": 64, "hidden": (512, 512), "activation": "leaky_relu:0.1"}, **_DENSE),
    "lvae": Entry("lvae", _TRICKS, **_DENSE),
    "hvae": Entry("hvae", {**_TRICKS, **_CHAIN}, **_DENSE),
    "hvae_plain": Entry("hvae", {**_PLAIN, **_CHAIN}, **_DENSE),
    "lvae_plain": Entry("lvae", _PLAIN, **_DENSE),
    "variational_ladder": Entry(
        "variational_ladder", {"latents": (10, 10, 10), "network": "dense", "hidden": 256}, **_DENSE
    ),
    "vae_14": Entry("vae", _CODE, 60, **_PIXELS),
    "pixel_cnn": Entry("pixel_cnn", _DEPTH, 16, **_PIXELS),
    "pixel_vae": Entry("pixel_vae", {**_DEPTH, **_CODE, "beta_schedule": "linear:0:1:3000"}, 16, **_PIXELS),
    "vlae": Entry(
        "vlae", {"window": (4, 2), "layers": 2, "filters": 16, **_CODE, "flow_hidden": (100, 100)}, 16, **_PIXELS
    ),
    "pixel_vae2": Entry(
        "pixel_vae2",
        {**_DEPTH, "latent": 16, "halvings": 1, "channels": 16, "hidden": 128, "beta_schedule": "linear:0:1:2000"},
        10,
        **_PIXELS,
    ),
    "pro_vlae": Entry("pro_vlae", {"latents": (10, 10, 10), "network": "dense", "hidden": 256}, **_DENSE),
    "nvae": Entry(
        "nvae",
        {"layout": "tiny", "beta_schedule": "linear:0.0001:1:1400"},
        7,
        16,
        training={**_FEW["training"], "checkpoint_seconds": 300},  # each gathers statistics by 100 passes
        samples=200,
        images=1000,
    ),
    "vdvae": Entry("vdvae", {"layout": "tiny"}, 14, 14, samples=250, **_FEW),
    # Its posterior has no noise: every draw is the same.
    # A map of 7 × 7 leaves more to its prior than a small PixelCNN learns in minutes.
    "vq_vae": Entry(
        "vq_vae",
        {"codes": 256, "places": (3, 3), "hidden": (32,), "layers": 3, "filters": 32, "prior_share": 0.3},
        25,
        10,
        samples=1,
        **_FEW,
    ),
    "rnn_lm": Entry("rnn_lm", {}, 8, **_WORDS),
    "sentence_vae": Entry(
        "sentence_vae", {"latent": 16, "word_dropout": 0.5, "beta_schedule": "linear:0:1:1500"}, 12, **_WORDS
    ),
}

# The schedules of the papers, on 28 × 28; all test images. Written down, and run for a few steps only: not yet in full.
_LONG = {**_TRICKS, "beta_schedule": "linear:0.001:1:46400"}  # 200 of 2,000 epochs
_LADDER: dict[str, Any] = {
    "epochs": 2000,
    "training": {"batch_size": 256, "lr": 1e-3, "lr_schedule": "decay:0.1:0.5"},
    "samples": 5000,
    "images": None,
}
_DEEP_PIXELS = {"layers": 12, "filters": 32, "kernel": 5}
_STEPS: dict[str, Any] = {"training": {"batch_size": 100, "lr": 1e-3}, "images": None}  # 200,000 of them
_NVAE: dict[str, Any] = {
    "epochs": 400,
    "training": {
        "batch_size": 200,
        "optimiser": "adamax",
        "lr": 1e-2,
        "lr_schedule": "cosine:0.01",
        "lr_warmup": 1490,
        "eps": 1e-3,
    },
    "images": None,
}
_VDVAE: dict[str, Any] = {
    "epochs": 400,
    "training": {
        "batch_size": 100,
        "optimiser": "adamw",
        "lr": 5e-4,
        "lr_schedule": "cosine",
        "lr_warmup": 100,
        "clip": 200.0,
        "ema": 0.999,
    },
    "images": None,
}

#: On a GPU. Wanted: lvae at most 82.8, vlae 78.5 to 79.5, nvae and vdvae at most 80.
FULL: dict[str, Entry] = {
    "lvae": Entry("lvae", _LONG, **_LADDER),
    "hvae": Entry("hvae", {**_LONG, **_CHAIN}, **_LADDER),
    "vlae": Entry(
        "vlae",
        {
            "window": (13, 6),  # what six layers of 3 × 3 see
            "layers": 6,
            "filters": 32,
            "latent": 64,
            "network": "residual",
            "hidden": (256, 256, 256),
            "steps": 4,
            "flow_hidden": (640, 640, 640),
        },
        400,
        training={"batch_size": 100, "optimiser": "adamax", "lr": 2e-3, "lr_schedule": "decay:0.1:0.3", "ema": 0.998},
        samples=4096,
        images=None,
    ),
    "pixel_cnn": Entry("pixel_cnn", _DEEP_PIXELS, 336, **_STEPS),
    "pixel_vae": Entry(
        "pixel_vae",
        {**_DEEP_PIXELS, "latent": 16, "upsampling": False, "beta_schedule": "linear:0:1:10000"},
        336,
        **_STEPS,
    ),
    "nvae": Entry("nvae", {"layout": "tiny", "beta_schedule": "linear:0.0001:1:35760"}, **_NVAE),
    "nvae_small": Entry("nvae", {"layout": "small", "beta_schedule": "linear:0.0001:1:35760"}, **_NVAE),
    "vdvae": Entry("vdvae", {"layout": "tiny"}, **_VDVAE),
    "vdvae_small": Entry("vdvae", {"layout": "small"}, **_VDVAE),
}
