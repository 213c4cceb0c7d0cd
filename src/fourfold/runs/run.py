"""A run: a trained model, its data and its folder."""

__all__ = ["Run", "load", "weights"]

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .._version import __version__
from ..data import Batch, DataSet, DataSpec, Split, View, Vocabulary, feed
from ..data import load as load_data
from ..evaluation import Evaluation, EvaluationOptions, Row, evaluate
from ..evaluation.doctor import Checkup
from ..models import Model
from ..noise import Noise
from ..plan import Recipe
from ..training import CheckpointError, Outcome, Step, load_tensors, restore_module
from .folder import RunError, RunFolder
from .prepare import plan_of
from .sentences import in_words_of, vocabulary_of
from .support import check_rows, digest

_CHUNK = 500


def weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The model's weights in a checkpoint: the averaged ones where an average was kept."""
    live = {k.removeprefix("weights/model."): v for k, v in tensors.items() if k.startswith("weights/model.")}
    mean = {k.removeprefix("average/model."): v for k, v in tensors.items() if k.startswith("average/model.")}
    return live | mean


def load(
    path: str | Path, *, model: Model | None = None, trust: tuple[str, ...] = (), checkpoint: str = "auto"
) -> Model:
    """The trained model of a run, in evaluation mode; nothing in the folder is executed.

    Args:
        path: the run folder.
        model: the model to fill with the run's weights, if its recipe cannot build it.
        trust: packages outside fourfold from which the run's own code may be imported.
        checkpoint: ``"last"``, ``"best"`` (by validation objective), or ``"auto"``: best for a run with early
            stopping, else last.

    Raises:
        RunError, CheckpointError: if the folder or its checkpoint cannot be used, with the reason.
    """
    return Run.open(path, model=model, trust=trust, checkpoint=checkpoint).model


class Run:
    """A trained model with its folder, its data and what is known of both.

    Attributes:
        path: the run folder.
        model: the model, in evaluation mode.
        view: how data are shown to it.
        outcome: where training stands.
        recipe: what it was trained by; ``None`` where the model was given to ``open``.
    """

    def __init__(
        self, path: Path | None, step: Step, data: DataSet | None, outcome: Outcome, recipe: Recipe | None = None
    ) -> None:
        self.path, self.data, self.outcome, self.recipe = path, data, outcome, recipe
        self.view: View = step.view
        self.model: Model = step.model
        self.checkpoint = "last"
        if path is not None:
            self._fill("auto")
        self.model.eval()

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        model: Model | None = None,
        trust: tuple[str, ...] = (),
        checkpoint: str = "auto",
        data: DataSet | None = None,
    ) -> "Run":
        """A run from its folder; arguments as in ``load``. The data are loaded when first needed, or given."""
        folder = RunFolder(Path(path))
        record, recipe = folder.record(), None
        if model is None:
            kind = record["spec"]
            shape, grey = tuple(kind["shape"]), kind.get("grey", False)
            words = vocabulary_of(kind)
            spec = DataSpec(shape, kind["levels"], kind["classes"], grey=grey, n=kind.get("n"), vocabulary=words)
            recipe = plan_of(record, trust).build(spec)
            built = recipe.model
            if not isinstance(built, Model):
                raise RunError(f"{path}: its recipe gave {type(built).__name__}, not a fourfold.models.Model.")
            model = built
            if record["training"].get("precision") == "64":
                model = model.double()
        run = cls.__new__(cls)
        run.path, run.data, run.model, run.recipe = folder.path, None, model, recipe
        run.view = View.from_dict(record["view"])
        if data is not None:
            run.data = run.adapted(data)
        run.outcome = Outcome()
        run._fill(checkpoint)
        run.model.eval()
        return run

    def _fill(self, checkpoint: str) -> None:
        """Puts the weights of a checkpoint into the model."""
        folder = self.folder
        if checkpoint == "auto":
            stopping = folder.record()["training"].get("patience", 0) and folder.checkpoint("best").exists()
            checkpoint = "best" if stopping else "last"
        if checkpoint not in ("last", "best"):
            raise ValueError(f"checkpoint: wanted auto, last or best, got {checkpoint!r}.")
        path = folder.checkpoint(checkpoint)
        if not path.exists():
            other = "best" if checkpoint == "last" else "last"
            fix = f"Training has not come to its first one. Train: fourfold train --resume {folder.path}"
            fix = f"Take the other: checkpoint {other}" if folder.checkpoint(other).exists() else fix
            raise CheckpointError(
                f"{folder.path}: there is no {checkpoint} checkpoint (no such file: {path.name}). {fix}"
            )
        tensors, state = load_tensors(path, to_train=False)
        restore_module(self.model, weights(tensors), str(path))
        self.checkpoint = checkpoint
        self.outcome.step = int(state["step"])
        self.outcome.seconds = float(state.get("seconds", self.outcome.seconds))
        self.outcome.finished = bool(state.get("finished", True))
        self.outcome.skipped = int(state.get("skipped", 0))

    @property
    def folder(self) -> RunFolder:
        """The run folder, as paths."""
        if self.path is None:
            raise RunError("This process holds no run folder: in a run of several processes only the first one does.")
        return RunFolder(self.path)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The rows of ``metrics.jsonl``."""
        return self.folder.metrics()

    @property
    def stages(self) -> tuple[tuple[str, int], ...]:
        """Every stage of training by name, with the step at which it ends; empty where the recipe is not known."""
        path = self.folder.checkpoint("last")
        if self.recipe is None or not path.exists():
            return ()
        ends = load_tensors(path, to_train=False)[1].get("ends", ())  # those of format 1 do not tell
        return tuple(zip((stage.name for stage in self.recipe.course), ends, strict=True)) if ends else ()

    @property
    def vocabulary(self) -> Vocabulary | None:
        """The words that the model knows; ``None`` where its data are no sentences."""
        return vocabulary_of(self.folder.record()["spec"])

    def dataset(self) -> DataSet:
        """The data of the run, loaded again if need be."""
        if self.data is None:
            origin = self.folder.record()["data"]["origin"]
            if origin is None:
                raise RunError(
                    f"{self.path}: trained on data from memory; pass them: Run.open(path, data=…), or --data."
                )
            self.data = self.adapted(load_data(**origin))
        return self.data

    def split(self, name: str) -> Split:
        """The train, validation or test rows of the run's data."""
        data = self.dataset()
        if name not in data.parts:
            raise ValueError(f"split: {data.name} has no {name!r}; it has {', '.join(data.parts)}.")
        return data.parts[name]

    def batches(self, split: Split, seed: int = 0, size: int = _CHUNK) -> Callable[[], Iterator[Batch]]:
        """The same batches at every call: one binarisation, keyed by the seed.

        Raises:
            ValueError: for rows that the model's likelihood cannot score, and labels that it does not know.
        """
        check_rows(split, self.view, self.model.support, "the data to evaluate")
        classes = self.model.condition.classes if self.model.condition and self.view.condition == "label" else None
        if classes and split.labels is not None and split.labels.max() >= classes:
            raise ValueError(f"data: this model takes labels from 0 to {classes - 1}, got {split.labels.max()}.")
        rows = feed(split, self.model.device, workers=0)

        def made() -> Iterator[Batch]:
            for start, raw, labels in rows.chunks(size):
                batch = self.view(raw, labels, Noise(seed, stream="view", step=start, device=self.model.device))
                yield replace(batch, x=batch.x.to(self.model.dtype))  # a run in float64 has a model in float64

        return made

    def evaluate(
        self,
        split: str | Split = "test",
        *,
        seed: int = 0,
        save: bool = True,
        progress: Callable[[int, int | None], None] | None = None,
        **options: Any,
    ) -> Evaluation:
        """Measures the model on the test rows; the results and the numbers of each datum go into the run folder too.

        Args:
            split: ``"test"``, ``"validation"``, ``"train"``, or rows of your own.
            seed: of binarisation and draws.
            save: write them into the run folder.
            progress: told (done, total) data.
            options: fields of ``EvaluationOptions``: ``importance_samples=5000``, ``importance_data=1000`` …
        """
        rows = self.split(split) if isinstance(split, str) else split
        where = split if isinstance(split, str) else "given"
        chosen = EvaluationOptions(dequantised=self.view.dequantize, **options)
        batches = self.batches(rows, seed)
        protocol = {**self.protocol(where, seed), "options": _asked(chosen), "data_digest": digest(batches())}
        found = evaluate(
            self.model, batches, Noise(seed, stream="evaluate"), options=chosen, protocol=protocol, progress=progress
        )
        found = replace(found, remarks=(*self._unfinished(), *found.remarks))
        if save and self.path is not None:
            self.keep(found.rows, [found.per_datum.get(row.metric) for row in found.rows])
        return found

    def _unfinished(self) -> list[str]:
        """A remark on a run that has more training before it: how far it got, and in which stage."""
        if self.path is None or self.outcome.finished:
            return []
        step, stages = self.outcome.step, self.stages
        place = f" of {stages[-1][1]:,}" if stages else ""
        early = [i for i, (_, end) in enumerate(stages[:-1], 1) if step < end]
        if early:
            name = stages[early[0] - 1][0]
            place += f", in stage {name!r}, {early[0]} of {len(stages)}: the whole has not been trained yet"
        return [f"training stands at step {step:,}{place}. It goes on with: fourfold train --resume {self.path}"]

    def protocol(self, split: str, seed: int) -> dict[str, Any]:
        """What goes with every number of this run."""
        record = self.folder.record() if self.path is not None else {}
        view = self.view.to_dict()
        data = record.get("data", {}).get("protocol", {}) if self.data is None else self.data.protocol
        split_seed = {"split_seed": data["seed"]} if "seed" in data else {}
        return {
            **data,
            **split_seed,
            "data_part": split,
            "binarize": view["binarize"],
            "dequantize": view["dequantize"],
            "condition": view["condition"],
            "seed": seed,
            "recipe": record.get("recipe", {}).get("recipe"),
            "arguments": record.get("recipe", {}).get("arguments"),
            "training_seed": record.get("training", {}).get("seed"),
            "parameters": sum(p.numel() for p in self.model.parameters()),
            "checkpoint": self.checkpoint,
            "steps": self.outcome.step,
            "training_seconds": round(self.outcome.seconds, 1),
            "device": self.model.device.type,
            "threads": torch.get_num_threads(),
            "fourfold": __version__,
            "evaluated": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        }

    def keep(self, rows: Sequence[Row], numbers: Sequence[np.ndarray | None]) -> None:
        """Adds rows to the results, in the place of those they repeat and of those the run has trained past.

        Args:
            rows: of results.
            numbers: for each row those ``(n,)`` that it is the mean of, one a datum, or ``None``.
        """
        fresh = [row.to_dict() for row in rows]
        arrays = [(row, values) for row, values in zip(fresh, numbers, strict=True) if values is not None]
        keys, now = {_key(row) for row in fresh}, (self.checkpoint, self.outcome.step)
        old = [row for row in self.folder.results() if row["protocol"].get("checkpoint") == self.checkpoint]
        past = [row for row in old if (self.checkpoint, row["protocol"].get("steps")) != now]
        kept = [row for row in self.folder.results() if _key(row) not in keys and row not in past]
        self.folder.keep(kept + fresh, arrays)

    @torch.no_grad()
    def encode(self, split: Split, seed: int = 0) -> tuple[np.ndarray, ...]:
        """Posterior means of every row, one array ``(N, *latent)`` a level."""
        found = [self.model.encode(b.x, b.c) for b in self.batches(split, seed)()]
        return tuple(torch.cat(level).cpu().numpy() for level in zip(*found, strict=True))

    def score(self, split: Split, seed: int = 0, **options: Any) -> dict[str, np.ndarray]:
        """Numbers of every row in nats: ``elbo``, ``distortion``, ``rate``; ``nll_is`` and ``nll_mc`` if asked for."""
        return self.evaluate(split, seed=seed, save=False, **options).per_datum

    def rows_of(self, data: DataSet) -> Split:
        """All rows of other data, checked and numbered as :meth:`adapted` does."""
        return self.adapted(data).train

    def adapted(self, data: DataSet) -> DataSet:
        """Other data in the model's terms: checked to be of the kind it was trained on, classes and words by name.

        Labels without names are taken as they are. The names of classes that had none in training are their numbers.

        Raises:
            ValueError: for data of another kind, and for classes that the model does not know.
        """
        mine = self.folder.record()["spec"]
        if (words := vocabulary_of(mine)) is not None:
            return in_words_of(data, words, tuple(mine["shape"]))
        if list(data.shape) != mine["shape"] or data.levels != mine["levels"]:
            raise ValueError(
                f"data: this model takes data of shape {tuple(mine['shape'])} and levels {mine['levels']}, "
                f"got shape {data.shape} and levels {data.levels}. Bring them to the form of the training data."
            )
        for part, split in data.parts.items():
            check_rows(split, self.view, self.model.support, f"data set {data.name!r}, {part}")
        return data if self.view.condition != "label" else _renumbered(data, mine)

    def doctor(self, split: str = "test", **options: Any) -> Checkup:
        """What is wrong with this run, in words, and what to try.

        Args:
            split: the part of the data that it is examined on: one that it has not learnt from.
            options: of ``fourfold.runs.doctor``: ``data=500``, ``gap_data=0``, ``seed=0``, ``tell``.
        """
        from .doctor import doctor

        return doctor(self, split, **options)

    def report(self) -> Path:
        """Draws the pictures and writes ``report.html``; returns its path."""
        from .gallery import write_gallery

        return write_gallery(self)


def _renumbered(data: DataSet, mine: dict[str, Any]) -> DataSet:
    """The data with the numbers that their classes had in training."""
    if data.classes is None or (data.class_names is None and data.classes > mine["classes"]):
        got = "no labels" if data.classes is None else f"labels up to {data.classes - 1}"
        raise ValueError(f"data: this model takes labels from 0 to {mine['classes'] - 1}, got {got}.")
    known = tuple(mine.get("class_names") or map(str, range(mine["classes"])))
    if data.class_names is None or data.class_names == known:
        return data
    if foreign := [name for name in data.class_names if name not in known]:
        shown = ", ".join(known[:10]) + (" …" if len(known) > 10 else "")
        raise ValueError(
            f"data: this model was trained without the class {foreign[0]!r}; it knows {shown}. "
            "Leave such rows out, or name their class as in training."
        )
    number = np.array([known.index(name) for name in data.class_names])
    parts = {
        part: Split(split.x, None if split.labels is None else number[split.labels])
        for part, split in data.parts.items()
    }
    return replace(data, **parts, classes=mine["classes"], class_names=mine.get("class_names") and known)


def _asked(options: EvaluationOptions) -> dict[str, Any]:
    """What was asked for where it is not the default: asked again, it gives the same numbers."""
    usual = asdict(EvaluationOptions(rows_per_chunk=options.rows_per_chunk, dequantised=options.dequantised))
    return {name: value for name, value in asdict(options).items() if value != usual[name]}


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    protocol = row["protocol"]
    said = (protocol.get(key) for key in ("dataset", "data_part", "seed", "checkpoint", "binarize", "dequantize"))
    return row["metric"], row["estimator"], row["n"], *said
