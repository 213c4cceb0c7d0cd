"""Networks: every one maps any shape to any shape, and can serve in any room."""

__all__ = [
    "ACTIVATIONS",
    "MERGES",
    "NETWORKS",
    "BatchNorm",
    "Codebook",
    "Convolutional",
    "Dense",
    "Doubling",
    "Fade",
    "FiniteScalar",
    "FlowFactory",
    "GatedPixelCNN",
    "Halving",
    "Join",
    "Maps",
    "NetworkFactory",
    "NetworkLike",
    "Normalised",
    "PixelStacks",
    "Quantiser",
    "Recurrent",
    "RecurrentSizes",
    "RecurrentTokens",
    "Residual",
    "Spectral",
    "Strided",
    "Transposed",
    "UnitColumns",
    "VectorQuantiser",
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
from .maps import Maps
from .masked import GatedPixelCNN, PixelStacks
from .normalisation import BatchNorm, Normalised
from .quantisers import Codebook, FiniteScalar, Quantiser, VectorQuantiser
from .recurrent import Recurrent, RecurrentSizes, RecurrentTokens
from .spectral import Spectral
from .strided import Strided
from .tied import Transposed, UnitColumns

#: Networks by name, for the command line.
NETWORKS: dict[str, NetworkFactory] = {"convolutional": Convolutional, "dense": Dense, "residual": Residual}
