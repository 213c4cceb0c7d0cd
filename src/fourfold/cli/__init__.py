"""The command line: ``fourfold train``, ``evaluate``, ``sample`` and the others."""

__all__ = ["main"]

from .main import main
