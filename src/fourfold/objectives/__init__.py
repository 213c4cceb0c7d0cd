"""Objectives: what is maximised, in nats per datum."""

__all__ = [
    "ELBO",
    "SCHEDULES",
    "Constant",
    "Cyclic",
    "Linear",
    "Logistic",
    "Objective",
    "Reconstruction",
    "Schedule",
    "Steps",
    "parse_schedule",
    "rate",
]

from .base import Objective, rate
from .bounds import ELBO, Reconstruction
from .schedules import SCHEDULES, Constant, Cyclic, Linear, Logistic, Schedule, Steps, parse_schedule
