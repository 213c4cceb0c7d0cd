"""A prior that depends on c: p(z | c)."""

__all__ = ["ConditionalPrior"]

from torch import Tensor

from ..conditional import NetworkConditional, Prior
from ..distributions import Distribution


class ConditionalPrior(Prior):
    """p(z | c): a conditional whose context is c itself.

    Args:
        conditional: maps c to a distribution.

    References:
        Sohn, Lee and Yan 2015, "Learning structured output representation using deep conditional generative models".

    Example:
        >>> import torch
        >>> from fourfold.distributions import GaussianHead
        >>> prior = ConditionalPrior(NetworkConditional(torch.nn.Linear(10, 4), GaussianHead(2), 10))
        >>> prior(torch.eye(10)).lead_shape
        (10,)
    """

    def __init__(self, conditional: NetworkConditional) -> None:
        super().__init__()
        self.conditional = conditional
        self.event, self.support = conditional.head.event, conditional.support

    def forward(self, c: Tensor | None = None) -> Distribution:
        if c is None:
            raise ValueError("ConditionalPrior: c is missing; this prior is p(z | c). Pass c=….")
        return self.conditional(c)
