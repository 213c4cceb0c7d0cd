"""The folder of a sweep: its record, and a run folder for each member."""

__all__ = ["SweepFolder"]

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.locate import make_folder
from .folder import RunError, RunFolder, next_folder, write_json

_FORMAT = 1
_NEEDED = {"recipe", "arguments", "training", "axes", "seeds", "members", "data"}


@dataclass(frozen=True, slots=True)
class SweepFolder:
    """Paths of a sweep: its record, a run folder for each member, who was frozen, the picture."""

    path: Path

    @classmethod
    def create(cls, out: str | Path | None, name: str, record: dict[str, Any]) -> "SweepFolder":
        """A new folder with its record.

        Raises:
            RunError: if ``out`` exists and is not an empty folder.
        """
        path = next_folder(name) if out is None else Path(out)
        if path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise RunError(
                f"out: {path} exists already. Choose another, or go on with it: fourfold sweep --resume {path}."
            )
        make_folder(path, "Choose another with --out.")
        write_json(path / "sweep.json", {"format": _FORMAT, **record})
        return cls(path)

    def record(self) -> dict[str, Any]:
        """What the sweep is.

        Raises:
            RunError: if it is missing, torn, or of a newer version.
        """
        file = self.path / "sweep.json"
        try:
            record = json.loads(file.read_text())
            known = record["format"] <= _FORMAT and record.keys() >= _NEEDED
        except (OSError, ValueError, KeyError, TypeError):
            raise RunError(
                f"{self.path}: not the folder of a sweep (no whole sweep.json). Give the one it printed."
            ) from None
        if not known:
            raise RunError(f"{file}: not whole, or written by a newer fourfold. Upgrade it.")
        return record

    def member(self, trial: str) -> RunFolder:
        """The run folder of a member, there or not yet."""
        return RunFolder(self.path / trial)

    @contextmanager
    def held(self, *, whole: bool) -> Iterator[None]:
        """Nobody else trains this sweep meanwhile; with a share of it, nobody who trains the whole.

        Raises:
            RunError: if somebody does.
        """
        try:
            import fcntl
        except ImportError:  # a system without it: then it is the user's to see to
            yield
            return
        with (self.path / "lock").open("a") as file:
            try:
                fcntl.flock(file, (fcntl.LOCK_EX if whole else fcntl.LOCK_SH) | fcntl.LOCK_NB)
            except (BlockingIOError, PermissionError):
                raise RunError(
                    f"{self.path}: another process is training this sweep. Wait for it, or stop it first."
                ) from None
            except OSError:  # a disk without locks
                pass
            yield

    def freeze(self, trial: str, reason: str) -> None:
        """Notes that a member's numbers are not finite any more; several processes may do so."""
        with (self.path / "frozen.jsonl").open("a") as file:
            file.write(json.dumps({"member": trial, "reason": reason}) + "\n")

    def frozen(self) -> dict[str, str]:
        """Who was frozen, and why."""
        file = self.path / "frozen.jsonl"
        lines = file.read_text().splitlines(keepends=True) if file.exists() else []
        rows = [json.loads(line) for line in lines if line.endswith("\n")]
        return {row["member"]: row["reason"] for row in rows}
