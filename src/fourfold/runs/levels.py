"""Pictures of the levels of a run: some latents moved, kept or drawn anew, and ways from one datum to another."""

__all__ = [
    "Moving",
    "Resampling",
    "Way",
    "check_temperature",
    "draw_interpolation",
    "draw_kept",
    "draw_level_traversal",
    "draw_resampled",
    "level_pictures",
    "refuse_codes",
    "told_temperature",
    "with_observed",
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
from .._checks import positive_int
from ..data import Batch, Split
from ..distributions import Distribution, OneHot
from ..models import at_units, fixed, heated, prior_units, slerp
from ..noise import Noise
from .sentences import refuse_sentences

if TYPE_CHECKING:
    from .run import Run

_STEPS = 9


@dataclass(frozen=True, slots=True)
class Resampling:
    """Which latents are kept as they were inferred, and how the others are drawn.

    Args:
        top: how many levels are kept from the top; those below are drawn from p given them.
        bottom: how many are kept from the bottom; those above are drawn from the prior, whatever is below.
        draws: of each datum.
        temperature: factor on the standard deviations of what is drawn, or one for each level from the top.
    """

    top: int | None = None
    bottom: int | None = None
    draws: int = 6
    temperature: float | Sequence[float] = 1.0


@dataclass(frozen=True, slots=True)
class Moving:
    """What is moved.

    Args:
        level: counted from 1 at the top.
        index: the row of the data to start from.
        rows: how many latents, those of highest KL first.
        channels: move a channel of maps of latents at all places together, and not each of its elements.
    """

    level: int = 1
    index: int = 0
    rows: int = 16
    channels: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """From where to where.

    Args:
        start: a row of the data.
        end: another.
        steps: how many points, both ends among them.
        level: the only one that moves, counted from 1 at the top; ``None`` moves all.
    """

    start: int
    end: int
    steps: int = _STEPS
    level: int | None = None


@torch.no_grad()
def draw_resampled(
    run: "Run", how: Resampling, n: int = 6, seed: int = 0, out: str | Path | None = None, split: str = "test"
) -> Path:
    """The first n rows of a split, their reconstructions, and draws with some levels as inferred and the others anew.

    What is kept are the centres of q(z | x). With ``top`` the draws follow p given what is kept, level after level.
    With ``bottom`` the levels above are drawn from the prior as if nothing were known, and those below stay where x had
    put them: a pair that p need not hold likely.

    Raises:
        ValueError: neither or both of ``top`` and ``bottom``; as many as there are levels; ``bottom`` for a chain, in
            which x sees the lowest level alone.
    """
    refuse_sentences(run, "reconstruct")
    model, levels, draws = run.model, len(run.model.latent_shapes), positive_int(how.draws, "reconstruct: draws")
    kept, said = _kept(run, how)
    check_temperature(how.temperature, levels, "reconstruct")
    said += told_temperature(how.temperature)
    batch = _rows(run, split, slice(n), seed)
    z = model.encode(batch.x, batch.c)
    noise = Noise(seed, stream="resample", device=model.device)
    pick = fixed([part if i in kept else None for i, part in enumerate(z)], heated(how.temperature, noise))
    made = [model.reconstruct(batch.x, batch.c, noise)]
    made += [_shown(model.generate(len(batch.x), batch.c, pick).p_x, noise) for _ in range(draws)]
    made = [with_observed(one, batch.x, batch.mask) for one in made]
    columns = ["x̂", *(f"{i}" for i in range(1, draws + 1))]
    notes = ["x̂: the reconstruction, every level at the centre of q(z|x)."]
    if all(one.equal(made[0]) for one in made[1:]):
        notes.append("All draws are the same: what was drawn anew has no part in x.")
    drawn = pictures.resampled(_array(batch.x), _array(torch.stack(made, 1)), columns, said, notes)
    name = f"resampled_bottom{how.bottom}.png" if how.top is None else f"resampled_top{how.top}.png"
    return _written(run, name, out, drawn)


@torch.no_grad()
def draw_kept(run: "Run", n: int = 6, seed: int = 0, out: str | Path | None = None, split: str = "test") -> Path:
    """The first n rows of a split, and one draw with the top level kept, one with the two upper ones, and so on."""
    refuse_sentences(run, "reconstruct")
    model, levels = run.model, len(run.model.latent_shapes)
    batch = _rows(run, split, slice(n), seed)
    z = model.encode(batch.x, batch.c)
    noise = Noise(seed, stream="kept", device=model.device)
    tops = sorted({round(k) for k in np.linspace(1, levels, min(levels, 8))})
    made = []
    for top in tops:
        pick = fixed([part if i < top else None for i, part in enumerate(z)], heated(1.0, noise))
        shown = _shown(model.generate(len(batch.x), batch.c, pick).p_x, noise)
        made.append(with_observed(shown, batch.x, batch.mask))
    columns = [f"level{'s' * (k > 1)} {'1' if k == 1 else f'1–{k}'}" for k in tops]
    title = "The upper levels as inferred from x, those below drawn from p"
    drawn = pictures.resampled(_array(batch.x), _array(torch.stack(made, 1)), columns, title)
    return _written(run, "levels.png", out, drawn)


@torch.no_grad()
def draw_level_traversal(
    run: "Run", how: Moving, seed: int = 0, out: str | Path | None = None, split: str = "test"
) -> Path:
    """One row of a split, the latents of one level moved in turn by −3 to 3 standard deviations of their prior.

    The levels above stay at the centre of q(z | x). Those below keep their place in units of their prior, which may
    follow what is moved: with a flat prior they stay as they are. Where a prior is no diagonal Gaussian, the latent
    itself goes from −3 to 3, and levels below stay.
    """
    refuse_sentences(run, "traverse")
    model, at = run.model, _level(run, how.level, "traverse")
    refuse_codes(run, "traverse")
    units, batch = _units(run, _row(run, split, how.index, seed))
    cost, unit = _cost(run, split, at)
    shape = model.latent_shapes[at]
    spatial = how.channels
    if spatial and len(shape) != 3:
        raise ValueError(f"traverse: channels: level {how.level} is a vector, and no maps. Leave it out.")
    parts = cost.reshape(shape[0], -1).sum(1) if spatial else cost.reshape(-1)
    order = np.argsort(-parts, kind="stable")[: how.rows]
    values = torch.linspace(-3, 3, _STEPS, dtype=units[at].dtype, device=model.device)
    base = units[at].reshape(shape[0], -1) if spatial else units[at].reshape(-1)
    moved = base.repeat(len(order), _STEPS, *[1] * base.ndim)
    for row, one in enumerate(order):
        moved[row, :, int(one)] = values[:, None] if spatial else values
    many = len(order) * _STEPS
    given = [part.expand(many, *part.shape[1:]) for part in units]
    given[at] = moved.reshape(many, *shape)
    images = _array(_made(run, given, batch)).reshape(len(order), _STEPS, *batch.x.shape[1:])
    names = [f"{_name(int(one), shape, spatial)}  {parts[one]:.2f} {unit}".rstrip() for one in order]
    levels = len(model.latent_shapes)
    title = f"Level {how.level} of {levels}, {split} row {how.index}" if levels > 1 else f"{split} row {how.index}"
    what = "KL(q ‖ p) there, mean over data." if unit else "variance of a draw over data; the KL has no closed form."
    notes = [f"Beside each: {what} {_others(at, levels)}"]
    words = [f"{float(v):.2f}".rstrip("0").rstrip(".").replace("-", "−") for v in values]
    name = f"traversal{how.level if levels > 1 else ''}{'_channels' * spatial}.png"
    return _written(run, name, out, pictures.moves(images, names, words, title, notes))


@torch.no_grad()
def draw_interpolation(run: "Run", how: Way, seed: int = 0, out: str | Path | None = None, split: str = "test") -> Path:
    """The way from one row of a split to another, along the line and along the arc between their latents.

    It goes from the centre of q(z | x) of the one to that of the other, level by level in units of the prior (the
    latents themselves, where it is no diagonal Gaussian): with a standard normal prior these are the latents. What the
    model is given beside them (a label, a part of the image) is that of the first row all the way.
    """
    refuse_sentences(run, "interpolate")
    levels = len(run.model.latent_shapes)
    if not levels:
        raise ValueError("interpolate: this model has no latents: there is nothing between two data.")
    refuse_codes(run, "interpolate")
    if how.steps < 2:
        raise ValueError(f"interpolate: steps must be at least 2, got {how.steps}.")
    only = None if how.level is None else _level(run, how.level, "interpolate")
    (a, first), (b, last) = (_units(run, _row(run, split, i, seed)) for i in (how.start, how.end))
    shares = [i / (how.steps - 1) for i in range(how.steps)]
    made = []
    for between in (torch.lerp, slerp):
        given = [
            torch.cat([between(one, other, share) for share in shares])
            if only in (None, i)
            else one.expand(how.steps, *one.shape[1:])
            for i, (one, other) in enumerate(zip(a, b, strict=True))
        ]
        made.append(_array(_made(run, given, first)))
    ends = np.concatenate([_array(first.x), _array(last.x)])
    which = "" if only is None else f", level {how.level} of {levels} alone"
    title = f"From {split} row {how.start} to row {how.end}{which}"
    notes = [] if only is None else [_others(only, levels)]
    if first.c is not None and last.c is not None and not first.c.equal(last.c):
        notes.append(f"The condition c is that of row {how.start} all the way; row {how.end} has another.")
    drawn = pictures.interpolations(ends, np.stack(made), ["line", "arc"], title, notes)
    # The rows stand in the name: the report's own picture of rows 0 and 1 takes the place of no other.
    rows = "" if (how.start, how.end) == (0, 1) else f"_{how.start}_{how.end}"
    name = f"interpolation{'' if only is None or levels == 1 else how.level}{rows}.png"
    return _written(run, name, out, drawn)


def level_pictures(run: "Run", part: str, add: Callable[[str, str, Callable[[], Path]], None]) -> None:
    """What the report shows of a model with several levels: rates over training, what each level tells, traversals."""
    levels = len(run.model.latent_shapes)
    if any("/rate_1 raw [nats]" in key for row in run.metrics for key in row):
        add(
            "Rate of each level",
            "Nats per datum that each level of latents costs, over training; a level near 0 is silent.",
            lambda: _written(run, "level_rates.png", None, pictures.level_rates(run.metrics)),
        )
    add(
        "What each level tells",
        f"{part.capitalize()} data; beside them the upper levels as inferred, the rest drawn: what stays is in those.",
        lambda: draw_kept(run, split=part),
    )
    for level in sorted({round(k) for k in np.linspace(1, levels, min(levels, 5))}):
        add(
            f"Traversals, level {level}",
            f"One {part} datum, latents of level {level} moved over 3 deviations of their prior, dearest first.",
            partial(draw_level_traversal, run, Moving(level, rows=6), split=part),
        )
    if len(run.split(part)) > 1:
        told = f"Between {part} rows 0 and 1, in all levels."
        add("From one datum to another", told, lambda: draw_interpolation(run, Way(0, 1), split=part))


def _kept(run: "Run", how: Resampling) -> tuple[range, str]:
    """The levels that are kept, from 0 at the top, and the title."""
    levels = len(run.model.latent_shapes)
    if (how.top is None) == (how.bottom is None):
        raise ValueError("reconstruct: give one of keep_top and keep_bottom.")
    name, count = ("keep_top", how.top) if how.bottom is None else ("keep_bottom", how.bottom)
    if levels < 2 or count is None or not 1 <= count < levels:
        raise ValueError(
            f"reconstruct: {name}: wanted from 1 to {levels - 1} of the model's {levels} levels, got {count}."
            if levels > 1
            else f"reconstruct: {name} is for models with several levels of latents, and this one has {levels}."
        )
    if how.bottom is None:
        return range(count), f"The upper {count} of {levels} levels as inferred from x, those below drawn from p"
    if run.model.markov:
        raise ValueError(
            "reconstruct: keep_bottom: in this model x sees the lowest level alone, so whatever is drawn above it, "
            "nothing changes. Take keep_top."
        )
    said = f"The lower {count} of {levels} levels as inferred from x, those above drawn from the prior"
    return range(levels - count, levels), said


def check_temperature(temperature: float | Sequence[float], levels: int, owner: str) -> None:
    """As many temperatures as levels, if there are several; none but 1 where there are no levels."""
    if not levels and temperature != 1:
        raise ValueError(f"{owner}: temperature: this model has no latents to be drawn by it. Leave it out.")
    if not isinstance(temperature, int | float) and len(temperature) != levels:
        raise ValueError(
            f"{owner}: temperature: wanted one number, or one for each of the {levels} levels from the top, got "
            f"{len(temperature)}."
        )


def told_temperature(temperature: float | Sequence[float]) -> str:
    """What is added to a title where draws are heated."""
    if isinstance(temperature, int | float):
        return "" if temperature == 1 else f", at temperature {temperature:g}"
    return f", at temperatures {', '.join(f'{t:g}' for t in temperature)} from the top"


def with_observed(made: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
    """What the model made where it predicts, and the data where it was given them."""
    return made if mask is None else mask * made + (1 - mask) * x


def refuse_codes(run: "Run", command: str) -> None:
    """Refuses to move latents that are codes, and says why."""
    row = _rows(run, "train", slice(1), 0)
    levels = run.model.infer(row.x, row.c, lambda i, q: q.centre if i else q.centre[None], row.mask).levels
    if any(isinstance(level.q, OneHot) for level in levels):
        raise ValueError(
            f"{command}: the latents of this model are codes: names without an order, so there is nothing between two "
            "of them to walk through. Look at fourfold reconstruct, or at the codebook in the report."
        )


def _level(run: "Run", level: int, owner: str) -> int:
    """The level from 0 at the top."""
    levels = len(run.model.latent_shapes)
    if not levels:
        raise ValueError(f"{owner}: this model has no latents.")
    if not 1 <= level <= levels:
        raise ValueError(f"{owner}: level: wanted from 1 (the top) to {levels}, got {level}.")
    return level - 1


def _rows(run: "Run", split: str, where: slice, seed: int) -> Batch:
    """Rows of a split as the model sees them; a row has the binarisation that it has among all before it."""
    rows = run.split(split)
    few = Split(rows.x[: where.stop], None if rows.labels is None else rows.labels[: where.stop])
    batch = next(run.batches(few, seed, size=len(few))())
    c, mask = batch.c, batch.mask
    return Batch(batch.x[where], None if c is None else c[where], mask)


def _row(run: "Run", split: str, index: int, seed: int) -> Batch:
    size = len(run.split(split))
    if not 0 <= index < size:
        raise ValueError(f"index must be from 0 to {size - 1}, got {index}.")
    return _rows(run, split, slice(index, index + 1), seed)


def _units(run: "Run", batch: Batch) -> tuple[list[Tensor], Batch]:
    """The centres of q of one datum in units of the prior, ``(1, *latent)`` each from the top."""
    trace = run.model.infer(batch.x, batch.c, lambda i, q: q.centre if i else q.centre[None])
    return [part[0] for part in prior_units(trace.levels)], batch


def _made(run: "Run", units: Sequence[Tensor], row: Batch) -> Tensor:
    """What the model makes of latents in units of the prior, beside what it observed of one row."""
    n, c = len(units[0]), row.c
    many = None if c is None else c.expand(n, *c.shape[1:])
    p_x = run.model.generate(n, many, at_units(units)).p_x
    return with_observed(_shown(p_x, Noise(0, device=run.model.device)), row.x, row.mask)


def _cost(run: "Run", split: str, at: int) -> tuple[np.ndarray, str]:
    """KL(q ‖ p) of each element of a level, mean over a thousand rows; without a closed form the variance of draws."""
    batch = _rows(run, split, slice(1000), 0)
    level = run.model(batch.x, batch.c, noise=Noise(0, device=run.model.device), mask=batch.mask).levels[at]
    found = level.q.kl_by_element(level.p) if level.q.has_density else None
    if found is None:
        return _array(level.z[0].var(0, correction=0)), ""
    return _array(found.reshape(-1, *run.model.latent_shapes[at]).mean(0)), "nats"


def _others(at: int, levels: int) -> str:
    """What the other levels do."""
    above = "The levels above stay at the centre of q(z|x). " if at else ""
    below = "Those below keep their place in units of their prior, which may follow." if at < levels - 1 else ""
    return (above + (below if above else below.replace("Those", "The levels"))).strip()


def _name(one: int, shape: tuple[int, ...], channel: bool) -> str:
    if channel:
        return f"channel {one}"
    return f"z{one}" if len(shape) == 1 else "z" + ",".join(map(str, np.unravel_index(one, shape)))


def _shown(p_x: Distribution, noise: Noise) -> Tensor:
    return p_x.mean if p_x.has_mean else p_x.sample(noise)


def _array(x: Tensor) -> np.ndarray:
    return x.detach().cpu().numpy()


def _written(run: "Run", name: str, out: str | Path | None, figure: Any) -> Path:
    return pictures.save(figure, Path(out) if out is not None else run.folder.pictures() / name)
