"""``fourfold doctor``: what is wrong with a run, in words, and which remedy to try."""

__all__ = ["doctor"]

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .._checks import positive_int
from .flags import Parser
from .show import as_json
from .subject import add_data, add_run, open_run, subject

if TYPE_CHECKING:
    from collections.abc import Callable


def doctor(words: Sequence[str]) -> int:
    """Examines the run and tells."""
    about = (
        "What is wrong with a run, the most serious first, with what was measured and which remedy to try; or a clean "
        "bill. It measures a few hundred data in seconds, reads how training went, and writes nothing. The exit status "
        "is 0 whatever is found."
    )
    parser = Parser("doctor", about)
    add_run(parser)
    add_data(parser)
    help_text = "examine N data, and N of the training data, at most (default 500)"
    parser.add_argument("-n", "--data-count", type=int, default=500, metavar="N", help=help_text)
    help_text = "search the best posterior of N data too, which takes longer; 0 leaves it out (default)"
    parser.add_argument("--gap", type=int, default=0, metavar="N", help=help_text)
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of text")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    given = parser.read(words)
    positive_int(given.data_count, "--data-count")
    if given.gap:
        positive_int(given.gap, "--gap")
    run, part = subject(open_run(given), given)
    from ..runs.doctor import doctor as examined

    with _steps(given.quiet) as tell:
        found = examined(run, part, data=given.data_count, gap_data=given.gap, seed=given.seed, tell=tell)
    n = min(given.data_count, len(run.split(part).x))
    title: dict[str, Any] = {"run": str(run.path), "checkpoint": run.checkpoint, "data": run.dataset().name}
    title |= {"part": part, "n": n, "seed": given.seed}
    if given.json:
        print(as_json(title | found.to_dict()))
    else:
        said = f"{title['run']}, {run.checkpoint} checkpoint, {n} data of {title['data']} {part}, seed {given.seed}"
        print(f"{said}\n{found}")
    return 0


@contextmanager
def _steps(quiet: bool) -> "Iterator[Callable[[str], None]]":
    """A bar on standard error that names what is measured."""
    from tqdm import tqdm

    with tqdm(disable=True if quiet else None, delay=1, leave=False, bar_format="{desc} {elapsed}") as bar:

        def tell(name: str) -> None:
            bar.set_description_str(name)

        yield tell
