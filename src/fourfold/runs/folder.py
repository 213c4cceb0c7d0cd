"""The run folder: what is in it, where, and how it is written."""

__all__ = ["RunError", "RunFolder", "next_folder", "write_json"]

import hashlib
import json
import os
import platform
import subprocess
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._files import whole
from .._version import __version__
from ..data.locate import make_folder

if TYPE_CHECKING:
    import numpy as np

_FORMAT = 1
_ROW = {"metric", "value", "unit", "standard_error", "estimator", "n", "protocol"}
_NEEDED = ("recipe", "training", "data", "view", "spec")


class RunError(ValueError):
    """A run folder that cannot be used: missing, torn, of a newer version, or of another recipe."""


def write_json(path: Path, value: Any) -> None:
    """Writes beside the path and renames: the path holds the old file or the new one, never a part."""
    _put(path, _written(value))


def _written(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def _put(path: Path, text: str) -> None:
    with whole(path) as file:
        file.write(text.encode())


def next_folder(name: str) -> Path:
    """``runs/name-1``, ``-2`` … : the first that is free, made at once, so that no other process takes it too."""
    number, root = 1, make_folder(Path("runs"), "Choose another with --out.")
    while True:
        try:
            (path := root / f"{name}-{number}").mkdir(parents=True)
            return path
        except FileExistsError:
            number += 1


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Paths of a run: its record, metrics, results with their numbers per datum, checkpoints, pictures, report."""

    path: Path

    @classmethod
    def create(cls, out: str | Path | None, name: str, record: dict[str, Any]) -> "RunFolder":
        """A new folder with its record: ``out``, or ``runs/name-1``, ``-2`` … whichever is free.

        Raises:
            RunError: if ``out`` exists and is not an empty folder.
        """
        text = _written({"format": _FORMAT, **record, **_circumstances()})  # before anything is made
        there = out is not None and Path(out).exists()
        path = next_folder(name) if out is None else Path(out)
        taken = RunError(f"out: {path} exists already. Choose another folder, or continue it with --resume {path}.")
        if there and (not path.is_dir() or any(path.iterdir())):
            raise taken
        make_folder(path, "Choose another with --out.")
        try:
            (path / "run.json").touch(exist_ok=False)  # whoever makes it has the folder
        except FileExistsError:
            raise taken from None
        try:
            _put(path / "run.json", text)
        except BaseException:
            (path / "run.json").unlink()
            if not there:
                path.rmdir()
            raise
        return cls(path)

    def record(self) -> dict[str, Any]:
        """The run's record.

        Raises:
            RunError: if it is missing, torn, or of a newer version.
        """
        file = self.path / "run.json"
        if not file.is_file():
            raise RunError(f"{self.path}: not a run folder (no run.json). Give the folder that train printed.")
        record = _parsed(file.read_text(errors="replace"), file)
        if not isinstance(record, dict) or not isinstance(record.get("format"), int):
            raise RunError(f"{file}: not the record of a run.")
        if record["format"] > _FORMAT:
            raise RunError(
                f"{file}: written by fourfold {record.get('fourfold', '?')}, newer than this {__version__} "
                f"(format {record['format']}, known {_FORMAT}). Upgrade fourfold."
            )
        lacking = [key for key in _NEEDED if not isinstance(record.get(key), dict)]
        if lacking:
            raise RunError(f"{file}: not the whole record of a run: it lacks {lacking[0]!r}.")
        return record

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl``; a last line that a killed run left torn is not one."""
        file = self.path / "metrics.jsonl"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        return [_parsed(line, file) for line in lines if line.endswith("\n")]

    def results(self) -> list[dict[str, Any]]:
        """The rows of ``results.json``: what evaluations found so far.

        Raises:
            RunError: if it holds anything else.
        """
        file = self.path / "results.json"
        rows = _parsed(file.read_text(errors="replace"), file) if file.exists() else []
        if not isinstance(rows, list) or not all(map(_is_row, rows)):
            raise RunError(f"{file}: not the results of a run. The file was altered: repair it, or move it away.")
        return rows

    def keep(self, rows: list[dict[str, Any]], arrays: Iterable[tuple[dict[str, Any], "np.ndarray"]]) -> None:
        """Puts these rows in the place of all results, and beside them the numbers per datum that some are means of.

        Numbers are filed under a digest of their whole row: they are never taken for those of another one, and go when
        it goes.
        """
        import numpy as np

        folder = self.path / "per_datum"
        before = set(folder.glob("*.npz"))
        wanted = before
        try:
            folder.mkdir(exist_ok=True)
            for row, values in arrays:
                with whole(self._numbers_of(row)) as file:
                    np.savez(file, values=values)
            write_json(self.path / "results.json", rows)
            wanted = {self._numbers_of(row) for row in rows}
        finally:  # what was written for results that could not be is of no use
            for file in set(folder.glob("*.npz")) - wanted:
                file.unlink()
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()

    def per_datum(self, row: dict[str, Any]) -> "np.ndarray | None":
        """The numbers ``(N,)`` that this row of the results is the mean of; ``None`` where they are not there whole."""
        from ..data.readers import read_npz

        file = self._numbers_of(row)
        try:
            values = read_npz(file.read_bytes(), str(file))["values"]
        except (OSError, ValueError, KeyError):
            return None
        return values if values.shape == (row["n"],) else None

    def _numbers_of(self, row: dict[str, Any]) -> Path:
        key = hashlib.blake2b(json.dumps(row, sort_keys=True).encode(), digest_size=12).hexdigest()
        return self.path / "per_datum" / f"{key}.npz"

    def checkpoint(self, which: str) -> Path:
        """Path of the ``last`` or the ``best`` checkpoint."""
        return self.path / "checkpoints" / f"{which}.safetensors"

    def pictures(self) -> Path:
        """The folder of pictures, made if it is not there."""
        folder = self.path / "pictures"
        folder.mkdir(exist_ok=True)
        return folder


def _is_row(row: Any) -> bool:
    return isinstance(row, dict) and row.keys() >= _ROW and isinstance(row["protocol"], dict)


def _parsed(text: str, file: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise RunError(f"{file}: not valid JSON. The file was altered or torn.") from None


def _circumstances() -> dict[str, Any]:
    return {
        "fourfold": __version__,
        "versions": {"python": platform.python_version(), **{p: _version(p) for p in ("torch", "numpy")}},
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
        "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "git": _git_revision(),
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


@cache
def _git_revision() -> str | None:
    """Revision of the repository the user works in, marked ``+`` if there are uncommitted changes."""
    try:
        head = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, timeout=5, check=True)
        dirty = subprocess.run(["git", "status", "--porcelain"], capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")
