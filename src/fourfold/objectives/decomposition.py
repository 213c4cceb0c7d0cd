"""The rate in three parts: mutual information, total correlation, and the KL of each latent's marginal."""

__all__ = ["Decomposed", "log_weights_of", "undecomposable"]

from math import log

import torch
from jaxtyping import Float
from torch import Tensor

from .._checks import choice, positive_int
from ..distributions.base import Factorised
from ..noise import NoiseSource
from ..trace import Level, Term, Terms, Trace
from .base import Objective, at_least_two, one_level, reported, with_penalties
from .schedules import Schedule

_ESTIMATORS = ("mss", "mws", "full")


class Decomposed(Objective):
    r"""The ELBO with a weight for each of the three parts of its rate: the β-TCVAE for α = γ = 1.

    .. math:: E_q \log p(x \mid z) - \alpha\,\underbrace{I_q(x; z)}_{\mathrm{mi}}
        - \beta\,\underbrace{\mathrm{KL}\big(q(z) \,\|\, \textstyle\prod_j q(z_j)\big)}_{\mathrm{tc}}
        - \gamma\,\underbrace{\textstyle\sum_j \mathrm{KL}(q(z_j) \,\|\, p(z_j))}_{\mathrm{dwkl}},
        \qquad q(z) = \frac1N \sum_n q(z \mid x_n)

    q(z) is of all N data and has to be estimated from a batch of B. The three parts depend on how, so their names say
    it (``tc_mss``, ``tc_mws``, ``tc_full``); their sum does not: it is log q(z | x) − log p(z) at the draw, whatever
    the estimator. To be reported is the value of ``fourfold.evaluation.decomposition`` over all data, not one of these.

    * ``"mss"``, stratified: row i of the batch weighs 1/N, one other (N − M)/(N M), the others 1/M, where M = B − 1.
      Unbiased for q(z), not for its logarithm: ``tc_mss`` may be below 0. (A widely copied weight matrix has its 1/N
      in the first column, not on the diagonal. It is in effect the plain mean over the batch.)
    * ``"mws"``, weighted: each row weighs 1/(N B). Its gradient is that of the plain mean over the batch; its values
      are off by constants: ``mi_mws`` by + log N, ``tc_mws`` by (D − 1) log N and ``dwkl_mws`` by − D log N against
      that mean (log q(z) carries − log(N B), and each of D marginals too). ``tc_mws`` is no total correlation.
    * ``"full"``: the batch is all the data, and q(z) is exact.

    The density of each draw under the posterior of every row is asked for, so that S B² D numbers are held at once.
    Outside training, where batches have other sizes, N is at least the rows at hand, and for ``"full"`` just those.

    Args:
        alpha: α, weight of the mutual information.
        beta: β, weight of the total correlation; 6 in the authors' code.
        gamma: γ, weight of the dimension-wise KL.
        data_size: N, how many training data there are.
        estimator: ``"mss"``, ``"mws"`` or ``"full"``.
        draws: S, draws of z for each datum.

    Raises:
        ValueError: a posterior or a prior that is no product over the latents; several groups of latents; a training
            batch larger than the data, of one row (mss), or of less than all of them (full).

    References:
        Chen et al. 2018, "Isolating sources of disentanglement in VAEs", arXiv:1802.04942; Hoffman and Johnson 2016,
        "ELBO surgery".
    """

    batch_statistic = True
    alpha: Tensor
    beta: Tensor
    gamma: Tensor

    def __init__(
        self,
        alpha: float | Schedule = 1.0,
        beta: float | Schedule = 6.0,
        gamma: float | Schedule = 1.0,
        *,
        data_size: int,
        estimator: str = "mss",
        draws: int = 1,
    ) -> None:
        super().__init__(draws)
        self.hyper("alpha", alpha)
        self.hyper("beta", beta)
        self.hyper("gamma", gamma)
        self.data_size = positive_int(data_size, "Decomposed: data_size")
        self.estimator = choice(estimator, _ESTIMATORS, "Decomposed: estimator")

    def check_batch(self, batch: int) -> None:
        n = self.data_size
        if self.estimator == "full" and batch != n:
            raise ValueError(
                f"batch_size: Decomposed: estimator 'full' needs all {n} data in each batch, got {batch}. "
                f"Set batch_size={n}, or take estimator 'mss'."
            )
        if batch > n:
            raise ValueError(f"Decomposed: data_size is {n}, but a batch alone has {batch} rows. Give all data's size.")
        if self.estimator == "mss" and n > 1:
            at_least_two(batch, "Decomposed: estimator 'mss'")

    def forward(self, trace: Trace, noise: NoiseSource | None = None) -> Terms:
        level = one_level(trace, "Decomposed")
        if reason := undecomposable(trace.levels):
            raise ValueError(f"Decomposed: {reason}")
        assert isinstance(level.q, Factorised)
        pairs = level.q.log_prob_by_element(level.z.unsqueeze(2)).flatten(3)  # (S, B, B, D): log q(z_id | x_j)
        log_w = log_weights_of(self.estimator, pairs.shape[2], self._size(pairs.shape[2])).to(pairs)
        log_q = (pairs.sum(-1) + log_w).logsumexp(-1)
        log_marginals = (pairs + log_w.unsqueeze(-1)).logsumexp(2).sum(-1)
        parts = {
            "mi": Term((level.log_q - log_q).mean(0), -self.alpha),
            "tc": Term((log_q - log_marginals).mean(0), -self.beta),
            "dwkl": Term((log_marginals - level.log_p).mean(0), -self.gamma),
        }
        plain = reported(trace) | {"log_likelihood": Term(trace.log_likelihood.mean(0), 1.0)}
        return with_penalties(plain | {f"{name}_{self.estimator}": part for name, part in parts.items()}, trace)

    def _size(self, batch: int) -> int:
        """N, for a batch of this size."""
        if self.training:
            self.check_batch(batch)
        return batch if self.estimator == "full" else max(self.data_size, batch)


def log_weights_of(estimator: str, batch: int, size: int) -> Float[Tensor, "B B"]:
    """Logarithms of the weights W[i, j] with which q(z_i) is estimated as Σ_j W[i, j] q(z_i | x_j), in float64.

    Args:
        estimator: ``"mss"``, ``"mws"`` or ``"full"``.
        batch: B.
        size: N, at least B.

    Example:
        >>> log_weights_of("mss", batch=3, size=6).exp() * 12
        tensor([[2., 4., 6.],
                [6., 2., 4.],
                [4., 6., 2.]], dtype=torch.float64)
    """
    if estimator != "mss" or batch == 1:  # a batch of one knows of nothing but itself
        each = -log(batch) - (log(size) if estimator == "mws" else 0.0)
        return torch.full((batch, batch), each, dtype=torch.float64)
    others = batch - 1
    weights = torch.full((batch, batch), 1 / others, dtype=torch.float64).fill_diagonal_(1 / size)
    row = torch.arange(batch)
    weights[row, (row + 1) % batch] = (size - others) / (size * others)
    return weights.log()


def undecomposable(levels: tuple[Level, ...]) -> str | None:
    """Why the rate of these latents does not come apart latent by latent; ``None`` if it does."""
    if len(levels) != 1:
        return f"the decomposition is of one group of latents, and this model has {len(levels)}."
    q, p = levels[0].q, levels[0].p
    if not isinstance(q, Factorised) or len(q.lead_shape) != 1:
        return (
            f"{type(q).__name__} has no density of a single latent, so there is no q(z_j): it needs a posterior that "
            "is a product over the latents, such as the diagonal Gaussian."
        )
    if not isinstance(p, Factorised) or p.lead_shape:
        return (
            f"the prior ({type(p).__name__}) is not one product over the latents for all data, so there is no p(z_j): "
            "it needs one such as the standard normal."
        )
    return None
