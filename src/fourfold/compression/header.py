"""What an ``.ff`` file says of itself, and how a model is told from another."""

__all__ = ["Contents", "Header", "model_digest", "sizes_of", "versions_here"]

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from math import prod
from typing import Any, final

import numpy as np
import torch

from .._shapes import Shape
from .._version import __version__
from ..models import Model
from .container import ContainerError
from .fields import Fields

_MOST_IMAGES = 1 << 48  # more than any file holds, small enough to count with
_MOST_BLOCK = 1 << 30  # bytes of a block, decoded


@final
@dataclass(frozen=True)
class Header:
    """What stands at the beginning of an ``.ff`` file.

    Args:
        n: how many images.
        shape: of one, as the model has it.
        scale: what stands for 1 where the likelihood is over 0 and 1: 1, or 255 for black and white.
        blocks: how many blocks they are coded in, see :func:`sizes_of`.
        labels: the type of the labels that the model was told, or ``None``.
        form: how to write the images back, see :class:`~fourfold.compression.images.Images`.
        model: the ``digest`` of the model, and what else is known of it: run, recipe, data, protocol.
        options: of coding.
        versions: of what made the file.
    """

    n: int
    shape: Shape
    scale: int
    blocks: int
    labels: str | None
    form: dict[str, Any]
    model: dict[str, Any]
    options: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str | None] = field(default_factory=lambda: versions_here())

    @property
    def sizes(self) -> list[int]:
        """How many images each block holds."""
        return sizes_of(self.n, self.blocks)

    @property
    def dimensions(self) -> int:
        """How many values all images have."""
        return self.n * prod(self.shape)

    def to_dict(self) -> dict[str, Any]:
        """What JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, entries: object, where: str) -> "Header":
        """The header that these entries tell of.

        Raises:
            ContainerError: for an entry that is missing or is not what it should be.
        """
        told = Fields(entries, where)
        n = told.whole("n", 1, _MOST_IMAGES)
        labels = told.text("labels", ("|u1", "<u4")) if told.has("labels") else None
        objects = {name: told.inner(name) for name in ("form", "model", "options", "versions")}
        Fields(objects["model"], where).text("digest")
        Fields(objects["form"], where).text("kind", ("npy", "npz", "folder", "zip"))
        shape, scale, blocks = told.shape("shape"), told.whole("scale", 1, 255), told.whole("blocks", 1, n)
        if -(-n // blocks) * prod(shape) > _MOST_BLOCK or scale not in (1, 255):
            raise ContainerError(
                f"{where}: {n} images of shape {shape} in {blocks} blocks, scale {scale}: its header means nothing."
            )
        return cls(n, shape, scale, blocks, labels, **objects)


@final
@dataclass(frozen=True, slots=True)
class Contents:
    """What an ``.ff`` file gives back: blocks of images, the labels, and what was kept beside them.

    Args:
        where: the file, for errors.
        header: of it.
        images: starts decoding: blocks of images, uint8, ``(size, *shape)``.
        kept: the pieces of what was kept under a name.
        labels: the labels that the model was told.
    """

    where: str
    header: Header
    images: Callable[[], Iterator[np.ndarray]]
    kept: Callable[[str], Iterator[bytes]]
    labels: Callable[[], np.ndarray]


def sizes_of(n: int, blocks: int) -> list[int]:
    """How many images each block holds: as equal as can be, the first ones larger by one."""
    each, more = divmod(n, blocks)
    return [each + 1] * more + [each] * (blocks - more)


def versions_here() -> dict[str, str | None]:
    """Of fourfold, the entropy coder and what else has a say in what comes out."""
    found: dict[str, str | None] = {"fourfold": __version__}
    for package in ("constriction", "torch", "numpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def model_digest(model: Model) -> str:
    """A name for a model: of its modules and their settings, and of the names, shapes, types and bytes of its tensors.

    Two models of one digest compute the same functions, as far as rounding allows. It does not depend on devices.

    Example:
        >>> import fourfold as ff
        >>> one, other = (ff.recipes.vae().build(ff.data.digits().spec, seed=seed).model for seed in (0, 1))
        >>> len(model_digest(one)), model_digest(one) == model_digest(other)
        (32, False)
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, module in model.named_modules():
        kind = type(module)
        plain = {}
        if not kind.__module__.startswith("torch."):
            plain = {k: v for k, v in vars(module).items() if k != "training" and k[0] != "_" and _is_plain(v)}
        digest.update(f"{name}|{kind.__qualname__}|{json.dumps(plain, sort_keys=True)}\n".encode())
    for name, tensor in sorted(model.state_dict().items()):
        value = tensor.detach().cpu().contiguous()
        digest.update(f"{name}|{value.dtype}|{tuple(value.shape)}|".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data if value.numel() else b"")
    return digest.hexdigest()


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)
