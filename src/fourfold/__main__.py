"""``python -m fourfold`` is ``fourfold``."""

__all__: list[str] = []

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
