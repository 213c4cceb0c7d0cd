"""Lossless compression: a model's bound on log p(x), paid out in bytes."""

__all__ = [
    "Block",
    "Codec",
    "CodingOptions",
    "Compressed",
    "ContainerError",
    "Damaged",
    "FileOptions",
    "Header",
    "Images",
    "NotCodable",
    "Size",
    "baselines",
    "check_codable",
    "compress",
    "decompress",
    "model_digest",
    "open_array",
    "open_compressed",
    "open_images",
    "writer_of",
]

from .arrays import open_array
from .baselines import Size, baselines
from .block import Block, CodingOptions, Damaged, NotCodable
from .codec import Codec, check_codable
from .container import ContainerError
from .files import Compressed, FileOptions, compress, open_images
from .header import Header, model_digest
from .images import Images
from .restore import decompress, open_compressed, writer_of
