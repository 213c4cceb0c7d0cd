"""Lossless compression: a model's bound on log p(x), paid out in bytes."""

__all__: list[str] = []
