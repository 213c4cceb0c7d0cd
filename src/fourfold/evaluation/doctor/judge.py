"""All checks in their order."""

__all__ = ["checkup"]

import numpy as np

from . import course, latents, likelihood
from .checkup import Answer, Checkup, Diagnosis, Measured, Sound
from .exam import Exam
from .facts import Facts, History, Standing
from .remedies import calmer


def checkup(exam: Exam, facts: Facts, standing: Standing, history: History | None) -> Checkup:
    """What is wrong with a model, the most serious first; what is well; and what could not be checked.

    Args:
        exam: what was measured of it.
        facts: what it is.
        standing: where its training stands.
        history: the objective as training went; ``None`` where nothing is known of it.

    Example:
        >>> str(checkup(Exam(broken=3), Facts(), Standing(5), None).first.name)
        'diverged'
    """
    answers: list[Answer] = course.finished(standing, facts)
    whole = _finite(exam)
    answers.append(whole)
    if isinstance(whole, Diagnosis):
        return Checkup.of(answers)
    answers.append(course.converged(history, facts))
    assert exam.test is not None
    answers.append(course.generalises(history, standing, exam.test, exam.taught, facts))
    answers += [likelihood.data_fit(exam, facts), likelihood.scale_holds(exam, facts)]
    answers += [latents.in_use(exam, facts), latents.listened_to(exam, facts), *latents.levels_alive(exam, facts)]
    answers += [latents.priced(exam, facts), latents.aggregate_fits(exam, facts), *latents.width(exam, facts)]
    answers += [latents.codes_alive(exam, facts), latents.amortised(exam, facts)]
    return Checkup.of(answers)


def _finite(exam: Exam) -> Answer:
    """Whether weights and numbers are finite."""
    bad = 0
    if exam.test is not None:
        values = exam.test.distortion if exam.test.elbo is None else exam.test.elbo
        bad = int((~np.isfinite(values)).sum())
    if not exam.broken and not bad:
        return Sound("finite numbers", "all weights, and the bound of every datum, are finite")
    words = "Training diverged: " + (
        "weights are not finite." if exam.broken else "the bound of some data is not finite, so no mean is."
    )
    measured = [Measured("weights that are not finite", exam.broken, limit=0, ill="above")] if exam.broken else []
    measured += [Measured("data without a finite bound", bad, limit=0, ill="above")] if bad else []
    return Diagnosis("diverged", "serious", words, tuple(measured), calmer())
