"""Networks: every one maps any shape to any shape, and can serve in any room."""

__all__ = ["ACTIVATIONS", "NETWORKS", "Convolutional", "Dense", "NetworkFactory", "NetworkLike", "Residual", "build"]

from .activations import ACTIVATIONS
from .build import NetworkFactory, NetworkLike, build
from .convolutional import Convolutional, Residual
from .dense import Dense

#: Networks by name, for the command line.
NETWORKS: dict[str, NetworkFactory] = {"convolutional": Convolutional, "dense": Dense, "residual": Residual}
