"""Kernel statistics of tensors: do two samples differ, does a sample fit a density, are variables independent?"""

__all__ = ["IMQ", "Kernel", "Laplace", "Polynomial", "RBF", "Radial", "Sum", "linear_terms", "mmd2", "multi_scale"]

from .kernels import IMQ, RBF, Kernel, Laplace, Polynomial, Radial, Sum, multi_scale
from .mmd import linear_terms, mmd2
