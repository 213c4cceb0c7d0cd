"""The factors of published data sets, and codes of known quality made from them: no image is needed."""

import numpy as np

from fourfold.data import Factor
from fourfold.evaluation.disentanglement import Sampled, controls, perfect

SIZES = {
    "dsprites": (3, 6, 40, 32, 32),
    "shapes3d": (10, 10, 10, 8, 4, 15),
    "smallnorb": (5, 9, 18, 6),
    "mpi3d": (6, 6, 2, 3, 3, 40, 40),
    "cars3d": (4, 24, 183),
}
LATENTS = 10


def factors_of(data: str) -> tuple[Factor, ...]:
    """Factors of the right sizes; the first of dSprites is its shape."""
    return tuple(Factor(f"v{i}", "ordinal", values=tuple(range(size))) for i, size in enumerate(SIZES[data]))


def source_of(data: str, codes: str, seed: int = 0) -> Sampled:
    """Perfect, noisy (dead codes have a standard deviation of 0.001), rotated or random codes of the factors."""
    about = factors_of(data)
    if codes != "noisy":
        return Sampled(about, controls(about, LATENTS, seed)[codes])
    exact, rng = perfect(about, len(about)), np.random.default_rng(seed)
    noise = LATENTS - len(about)
    return Sampled(about, lambda v: np.concatenate([exact(v), 1e-3 * rng.standard_normal((len(v), noise))], 1))
