"""Objectives: what is maximised, in nats per datum."""

__all__ = [
    "CIWAE",
    "DIP",
    "ELBO",
    "ESTIMATORS",
    "FREE_BITS",
    "IWAE",
    "KERNELS",
    "MIWAE",
    "SCHEDULES",
    "Balanced",
    "Capacity",
    "Constant",
    "Contractive",
    "Cyclic",
    "Decomposed",
    "Discrimination",
    "Estimator",
    "FactorVAE",
    "FreeBits",
    "InfoVAE",
    "KLSparsity",
    "L1Sparsity",
    "Linear",
    "Logistic",
    "Objective",
    "ProgressiveELBO",
    "Reconstruction",
    "Schedule",
    "SoftFreeBits",
    "Steps",
    "discriminator",
    "dreg",
    "parse_schedule",
    "rate",
]

from .balanced import Balanced
from .base import Objective, rate
from .bounds import ELBO, Reconstruction
from .capacity import Capacity
from .contractive import Contractive
from .decomposition import Decomposed
from .dip import DIP
from .estimators import ESTIMATORS, Estimator, dreg
from .factor import Discrimination, FactorVAE, discriminator
from .free_bits import FREE_BITS, FreeBits, SoftFreeBits
from .importance import CIWAE, IWAE, MIWAE
from .information import KERNELS, InfoVAE
from .progressive import ProgressiveELBO
from .schedules import SCHEDULES, Constant, Cyclic, Linear, Logistic, Schedule, Steps, parse_schedule
from .sparse import KLSparsity, L1Sparsity
