"""Networks: every one maps any shape to any shape, and can serve in any room."""

__all__ = [
    "ACTIVATIONS",
    "NETWORKS",
    "BatchNorm",
    "Convolutional",
    "Dense",
    "FlowFactory",
    "GatedPixelCNN",
    "NetworkFactory",
    "NetworkLike",
    "PixelStacks",
    "Residual",
    "Spectral",
    "Transposed",
    "UnitColumns",
    "affine",
    "build",
    "gated",
    "splines",
]

from .activations import ACTIVATIONS
from .build import NetworkFactory, NetworkLike, build
from .convolutional import Convolutional, Residual
from .dense import Dense
from .flows import FlowFactory, affine, gated, splines
from .masked import GatedPixelCNN, PixelStacks
from .normalisation import BatchNorm
from .spectral import Spectral
from .tied import Transposed, UnitColumns

#: Networks by name, for the command line.
NETWORKS: dict[str, NetworkFactory] = {"convolutional": Convolutional, "dense": Dense, "residual": Residual}
