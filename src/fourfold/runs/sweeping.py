"""``sweep``: a recipe, a grid and data in, a folder of runs out."""

__all__ = ["Listener", "finish", "open_sweep", "resume_sweep", "standing", "start", "sweep", "train_share"]

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .._checks import choice, positive_int
from ..data import DataSet, Order
from ..data import load as load_data
from ..plan import Plan, RecipeFunction
from ..training import TOGETHER, CheckpointError, Job, Member, Told, Training, launch, load_state, train_several
from .fitting import chosen_for, job_of, same_data, same_run
from .folder import RunError, RunFolder
from .grid import Grid, Trial, grid_of
from .prepare import prepare, protocol_of
from .sweep_folder import SweepFolder
from .swept import Swept, read_sweep
from .trust import packages_of
from .unfinished import warn_of_unfinished

_AT_ONCE = 1024  # members that are built at once
_MANNER: dict[str, Any] = {"vectorize": "auto", "processes": 1, "listener": None}


@dataclass(frozen=True)
class Listener:
    """Who is told of a sweep on its way.

    Args:
        begun: called first, with the steps of all members, and how many of them were taken before.
        steps: called with the number of steps that were taken since, counted over members.
        line: called with a line for a user.
        ended: called with a member's name, and why it was frozen, if it was.
    """

    begun: Callable[[int, int], None] = lambda steps, before: None
    steps: Callable[[int], None] = lambda steps: None
    line: Callable[[str], None] = lambda text: None
    ended: Callable[[str, str], None] = lambda name, frozen: None


def sweep(
    recipe: RecipeFunction | Plan,
    data: DataSet,
    grid: Mapping[str, Sequence[Any]],
    *,
    seeds: int | Sequence[int] = 1,
    out: str | Path | None = None,
    **options: Any,
) -> Swept:
    """Trains every combination of some arguments and options with every seed, those of one shape as one program.

    Members that differ in numbers alone (β, a learning rate, a seed) have their parameters stacked, and one step takes
    all of them further, each with its own data order and noise. Each leaves the run folder that ``fit`` would have
    left, equal within rounding. What cannot be stacked (several players or stages, batch normalisation, data larger
    than memory), and small stacks of large networks on a processor, which would be slower, are trained one after
    another. A member whose numbers are not finite any more is frozen and named; the others go on.

    Args:
        recipe: such as ``fourfold.recipes.beta_vae``, or with arguments for all: ``beta_vae(latent=10)``.
        data: for all members.
        grid: values by the name of an argument of the recipe, or of an option of training such as ``lr``.
        seeds: how many, from 0; or which.
        out: the folder of the sweep, new or empty; by default ``runs/sweep-<recipe>-<data>-<number>``.
        options: fields of ``Training``, the same for all members; and ``vectorize`` (auto: measured, and chosen by it;
            on: stacked whatever it costs; off: one after another), ``processes`` (how many share the work, each with
            its part of the machine's threads or its GPU; more than one needs data that fourfold can load by name or
            path), ``listener`` (who is told of progress).

    Raises:
        TypeError, ValueError: for wrong arguments or data; nothing is written then.
        KeyboardInterrupt: after Ctrl-C, once all members are saved.

    Example:
        >>> import tempfile, fourfold as ff
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     made = ff.sweep(ff.recipes.beta_vae(latent=2), ff.data.digits(), {"beta": [1.0, 4.0]}, seeds=2,
        ...                     epochs=1, out=f"{folder}/s", quiet=True)
        ...     [row["beta"] for row in made.rows]
        [1.0, 1.0, 4.0, 4.0]
    """
    vectorize, processes, listener = (options.pop(name, usual) for name, usual in _MANNER.items())
    plan = recipe if isinstance(recipe, Plan) else None
    function = plan.recipe if plan else recipe
    if not isinstance(function, RecipeFunction):
        raise TypeError(f"sweep: recipe: wanted a recipe such as fourfold.recipes.vae, got {type(recipe).__name__}.")
    which = list(range(positive_int(seeds, "sweep: seeds"))) if isinstance(seeds, int) else list(seeds)
    made = Grid(function, dict(grid), which, plan.arguments if plan else {}, Training().but(**options))
    home = start(made, data, out, vectorize=vectorize, processes=processes)
    return finish(home, made, data, processes=processes, listener=listener)


def start(made: Grid, data: DataSet, out: str | Path | None, *, vectorize: str, processes: int = 1) -> SweepFolder:
    """Checks everything that can be checked before the first step, and writes the record.

    Args:
        made: what is to be trained.
        data: on what.
        out: the folder, new or empty.
        vectorize: auto, on or off.
        processes: how many are to share the work.
    """
    choice(vectorize, TOGETHER, "sweep: vectorize")
    if made.training.devices > 1:
        raise ValueError("sweep: devices: each member has one. Share the members out: processes=8, or --processes 8.")
    if positive_int(processes, "sweep: processes") > 1 and data.origin is None:
        raise ValueError(
            f"sweep: processes={processes}: each must load the data, and these are from memory. Save them as .npz and "
            "load that (fourfold.data.load(path)), or use one process."
        )
    for trial in made.corners():
        chosen = chosen_for(trial.training, data)
        prepared = prepare(trial.plan, data, chosen)
        job_of(prepared, data, chosen, 1)
        warn_of_unfinished(prepared, _steps(trial, data))
    members = [{"name": trial.name, "values": _plain(trial.values)} for trial in made.trials]
    described = made.to_dict()
    if processes > 1:
        try:
            grid_of(described, packages_of(described))
        except RunError as error:
            raise ValueError(f"sweep: processes={processes}: each must build it. {error} Or use one process.") from None
    rows = {"origin": data.origin, "name": data.name, "protocol": protocol_of(data)}
    record = {**described, "data": rows, "vectorize": vectorize}
    return SweepFolder.create(out, f"sweep-{made.recipe.name}-{data.name}", {**record, "members": members})


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has them; a network by its words."""
    kept = (bool, int, float, str, list, tuple, type(None))
    return {key: value if isinstance(value, kept) else str(value) for key, value in values.items()}


def resume_sweep(
    path: str | Path,
    data: DataSet | None = None,
    *,
    trust: tuple[str, ...] = (),
    share: tuple[int, int] = (0, 1),
    processes: int = 1,
    listener: Listener | None = None,
) -> Swept:
    """Goes on with a sweep: members that are done stay as they are, the others are taken up at their checkpoints.

    Args:
        path: the folder of the sweep.
        data: if they were from memory.
        trust: packages outside fourfold from which the recipe may be imported.
        share: ``(i, n)``: every n-th member from the i-th on, where several machines share a folder.
        processes: how many share the work here.
        listener: who is told of progress.
    """
    home, made, data = open_sweep(path, data, trust)
    return finish(home, made, data, share=share, processes=processes, listener=listener)


def open_sweep(
    path: str | Path, data: DataSet | None = None, trust: tuple[str, ...] = ()
) -> tuple[SweepFolder, Grid, DataSet]:
    """A sweep that was begun: its folder, its grid, its data."""
    home = SweepFolder(Path(path))
    record = home.record()
    origin = record["data"]["origin"]
    if data is None and origin is None:
        raise RunError(f"{path}: this sweep was on data from memory: pass them, as in resume_sweep(path, data).")
    data = data or load_data(**origin)
    if "protocol" in record["data"]:
        same_data(record, {"data": {"protocol": protocol_of(data)}}, path)
    return home, grid_of(record, trust), data


def finish(
    home: SweepFolder,
    made: Grid,
    data: DataSet,
    *,
    share: tuple[int, int] = (0, 1),
    processes: int = 1,
    listener: Listener | None = None,
) -> Swept:
    """Trains what is left of a share, here or in several processes, and draws what was found."""
    from .workers import train_in_processes

    told = listener or Listener()
    trials = made.trials[share[0] :: share[1]]
    processes = max(1, min(processes, len(trials)))
    with home.held(whole=share[1] == 1):
        steps = [_steps(trial, data) for trial in trials]
        before = [min(standing(home.member(trial.name))[0], total) for trial, total in zip(trials, steps, strict=True)]
        told.begun(sum(steps), sum(before))
        if processes > 1:
            interrupted = train_in_processes(home.path, share, processes, told, packages_of(made.to_dict()))
        else:
            interrupted = train_share(home, made, data, share, told)
    if interrupted:
        done = sum(standing(home.member(trial.name))[1] for trial in made.trials)
        raise KeyboardInterrupt(
            f"Stopped and saved; {done} of {len(made.trials)} members are done. "
            f"Continue with: fourfold sweep --resume {home.path}"
        )
    found = read_sweep(home.path)
    if found.drawable:
        found.picture_file()
    return found


def train_share(
    home: SweepFolder, made: Grid, data: DataSet, share: tuple[int, int], listener: Listener, processes: int = 1
) -> bool:
    """Trains what is left of every n-th member, in this process; whether it was interrupted.

    Args:
        home: of the sweep.
        made: its grid.
        data: its data.
        share: ``(i, n)``.
        listener: who is told of progress.
        processes: how many of this kind share the machine's memory.
    """
    frozen = home.frozen()
    mine = made.trials[share[0] :: share[1]]
    left = [t for t in mine if t.name not in frozen and not standing(home.member(t.name))[1]]
    vectorize = home.record()["vectorize"]
    for first in range(0, len(left), _AT_ONCE):
        some = left[first : first + _AT_ONCE]

        def ended(place: int, member: Member, some: list[Trial] = some) -> None:
            if member.frozen:
                home.freeze(some[place].name, member.frozen)
            listener.ended(some[place].name, member.frozen)

        told = Told(listener.steps, listener.line, ended)
        jobs = [_job(home.member(trial.name), trial, data) for trial in some]
        fabric = launch(jobs[0].options)
        members = train_several(jobs, fabric, told, together=vectorize, processes=processes)
        if any(member.outcome.interrupted and not member.frozen for member in members):
            return True
    return False


def _job(folder: RunFolder, trial: Trial, data: DataSet) -> Job:
    """A member as ``fit`` would train it, in its folder, which is made if it is not there."""
    chosen = chosen_for(trial.training, data)
    prepared = prepare(trial.plan, data, chosen)
    record = folder.path / "run.json"
    if record.is_file() and not record.read_bytes():  # killed while it was made
        record.unlink()
    there = record.exists()
    if there:
        same_run(folder.record(), prepared.record, folder.path)
    else:
        RunFolder.create(folder.path, prepared.name, prepared.record)
    return replace(job_of(prepared, data, chosen, 1), folder=folder.path, resume=there, quiet=True)


def standing(folder: RunFolder) -> tuple[int, bool]:
    """How many steps a member has taken, and whether it is done."""
    with suppress(CheckpointError):
        state = load_state(folder.checkpoint("last"))
        return state["step"], bool(state["finished"])
    return 0, False


def _steps(trial: Trial, data: DataSet) -> int:
    chosen = chosen_for(trial.training, data)
    return Order(len(data.train), chosen.batch_size, chosen.seed).steps(chosen.epochs)
