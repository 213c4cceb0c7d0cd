"""Fourfold's peers: their loops, timed (``training``), and their losses, on the same numbers as ours (``losses``)."""
