"""Where results of reproductions are kept: one JSON file a table, one protocol row each."""

__all__ = ["keep"]

import json
from collections.abc import Sequence
from pathlib import Path

from fourfold.evaluation import Row, table

_HOME = Path(__file__).parent / "results"


def keep(name: str, rows: Sequence[Row]) -> None:
    """Prints the rows, and puts each into the table in the place of one with the same metric, recipe and estimator."""
    print(table(rows))
    path = _HOME / f"{name}.json"
    kept = json.loads(path.read_text()) if path.exists() else []
    fresh = [row.to_dict() for row in rows]
    keys = {_key(row) for row in fresh}
    path.write_text(json.dumps([row for row in kept if _key(row) not in keys] + fresh, indent=1) + "\n")


def _key(row: dict[str, object]) -> str:
    protocol = row["protocol"]
    assert isinstance(protocol, dict)
    return json.dumps([row["metric"], row["estimator"], protocol["recipe"], protocol["arguments"], protocol["split"]])
