"""The check of annotations that tests run under: beartype, told what to make of ``Self`` and of ``float``."""

from typing import Any, Self

from beartype import BeartypeConf, FrozenDict, beartype

__all__ = ["annotations"]

# jaxtyping's import hook decorates methods, and beartype understands ``Self`` only where it decorates the class.
# An int is a float to the type checker, and therefore here.
annotations = beartype(conf=BeartypeConf(is_pep484_tower=True, hint_overrides=FrozenDict({Self: Any})))
