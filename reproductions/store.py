"""Where results of reproductions are kept: one JSON file a table, one protocol row each."""

__all__ = ["HOME", "arrays_of", "keep", "kept", "locked"]

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fourfold._files import whole
from fourfold.evaluation import Row, table

from .slices import held

HOME = Path(__file__).parent / "results"


def keep(name: str, rows: Sequence[Row], home: Path = HOME) -> None:
    """Prints the rows, and puts each into the table in the place of one with the same metric, recipe and estimator.

    Rows whose protocol has an ``entry`` take the place of all rows of that entry. Several processes may do so at once,
    and one may be killed: the table holds the old rows or the new ones.
    """
    print(table(rows), flush=True)
    fresh = [row.to_dict() for row in rows]
    keys = {_key(row) for row in fresh}
    home.mkdir(parents=True, exist_ok=True)
    with locked(name, home):
        others = [row for row in kept(name, home) if _key(row) not in keys]
        with whole(home / f"{name}.json") as file:
            file.write((json.dumps(others + fresh, indent=1) + "\n").encode())


def kept(name: str, home: Path = HOME) -> list[dict[str, Any]]:
    """The rows of a table; none where there is no table yet."""
    path = home / f"{name}.json"
    return json.loads(path.read_text()) if path.exists() else []


def arrays_of(name: str, entry: str, home: Path = HOME) -> Path:
    """The file with the NLLs of an entry datum by datum."""
    return home / name.removesuffix("_table") / f"{entry}.npz"


@contextmanager
def locked(name: str, home: Path = HOME) -> Iterator[None]:
    """One process at a time changes the table."""
    with held(home / f".{name}.lock", wait=True):
        yield


def _key(row: dict[str, Any]) -> str:
    protocol = row["protocol"]
    if "entry" in protocol:
        return json.dumps([protocol["entry"]])
    return json.dumps([row["metric"], row["estimator"], protocol["recipe"], protocol["arguments"], protocol["split"]])
