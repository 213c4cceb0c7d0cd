"""Does the likelihood speak of these data, and is its density one that means something?"""

__all__ = ["data_fit", "scale_holds"]

from .checkup import Answer, Diagnosis, Measured, Sound, Unchecked
from .exam import NO_RATE, Exam
from .facts import Facts

#: The share of elements whose scale is at its floor from which on the density is of them alone.
_AT_FLOOR = 0.1
#: A fixed scale, in residuals.
_TOO_WIDE = 3.0


def scale_holds(exam: Exam, facts: Facts) -> Answer:
    """Whether the scale of a Gaussian likelihood is that of what it leaves over."""
    name, scale = "scale of the likelihood", exam.scale
    if scale is None:
        return Unchecked(name, "p(x|z) is no Gaussian, and has no scale to collapse")
    typical = Measured("its median, in units of the data", scale.typical)
    if not scale.fixed and scale.at_floor > _AT_FLOOR:
        words = (
            "The scale of the Gaussian likelihood has collapsed onto its floor: elements that hardly vary are given "
            "any density that the floor allows. The nats are of the floor, not of the data; they compare with nothing."
        )
        tried = (
            "one scale for all elements (--likelihood gaussian), or a fixed one (gaussian_fixed)",
            "leave out elements that are constant, or add noise to 8-bit data: --dequantize",
            "a likelihood of levels, which is a probability: discretised_logistic, beta_binomial, categorical",
        )
        measured = (
            Measured("share of elements at the floor", scale.at_floor, "", None, _AT_FLOOR, "above"),
            Measured("floor", scale.floor),
            typical,
        )
        return Diagnosis("scale_collapsed", "serious", words, measured, tried)
    times = scale.typical / max(scale.residual, 1e-12)
    if scale.fixed and times > _TOO_WIDE:
        words = (
            f"The fixed scale of the likelihood is {times:.2g} times what its mean leaves over: errors of that size "
            "cost next to nothing, so nothing is worth its rate."
        )
        measured = (Measured("fixed scale in units of the residual", times, "", None, _TOO_WIDE, "above"),)
        tried = ("a scale that is learnt: --likelihood gaussian", "data of unit scale")
        idle = exam.rate is not None and exam.rate < NO_RATE
        return Diagnosis("scale_too_wide", "serious" if idle else "warning", words, measured, tried)
    return Sound(name, "about the size of what the mean leaves over", (typical, Measured("residual", scale.residual)))


def data_fit(exam: Exam, facts: Facts) -> Answer:
    """Whether the data are of the kind that the likelihood is of."""
    name = "kind of data"
    if exam.test is None:
        return Unchecked(name, "nothing was measured")
    if exam.test.grey:
        words = (
            "Grey data were given to a Bernoulli: its numbers are cross-entropies, of no distribution. Nothing is a "
            "bound, and nothing compares with numbers of binary data."
        )
        tried = (
            "binary data: --binarize dynamic (or static, threshold)",
            "a likelihood of grey data: continuous_bernoulli, or for 8-bit data discretised_logistic, beta_binomial",
        )
        return Diagnosis("grey_data", "warning", words, (), tried)
    sharpens = exam.scale is None or not exam.scale.fixed
    if facts.levels is not None and not exam.test.mass and not facts.dequantised and sharpens:
        words = (
            f"The data have {facts.levels} levels, and the likelihood is a density without noise on them: it can grow "
            "without bound on values that recur exactly, and its nats depend on how sharp it got."
        )
        tried = (
            "noise on the levels: --dequantize",
            "a likelihood of levels: discretised_logistic, beta_binomial, categorical",
        )
        return Diagnosis("density_of_levels", "warning", words, (), tried)
    return Sound(name, "the data are of the kind that the likelihood is of")
