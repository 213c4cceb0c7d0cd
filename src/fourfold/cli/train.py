"""``fourfold train``: a new run, or more of one."""

__all__ = ["train"]

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..data import Order
from ..plan import Plan
from ..recipes import TABLE, find
from ..training import Training, load_tensors
from .flags import dashed, importable, trusted, value_of
from .options import OPTIONS, only, read_flags

if TYPE_CHECKING:
    from ..data import DataSet
    from ..runs import Run, RunFolder


def train(words: Sequence[str]) -> int:
    """Trains a recipe, or goes on with a run."""
    words = dashed(words)
    name, words = (words[0], words[1:]) if words and not words[0].startswith("-") else (None, words)
    if (folder := value_of(words, "--resume")) is not None:
        return _resume(folder, name, words)
    name = name or value_of(words, "--recipe") or _recipe_in(value_of(words, "--config"))
    if name is None:
        if {"-h", "--help"} & set(words):
            read_flags(None, ["--help"])
        raise ValueError(
            f"fourfold train: the recipe comes first: {', '.join(TABLE)}, or package.module:function of your own. "
            "For example: fourfold train vae --data digits."
        )
    if ":" in name:
        importable()
    recipe = find(name)
    given = read_flags(recipe, words)
    _start(recipe(**only(given, recipe.signature)), Training(**only(given, OPTIONS)), given)
    return 0


def _recipe_in(config: str | None) -> str | None:
    """The recipe that a configuration file names; a file that cannot be read is the parser's to refuse."""
    if config is None:
        return None
    import yaml

    try:
        found = yaml.safe_load(Path(config).read_text())
    except (OSError, ValueError, yaml.YAMLError) as error:
        fix = "Give a file that --print_config wrote."
        raise ValueError(f"--config: {config} cannot be read: {error}. {fix}") from None
    return found.get("recipe") if isinstance(found, dict) else None


def _start(plan: Plan, options: Training, given: dict[str, Any]) -> None:
    from ..runs import fit
    from ..runs.folder import next_folder

    data = _data(given)
    first = os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0"
    logged = given.get("tensorboard") and first
    # The logger wants to know the folder before there is a run.
    claimed = next_folder(f"{plan.recipe.name}-{data.name}") if logged and "out" not in given else None
    out = claimed or given.get("out")
    try:
        loggers = (_tensorboard(claimed or Path(given["out"])),) if logged else ()
        run = fit(plan, data, options, out=out, init_from=given.get("init_from"), loggers=loggers)
    except BaseException:
        if claimed is not None:
            with suppress(OSError):  # not if there is something in it
                claimed.rmdir()
        raise
    _finish(run, given.get("report", True), options.quiet)


def _resume(path: str, name: str | None, words: Sequence[str]) -> int:
    from ..runs import RunFolder, resume
    from ..runs.fitting import check_changes
    from ..runs.prepare import plan_of

    folder = RunFolder(Path(path))
    record = folder.record()
    if name not in (None, record["recipe"]["recipe"]):
        raise _differs(path, "recipe", record["recipe"]["recipe"], name)
    trust = trusted(value_of(words, "--trust"))
    recipe = plan_of(record, trust).recipe
    given = read_flags(recipe, words)
    for key in ("out", "init_from", "tensorboard"):
        if given.get(key):
            raise ValueError(f"--resume goes on in {path}; --{key.replace('_', '-')} is for new runs. Leave it out.")
    for key, value in only(given, recipe.signature).items():
        was = record["recipe"]["arguments"].get(key)
        if (list(value) if isinstance(value, tuple) else value) != was:
            raise _differs(path, key, was, value)
    options = only(given, OPTIONS)
    check_changes(record, options, path)
    if _finished(folder, record, options):
        print(f"{path} is finished already. To go on for longer, give it more --epochs.")
        return 0
    run = resume(path, _moved(given, record), trust=trust, **options)
    _finish(run, given.get("report", True), options.get("quiet", False))
    return 0


def _differs(path: str, key: str, was: object, now: object) -> ValueError:
    return ValueError(
        f"--resume: {path} was trained with {key} {was}, got {now}. Leave it out, or start a new run "
        f"(with --init-from {path}, from its weights)."
    )


def _finished(folder: "RunFolder", record: dict[str, Any], options: dict[str, Any]) -> bool:
    path, training = folder.checkpoint("last"), record["training"]
    if not path.exists():
        return False
    order = Order(record["data"]["protocol"]["n_train"], training["batch_size"], training["seed"])
    state = load_tensors(path)[1]
    return state["stopped_early"] or state["step"] >= order.steps(options.get("epochs", training["epochs"]))


def _moved(given: dict[str, Any], record: dict[str, Any]) -> "DataSet | None":
    """The run's data from where they are now, if that is said."""
    if not {"data", "data_dir", "split", "size"} & given.keys():
        return None
    origin = {key: value for key, value in (record["data"]["origin"] or {}).items() if value is not None}
    return _data({**origin, "data": origin.get("name"), **given})


def _data(given: dict[str, Any]) -> "DataSet":
    from ..data import load

    where = {key: given.get(key) for key in ("split", "data_dir", "size")}
    return load(given.get("data") or "digits", **where)  # type: ignore[arg-type]


def _tensorboard(out: Path) -> object:
    from lightning_fabric.loggers import TensorBoardLogger

    try:
        return TensorBoardLogger(out, name="tensorboard", version="")
    except ImportError:
        raise ImportError("--tensorboard needs the package tensorboard: pip install 'fourfold[tensorboard]'.") from None


def _finish(run: "Run", report: bool, quiet: bool) -> None:
    """Draws, and says where everything is and what to do next; quiet tells the folder only."""
    if run.path is None:  # one of several processes, not the first
        return
    page = run.report() if report else None
    if quiet:
        print(run.path)
        return
    outcome = run.outcome
    print(f"{'Stopped early' if outcome.stopped_early else 'Done'}: {outcome.step} steps in {outcome.seconds:.1f} s.")
    for label, name in (("ELBO", "elbo"), ("distortion", "distortion")):
        if (value := outcome.metrics.get(f"validation/{name} [nats]")) is not None:
            print(f"validation {label}  {value:.2f} nats")
            break
    print(f"run folder       {run.path}")
    if page:
        print(f"pictures         {run.folder.pictures()}\nreport           {page}")
    third = "traverse" if run.vocabulary is None else "report"
    print("\nNext:", *(f"fourfold {word} {run.path}" for word in ("evaluate", "sample", third)), sep="\n  ")
