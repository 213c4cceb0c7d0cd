"""``fourfold sweep``: many members of one recipe, trained as one program where that is faster."""

__all__ = ["sweep"]

import argparse
import re
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any

from .._checks import choice
from ..plan import RecipeFunction
from ..recipes import find
from ..training import TOGETHER, Training
from .flags import Parser, check_known, dashed, importable, trusted
from .options import OPTIONS, only, read_flags
from .results import show_sweep

if TYPE_CHECKING:
    from ..runs import Swept
    from ..runs.grid import Grid
    from ..runs.sweeping import Listener

_NOT_HERE = {
    "seed": "Say --seeds 10, or --seeds 0,3,5.",
    "resume": "Say fourfold sweep --resume FOLDER.",
    "init_from": "Members of a sweep begin anew.",
    "tensorboard": "Members of a sweep write metrics.jsonl.",
    "report": "fourfold report FOLDER/MEMBER draws the pictures of one.",
}


def sweep(words: Sequence[str]) -> int:
    """Begins a sweep, or goes on with one."""
    words = dashed(words)
    parser = _parser()
    given, rest = parser.parse_known_args(words)
    if given.resume is not None:
        check_known(words, parser)
        if given.recipe or given.grid or given.seeds or given.out or rest:
            raise ValueError(
                f"--resume goes on with {given.resume} as it was begun: only --processes, --share, --trust and --quiet "
                "may be said."
            )
        return _worker(given) if given.worker else _resume(given)
    if given.recipe is None:
        raise ValueError("fourfold sweep: the recipe comes first, as in: fourfold sweep beta_vae --grid beta=1,2,4,8.")
    if ":" in given.recipe:
        importable()
    try:
        recipe = find(given.recipe)
    except ValueError:
        if words[0] == given.recipe:
            raise
        raise ValueError(
            f"fourfold sweep: the recipe comes first, and it begins with {words[0]!r}; {given.recipe!r} is none."
        ) from None
    return _start(recipe, given, rest)


def _parser() -> Parser:
    about = (
        "Trains every combination of --grid with every seed. Members that differ in numbers alone are trained as one "
        "program; each leaves a run folder, as fourfold train would. All flags of fourfold train RECIPE may follow."
    )
    parser = Parser("sweep", about)
    parser.add_argument("recipe", nargs="?", metavar="RECIPE", help="as in fourfold train")
    help_text = "values of an argument or of an option: beta=1,2,4,8 lr=1e-3,3e-3 hidden=[200],[400,400]"
    parser.add_argument("--grid", nargs="+", action="extend", default=[], metavar="NAME=VALUES", help=help_text)
    parser.add_argument("--seeds", metavar="N", help="how many, from 0 (default 1); or which: 0,3,5")
    parser.add_argument("--out", metavar="FOLDER", help="new or empty (default runs/sweep-RECIPE-DATA-NUMBER)")
    parser.add_argument("--vectorize", choices=TOGETHER, default="auto", help="auto (default) measures what is faster")
    help_text = "how many share the work (default: one for each thread of the machine, or for each GPU)"
    parser.add_argument("--processes", type=int, metavar="N", help=help_text)
    parser.add_argument("--resume", metavar="FOLDER", help="go on with a sweep")
    parser.add_argument("--share", metavar="I/N", help="train the I-th of N parts only, one on each machine")
    parser.add_argument("--trust", metavar="PACKAGES", help="with --resume: whose recipes may be imported")
    parser.add_argument("--worker", type=int, metavar="N", help=argparse.SUPPRESS)
    parser.add_argument("-q", "--quiet", action="store_true", help="no bar, no table")
    return parser


def _start(recipe: RecipeFunction, given: argparse.Namespace, rest: list[str]) -> int:
    from ..data import load
    from ..runs.grid import Grid
    from ..runs.sweeping import finish, start

    share, said = _share(given.share), read_flags(recipe, rest)
    for name, instead in _NOT_HERE.items():
        if name in said:
            raise ValueError(f"fourfold sweep: --{name.replace('_', '-')} is no flag of a sweep. {instead}")
    axes = {}
    for text in given.grid:
        name, values = _axis(recipe, text)
        if name in axes:
            raise ValueError(f"--grid: {name} is there twice. Write all its values after one name.")
        axes[name] = values
    training = Training(**only(said, OPTIONS), quiet=given.quiet)
    made = Grid(recipe, axes, _seeds(given.seeds), only(said, recipe.signature), training)
    where = {key: said.get(key) for key in ("split", "data_dir", "size")}
    data = load(said.get("data") or "digits", **where)  # type: ignore[arg-type]
    processes = _processes(given, made)
    home = start(made, data, given.out, vectorize=choice(given.vectorize, TOGETHER, "--vectorize"), processes=processes)
    with _Bar(given.quiet, str(home.path)) as bar:
        found = finish(home, made, data, share=share, processes=processes, listener=bar.listener())
    return _told(found, given.quiet)


def _resume(given: argparse.Namespace) -> int:
    from ..runs.sweeping import finish, open_sweep

    share = _share(given.share)
    home, made, data = open_sweep(given.resume, trust=trusted(given.trust))
    processes = _processes(given, made)
    with _Bar(given.quiet, str(home.path)) as bar:
        found = finish(home, made, data, share=share, processes=processes, listener=bar.listener())
    return _told(found, given.quiet)


def _worker(given: argparse.Namespace) -> int:
    """One of several processes: what it has to say is read by the one that started it."""
    from ..runs.sweeping import open_sweep, train_share
    from ..runs.workers import Voice

    home, made, data = open_sweep(given.resume, trust=trusted(given.trust))
    voice = Voice()
    interrupted = train_share(home, made, data, _share(given.share), voice.listener(), given.worker)
    voice.say()
    return 130 if interrupted else 0


def _told(found: "Swept", quiet: bool) -> int:
    """The table, and where everything is; 1 where not one member came to its end."""
    if quiet:
        print(found.path)
    else:
        print(show_sweep(found))
        print(f"sweep folder  {found.path}\n\nNext:")
        first = next(row["member"] for row in found.rows)
        print(f"  fourfold results {found.path}\n  fourfold evaluate '{found.path / first}'")
    return 0 if found.drawable else 1


def _axis(recipe: RecipeFunction, text: str) -> tuple[str, list[Any]]:
    """The name and the values of ``beta=1,2,4``; a list of lists is written ``hidden=[200],[400,400]``."""
    name, equals, values = text.partition("=")
    name = name.lstrip("-").replace("-", "_")
    parts = re.findall(r"\[[^\]]*\]|[^,\[\]]+", values)
    if not equals or not all(part.strip() for part in re.sub(r"\[[^\]]*\]", "list", values).split(",")):
        raise ValueError(f"--grid: wanted NAME=VALUES, such as beta=1,2,4, got {text!r}.")
    found = []
    for part in parts:
        flag = f"--{name.replace('_', '-')}"
        switch = part.lower() in ("true", "false") and isinstance(_default(recipe, name), bool)
        if switch and not _default(recipe, name):
            said = read_flags(recipe, [flag] if part.lower() == "true" else [])
        else:
            said = read_flags(recipe, [f"{flag}={part}"])
        found.append(said.get(name, _default(recipe, name)))
    return name, found


def _default(recipe: RecipeFunction, name: str) -> Any:
    return recipe.defaults.get(name, Training().to_dict().get(name))


def _seeds(text: str | None) -> list[int]:
    try:
        parts = [int(part) for part in (text or "1").split(",") if part.strip()]
    except ValueError:
        parts = []
    if not parts or (len(parts) == 1 and "," not in (text or "1") and parts[0] < 1):
        raise ValueError(f"--seeds: wanted how many, such as 10, or which, such as 0,3,5, got {text!r}.")
    return list(range(parts[0])) if "," not in (text or "1") else parts


def _share(text: str | None) -> tuple[int, int]:
    found = re.fullmatch(r"(\d+)/(\d+)", text or "1/1")
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise ValueError(f"--share: wanted I/N with 1 ≤ I ≤ N, such as 2/4, got {text!r}.")
    return int(found[1]) - 1, int(found[2])


def _processes(given: argparse.Namespace, made: "Grid") -> int:
    import torch

    if given.processes is not None and given.processes < 1:
        raise ValueError(f"--processes: wanted at least 1, got {given.processes}.")
    gpus = 0 if made.training.accelerator == "cpu" else torch.cuda.device_count()
    return given.processes or max(1, min(gpus or torch.get_num_threads(), len(made.trials)))


class _Bar:
    """Steps of all members, how many members are done, and lines above."""

    def __init__(self, quiet: bool, home: str) -> None:
        from tqdm import tqdm

        self.quiet, self.done, self.home = quiet, 0, home
        self.bar = tqdm(unit=" steps", unit_scale=True, disable=quiet, dynamic_ncols=True, mininterval=0.2)

    def listener(self) -> "Listener":
        from ..runs.sweeping import Listener

        return Listener(begun=self._begun, steps=self._steps, line=self._line, ended=self._ended)

    def _begun(self, steps: int, before: int) -> None:
        self.bar.reset(steps)
        self.bar.initial = self.bar.n = before
        self.bar.set_description(self.home)

    def _steps(self, steps: int) -> None:
        self.bar.update(steps)

    def _line(self, text: str) -> None:
        if not self.quiet:
            self.bar.write(text, file=sys.stderr)

    def _ended(self, name: str, frozen: str) -> None:
        if frozen:
            self.bar.write(f"fourfold: warning: {name} is frozen: {frozen}; the others go on", file=sys.stderr)
        else:
            self.done += 1
        self.bar.set_postfix_str(f"{self.done} done")

    def __enter__(self) -> "_Bar":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()
