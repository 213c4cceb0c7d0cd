"""Objectives: what is maximised, in nats per datum."""

__all__ = [
    "ELBO",
    "FREE_BITS",
    "KERNELS",
    "SCHEDULES",
    "Constant",
    "Cyclic",
    "FreeBits",
    "InfoVAE",
    "Linear",
    "Logistic",
    "Objective",
    "Reconstruction",
    "Schedule",
    "SoftFreeBits",
    "Steps",
    "parse_schedule",
    "rate",
]

from .base import Objective, rate
from .bounds import ELBO, Reconstruction
from .free_bits import FREE_BITS, FreeBits, SoftFreeBits
from .information import KERNELS, InfoVAE
from .schedules import SCHEDULES, Constant, Cyclic, Linear, Logistic, Schedule, Steps, parse_schedule
