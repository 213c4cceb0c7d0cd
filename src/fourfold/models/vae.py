"""The flat VAE: one group of latents."""

__all__ = ["VAE"]

from torch import Tensor

from ..conditional import Condition, Conditional, Prior
from ..distributions import Distribution
from ..noise import Noise, NoiseSource
from ..trace import Trace
from .corruption import Corruption
from .flat import Flat, drawing


class VAE(Flat):
    r"""A posterior, a prior and a likelihood: the variational autoencoder with one group of latents.

    .. math:: p(x, z \mid c) = p(z \mid c)\, p(x \mid z, c), \qquad q(z \mid x, c)

    Args:
        posterior: q(z | x, c).
        prior: p(z | c).
        likelihood: p(x | z, c).
        condition: what c is, if there is one: a label or a tensor.
        corruption: what the posterior sees in place of x, in training mode only and only in ``model(x)``; the
            likelihood is of the clean x, and ``infer``, ``at``, ``encode`` and ``reconstruct`` see no other.
        decoder_inputs: what a likelihood of one element after the other sees in place of those before, such as
            ``WordDropout``: in training mode only and only in ``model(x)``.

    References:
        Kingma and Welling 2013, arXiv:1312.6114; Rezende, Mohamed and Wierstra 2014, arXiv:1401.4082.

    Example:
        >>> import torch
        >>> from fourfold.conditional import NetworkConditional
        >>> from fourfold.distributions import BernoulliHead, GaussianHead
        >>> from fourfold.noise import Noise
        >>> from fourfold.priors import StandardNormal
        >>> q = NetworkConditional(torch.nn.Linear(6, 4), GaussianHead(2), 6)
        >>> p = NetworkConditional(torch.nn.Linear(2, 6), BernoulliHead(6), 2)
        >>> VAE(q, StandardNormal(2), p)(torch.ones(5, 6), draws=3, noise=Noise(0)).log_weight.shape
        torch.Size([3, 5])
    """

    def __init__(
        self,
        posterior: Conditional,
        prior: Prior,
        likelihood: Conditional,
        condition: Condition | None = None,
        corruption: Corruption | None = None,
        decoder_inputs: Corruption | None = None,
    ) -> None:
        super().__init__()
        self.posterior, self.prior, self.likelihood = posterior, prior, likelihood
        self.condition, self.corruption, self.decoder_inputs = condition, corruption, decoder_inputs
        self.support = likelihood.support

    def forward(
        self,
        x: Tensor,
        c: Tensor | None = None,
        draws: int = 1,
        noise: NoiseSource | None = None,
        mask: Tensor | None = None,
    ) -> Trace:
        source = noise or Noise(device=x.device)
        seen = x if self.corruption is None or not self.training else self.corruption(x, source)
        fed = None if self.decoder_inputs is None or not self.training else self.decoder_inputs(x, source)
        return self._pass(x, c, mask, drawing(source, draws), seen, fed)

    def believed(self, x: Tensor, c: Tensor | None = None, mask: Tensor | None = None) -> Distribution:
        return self.posterior(x, c)
