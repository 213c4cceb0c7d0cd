"""The view: what a model is shown of the stored rows: grey values, binary draws, conditions and masks."""

__all__ = ["Batch", "Quadrants", "View", "check_binarize", "check_values"]

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float, Int, Int32, UInt8
from torch import Tensor, nn

from .._checks import choice
from .._tokens import PAD, UNK
from ..noise import NoiseSource
from .dataset import DataSet, DataSpec, Split
from .rows import blocks

_BINARIZE = (None, "dynamic", "static", "threshold")


@final
@dataclass(frozen=True)
class Batch:
    """What a model sees: data x, and optionally a condition c and a mask of the values to be predicted.

    Args:
        x: ``(B, *shape)``, values in [0, 1] for images.
        c: ``(B,)`` labels, or ``(B, *condition)`` values.
        mask: ``(*shape)``, 1 where x counts in the likelihood and 0 where it is given; ``(B, T)`` of sentences, 1 up to
            each one's <eos> and 0 behind it.
    """

    x: Float[Tensor, "B *shape"]
    c: Tensor | None = None
    mask: Tensor | None = None


@final
@dataclass(frozen=True, slots=True)
class Quadrants:
    """Predict the rest of an image from some of its quadrants.

    1 observes the bottom left quadrant; 2 the left half; 3 all but the bottom right. The upper half of H rows is the
    first H // 2, the left half of W columns the first W // 2. The condition has 2C channels: the observed pixels (0
    elsewhere), then C channels that say which are observed, so that a dark pixel is not an unknown one.

    References: Sohn, Lee, Yan (2015), "Learning structured output representation using deep conditional generative
    models"; layout of the Pyro tutorial.

    Args:
        observed: 1, 2 or 3.

    Example:
        >>> Quadrants(1).mask((1, 2, 2)).tolist()
        [[[1.0, 1.0], [0.0, 1.0]]]
    """

    observed: int

    def __post_init__(self) -> None:
        if self.observed not in (1, 2, 3) or isinstance(self.observed, bool):
            raise ValueError(f"Quadrants: observed must be 1, 2 or 3, got {self.observed!r}.")

    def mask(self, shape: tuple[int, ...], device: torch.device | str | None = None) -> Float[Tensor, "C H W"]:
        """1 on the pixels to be predicted, 0 on the observed ones."""
        if len(shape) != 3 or shape[1] < 2 or shape[2] < 2:
            raise ValueError(f"Quadrants: wanted images (C, H, W) of at least 2 x 2 pixels, got shape {shape}.")
        height, width = shape[1:]
        bottom = (torch.arange(height, device=device) >= height // 2)[:, None]
        left = (torch.arange(width, device=device) < width // 2)[None, :]
        if self.observed == 1:
            seen = bottom & left
        elif self.observed == 2:
            seen = left.expand(height, width)
        else:
            seen = left | ~bottom
        return (~seen).to(torch.get_default_dtype()).expand(shape)


@final
class View(nn.Module):
    r"""Turns stored rows into what a model sees, with draws only where they are asked for.

    Levels v of 256 become v/255. Dynamic binarisation draws every pixel anew, x ~ Bernoulli(v/255), each time a row is
    shown; ``"static"`` says that the rows are 0 and 1 already; ``"threshold"`` is x = 1[v/255 > 1/2] (easier to model:
    never compare it with the other two). Dequantisation is x = (v + u)/256 with u ~ U[0, 1), for densities: then
    bits/dim = -log2 p(x)/D + 8.

    References: Salakhutdinov, Murray (2008), dynamic and static binarisation; Theis, van den Oord, Bethge (2016,
    arXiv 1511.01844), dequantisation.

    Args:
        levels: 256, 2 or None, as in the data set.
        words: how many words a model is shown, of data that are sentences: numbers from there on become <unk>, and the
            mask tells where each sentence ends.
        binarize: None, ``"dynamic"``, ``"static"`` or ``"threshold"``; see :func:`check_binarize`.
        dequantize: add uniform noise within a level.
        condition: None; ``"label"``: c is the label, a whole number (made one-hot by the model); or
            :class:`Quadrants`.

    Raises:
        ValueError: for combinations that mean nothing.

    Example:
        >>> from fourfold.noise import Noise
        >>> View(256)(torch.tensor([[0, 51, 255]], dtype=torch.uint8), None, Noise(0)).x
        tensor([[0.0000, 0.2000, 1.0000]])
    """

    def __init__(
        self,
        levels: int | None,
        *,
        words: int | None = None,
        binarize: str | None = None,
        dequantize: bool = False,
        condition: str | Quadrants | None = None,
    ) -> None:
        super().__init__()
        self.levels = choice(levels, (None, 2, 256), "View: levels")
        self.words = words
        self.binarize = choice(binarize, _BINARIZE, "View: binarize")
        self.dequantize = dequantize
        self.condition = condition
        _check_combination(levels, binarize, dequantize)
        if words is not None and (levels is not None or binarize is not None or isinstance(condition, Quadrants)):
            raise ValueError("View: words have no levels, no binarisation and no quadrants. Leave those out.")
        if not (condition is None or condition == "label" or isinstance(condition, Quadrants)):
            raise ValueError(f'View: condition must be None, "label" or Quadrants(1..3), got {condition!r}.')

    def forward(
        self,
        raw: UInt8[Tensor, "B *shape"] | Float[Tensor, "B *shape"] | Int32[Tensor, "B T"],
        labels: Int[Tensor, " B"] | None,
        noise: NoiseSource,
    ) -> Batch:
        """The batch that a model sees; draws numbers only to binarise dynamically or to dequantise."""
        if self.words is not None:
            return self._sentences(raw, labels, self.words)
        x = self._values(raw, noise)
        if self.condition is None:
            return Batch(x)
        if isinstance(self.condition, Quadrants):
            mask = self.condition.mask(tuple(x.shape[1:]), x.device)
            seen = (1 - mask).expand_as(x)
            return Batch(x, torch.cat([x * seen, seen], dim=1), mask)
        return Batch(x, self._label(labels))

    def _label(self, labels: Tensor | None) -> Tensor | None:
        if self.condition == "label" and labels is None:
            raise ValueError("View: condition='label' wants labels, but the data have none. Use data with labels.")
        return labels if self.condition == "label" else None

    def _sentences(self, raw: Tensor, labels: Tensor | None, words: int) -> Batch:
        """Numbers of known words, as floating-point values, and how far each sentence goes."""
        dtype = torch.get_default_dtype()
        x = torch.where(raw < words, raw, UNK)
        return Batch(x.to(dtype), self._label(labels), (raw != PAD).to(dtype))

    def _values(self, raw: Tensor, noise: NoiseSource) -> Tensor:
        if raw.is_floating_point() != (self.levels is None):
            raise ValueError(f"View: levels={self.levels} does not go with {raw.dtype} rows.")
        if self.binarize == "dynamic" and self.levels == 256:
            drawn = noise.levels(tuple(raw.shape)) < raw
            return drawn.view(torch.uint8).to(torch.get_default_dtype())
        x = raw.to(torch.get_default_dtype())
        if self.dequantize:
            return (x + noise.uniform(tuple(raw.shape))) / 256
        if self.levels == 256:
            x = x / 255
        if self.binarize == "dynamic":
            return (noise.uniform(tuple(raw.shape)) < x).to(x.dtype)
        if self.binarize == "threshold":
            return (x > 0.5).to(x.dtype)
        return x

    def condition_shape(self, spec: DataSpec) -> tuple[int, ...] | None:
        """The shape of a condition as networks see it: ``(classes,)`` of a one-hot label, ``(2C, H, W)``, or None."""
        if self.condition is None:
            return None
        if isinstance(self.condition, Quadrants):
            self.condition.mask(spec.shape)
            return (2 * spec.shape[0], *spec.shape[1:])
        if spec.classes is None:
            raise ValueError("View: condition='label' wants data with labels, and these have none. Add labels to them.")
        return (spec.classes,)

    def to_dict(self) -> dict[str, Any]:
        """The arguments, as JSON can hold them."""
        condition = {"quadrants": self.condition.observed} if isinstance(self.condition, Quadrants) else self.condition
        shown = {} if self.words is None else {"words": self.words}
        return {
            "levels": self.levels,
            **shown,
            "binarize": self.binarize,
            "dequantize": self.dequantize,
            "condition": condition,
        }

    @staticmethod
    def from_dict(fields: Mapping[str, Any]) -> "View":
        """The view that :meth:`to_dict` described."""
        condition = fields["condition"]
        if isinstance(condition, Mapping):
            condition = Quadrants(condition["quadrants"])
        how = {"binarize": fields["binarize"], "dequantize": fields["dequantize"], "words": fields.get("words")}
        return View(fields["levels"], condition=condition, **how)

    def extra_repr(self) -> str:
        return ", ".join(f"{key}={value!r}" for key, value in self.to_dict().items())


def _check_combination(levels: int | None, binarize: str | None, dequantize: bool) -> None:
    if levels == 2 and binarize in ("dynamic", "threshold"):
        raise ValueError(
            f"binarize={binarize!r}: the data are 0 and 1 already, so it would change nothing but the protocol. "
            "Use binarize='static', or grey data."
        )
    if dequantize and binarize is not None:
        raise ValueError(f"dequantize spreads levels out, binarize={binarize!r} removes them. Choose one.")
    if dequantize and levels != 256:
        raise ValueError(f"dequantize is for data of 256 levels (uint8), these have levels={levels}. Leave it out.")


def check_binarize(data: DataSet, binarize: str | None, *, dequantize: bool = False) -> str | None:
    """The binarisation to use with these data, checked against their values; binary data have ``"static"``.

    Args:
        data: every split is looked at.
        binarize: None, ``"dynamic"``, ``"static"`` or ``"threshold"``.
        dequantize: whether levels are to be dequantised.

    Raises:
        ValueError: if it means nothing for these data, with the reason and the right choice.

    Example:
        >>> from fourfold.data import Split
        >>> bits = DataSet("bits", Split(np.eye(2, dtype=np.uint8)), None, None, levels=2, classes=None)
        >>> check_binarize(bits, None)
        'static'
    """
    choice(binarize, _BINARIZE, "binarize")
    if data.vocabulary is not None and binarize is not None:
        raise ValueError(f"binarize={binarize!r}: data set {data.name!r} holds words, not pixels. Leave it out.")
    if data.levels == 2 and binarize is None:
        binarize = "static"
    _check_combination(data.levels, binarize, dequantize)
    # The data set has checked levels=2 itself; 256 levels need a look only where they are said to be two.
    for part, split in data.parts.items():
        check_values(split, data.levels, binarize, f"data set {data.name!r}, {part}")
    return binarize


def check_values(split: Split, levels: int | None, binarize: str | None, where: str) -> None:
    """Checks every row against the binarisation that the view makes of it.

    Raises:
        ValueError: for values outside [0, 1] that are to be binarised, and grey ones that are said to be so already.
    """
    if (levels is None and binarize is not None) or (levels == 256 and binarize == "static"):
        for block in blocks(split.x):
            _check_block(where, levels, binarize, block)


def _check_block(where: str, levels: int | None, binarize: str | None, block: np.ndarray) -> None:
    if binarize == "static" and not np.isin(block, (0, 255 if levels == 256 else 1)).all():
        raise ValueError(
            f"binarize='static': {where} holds grey values, not only 0 and 1. "
            "Use 'dynamic' or 'threshold', or data that were binarised once (such as binarized_mnist)."
        )
    if levels is None and (block.min() < 0 or block.max() > 1):
        raise ValueError(
            f"binarize={binarize!r}: {where} holds values from {block.min():g} to {block.max():g}; probabilities lie "
            "in [0, 1]. Scale the data (levels 0..255: save them as uint8), or do not binarise and choose a likelihood "
            "for real values."
        )
