"""Networks: every one maps any shape to any shape, and can serve in any room."""

__all__ = [
    "ACTIVATIONS",
    "MERGES",
    "NETWORKS",
    "BatchNorm",
    "Convolutional",
    "Dense",
    "Doubling",
    "Fade",
    "FlowFactory",
    "GatedPixelCNN",
    "Halving",
    "Join",
    "NetworkFactory",
    "NetworkLike",
    "Normalised",
    "PixelStacks",
    "Residual",
    "Transposed",
    "UnitColumns",
    "affine",
    "build",
    "gated",
    "halved",
    "splines",
]

from .activations import ACTIVATIONS
from .build import NetworkFactory, NetworkLike, build
from .convolutional import Convolutional, Residual
from .dense import Dense
from .flows import FlowFactory, affine, gated, splines
from .levels import MERGES, Doubling, Fade, Halving, Join, halved
from .masked import GatedPixelCNN, PixelStacks
from .normalisation import BatchNorm, Normalised
from .tied import Transposed, UnitColumns

#: Networks by name, for the command line.
NETWORKS: dict[str, NetworkFactory] = {"convolutional": Convolutional, "dense": Dense, "residual": Residual}
