"""Do generated and real data differ?"""

__all__ = ["two_sample"]

from collections.abc import Iterable

import torch

from .._checks import positive_int
from ..models import Model
from ..noise import Noise
from ..statistics import Finding, mmd_test
from .batches import BatchLike, first, ready


@torch.inference_mode()
def two_sample(
    model: Model, batches: Iterable[BatchLike], noise: Noise, n: int = 1000, permutations: int = 500
) -> Finding:
    """The two-sample test between draws of p(x) and data: the unbiased MMD² and its permutation p-value.

    Draws, not means of p(x | z), which no data look like; where the model is given c, the draws have the data's own.
    With enough data every model differs: compare values of the statistic, of one n, not p-values of models. Where rows
    stand in the order of classes or writers, the first of them are no fair sample: take them all.

    Args:
        model: any model, in eval mode.
        batches: the data.
        noise: its forks draw the samples and the permutations.
        n: of the first so many data, and as many draws.
        permutations: how many.

    Raises:
        ValueError: a model in training mode, data that are modelled in part only, or fewer than two of them.
    """
    ready(model, "two_sample")
    real, made = [], []
    for i, batch in enumerate(first(batches, positive_int(n, "two_sample: n"))):
        if batch.mask is not None:
            raise ValueError("two_sample: the data are modelled in part only, so there is nothing whole to compare.")
        real.append(batch.x.flatten(1))
        made.append(model.sample(len(batch.x), batch.c, noise.fork(str(i)), mean=False).flatten(1))
    if not real:
        raise ValueError("two_sample: there are no data. Give at least two.")
    x, y = torch.cat(made), torch.cat(real)
    return mmd_test(x.to(y.dtype), y, permutations=permutations, noise=noise.fork("permutations"))
