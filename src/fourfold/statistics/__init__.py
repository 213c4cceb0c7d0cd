"""Kernel statistics of tensors: do two samples differ, does a sample fit a density, are variables independent?"""

__all__ = [
    "CONVENTIONS",
    "Comparison",
    "Finding",
    "IMQ",
    "KID",
    "Kernel",
    "Laplace",
    "Polynomial",
    "RBF",
    "Radial",
    "Sum",
    "dhsic",
    "dhsic_test",
    "discrete_information",
    "features",
    "frechet",
    "frechet_limit",
    "gaussian_information",
    "hsic",
    "hsic_test",
    "kid",
    "ksd2",
    "ksd_test",
    "median_bandwidth",
    "median_distance",
    "mmd2",
    "mmd_agg_test",
    "mmd_test",
    "multi_scale",
    "relative_ksd",
    "relative_likelihood",
    "relative_mmd",
    "witness",
]

from .agg import mmd_agg_test
from .bandwidth import CONVENTIONS, median_bandwidth, median_distance
from .features import KID, features, frechet, frechet_limit, kid
from .independence import dhsic, dhsic_test, hsic, hsic_test
from .information import discrete_information, gaussian_information
from .kernels import IMQ, RBF, Kernel, Laplace, Polynomial, Radial, Sum, multi_scale
from .ksd import ksd2, ksd_test
from .mmd import mmd2
from .relative import Comparison, relative_ksd, relative_likelihood, relative_mmd
from .result import Finding
from .twosample import mmd_test, witness
