"""Objectives: what is maximised, in nats per datum."""

__all__ = [
    "CIWAE",
    "ELBO",
    "ESTIMATORS",
    "IWAE",
    "MIWAE",
    "FREE_BITS",
    "KERNELS",
    "SCHEDULES",
    "Constant",
    "Cyclic",
    "Estimator",
    "FreeBits",
    "InfoVAE",
    "Linear",
    "Logistic",
    "Objective",
    "Reconstruction",
    "Schedule",
    "SoftFreeBits",
    "Steps",
    "dreg",
    "parse_schedule",
    "rate",
]

from .base import Objective, rate
from .bounds import ELBO, Reconstruction
from .estimators import ESTIMATORS, Estimator, dreg
from .free_bits import FREE_BITS, FreeBits, SoftFreeBits
from .importance import CIWAE, IWAE, MIWAE
from .information import KERNELS, InfoVAE
from .schedules import SCHEDULES, Constant, Cyclic, Linear, Logistic, Schedule, Steps, parse_schedule
