"""The check of annotations that tests run under: beartype, told what to make of ``Self``."""

from typing import Any, Self

from beartype import BeartypeConf, FrozenDict, beartype

__all__ = ["annotations"]

# jaxtyping's import hook decorates methods, and beartype understands ``Self`` only where it decorates the class.
annotations = beartype(conf=BeartypeConf(hint_overrides=FrozenDict({Self: Any})))
