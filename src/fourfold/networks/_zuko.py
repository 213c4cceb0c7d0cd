"""What is taken from the library zuko, whose import would switch off torch's checks of distributions for everybody."""

__all__ = [
    "AdditiveTransform",
    "AutoregressiveTransform",
    "LazyTransform",
    "MaskedAutoregressiveTransform",
    "MonotonicAffineTransform",
    "MonotonicRQSTransform",
]

from torch.distributions import Distribution

_checked = Distribution._validate_args

from zuko.flows import MaskedAutoregressiveTransform  # noqa: E402
from zuko.lazy import LazyTransform  # noqa: E402
from zuko.transforms import AdditiveTransform, AutoregressiveTransform, MonotonicAffineTransform, MonotonicRQSTransform  # noqa: E402

Distribution.set_default_validate_args(_checked)
