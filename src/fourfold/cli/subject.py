"""Which run, on which device and data: what the commands that use a run share."""

__all__ = ["add_data", "add_run", "open_run", "subject"]

import argparse
from contextlib import suppress
from copy import copy
from typing import TYPE_CHECKING, Any

from .flags import trusted

if TYPE_CHECKING:
    from ..runs import Run

_PARTS = ("train", "validation", "test")


def add_run(parser: argparse.ArgumentParser, nargs: str | None = None) -> None:
    """The flags that say which run (or runs), which of its checkpoints, and where."""
    parser.add_argument("run", metavar="RUN", nargs=nargs, help="the run folder" + ("s" if nargs else ""))
    parser.add_argument("--data-dir", metavar="DIR", help="where the files of known data are; else $FOURFOLD_DATA")
    parser.add_argument("--seed", type=int, default=0, help="of binarisation and draws (default 0)")
    parser.add_argument("--checkpoint", default="auto", help="auto, last or best (default auto)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:1, mps (default auto)")
    parser.add_argument("--trust", metavar="PKG", help="packages (a,b) outside fourfold whose code may be imported")


def add_data(parser: argparse.ArgumentParser) -> None:
    """The flags that say which data, and which part of them."""
    parser.add_argument("--data", metavar="NAME_OR_PATH", help="other data than the run's: a name, a file, a folder")
    parser.add_argument("--split", choices=_PARTS, help="the part of the data; test by default, all of a file without")


def open_run(given: argparse.Namespace, path: str | None = None) -> "Run":
    """The run that the flags name, or the one at the path, on its device, with the data that they name."""
    from ..data import load
    from ..runs import Run

    run = Run.open(path or given.run, trust=trusted(given.trust), checkpoint=given.checkpoint)
    run.model.to(_device(given.device))
    if given.data_dir and not getattr(given, "data", None) and (origin := _origin(run)):
        run.data = run.adapted(load(**{**origin, "data_dir": given.data_dir}))
    return run


def _origin(run: "Run") -> dict[str, Any]:
    return run.folder.record()["data"]["origin"] or {}


def _device(name: str) -> Any:
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).partition("\n")[0]
        raise ValueError(f"--device: {name!r} cannot be used ({reason}). Take cpu, or auto.") from None
    return device


def subject(run: "Run", given: argparse.Namespace) -> tuple["Run", str]:
    """The run, speaking of the data that the flags name, and which part of them is meant."""
    from ..data import CATALOG, load

    if given.data is None:
        run.split(given.split or "test")
        return run, given.split or "test"
    data, part, size = None, given.split or "test", _origin(run).get("size")
    if given.data.replace("-", "_") not in CATALOG and given.split is None:
        # Data with parts of their own refuse this, and are loaded with them below; so are those that cannot be read.
        with suppress(ValueError):
            data, part = load(given.data, split="all", size=size), "train"
    data = data or load(given.data, data_dir=given.data_dir, size=size)
    other = copy(run)
    other.data = run.adapted(data)
    other.split(part)
    return other, part
