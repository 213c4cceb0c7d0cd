"""The entry point: finds the command, and turns every error into one line and an exit status."""

__all__ = ["COMMANDS", "main"]

import errno
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module

from .._checks import unknown
from .._process import settle
from .._version import __version__

#: Command to the module of this package that has it (as a function of that name, with _ for -), and what it does.
COMMANDS: dict[str, tuple[str, str]] = {
    "train": ("train", "train a recipe on data, or go on with a run"),
    "evaluate": ("use", "measure a run: ELBO, rate, distortion, importance-sampled NLL, active units"),
    "diagnose": ("diagnose", "latents, q(z) against p(z), rate-distortion, calibration, draws against data, outliers"),
    "doctor": ("doctor", "what is wrong with a run, in words, and which remedy to try"),
    "evidence": ("evidence", "how loose is the bound? importance sampling, AIS and BDMC on the same data"),
    "gap": ("gap", "what is the looseness made of? the encoder, or the family of posteriors"),
    "sample": ("look", "draw from the model, as a picture or an array"),
    "reconstruct": ("look", "data beside their reconstructions, as a picture"),
    "traverse": ("look", "one latent at a time through its range, as a picture"),
    "interpolate": ("look", "the way from one datum to another through their latents, as a picture"),
    "report": ("look", "all pictures and report.html"),
    "encode": ("use", "posterior means of data, as an .npz file"),
    "score": ("use", "the bound on log p(x) of every datum, as a .csv file"),
    "compare": ("results", "is one run better than another? paired differences on the same data, with intervals"),
    "results": ("results", "the results of many runs as a table: text, CSV, LaTeX, Markdown, JSON"),
    "compress": ("compress", "images into a lossless file, by the model of a run, beside gzip, PNG and others"),
    "decompress": ("compress", "what is in such a file; with --out, the images exactly as they were"),
    "compare-samples": ("compare", "do two files of data come from one distribution? MMD, with a p-value"),
    "recipes": ("inspect", "what can be trained; fourfold recipes NAME tells all of one"),
    "data": ("inspect", "what data are known, where they live, what is missing and how to get it"),
}

# What the user can put right: wrong names, values, files. Everything else is a failure.
_USAGE = (
    ValueError,
    TypeError,
    ImportError,
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    NotADirectoryError,
    IsADirectoryError,
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status: 0 done, 2 wrong usage or input, 1 failed, 130 interrupted.

    Args:
        arguments: the words after ``fourfold``; ``None`` takes those the program was called with: it is then the
            program, and settles its process. A host program that gives words keeps its own as it is.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    try:
        with _warnings_in_one_line():
            if arguments is None:
                settle()
            status = _dispatch([word for word in words if word != "--debug"])
            sys.stdout.flush()
            return status
    except SystemExit as stop:  # help and --print_config end so
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt as stop:
        _say(str(stop) or "interrupted.")
        return 130
    except BrokenPipeError:  # the reader, such as head, has had enough; what is left has nowhere to go
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            traceback.print_exc()
        status, text = _told(error)
        _say(f"error: {text}")
        return status


def _dispatch(words: list[str]) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_help())
        return 0 if words else 2
    if words[0] in ("-V", "--version"):
        print(f"fourfold {__version__}")
        return 0
    command, *rest = words
    if command not in COMMANDS:
        raise ValueError(unknown("command", command, COMMANDS))
    return getattr(import_module(f".{COMMANDS[command][0]}", __package__), command.replace("-", "_"))(rest)


def _help() -> str:
    wide = max(map(len, COMMANDS))
    listed = "\n".join(f"  {name:<{wide}}  {about}" for name, (_, about) in COMMANDS.items())
    return (
        "usage: fourfold COMMAND … [--debug]\n\n"
        "Variational autoencoders as four choices: a posterior, a prior, a likelihood and an objective.\n\n"
        f"commands:\n{listed}\n\n"
        "fourfold COMMAND --help tells the flags of a command, fourfold train RECIPE --help those of a recipe.\n"
        "--version prints the version; --debug shows the traceback of an error.\n"
        "Exit status: 0 done, 2 wrong usage or input, 1 failed, 130 interrupted.\n\n"
        "example:\n"
        "  fourfold train vae --data digits --epochs 20 --out runs/first\n"
        "  fourfold evaluate runs/first"
    )


def _told(error: Exception) -> tuple[int, str]:
    """The exit status, and what to say."""
    text = " ".join(str(error).split())
    if isinstance(error, OSError):
        place = f" ({error.filename})" if error.filename else ""
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return 1, f"the disk is full{place}. Make room; a run goes on from its last checkpoint with train --resume."
        if error.strerror:
            text = f"{error.strerror}{place}."
    if isinstance(error, _USAGE):
        return 2, text or type(error).__name__
    if type(error).__module__.startswith("fourfold."):
        return 1, text
    return 1, f"{type(error).__name__}: {text} (--debug shows where.)"


def _say(text: str) -> None:
    print(f"fourfold: {text}", file=sys.stderr)


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    def show(message: Warning | str, *rest: object) -> None:
        _say(f"warning: {' '.join(str(message).split())}")

    before, warnings.showwarning = warnings.showwarning, show
    try:
        yield
    finally:
        warnings.showwarning = before
