"""Options of training that travel together."""

__all__ = ["Training"]

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from .._checks import choice, fraction, non_negative, positive, positive_int, unknown
from ..data import window_of
from .optimisers import OPTIMISERS, parse_lr_schedule
from .program import COMPILE

_PRECISIONS = ("32", "bf16", "64")


@dataclass(frozen=True, slots=True)
class Training:
    """How a recipe is trained.

    Args:
        epochs: passes over the training data; the number of steps is rounded from it.
        batch_size: data a step, over all processes; at most the number of training data.
        lr: learning rate.
        optimiser: adam, adamw or adamax.
        lr_schedule: constant; cosine[:final factor]; decay[:factor[:share of training, at its end]]; burda.
        eps: of the optimiser: what is added to the root of the second moment.
        weight_decay: of adamw.
        lr_warmup: steps over which the learning rate rises from 0 in a straight line, at the start of every stage.
        clip: largest norm of the gradient; 0 does not clip.
        skip_grad: norm of the gradient, before clipping, beyond which an update is not made, nor where it is not
            finite; such updates are counted, and told. 0 makes every update.
        ema: decay of an exponential average of the weights, used for evaluation; 0 keeps none.
        patience: validations without improvement of the objective before stopping; 0 never stops.
        accumulate: pieces in which a batch goes through the model, to save memory.
        precision: 32, bf16 (autocast; densities stay in float32) or 64.
        compile: auto, on or off: whether the whole step, backward included, is compiled into one program. auto
            measures where more than two minutes are to come, tells what it decided, and a resumed run keeps to it;
            numbers differ from those of the plain step by rounding. Without a compiler, or where a model cannot be
            compiled, it says so and goes on plainly.
        seed: of weights, data order and noise.
        devices: processes or GPUs.
        accelerator: auto, cpu, cuda.
        binarize: auto, none, dynamic, static or threshold: how 8-bit data become binary.
        dequantize: add uniform noise to 8-bit data (for densities).
        shuffle: global, a permutation of all rows; or window:W, for data in shards: shuffled shards, W at a time.
        workers: processes that read data too large for memory.
        log_steps: steps between two lines of metrics.jsonl (besides one at the end of every epoch).
        validate_epochs: epochs between two validations.
        checkpoint_seconds: least time between two checkpoints; what a killed run can lose.
        quiet: no progress bar.

    Raises:
        ValueError: a value out of range, by name.
    """

    epochs: float = 20.0
    batch_size: int = 100
    lr: float = 1e-3
    optimiser: str = "adam"
    lr_schedule: str = "constant"
    eps: float = 1e-8
    weight_decay: float = 0.01
    lr_warmup: int = 0
    clip: float = 0.0
    skip_grad: float = 0.0
    ema: float = 0.0
    patience: int = 0
    accumulate: int = 1
    precision: str = "32"
    compile: str = "auto"
    seed: int = 0
    devices: int = 1
    accelerator: str = "auto"
    binarize: str = "auto"
    dequantize: bool = False
    shuffle: str = "global"
    workers: int = 2
    log_steps: int = 100
    validate_epochs: int = 1
    checkpoint_seconds: float = 20.0
    quiet: bool = False

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "devices", "log_steps", "validate_epochs"):
            positive_int(getattr(self, name), name)
        for name in ("epochs", "weight_decay", "clip", "skip_grad", "patience", "workers", "checkpoint_seconds"):
            non_negative(getattr(self, name), name)
        non_negative(self.lr_warmup, "lr_warmup")
        positive(self.lr, "lr")
        positive(self.eps, "eps")
        fraction(self.ema, "ema")
        choice(self.optimiser, OPTIMISERS, "optimiser")
        choice(self.precision, _PRECISIONS, "precision")
        choice(self.compile, COMPILE, "compile")
        choice(self.accelerator, ("auto", "cpu", "cuda"), "accelerator")
        choice(self.binarize, ("auto", "none", "dynamic", "static", "threshold"), "binarize")
        parse_lr_schedule(self.lr_schedule)
        window_of(self.shuffle)
        if self.batch_size % (self.devices * self.accumulate):
            raise ValueError(
                f"batch_size must be a multiple of devices × accumulate = {self.devices * self.accumulate}, "
                f"got {self.batch_size}."
            )

    def but(self, **changes: Any) -> Self:
        """The same options with some changed; an unknown name lists the nearest right ones."""
        known = [f.name for f in fields(self)]
        for name in changes:
            if name not in known:
                raise TypeError(unknown("training option", name, known))
        return replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """JSON form."""
        return asdict(self)
