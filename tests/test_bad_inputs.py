"""A table of bad inputs: each gets an error that names what was wrong, and leaves nothing half-written behind."""

import errno
import hashlib
import io
import json
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any

import numpy as np
import pytest
import torch

import fourfold as ff
from fourfold.cli import main
from fourfold.data import DataNotFound, DataSet, Quadrants, Split, from_arrays
from fourfold.runs import Run, RunError
from fourfold.training import CheckpointError, load_tensors

SMALL = ["--hidden", "8", "--latent", "2", "--epochs", "1", "--quiet", "--no-report"]
GREY = np.linspace(0, 1, 400, dtype=np.float32).reshape(50, 8)


@dataclass(frozen=True)
class Bad:
    """One row of the table.

    Args:
        name: of the test.
        act: words of a command line, or what is called in Python with the folder of the test.
        error: the exit status, or the exception.
        words: what its message must say.
        arrange: what is made or broken in the folder beforehand. There, ``run`` is a trained run.
    """

    name: str
    act: list[str] | Callable[[Path], object]
    error: int | type[Exception]
    words: tuple[str, ...]
    arrange: Callable[[Path], object] = lambda folder: None


# Things to make and to break ------------------------------------------------------------------------------------------


def save(name: str, **arrays: Any) -> Callable[[Path], None]:
    """Writes an .npz file."""
    return lambda folder: np.savez(folder / name, **arrays)


def write(name: str, content: bytes | str) -> Callable[[Path], None]:
    """Writes a file."""

    def written(folder: Path) -> None:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)

    return written


def picture(height: int, width: int) -> bytes:
    """A PNG."""
    from PIL import Image

    stream = io.BytesIO()
    grey = np.arange(height * width, dtype=np.uint32) ** 2 // 7 % 251
    Image.fromarray(grey.astype(np.uint8).reshape(height, width)).save(stream, "PNG")
    return stream.getvalue()


def several(*makers: Callable[[Path], object]) -> Callable[[Path], None]:
    """One after another."""

    def made(folder: Path) -> None:
        for maker in makers:
            maker(folder)

    return made


def zipped(name: str, member: str, content: bytes) -> Callable[[Path], None]:
    """Writes a zip archive of one file."""

    def made(folder: Path) -> None:
        with zipfile.ZipFile(folder / name, "w") as archive:
            archive.writestr(member, content)

    return made


def record(**changes: Any) -> Callable[[Path], None]:
    """Changes the record of the run."""

    def changed(folder: Path) -> None:
        file = folder / "run/run.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))

    return changed


def names(path: str, *args: object, recipe: str = "vae") -> Callable[[Path], None]:
    """A record that names code for the encoder, or for the recipe; beside it a module that has imported ``os``."""
    encoder = {"own": path, "args": list(args), "kwargs": {}}
    there = {"recipe": recipe, "arguments": {"encoder": encoder} if path else {}}
    return several(record(recipe=there), write("borrowed.py", "import os\nfrom os import popen, system\n"))


#: Arguments of recipes under the names that their parts have for them, or others: messages have the recipe's names.
PASSED_ON = [
    ("delta_vae", "rate", 1e6, "delta_vae: rate: 1000000.0 nats in 10 steps of 4 channels"),
    ("delta_vae", "steps", 1, "delta_vae: steps must be at least 2, got 1"),
    ("vamp_vae", "components", 0, "vamp_vae: components must be an integer of at least 1"),
    ("beta_vae", "beta", -1.0, "beta_vae: beta must be a finite number of at least 0"),
    ("dae", "amount", 1.5, "dae: amount must be at least 0 and below 1"),
    ("piwae", "outer", 0, "piwae: outer must be"),
    ("mmd_vae", "lam", -1.0, "mmd_vae: lam must be"),
    ("info_vae", "lam", 0.5, "info_vae: lam + alpha must be at least 1"),
    ("mmd_vae", "latent", 0, "mmd_vae: latent must be"),
    ("stacked_ae", "latent", 0, "stacked_ae: latent must be"),
    ("iaf_vae", "flow_hidden", (0,), "flow_hidden must be positive"),
    ("factor_vae", "discriminator_hidden", (0,), "factor_vae: discriminator_hidden must be positive"),
    ("vae", "beta_schedule", "lnear:0:1:5", "beta_schedule: schedule: unknown schedule 'lnear'"),
    ("vae", "activation", "rellu", "vae: activation: unknown activation 'rellu'"),
]
LAST = "run/checkpoints/last.safetensors"


def flipped(at: int) -> Callable[[Path], None]:
    """Flips one bit of the checkpoint; a negative place counts from its end."""

    def changed(folder: Path) -> None:
        content = bytearray((folder / LAST).read_bytes())
        content[at] ^= 4
        (folder / LAST).write_bytes(content)

    return changed


def flipped_in_digest(folder: Path) -> None:
    """Flips one bit of the checkpoint's own digest."""
    content = bytearray((folder / LAST).read_bytes())
    content[content.index(b"digest") + 14] ^= 1
    (folder / LAST).write_bytes(content)


def truncated(to: float) -> Callable[[Path], None]:
    """Keeps only the first part of the checkpoint."""

    def changed(folder: Path) -> None:
        content = (folder / LAST).read_bytes()
        (folder / LAST).write_bytes(content[: int(to * len(content))])

    return changed


def of_format(number: int) -> Callable[[Path], None]:
    """A checkpoint that says it has another format."""

    def changed(folder: Path) -> None:
        content = (folder / LAST).read_bytes()
        assert b'\\"format\\": 2' in content
        (folder / LAST).write_bytes(content.replace(b'\\"format\\": 2', b'\\"format\\": %d' % number))

    return changed


def other_model(folder: Path) -> None:
    """The record of a larger model beside the weights of a smaller one."""
    file = folder / "run/run.json"
    whole = json.loads(file.read_text())
    whole["recipe"]["arguments"]["latent"] = 3
    file.write_text(json.dumps(whole))


def fit(data: object, recipe: object = None, **options: Any) -> Callable[[Path], object]:
    """Trains in Python, into the folder ``new``."""
    plan = recipe or ff.recipes.vae(hidden=(8,), latent=2)
    return lambda folder: ff.fit(plan, data, epochs=1, quiet=True, out=folder / "new", **options)  # type: ignore[arg-type]


def arrays(x: Any, labels: Any = None, **more: Any) -> Callable[[Path], object]:
    """Makes a data set."""
    return lambda folder: from_arrays(np.asarray(x), labels, **more)


def model(call: Callable[[Any], object]) -> Callable[[Path], object]:
    """Uses the trained model."""
    return lambda folder: call(ff.load(folder / "run"))


def train(*words: str, recipe: str = "vae") -> list[str]:
    """A command line that would train into the folder ``new``."""
    return ["train", recipe, *SMALL, "--out", "new", *words]


def with_nan() -> np.ndarray:
    """Rows with one hole."""
    x = GREY.copy()
    x[3, 2] = np.nan
    return x


def split(*shape: int) -> Split:
    """Rows of a shape."""
    return Split(np.zeros(shape, np.float32))


# The table ------------------------------------------------------------------------------------------------------------

SHAPES_TYPES_RANGES = [
    Bad("a vector", arrays(np.zeros(5)), ValueError, ("array", "(N, D)", "(5,)")),
    Bad("five dimensions", arrays(np.zeros((2, 1, 3, 3, 3))), ValueError, ("(N, C, H, W)", "(2, 1, 3, 3, 3)")),
    Bad("objects", arrays(np.array([[{}], [{}]], object)), ValueError, ("object", "plain numbers")),
    Bad("strings", arrays(np.array([["a"], ["b"]])), ValueError, ("float values", "<U1")),
    Bad("complex", arrays(np.zeros((4, 2), complex)), ValueError, ("complex", "real and imaginary")),
    Bad("levels above 255", arrays([[0, 300], [1, 2]]), ValueError, ("0..255", "0..300", "float32")),
    Bad("levels below 0", arrays([[0, -3], [1, 2]]), ValueError, ("0..255", "-3..2")),
    Bad("NaN", arrays(with_nan()), ValueError, ("finite", "row", "NaN", "Remove")),
    Bad("infinity", arrays(np.full((5, 2), np.inf, np.float32)), ValueError, ("finite", "row 0")),
    Bad("too large for float32", arrays(np.full((5, 2), 1e300)), ValueError, ("float32", "1e+300", "Scale")),
    Bad("no rows", arrays(np.zeros((0, 4))), ValueError, ("at least one row", "(0, 4)")),
    Bad("no columns", arrays(np.zeros((4, 0))), ValueError, ("at least one row", "(4, 0)")),
    Bad("one row to split", arrays(np.zeros((1, 4))), ValueError, ("at least 3 rows", "got 1", "split='all'")),
    Bad("an unknown split", arrays(GREY, split="rnadom"), ValueError, ("split", "'random'")),
    Bad("too few labels", arrays(GREY, np.zeros(9, int)), ValueError, ("labels", "(50,)", "(9,)")),
    Bad("labels with fractions", arrays(GREY, np.zeros(50)), ValueError, ("labels", "whole numbers", "float64")),
    Bad("negative labels", arrays(GREY, np.full(50, -1)), ValueError, ("labels", "from 0", "-1")),
    Bad("one-hot labels", arrays(GREY, np.eye(50)), ValueError, ("labels", "(50, 50)", "argmax")),
    Bad(
        "splits of two shapes",
        lambda folder: DataSet("d", split(4, 2), split(4, 3), None, levels=None, classes=None),
        ValueError,
        ("validation", "(3,)", "(2,)"),
    ),
    Bad(
        "levels that are floats",
        lambda folder: DataSet("d", split(4, 2), None, None, levels=256, classes=None),
        ValueError,
        ("levels=256", "uint8", "float32"),
    ),
    Bad("an array for a data set", fit(GREY), TypeError, ("data", "DataSet", "ndarray", "from_arrays")),
    Bad("a name for a recipe", fit(from_arrays(GREY), "vae"), TypeError, ("recipe", "fourfold.recipes.vae()", "str")),
    Bad(
        "0-255 floats in a Bernoulli",
        fit(from_arrays(GREY * 255), ff.recipes.vae(likelihood="bernoulli")),
        ValueError,
        ("0 to 1", "255", "Divide"),
    ),
    Bad(
        "negative values in a continuous Bernoulli",
        fit(from_arrays(GREY - 0.5), ff.recipes.vae(likelihood="continuous_bernoulli")),
        ValueError,
        ("0 to 1", "-0.47"),
    ),
    Bad(
        "values between levels in a likelihood of levels",
        fit(from_arrays(GREY), ff.recipes.vae(likelihood="discretised_logistic")),
        ValueError,
        ("multiples of 1/255", "Round", "gaussian"),
    ),
    Bad("0-255 floats to binarise", fit(from_arrays(GREY * 255), binarize="dynamic"), ValueError, ("[0, 1]", "255")),
    Bad(
        "a picture of another shape", model(lambda m: m.encode(torch.zeros(3, 1, 9, 9))), ValueError, ("(1, 8, 8)", "9")
    ),
    Bad("latents of another size", model(lambda m: m.decode(torch.zeros(3, 5))), ValueError, ("(2,)", "5")),
    Bad(
        "a label for a model without",
        model(lambda m: m.sample(2, torch.zeros(2, dtype=torch.long))),
        ValueError,
        ("c was given", "conditional"),
    ),
    Bad("no samples", model(lambda m: m.sample(0)), ValueError, ("sample: n", "at least 1", "0")),
]

NAMES_AND_ARGUMENTS = [
    Bad("an unknown command", ["trian"], 2, ("command", "'trian'", "'train'")),
    Bad("an unknown recipe", ["train", "vea"], 2, ("recipe", "'vea'", "'vae'", "package.module")),
    Bad("no recipe", ["train", "--epochs", "3"], 2, ("recipe comes first", "fourfold train vae")),
    Bad("an unknown flag", train("--latnt", "3"), 2, ("flag --latnt.", "mean --latent", "--help")),
    Bad("a flag of another recipe", train("--beta", "4"), 2, ("flag --beta.", "--beta-schedule")),
    Bad("a flag of a command", ["evaluate", "run", "--jsno"], 2, ("flag --jsno.", "--json")),
    Bad("an argument of a recipe", lambda folder: ff.recipes.vae(latnt=3), TypeError, ("vae", "'latnt'", "'latent'")),
    Bad("an option of training", fit(from_arrays(GREY), epocs=3), TypeError, ("'epocs'", "'epochs'")),
    Bad("latent 0", train("--latent", "0"), 2, ("latent", "at least 1", "0")),
    Bad("a word for a number", train("--latent", "four"), 2, ("--latent", "int", "four")),
    Bad("half a latent", train("--latent", "1.5"), 2, ("--latent", "int", "1.5")),
    Bad("hidden 0", train("--hidden", "8,0"), 2, ("hidden", "positive", "0")),
    Bad("no draws", train("--draws", "0"), 2, ("draws", "at least 1", "0")),
    Bad("a negative beta", train("--beta", "-1", recipe="beta_vae"), 2, ("beta", "at least 0", "-1")),
    Bad("negative epochs", train("--epochs", "-1"), 2, ("epochs", "at least 0", "-1")),
    Bad("epochs that are no number", train("--epochs", "nan"), 2, ("--epochs", "float", "nan")),
    Bad("a learning rate of 0", train("--lr", "0"), 2, ("lr", "above 0", "0")),
    Bad("a batch of 0", train("--batch-size", "0"), 2, ("batch_size", "at least 1", "0")),
    Bad("a batch that cannot be cut", train("--accumulate", "3"), 2, ("batch_size", "multiple", "3", "100")),
    Bad("an average that never moves", train("--ema", "1"), 2, ("ema", "below 1", "1")),
    Bad("an unknown optimiser", train("--optimiser", "adm"), 2, ("optimiser", "'adm'", "'adam'")),
    Bad("an unknown precision", train("--precision", "16"), 2, ("precision", "'16'", "bf16")),
    Bad("an unknown accelerator", train("--accelerator", "gpus"), 2, ("accelerator", "'gpus'", "cuda")),
    Bad("an unknown likelihood", train("--likelihood", "bernouli"), 2, ("likelihood", "'bernouli'", "'bernoulli'")),
    Bad("an unknown activation", train("--activation", "rellu"), 2, ("activation", "'rellu'", "'relu'")),
    Bad("an unknown network", train("--network", "residul"), 2, ("network", "'residul'", "'residual'", "dense")),
    Bad(
        "two widths for convolutions",
        train("--network", "convolutional", "--hidden", "8,4"),
        2,
        ("hidden", "one width", "(8, 4)"),
    ),
    Bad(
        "another activation in residual blocks",
        train("--network", "residual", "--activation", "tanh"),
        2,
        ("activation", "silu", "'tanh'"),
    ),
    Bad(
        "a function for a network",
        fit(from_arrays(GREY), ff.recipes.vae(encoder=lambda inputs, outputs, condition: torch.nn.Linear(8, 40))),
        TypeError,
        ("recipe vae: encoder", "fourfold.own", "function"),
    ),
    Bad(
        "an argument of one's own network that is no value",
        fit(from_arrays(GREY), ff.recipes.vae(encoder=ff.own(torch.nn.Linear, 8, 40, dtype=torch.float32))),
        TypeError,
        ("own(torch.nn.modules.linear:Linear)", "torch.float32"),
    ),
    Bad("a nameless network", lambda folder: ff.own(lambda: torch.nn.Linear(8, 4)), ValueError, ("<lambda>", "top")),
    Bad(
        "a network without its class",
        lambda folder: ff.own(torch.nn.Linear(8, 4)),  # type: ignore[arg-type]
        TypeError,
        ("own", "class", "Linear"),
    ),
    Bad(
        "a nameless recipe",
        fit(from_arrays(GREY), ff.recipe(lambda data: ff.recipes.vae.function(data))()),
        ValueError,
        ("recipe", "<lambda>", "top", "fourfold.Recipe"),
    ),
    *(
        Bad(
            f"{argument} of {recipe}, which a part of it refuses",
            fit(from_arrays(GREY), getattr(ff.recipes, recipe)(**{argument: value})),
            ValueError,
            (argument, said),
        )
        for recipe, argument, value, said in PASSED_ON
    ),
    Bad(
        "a report that fit does not draw",
        fit(from_arrays(GREY), report=False),
        TypeError,
        ("fit: report", "run.report()", "Leave it out"),
    ),
    Bad(
        "an argument of the recipe given to fit",
        fit(from_arrays(GREY), latent=3),
        TypeError,
        ("fit: latent", "argument of the recipe: vae(latent=…)"),
    ),
    Bad("an unknown binarisation", train("--binarize", "dynamc"), 2, ("binarize", "'dynamic'")),
    Bad(
        "a schedule without its values", train("--beta-schedule", "linear:0"), 2, ("linear:start:end:steps", "1 value")
    ),
    Bad("an unknown schedule", train("--beta-schedule", "linaer:0:1:9"), 2, ("schedule", "'linaer'", "'linear'")),
    Bad("an unknown schedule of the rate", train("--lr-schedule", "cosin"), 2, ("lr_schedule", "'cosine'")),
    Bad("grey data that shall be binary", train("--binarize", "static"), 2, ("static", "grey", "dynamic")),
    Bad("both binary and spread out", train("--binarize", "dynamic", "--dequantize"), 2, ("dequantize", "Choose one")),
    Bad("four quadrants", train("--observed", "4", recipe="structured_cvae"), 2, ("observed", "1, 2 or 3", "4")),
    Bad("an unknown kind", train("--kind", "cvea", recipe="structured_cvae"), 2, ("kind", "'cvea'", "'cvae'")),
    Bad("a missing file of flags", train("--config", "no.yaml"), 2, ("--config", "no.yaml")),
    Bad("a torn file of flags", train("--config", "f"), 2, ("config",), write("f", "latent: [3")),
    Bad("an unknown key", train("--config", "f"), 2, ("key latnt.", "latent"), write("f", "latnt: 3")),
    Bad("a wrong value in a file", train("--config", "f"), 2, ("--latent", "int"), write("f", "latent: many")),
    Bad("a module that is not there", train(recipe="nowhere:f"), 2, ("'nowhere'", "Python path")),
    Bad("a function that is not there", train(recipe="json:f"), 2, ("'json'", "'f'")),
    Bad("no function at all", train(recipe="json:__name__"), 2, ("wanted a function", "str")),
    Bad("a recipe that gives no recipe", train(recipe="os:fsencode"), 2, ("fsencode",)),
]

DATA = [
    Bad("an unknown data set", train("--data", "mnits"), 2, ("'mnits'", "'mnist'", "folder of images")),
    Bad("an unknown named split", train("--split", "burda"), 2, ("split", "'burda'", "random")),
    Bad("a missing file", train("--data", "no.npz"), 2, ("no.npz", "Check the name")),
    Bad("a file of another kind", train("--data", "x.csv"), 2, (".npz", "np.savez"), write("x.csv", "1,2")),
    Bad("a torn npz", train("--data", "x.npz"), 2, ("x.npz", "cannot be read"), write("x.npz", b"PK\3\4torn")),
    Bad("a torn npy", train("--data", "x.npy"), 2, ("x.npy", "cannot be read"), write("x.npy", b"\x93NUMPY\1\0")),
    Bad("a pickle", train("--data", "x.npz"), 2, ("x.npz", "pickle"), save("x.npz", x=np.array([{}], object))),
    Bad("an npz without rows", train("--data", "x.npz"), 2, ("named x", "a, b"), save("x.npz", a=GREY, b=GREY)),
    Bad("NaN in a file", train("--data", "x.npz"), 2, ("finite", "NaN"), save("x.npz", x=with_nan())),
    Bad(
        "labels missing for cvae", train("--data", "x.npz", recipe="cvae"), 2, ("cvae", "labels"), save("x.npz", x=GREY)
    ),
    Bad("vectors for images", ["train", "conv_vae", "--data", "x.npz"], 2, ("images", "(8,)"), save("x.npz", x=GREY)),
    Bad("no pictures", train("--data", "p"), 2, ("no images", ".png"), write("p/notes.txt", "")),
    Bad("a torn picture", train("--data", "p"), 2, ("0.png", "decoded"), write("p/0.png", picture(64, 64)[:150])),
    Bad(
        "pictures of two sizes",
        train("--data", "p"),
        2,
        ("one size", "8 x 8", "8 x 9", "size"),
        several(write("p/0.png", picture(8, 8)), write("p/1.png", picture(8, 9))),
    ),
    Bad("a size of 0", train("--data", "p", "--size", "0"), 2, ("size", "positive"), write("p/0.png", picture(8, 8))),
    Bad("three sizes", train("--data", "p", "--size", "8,8,3"), 2, ("size", "width"), write("p/0.png", picture(8, 8))),
    Bad(
        "a zip that climbs", train("--data", "x.zip"), 2, ("unsafe", "../"), zipped("x.zip", "../0.png", picture(8, 8))
    ),
    Bad("a torn zip", train("--data", "x.zip"), 2, ("x.zip", "zip archive"), write("x.zip", b"PK\3\4torn")),
    Bad(
        "a torn IDX file",
        train("--data", "mnist", "--data-dir", "."),
        2,
        ("train-images", "MD5", "damaged"),
        write("mnist/train-images-idx3-ubyte", bytes([0, 0, 8, 3, 0, 0, 0, 9])),
    ),
    Bad(
        "a torn gzip",
        train("--data", "mnist", "--data-dir", "."),
        2,
        ("train-images", "damaged gzip"),
        write("mnist/train-images-idx3-ubyte.gz", b"\x1f\x8b\x08\x00torn"),
    ),
    Bad(
        "data that cannot be had",
        lambda folder: ff.data.mnist(data_dir=folder, download=False),
        DataNotFound,
        ("train-images-idx3-ubyte.gz", "Put it at", "--data-dir"),
    ),
    Bad("five quadrants", lambda folder: Quadrants(5), ValueError, ("observed", "1, 2 or 3", "5")),
]

RUNS_AND_FILES = [
    Bad("a folder that is taken", ["train", "vae", "--out", "run"], 2, ("run exists", "--resume run")),
    Bad("a file for a parent", ["train", "vae", "--out", "f/new"], 2, ("f/new", "--out"), write("f", "")),
    Bad("a file for a folder", ["train", "vae", "--out", "f"], 2, ("f exists",), write("f", "")),
    Bad("no run", ["evaluate", "nowhere"], 2, ("nowhere", "no run.json")),
    Bad("resuming no run", ["train", "--resume", "nowhere"], 2, ("nowhere", "no run.json")),
    Bad("resuming nothing", ["train", "--resume"], 2, ("--resume", "wanted a value")),
    Bad("resuming with another recipe", ["train", "cvae", "--resume", "run"], 2, ("recipe vae", "cvae", "--init-from")),
    Bad("resuming with another model", ["train", "--resume", "run", "--latent", "3"], 2, ("latent 2", "got 3")),
    Bad("resuming at another rate", ["train", "--resume", "run", "--lr", "0.5"], 2, ("lr", "0.001", "0.5")),
    Bad("resuming elsewhere", ["train", "--resume", "run", "--out", "new"], 2, ("--out", "new runs")),
    Bad(
        "resuming on other data",
        ["train", "--resume", "run", "--epochs", "2", "--data", "x.npz"],
        2,
        ("trained on data", "Resume with the data"),
        save("x.npz", x=np.zeros((1797, 8, 8), np.uint8), y=np.arange(1797) % 10),
    ),
    Bad("a newer run", ["evaluate", "run"], 2, ("newer", "format 99", "Upgrade"), record(format=99)),
    Bad("a torn record", ["evaluate", "run"], 2, ("run.json", "JSON"), write("run/run.json", '{"format": 1, "re')),
    Bad(
        "torn results", ["evaluate", "run", "--no-report"], 2, ("results.json", "torn"), write("run/results.json", "[{")
    ),
    Bad("another record", ["evaluate", "run"], 2, ("run.json", "record"), write("run/run.json", "[1]")),
    Bad("a record with a hole", ["evaluate", "run"], 2, ("lacks 'view'",), record(view=None)),
    Bad("torn metrics", ["report", "run"], 2, ("metrics.jsonl", "torn"), write("run/metrics.jsonl", '{"ste\n{}\n')),
    Bad(
        "code of one's own",
        ["evaluate", "run"],
        2,
        ("--trust mine",),
        record(recipe={"recipe": "mine:f", "arguments": {}}),
    ),
    Bad(
        "a command that torch has imported",
        lambda f: ff.load(f / "run"),
        RunError,
        ("no network or recipe", "model="),
        names("torch.nn.functional:torch.os.system", "touch pwned"),
    ),
    Bad(
        "a command that we have imported",
        ["evaluate", "run"],
        2,
        ("no network or recipe", "model="),
        names("fourfold.runs.folder:os.system", "touch pwned"),
    ),
    Bad(
        "a command of Python's, offered for trust",
        ["evaluate", "run"],
        2,
        ("no network or recipe", "model="),
        names("os:popen", "touch pwned"),
    ),
    *(
        Bad(
            f"a command that a trusted module has imported, {name}",
            ["evaluate", "run", "--trust", "borrowed"],
            2,
            (name, "not a class or a function that borrowed defines"),
            names(name, "touch pwned"),
        )
        for name in ("borrowed:os.system", "borrowed:system", "borrowed:popen")
    ),
    Bad(
        "a command for a recipe",
        ["train", "--resume", "run", "--trust", "borrowed"],
        2,
        ("borrowed:os.popen", "not a class or a function that borrowed defines"),
        names("", recipe="borrowed:os.popen"),
    ),
    Bad(
        "a command of ours for a recipe",
        lambda f: ff.load(f / "run"),
        RunError,
        ("no network or recipe",),
        names("", recipe="fourfold.runs.folder:subprocess.run"),
    ),
    Bad(
        "a command among a network's arguments",
        lambda f: ff.load(f / "run"),
        TypeError,
        ("dict",),
        names("torch.nn.modules.linear:Linear", {"own": "os:system", "args": ["touch pwned"], "kwargs": {}}, 4),
    ),
    Bad(
        "an unknown network of ours",
        lambda f: ff.load(f / "run"),
        RunError,
        ("os.system", "not the description of a network"),
        record(recipe={"recipe": "vae", "arguments": {"encoder": {"network": "os.system", "kwargs": {}}}}),
    ),
    Bad(
        "code of a notebook",
        lambda f: ff.load(f / "run"),
        RunError,
        ("__main__:Encoder", "notebook", "model="),
        names("__main__:Encoder", 3),
    ),
    Bad(
        "no code at all", lambda folder: ff.load(folder / "run"), RunError, ("model=",), record(recipe={"recipe": None})
    ),
    Bad("no checkpoint", ["evaluate", "run"], 2, ("last.safetensors", "no such"), lambda f: (f / LAST).unlink()),
    Bad("half a checkpoint", ["evaluate", "run"], 2, ("last.safetensors", "not a whole"), truncated(0.5)),
    Bad("an empty checkpoint", ["train", "--resume", "run", "--epochs", "2"], 2, ("not a whole",), truncated(0)),
    Bad("a bit of the length", lambda f: ff.load(f / "run"), CheckpointError, ("not a whole",), flipped(6)),
    Bad("a bit of the header", lambda f: ff.load(f / "run"), CheckpointError, ("last.safetensors",), flipped(20)),
    Bad("a bit of the digest", lambda f: ff.load(f / "run"), CheckpointError, ("altered",), flipped_in_digest),
    Bad("a bit in the middle", lambda f: ff.load(f / "run"), CheckpointError, ("altered",), flipped(-3000)),
    Bad("the last bit", ["encode", "run", "--out", "z.npz"], 2, ("altered", "another checkpoint"), flipped(-1)),
    Bad("a newer checkpoint", ["evaluate", "run"], 2, ("newer", "format 9"), of_format(9)),
    Bad(
        "an older checkpoint",
        ["train", "--resume", "run", "--epochs", "4"],
        2,
        ("older", "format 1", "--init-from"),
        of_format(1),
    ),
    Bad("weights of another model", ["evaluate", "run"], 2, ("shape", "this model wants"), other_model),
    Bad(
        "first weights of another model", train("--init-from", "run", "--latent", "3"), 2, ("shape", "this model wants")
    ),
    Bad("an unknown checkpoint", ["evaluate", "run", "--checkpoint", "lst"], 2, ("checkpoint", "last or best", "lst")),
    Bad("an unknown device", ["evaluate", "run", "--device", "gpu9"], 2, ("--device", "'gpu9'", "cpu")),
    Bad("an unknown part", ["evaluate", "run", "--split", "tset"], 2, ("--split", "tset", "test")),
    Bad("negative samples", ["evaluate", "run", "--importance-samples", "-1"], 2, ("importance_samples", "-1")),
    Bad("no draws to evaluate", ["evaluate", "run", "--draws", "0"], 2, ("draws", "at least 1")),
    Bad(
        "other data",
        ["score", "run", "--data", "x.npz", "--out", "s.csv"],
        2,
        ("(1, 8, 8)", "(8,)"),
        save("x.npz", x=GREY),
    ),
    Bad("nothing to encode", ["encode", "run", "--data", "x.npz", "--out", "z.npz"], 2, ("x.npz",), write("x.npz", "")),
    Bad("no file to write", ["encode", "run"], 2, ("--out", "required")),
    Bad("a file of another kind to write", ["encode", "run", "--out", "z.txt"], 2, ("--out", ".npz", "z.txt")),
    Bad(
        "a folder to write",
        ["score", "run", "--out", "d.csv"],
        2,
        ("--out", "is a folder"),
        lambda f: (f / "d.csv").mkdir(),
    ),
    Bad("a file for a parent to write in", ["score", "run", "--out", "f/s.csv"], 2, ("f", "--out"), write("f", "")),
    Bad("no samples from a run", ["sample", "run", "-n", "0", "--out", "x.npz"], 2, ("sample: n", "at least 1")),
    Bad("a label for a run without", ["sample", "run", "--label", "7", "--out", "x.npz"], 2, ("label", "conditioned")),
]

TABLE = SHAPES_TYPES_RANGES + NAMES_AND_ARGUMENTS + DATA + RUNS_AND_FILES


# What each row must do ------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def as_a_user(unchecked: None) -> None:
    """Annotations are not checked: wrong values meet the library's own errors."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small run on the digits."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", "vae", *SMALL, "--out", str(folder)]) == 0
    return folder


@pytest.fixture
def folder(tmp_path: Path, trained: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current folder, with a trained run; the cache is in it too."""
    shutil.copytree(trained, tmp_path / "run")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("FOURFOLD_DATA", raising=False)
    yield tmp_path


def contents(folder: Path) -> dict[str, str]:
    """Every file with its digest, and every folder but those of the cache."""
    return {
        str(path.relative_to(folder)): hashlib.md5(path.read_bytes()).hexdigest() if path.is_file() else ""
        for path in sorted(folder.rglob("*"))
        if path.is_file() or "cache" not in path.relative_to(folder).parts
    }


@pytest.mark.parametrize("bad", TABLE, ids=lambda bad: bad.name.replace(" ", "-"))
def test_a_bad_input(bad: Bad, folder: Path, capsys: pytest.CaptureFixture):
    bad.arrange(folder)
    before = contents(folder)
    capsys.readouterr()
    if isinstance(bad.act, list):
        assert main(bad.act) == bad.error
        printed = capsys.readouterr()
        message = printed.err
        assert message.startswith("fourfold: error: ") and len(message.splitlines()) == 1 and not printed.out
    else:
        assert isinstance(bad.error, type)
        with pytest.raises(bad.error) as caught:
            bad.act(folder)
        assert type(caught.value).__module__.partition(".")[0] in ("builtins", "fourfold")
        message = str(caught.value)
    missing = [word for word in bad.words if word not in message]
    assert not missing, f"{missing} not in: {message}"
    assert contents(folder) == before


def test_the_table_is_long_and_its_names_are_unique():
    assert len({bad.name for bad in TABLE}) == len(TABLE) >= 45


@pytest.mark.parametrize("bit", [0, 3, 7])
def test_no_flipped_bit_of_a_checkpoint_goes_unseen(bit: int, folder: Path):
    whole = (folder / LAST).read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    places = {*range(0, header, 11), *np.linspace(header, len(whole) - 1, 20).astype(int).tolist()}
    for place in sorted(places):
        broken = bytearray(whole)
        broken[place] ^= 1 << bit
        (folder / LAST).write_bytes(broken)
        with pytest.raises(CheckpointError, match=r"last\.safetensors"):
            load_tensors(folder / LAST)


# Full disks -----------------------------------------------------------------------------------------------------------


class Full:
    """A file on a full disk: half of what is written arrives."""

    def __init__(self, file: IO[Any], name: str) -> None:
        self.file, self.name = file, name

    def __enter__(self) -> "Full":
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)

    def write(self, content: Any) -> None:
        self.file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), self.name)


@pytest.fixture
def fill(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Any]:
    """Fills the disk, for files whose name contains a word; gives the patch, to make room again."""

    def filled(word: str) -> Any:
        opened = Path.open

        def full(path: Path, *arguments: Any, **more: Any) -> Any:
            file = opened(path, *arguments, **more)
            mode = next(iter(arguments), more.get("mode", "r"))
            return Full(file, str(path)) if word in path.name and set("wax+") & set(mode) else file

        monkeypatch.setattr(Path, "open", full)
        return partial(monkeypatch.setattr, Path, "open", opened)

    return filled


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("run.json", train()),
        ("z.npz", ["encode", "run", "--out", "z.npz"]),
        ("s.csv", ["score", "run", "--out", "s.csv"]),
        ("x.npz", ["sample", "run", "--out", "x.npz"]),
        ("results.json", ["evaluate", "run", "--no-report"]),
    ],
)
def test_a_full_disk_is_a_failure_that_leaves_nothing(
    word: str, words: list[str], folder: Path, fill: Callable[[str], Any], capsys: pytest.CaptureFixture
):
    before = contents(folder)
    fill(word)
    assert main(words) == 1
    said = capsys.readouterr().err
    assert "disk is full" in said and word in said and len(said.splitlines()) == 1
    assert contents(folder) == before


def test_a_disk_that_fills_up_in_training_costs_nothing_that_was_saved(
    folder: Path, fill: Callable[[str], Any], capsys: pytest.CaptureFixture
):
    was = (folder / LAST).read_bytes()
    clear = fill("last.safetensors")
    assert main(["train", "--resume", "run", "--epochs", "2", "--quiet", "--no-report"]) == 1
    assert "--resume" in capsys.readouterr().err
    assert (folder / LAST).read_bytes() == was and not list(folder.rglob("*.part"))
    clear()
    assert main(["train", "--resume", "run", "--epochs", "2", "--quiet", "--no-report"]) == 0
    assert main(["train", "vae", *SMALL, "--out", "whole", "--epochs", "2"]) == 0
    ours, theirs = (load_tensors(folder / path)[0] for path in (LAST, LAST.replace("run", "whole", 1)))
    assert all(tensor.equal(theirs[name]) for name, tensor in ours.items() if name.startswith("weights/"))


def test_a_run_whose_first_checkpoint_finds_no_room_starts_again(folder: Path, fill: Callable[[str], Any]):
    clear = fill("last.safetensors")
    assert main(train()) == 1
    assert not list(folder.rglob("*.part"))
    clear()
    assert main(["train", "--resume", "new", "--quiet", "--no-report"]) == 0
    assert Run.open(folder / "new").outcome.finished


# What is given a class label -----------------------------------------------------------------------------------------


def test_labels_that_a_conditional_model_cannot_take(folder: Path, capsys: pytest.CaptureFixture):
    assert main(train(recipe="cvae")) == 0
    x = ff.data.digits().test.x[:5]
    np.savez(folder / "none.npz", x=x)
    np.savez(folder / "eleven.npz", x=x, y=np.full(5, 11))
    before = contents(folder)
    capsys.readouterr()
    for words, wanted in (
        (["encode", "new", "--data", "none.npz", "--out", "z.npz"], ("labels from 0 to 9", "no labels")),
        (["encode", "new", "--data", "eleven.npz", "--out", "z.npz"], ("labels from 0 to 9", "up to 11")),
        (["sample", "new", "--label", "10", "--out", "x.npz"], ("label", "0 to 9", "10")),
    ):
        assert main(words) == 2
        said = capsys.readouterr().err
        assert all(word in said for word in wanted), said
    assert contents(folder) == before
