"""``fit``: a recipe and data in, a run out."""

__all__ = ["check_changes", "chosen_for", "fit", "job_of", "resume", "same_data", "same_run"]

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..data import DataSet, Order
from ..data import load as load_data
from ..plan import Plan, Recipe, RecipeFunction
from ..training import Job, Outcome, Training, check_job, launch, load_tensors, restore_module, together, train
from .folder import RunError, RunFolder, write_json
from .prepare import Prepared, plan_of, prepare
from .run import Run, weights
from .unfinished import warn_of_unfinished

#: Flags of the command line that are no options of ``fit``: where Python has them.
_ELSEWHERE = {
    "report": "fit draws no pictures and writes no report until run.report() is called. Leave it out.",
    "resume": "A run goes on with fourfold.runs.resume(path).",
    "tensorboard": "Give loggers=(lightning_fabric.loggers.TensorBoardLogger(…),).",
    "data_dir": "Say it where the data are loaded, as in fourfold.data.mnist(data_dir=…).",
    "split": "Say it where the data are loaded, as in fourfold.data.mnist(split=…).",
}
_MAY_CHANGE = ("accelerator", "checkpoint_seconds", "devices", "epochs", "quiet", "workers")


def fit(
    recipe: Plan | Recipe,
    data: DataSet,
    training: Training | None = None,
    *,
    out: str | Path | None = None,
    init_from: str | Path | None = None,
    loggers: tuple[object, ...] = (),
    **options: Any,
) -> Run:
    """Trains a recipe on data, in a run folder of its own.

    Args:
        recipe: for example ``fourfold.recipes.vae(latent=20)``, or a ``Recipe(model, objective)``.
        data: for example ``fourfold.data.mnist()``.
        training: how; the options below change single ones.
        out: the run folder, new or empty; by default ``runs/<recipe>-<data>-<number>``.
        init_from: a run whose weights are taken as first ones.
        loggers: Lightning Fabric loggers that get every metric too.
        options: fields of ``Training``, such as ``epochs=20`` or ``lr=1e-3``.

    Raises:
        TypeError, ValueError: for wrong arguments or data; nothing is written then.
        NonFinite: when a loss is not finite, with the step, the term and likely causes.
        KeyboardInterrupt: after Ctrl-C, once the state is saved.

    Example:
        >>> import tempfile, fourfold as ff
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     run = ff.fit(ff.recipes.vae(latent=2), ff.data.digits(), epochs=1, out=f"{folder}/r", quiet=True)
        ...     run.model.sample(3).shape
        torch.Size([3, 1, 8, 8])
    """
    _refuse_others(recipe, options)
    chosen = chosen_for((training or Training()).but(**options), data)
    prepared = prepare(recipe, data, chosen)
    if init_from is not None:
        tensors, _ = load_tensors(RunFolder(Path(init_from)).checkpoint("last"), to_train=False)
        restore_module(prepared.step.model, weights(tensors), str(init_from))
        prepared.record["init_from"] = str(init_from)
    fabric = launch(chosen, loggers)
    job = job_of(prepared, data, chosen, fabric.world_size)
    warn_of_unfinished(prepared, Order(len(data.train), chosen.batch_size, chosen.seed).steps(chosen.epochs))
    with together(fabric) as those:
        folder = RunFolder.create(out, prepared.name, prepared.record) if fabric.is_global_zero else None
        if fabric.world_size > 1:  # so that any of them can say where to go on
            those.home = fabric.broadcast(None if folder is None else str(folder.path))
        return _train(job, data, folder, prepared.recipe, fabric)


def _refuse_others(recipe: Any, options: dict[str, Any]) -> None:
    """Options that belong elsewhere are sent there, and not guessed at."""
    own = recipe.recipe if isinstance(recipe, Plan) else recipe
    for name in options:
        if name in _ELSEWHERE:
            raise TypeError(f"fit: {name} is no option of training. {_ELSEWHERE[name]}")
        if isinstance(own, RecipeFunction) and name in own.signature and name not in Training.__dataclass_fields__:
            raise TypeError(f"fit: {name} is an argument of the recipe: {own.name}({name}=…).")


def resume(
    path: str | Path, data: DataSet | None = None, *, trust: tuple[str, ...] = (), recipe: Any = None, **options: Any
) -> Run:
    """Continues a run from its last checkpoint, bit for bit; a finished one is returned as it is.

    Args:
        path: the run folder.
        data: the data it was trained on; may be left out for data that fourfold can load by name or path.
        trust: packages outside fourfold from which the run's own code may be imported.
        recipe: the plan, or the recipe with its model, if the record is not enough to build it.
        options: ``epochs`` (to go on for longer), ``devices``, ``quiet`` and the like. Nothing that changes numbers.
    """
    folder = RunFolder(Path(path))
    record = folder.record()
    check_changes(record, options, path)
    chosen = Training(**record["training"]).but(**options)
    data = data or _data_of(record, path)
    prepared = prepare(recipe or plan_of(record, trust), data, chosen)
    same_run(record, prepared.record, path)
    last = folder.checkpoint("last")
    if last.exists():
        load_tensors(last)  # a torn one is refused before anything is written
    fabric = launch(chosen)
    job = replace(job_of(prepared, data, chosen, fabric.world_size), resume=True)
    if fabric.is_global_zero and record["training"] != chosen.to_dict():
        write_json(folder.path / "run.json", {**record, "training": chosen.to_dict()})
    with together(fabric) as those:
        those.home = str(path)
        return _train(job, data, folder, prepared.recipe, fabric)


def check_changes(record: dict[str, Any], options: dict[str, Any], path: str | Path) -> None:
    """Refuses options of training other than the run's, if numbers depend on them.

    Raises:
        TypeError: for an unknown option.
        RunError: for one that cannot change within a run.
    """
    Training(**record["training"]).but(**options)
    for name, value in options.items():
        if name not in _MAY_CHANGE and value != record["training"].get(name):
            raise RunError(
                f"resume: {name} cannot change within a run: it was {record['training'].get(name)!r}, got {value!r}. "
                f"Leave it out, or start a new run with --init-from {path}."
            )


def same_run(record: dict[str, Any], now: dict[str, Any], path: str | Path) -> None:
    """Refuses to go on with another recipe, view or data than the run's record tells.

    Raises:
        RunError: that says in what they differ.
    """
    same_data(record, now, path)
    for key in ("recipe", "spec", "view"):
        _same(key, record[key], now[key], path)


def _same(key: str, was: dict[str, Any], now: dict[str, Any], path: str | Path) -> None:
    """Refuses another recipe or view; an argument that a recipe got since then has its default, as it had no other."""
    if key == "recipe" and now["recipe"] != was["recipe"]:
        raise RunError(
            f"resume: {path} was trained with recipe {was['recipe']}, now it is {now['recipe']}. Resume with that of "
            "the run, or start a new one."
        )
    if key == "recipe" and now["recipe"] is not None:
        defaults = {name: value for name, value in now["arguments"].items() if name not in was["arguments"]}
        was, now = {**defaults, **was["arguments"]}, now["arguments"]
    differing = [name for name in was.keys() | now.keys() if was.get(name) != now.get(name)]
    if differing:
        said = ", ".join(f"{name} {was.get(name)!r} (now {now.get(name)!r})" for name in sorted(differing))
        raise RunError(
            f"resume: {path} was trained with another {key}: {said}. Resume with the recipe, arguments and data of the "
            "run, or start a new one."
        )


def same_data(record: dict[str, Any], now: dict[str, Any], path: str | Path) -> None:
    """Refuses other rows than the run's; that a file has moved is no matter."""
    was, got = record["data"]["protocol"], now["data"]["protocol"]
    for key in was.keys() | got.keys():
        if key not in ("dataset", "source", "decoded") and was.get(key) != got.get(key):
            raise RunError(
                f"resume: {path} was trained on data with {key} {was.get(key)}, got {got.get(key)}. "
                "Resume with the data of the run, or start a new one."
            )


def job_of(prepared: Prepared, data: DataSet, options: Training, world: int) -> Job:
    """What is to be trained by so many processes; what cannot be is refused while nothing is written."""
    job = Job(prepared.step, data.train, data.validation, options, quiet=options.quiet, stages=prepared.stages)
    check_job(job, world)
    return job


def _train(job: Job, data: DataSet, folder: RunFolder | None, recipe: Recipe, fabric: Any) -> Run:
    path = folder.path if folder else None
    outcome: Outcome = train(replace(job, folder=path), fabric)
    if outcome.interrupted and folder is not None:
        raise KeyboardInterrupt(
            f"Stopped at step {outcome.step} and saved. Continue with: fourfold train --resume {folder.path}"
        )
    if outcome.skipped:
        warnings.warn(
            f"{outcome.skipped} of {outcome.step} updates were left out, their gradient's norm being above skip_grad = "
            f"{job.options.skip_grad:g} or not finite.",
            stacklevel=3,
        )
    return Run(path, job.step, data, outcome, recipe)


def chosen_for(options: Training, data: DataSet) -> Training:
    """The options with a batch that these data fill: of few data all are one batch."""
    n, parts = (
        len(data.train) if isinstance(data, DataSet) else options.batch_size,
        options.devices * options.accumulate,
    )
    if options.batch_size <= n:
        return options
    if n < parts:
        raise ValueError(f"fit: {n} training data cannot be shared among {parts} processes or pieces. Use fewer.")
    return options.but(batch_size=n - n % parts)


def _data_of(record: dict[str, Any], path: str | Path) -> DataSet:
    origin = record["data"]["origin"]
    if origin is None:
        raise RunError(f"resume: {path} was trained on data from memory: pass them, as in resume(path, data).")
    return load_data(**origin)
