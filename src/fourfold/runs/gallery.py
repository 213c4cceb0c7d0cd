"""The pictures of a run: arrays from the model, drawn and written into the run folder."""

__all__ = [
    "Drawing",
    "draw_reconstructions",
    "draw_samples",
    "draw_traversal",
    "keep_samples",
    "samples",
    "unheld",
    "write_gallery",
]

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from .. import pictures
from ..data import Batch, Split
from ..distributions import Told
from ..evaluation import CodeUse
from ..models import Model
from ..noise import Noise
from ..priors import AR1
from .levels import check_temperature, level_pictures, refuse_codes, told_temperature, with_observed
from .report import Passage, Picture, Report, ways_back, write_report
from .sentences import passages, refuse_sentences

if TYPE_CHECKING:
    from .run import Run

_ROWS, _STEPS, _SCATTER = 16, 9, 2000


def draw_samples(
    run: "Run", n: int = 64, label: int | None = None, seed: int = 0, out: str | Path | None = None, draw: bool = False
) -> Path:
    """A grid of n samples: means of p(x | z), or draws where it has none; with a label where the model wants one."""
    refuse_sentences(run, "sample")
    images, title = samples(run, n, label, seed, how=Drawing(draw))
    return keep_samples(run, images, title, out)


def keep_samples(run: "Run", images: np.ndarray, title: str, out: str | Path | None = None) -> Path:
    """The picture of what ``samples`` gave."""
    return _written(run, "samples.png", out, pictures.grid(images, title=title))


@dataclass(frozen=True, slots=True)
class Drawing:
    """How samples are drawn.

    Args:
        draw: draws from p(x | z), such as data are, in place of its means.
        temperature: factor on the standard deviations of p(z), or one for each level from the top.
    """

    draw: bool = False
    temperature: float | Sequence[float] = 1.0


def samples(
    run: "Run",
    n: int,
    label: int | None = None,
    seed: int = 0,
    *,
    how: Drawing = Drawing(),
    progress: Told | None = None,
) -> tuple[np.ndarray, str]:
    """n samples ``(n, *data)`` and what they are: means of p(x | z), or draws, always so where it has no mean.

    What is drawn element by element is told to ``progress``.
    """
    model = run.model
    noise, draw = Noise(seed, stream="samples", device=model.device), how.draw or not _has_mean(model)
    check_temperature(how.temperature, len(model.latent_shapes), "sample")
    drawn = partial(model.sample, n, noise=noise, mean=not draw, progress=progress, temperature=how.temperature)
    title = "Not trained with this prior" if unheld(run) else "Samples"
    c, title = None, f"{title}: {'draws from' if draw else 'means of'} {_of(run)}{told_temperature(how.temperature)}"
    if label is not None and (model.condition is None or model.condition.classes is None):
        raise ValueError("label was given, but this model is not conditioned on a label. Leave it out, or train cvae.")
    if model.condition is not None and model.condition.classes is not None:
        classes = model.condition.classes
        if label is not None and not 0 <= label < classes:
            raise ValueError(f"label must be from 0 to {classes - 1}, got {label}.")
        c = torch.arange(n, device=model.device) % classes
        if label is not None:
            c = torch.full_like(c, label)
        title += ", labels in turn" if label is None else f", label {label}"
    elif model.condition is not None:
        seen = _first(run, "test" if "test" in run.dataset().parts else "train", n)
        again = torch.arange(n, device=model.device) % len(seen.x)
        made = drawn(c=None if seen.c is None else seen.c[again])
        return _array(with_observed(made, seen.x[again], seen.mask)), title + ", beside the observed part"
    return _array(drawn(c=c)), title


def unheld(run: "Run") -> bool:
    """Whether the run was trained without a look at the prior, as autoencoders are: then its samples claim nothing."""
    return run.recipe is not None and not getattr(run.recipe.objective, "sees_prior", True)


def draw_reconstructions(
    run: "Run", n: int = 10, seed: int = 0, out: str | Path | None = None, split: str = "test"
) -> Path:
    """The first n rows of a split as the model sees them, above the model's reconstructions.

    They are means of p(x | z), or draws from it where it has none.
    """
    refuse_sentences(run, "reconstruct")
    batch = _first(run, split, n, seed)
    x_hat = run.model.reconstruct(batch.x, batch.c, Noise(seed, stream="x", device=run.model.device))
    x_hat = with_observed(x_hat, batch.x, batch.mask)
    return _written(run, "reconstructions.png", out, pictures.reconstructions(_array(batch.x), _array(x_hat)))


def draw_traversal(
    run: "Run", index: int = 0, seed: int = 0, out: str | Path | None = None, split: str = "test"
) -> Path:
    """One row of a split, each latent moved in turn over [−3, 3]; latents in the order of their mean KL.

    In a hierarchy they are those of the top level; the levels below stay where that row has them.
    """
    refuse_sentences(run, "traverse")
    refuse_codes(run, "traverse")
    kl, committed = _kl(run), _committed(run)
    order = _order(kl, committed)[:_ROWS]
    rows = run.split(split).x
    if not 0 <= index < len(rows):
        raise ValueError(f"index must be from 0 to {len(rows) - 1}, got {index}.")
    batch = _first(run, split, index + 1, seed)
    c = None if batch.c is None else batch.c[index : index + 1]
    top, *below = run.model.encode(batch.x[index : index + 1], c)
    base = top.reshape(-1)
    values = torch.linspace(-3, 3, _STEPS, dtype=base.dtype)
    moved = base.repeat(len(order), _STEPS, 1)
    for row, latent in enumerate(order):
        moved[row, :, int(latent)] = values
    moved = moved.reshape(-1, *top.shape[1:])
    codes = (moved, *(code.expand(len(moved), *code.shape[1:]) for code in below))
    made = with_observed(_decoded(run, codes, c), batch.x[index], batch.mask)
    images = _array(made).reshape(len(order), _STEPS, *run.split(split).shape)
    fixed = None if committed is None else committed[order]
    drawn = pictures.traversal(images, order, kl[order], values.cpu().numpy(), fixed)
    return _written(run, "traversal.png", out, drawn)


def write_gallery(run: "Run") -> Path:
    """Every picture that this model can have, and ``report.html``; returns its path."""
    record, model = run.folder.record(), run.model
    part = "test" if "test" in run.dataset().parts else "train"
    shown: list[Picture | Passage] = []

    def add(title: str, caption: str, draw: Callable[[], Path]) -> None:
        shown.append(Picture(title, draw(), caption))

    if run.metrics:
        draw = lambda: _written(run, "curves.png", None, pictures.curves(run.metrics, run.stages))  # noqa: E731
        add("Training", "Means over each interval of training; validation with the same objective.", draw)
    if run.vocabulary is None:
        _data_pictures(run, part, add)
    else:
        shown += passages(run, part)
    if (counts := _code_counts(run, part, _SCATTER)) is not None:
        figure = pictures.code_bars(counts)
        told = f"How often each code is chosen, over all places of {_SCATTER:,} {part} data at most."
        add("Codebook", told, lambda: _written(run, "codes.png", None, figure))
    elif len(model.latent_shapes) == 1 and len(model.latent_shapes[0]) == 1:
        _latent_pictures(run, part, add)
    if len(model.latent_shapes) > 1 and run.vocabulary is None:
        level_pictures(run, part, add)
    facts = {
        "recipe": str(record["recipe"]["recipe"] or "built by hand"),
        "data": str(record["data"]["protocol"]["dataset"]),
        "parameters": f"{record['parameters']:,}",
        "trained": f"{run.outcome.step:,} steps, {run.outcome.seconds:,.0f} s",
    }
    report = Report(
        title=f"{facts['recipe']} on {facts['data']}",
        facts=facts,
        results=run.folder.results(),
        pictures=shown,
        configuration=_configuration(record),
        commands=ways_back(run.folder.path, sentences=run.vocabulary is not None),
    )
    return write_report(run.folder.path, report)


def _data_pictures(run: "Run", part: str, add: Callable[[str, str, Callable[[], Path]], None]) -> None:
    """Samples, and reconstructions where there is something to reconstruct from."""
    kind = "means of" if _has_mean(run.model) else "draws from"
    sampled = f"{kind.capitalize()} {_of(run)}: what the model believes the data are."
    if unheld(run):
        sampled += " This model's latents were never held to the prior: expect little of them."
    add("Samples", sampled, lambda: draw_samples(run))
    if run.model.latent_shapes or run.model.condition is not None:
        add(
            "Reconstructions",
            f"{part.capitalize()} data above, {kind} p(x|z) at the posterior mean below.",
            lambda: draw_reconstructions(run, split=part),
        )


def _latent_pictures(run: "Run", part: str, add: Callable[[str, str, Callable[[], Path]], None]) -> None:
    size = run.model.latent_shapes[0][0]
    kl, committed = _kl(run), _committed(run)
    most, fixed = "information", ""
    if committed is not None:
        most, delta = "KL beyond what is committed", committed.sum()
        fixed = (
            f" Of {kl.sum():.2f} nats the prior commits the posterior to δ = {delta:.2f} by construction, whether they "
        )
        fixed += f"tell of the datum or not; {kl.sum() - delta:.2f} are beyond."
    moved = f"One {part} datum, each latent moved over [−3, 3] in turn; latents with the most {most} first.{fixed}"
    if run.vocabulary is None:
        add("Traversals", moved, lambda: draw_traversal(run, split=part))
    if kl.any():
        drawn = pictures.kl_bars(kl)
        add(
            "Information per latent",
            f"Mean KL of each latent, largest first.{fixed}",
            lambda: _written(run, "kl.png", None, drawn),
        )
    if size >= 2:
        rows = run.split(part)
        few = Split(rows.x[:_SCATTER], None if rows.labels is None else rows.labels[:_SCATTER])
        codes, dims = run.encode(few)[0], tuple(int(i) for i in _order(kl, committed)[:2])
        which = f"in the two latents with the most {most}"
        caption = f"Posterior means (for a flow: its centres) of {len(few):,} {part} data {which}."
        drawn = pictures.latent_scatter(codes, few.labels, (dims[0], dims[1]))
        add("Latent space", caption, lambda: _written(run, "latents.png", None, drawn))
    if size == 2 and run.model.condition is None and run.vocabulary is None:
        values = pictures.normal_quantiles(15)
        across = np.stack(np.meshgrid(values, values, indexing="ij"), -1).reshape(-1, 2)
        images = _array(_decoded(run, (torch.from_numpy(across),), None))
        drawn = pictures.manifold(images.reshape(15, 15, *images.shape[1:]), values)
        caption = "Decoded at quantiles of the standard normal in both latents."
        add("The 2-D manifold", caption, lambda: _written(run, "manifold.png", None, drawn))


@torch.no_grad()
def _kl(run: "Run") -> np.ndarray:
    """Mean KL of each latent in nats over a thousand rows; zeros where there is no closed form."""
    part = "test" if "test" in run.dataset().parts else "train"
    batch = _first(run, part, 1000)
    trace = run.model(batch.x, batch.c, noise=Noise(0, device=run.model.device), mask=batch.mask)
    if not trace.levels:
        raise ValueError("This model has no latents: there is nothing to traverse.")
    level = trace.levels[0]
    found = level.kl_by_element if level.q.has_density else None
    if found is None:
        return np.zeros(level.z[0, 0].numel())
    return _array(found.reshape(-1, level.z[0, 0].numel()).mean(0))


def _code_counts(run: "Run", split: str, n: int) -> np.ndarray | None:
    """How often each code is chosen for the first n data of a split, if the latents are codes (of one level)."""
    found = CodeUse.of(run.model, [_first(run, split, n)])
    return found[0].counts if found else None


def _committed(run: "Run") -> np.ndarray | None:
    """The part of each latent's KL that its prior commits a factorised posterior to; ``None`` where there is none."""
    prior = getattr(run.model, "prior", None)
    return _array(prior.committed.reshape(-1)) if isinstance(prior, AR1) else None


def _order(kl: np.ndarray, committed: np.ndarray | None) -> np.ndarray:
    """Latents in the order of their KL, less what is committed."""
    return np.argsort((0 if committed is None else committed) - kl, kind="stable")


def _first(run: "Run", split: str, n: int, seed: int = 0) -> Batch:
    """The first n rows of a split, as the model sees them."""
    rows = run.split(split)
    few = Split(rows.x[:n], None if rows.labels is None else rows.labels[:n])
    return next(run.batches(few, seed, size=n)())


def _decoded(run: "Run", z: tuple[Tensor, ...], c: Tensor | None) -> Tensor:
    z = tuple(level.to(run.model.device, run.model.dtype) for level in z)
    return run.model.decode(z, None if c is None else c.expand(len(z[0]), *c.shape[1:]))


@torch.no_grad()
def _has_mean(model: Model) -> bool:
    """Whether p(x | z) has a mean to show; where it has none (a PixelCNN), draws are shown. It needs no data."""
    c, condition = None, model.condition
    if condition is not None:
        label = condition.classes is not None
        shape = (1,) if label else (1, *condition.shape)
        c = torch.zeros(shape, dtype=torch.long if label else model.dtype, device=model.device)
    noise = Noise(0, device=model.device)
    return model.generate(1, c, lambda i, p: p.sample(noise)).p_x.has_mean


def _of(run: "Run") -> str:
    """What samples are of, in words."""
    return "p(x|z), z from the prior" if run.model.latent_shapes else "p(x)"


def _array(x: Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


def _written(run: "Run", name: str, out: str | Path | None, figure: Any) -> Path:
    return pictures.save(figure, Path(out) if out is not None else run.folder.pictures() / name)


def _configuration(record: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        "Recipe": {"recipe": record["recipe"]["recipe"], **record["recipe"]["arguments"]},
        "Training": record["training"],
        "Data": {**record["data"]["protocol"], **record["view"]},
        "Made with": {
            "fourfold": record["fourfold"],
            **record["versions"],
            **record["machine"],
            "git revision": record["git"],
            "created": record["created"],
        },
    }
