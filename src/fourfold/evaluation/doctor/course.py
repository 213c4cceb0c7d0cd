"""Did training come to its end, to rest, and to something that holds for other data too?"""

__all__ = ["converged", "finished", "generalises"]

from math import ceil

import numpy as np

from ..bounds import PerDatum
from .checkup import Answer, Diagnosis, Measured, Sound, Unchecked
from .exam import MORE_DATA
from .facts import Facts, History, Standing
from .remedies import calmer

#: What is gained in the last third of training, as a share of the objective: worth a word, and serious.
_RISING, _STEEP = 0.01, 0.03
#: Standard errors beyond which a slope, or a difference, is no chance.
_SURE = 3.0
#: ELBO on data that were learnt from less that on others, as a share of it.
_APART = 0.05
#: What the validation objective has lost since its best, as a share of it.
_FALLEN = 0.01
#: So many steps bring new weights nowhere.
_FEW_STEPS = 100
#: Nothing below so many nats is worth a word.
_LEAST = 0.1


def finished(standing: Standing, facts: Facts) -> list[Answer]:
    """Whether the run came to its planned end, and its schedules with it."""
    answers: list[Answer] = []
    if standing.early:
        words = f"Training was stopped early at step {standing.step:,}: the validation objective no longer improved."
        answers.append(Diagnosis("stopped_early", "note", words))
    if standing.finished and not standing.pending:
        return [
            *answers,
            Sound("end of training", f"it came to its end at step {standing.step:,}, all schedules with it"),
        ]
    measured = [Measured("steps of training", standing.step)]
    said = []
    if not standing.finished:
        how = (
            "it was interrupted"
            if standing.interrupted
            else "it was killed, a loss was not finite, or it is still running"
        )
        planned = f" of {standing.steps:,}" if standing.steps else ""
        said.append(f"The run has not come to its end: at step {standing.step:,}{planned} {how}.")
    for what, end in standing.pending:
        said.append(f"{what[0].upper()}{what[1:]} ends at step {end:,}: it was not through at step {standing.step:,}.")
    for name, (value, goal) in standing.weights.items():
        side = "below" if value < goal else "above"
        measured.append(Measured(f"{name} at the end", value, limit=goal, ill=side))
    ends = [end for _, end in standing.pending]
    epochs = standing.epochs
    if ends and standing.steps and epochs:
        epochs = max(epochs, ceil(1.5 * max(ends) * epochs / standing.steps))
    more = f" --epochs {epochs:g}" if standing.finished else ""
    remedies = [f"go on: fourfold train --resume {facts.run}{more}"]
    if ends and standing.finished:
        remedies.append("or start again with a schedule that ends by the middle of the run")
    return [*answers, Diagnosis("unfinished", "serious", " ".join(said), tuple(measured), tuple(remedies))]


def converged(history: History | None, standing: Standing, facts: Facts) -> Answer:
    """Whether the objective stands still: its slope over the last third of training, against its scatter."""
    name = "convergence"
    if facts.fresh and standing.step < _FEW_STEPS:
        return _too_short(standing, facts, ())
    if history is None or len(history.epochs) < 2:
        return Unchecked(name, "there are fewer than two values of the objective to compare")
    epochs, values = history.epochs, history.objective
    if not np.isfinite(values).all():
        return Diagnosis("diverged", "serious", "The objective was not finite in training.", (), calmer())
    if (lost := _diverged(history)) is not None:
        return lost
    of = "validation" if history.held_out else "training"
    size = max(abs(float(values[-1])), 1.0)
    if len(values) < 4:
        gain = float(values[-1] - values[-2])
        if gain <= 1e-3 * size:
            return Unchecked(name, f"{len(values)} values of the objective are too few to see a slope in")
        what = f"{of} objective, risen since the value before"
        return _too_short(standing, facts, (Measured(what, gain, "nats", None, 1e-3 * size, "above"),))
    gain, error, share = _rise(epochs, values)
    measured = (
        Measured("risen over the last third", gain, "nats", error, max(_RISING * size, _LEAST), "above"),
        Measured("its slope as a share of the mean slope", share, "", None, 0.5, "above"),
    )
    sure, steady = gain > _SURE * error, share > 0.5 and gain > 3e-4 * size and facts.fresh and history.whole
    if not sure or not (gain > max(_RISING * size, _LEAST) or steady):
        return Sound(name, f"the {of} objective stands still over the last third of training", measured[:1])
    severe = gain > _STEEP * size or steady
    words = f"Training stopped too early: the {of} objective was still rising at the end."
    if steady:
        words += " It rose as fast at the end as on the whole: it has hardly begun."
    return Diagnosis(
        "not_converged", "serious" if severe else "warning", words, measured, _longer(facts, float(epochs[-1]))
    )


def generalises(
    history: History | None, standing: Standing, test: PerDatum, taught: PerDatum | None, facts: Facts
) -> Answer:
    """Whether what was learnt holds for other data: ELBO on either, and the way of the validation objective."""
    name = "generalisation"
    if taught is None:
        return Unchecked(name, "there are no other data beside these that the model was trained on")
    what = "−distortion" if test.elbo is None or taught.elbo is None else "ELBO"
    here, there = ((-one.distortion if what == "−distortion" else one.elbo) for one in (taught, test))
    assert here is not None and there is not None
    if min(len(here), len(there)) < 2:
        return Unchecked(name, f"the error of a mean needs two data or more; {MORE_DATA}")
    gap = float(here.mean() - there.mean())
    error = float(np.hypot(*(part.std(ddof=1) / len(part) ** 0.5 for part in (here, there))))
    size = max(abs(float(here.mean())), 1.0)
    measured = [Measured(f"{what} on training data less that on these", gap, "nats", error, _APART * size, "above")]
    fallen = _fallen(history) if standing.checkpoint == "last" else None
    if fallen is not None:
        what = "validation objective, fallen since its best"
        measured.append(Measured(what, fallen[0], "nats", None, _FALLEN * size, "above"))
    # Two signs that agree need less of each.
    apart = gap > max(_APART * size, _LEAST) and gap > (_SURE if fallen is None else 2.0) * error
    if not apart and fallen is None:
        return Sound(name, "training data are explained about as well as others", tuple(measured))
    if apart and fallen is not None:
        words = f"The model is overfitted: the validation objective was best at epoch {fallen[1]:.3g}, and fell since."
    elif apart:
        words = "The model explains its training data better than others; the validation objective has not fallen yet."
    else:
        words = f"The validation objective was best at epoch {fallen[1] if fallen else 0:.3g}, and has fallen since."
    remedies = [
        f"take the best checkpoint: --checkpoint best with any command on {facts.run}",
        "stop early: train with --patience 5",
        "fewer units, or more data",
    ]
    if facts.binarize in ("static", "threshold"):
        remedies.append("--binarize dynamic makes more of the grey data that there are")
    serious = apart and fallen is not None
    return Diagnosis("overfitted", "serious" if serious else "warning", words, tuple(measured), tuple(remedies))


def _rise(epochs: np.ndarray, values: np.ndarray) -> tuple[float, float, float]:
    """What a line through the last third gains, the standard error of that, and its slope against the mean one."""
    k = max(3, ceil(len(values) / 3))
    x, y = epochs[-k:] - epochs[-k:].mean(), values[-k:]
    slope = float((x * y).sum() / (x * x).sum())
    left = y - y.mean() - slope * x
    error = float((left @ left / max(k - 2, 1) / (x * x).sum()) ** 0.5)
    span, overall = float(epochs[-1] - epochs[-k]), float((values[-1] - values[0]) / (epochs[-1] - epochs[0]))
    return slope * span, error * span, slope / overall if overall > 0 else 0.0


def _too_short(standing: Standing, facts: Facts, measured: tuple[Measured, ...]) -> Diagnosis:
    words = (
        f"The run is too short to have converged: after {standing.step:,} steps it has hardly begun, and what is said "
        "below is of a model that is not trained yet."
    )
    steps = Measured("steps of training", standing.step, limit=_FEW_STEPS, ill="below")
    return Diagnosis("not_converged", "serious", words, (*measured, steps), _longer(facts, max(standing.epochs, 5.0)))


def _smooth(values: np.ndarray) -> np.ndarray:
    """Means of three neighbours: the best of many single values is partly luck."""
    return np.convolve(values, np.ones(3) / 3, "valid") if len(values) > 3 else values


def _diverged(history: History) -> Diagnosis | None:
    """More than half of all that had been won was lost again, and the training objective fell too."""
    values, train = _smooth(history.objective), _smooth(history.train)
    best = int(values.argmax())
    won, lost = float(values[best] - values[0]), float(values[best] - values[-1])
    least = max(0.5 * won, _LEAST, _STEEP * abs(float(values[best])))
    if lost <= least or train[-1] >= train[best]:
        return None
    epoch = history.epochs[best + (len(history.epochs) - len(values)) // 2]
    words = f"Training diverged: the objective was best at epoch {epoch:.3g}, and fell ever since."
    measured = (Measured("lost since", lost, "nats", None, least, "above"), Measured("won before", won, "nats"))
    return Diagnosis("diverged", "serious", words, measured, calmer())


def _fallen(history: History | None) -> tuple[float, float] | None:
    """How far the validation objective is below its best, and when that was; if training rose all the while."""
    if history is None or not history.held_out or len(history.objective) < 4:
        return None
    smooth = _smooth(history.objective)
    best = int(smooth.argmax())
    lost = float(smooth[best] - smooth[-1])
    scatter = float(np.diff(history.objective, 2).std()) / 6**0.5  # of single values, whatever their trend
    enough = lost > max(_FALLEN * abs(float(smooth[best])), _LEAST, 2 * scatter)
    return (lost, float(history.epochs[best + 1])) if enough and history.train[-1] > history.train[best + 1] else None


def _longer(facts: Facts, epochs: float) -> tuple[str, ...]:
    resumed = f"train for longer: fourfold train --resume {facts.run} --epochs {ceil(2 * epochs)}"
    return resumed, "a higher learning rate, if the objective rises slowly from the first epoch on: --lr 1e-3 is usual"
