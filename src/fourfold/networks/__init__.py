"""Networks: every one maps any shape to any shape, and can serve in any room."""

__all__ = ["ACTIVATIONS", "Dense", "NetworkFactory", "NetworkLike", "build"]

from .build import NetworkFactory, NetworkLike, build
from .dense import ACTIVATIONS, Dense
