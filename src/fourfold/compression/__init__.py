"""Lossless compression: a model's bound on log p(x), paid out in bytes."""

__all__ = ["Block", "Codec", "CodingOptions", "Damaged", "NotCodable", "check_codable"]

from .block import Block, CodingOptions, Damaged, NotCodable
from .codec import Codec, check_codable
