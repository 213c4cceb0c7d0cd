"""What a test answers, and how sure it is."""

__all__ = ["Finding", "p_value"]

from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Finding:
    """The answer of one test.

    A p-value is the chance of a statistic at least this large if the null hypothesis were true. A large one is no
    proof of it: few points tell little.

    Attributes:
        name: what the statistic is.
        statistic: its value.
        p_value: of the null hypothesis.
        n: points of the first (or only) sample.
        m: points of the second sample, if there are two.
        null: the null hypothesis, in words.
        otherwise: what a small p-value speaks for, in words.
        kernel: the kernel or kernels.
        method: how the p-value was found.
        permutations: how many permutations or signs it rests on; 0 for a formula.

    Example:
        >>> found = Finding("MMD²", 0.5, 0.001, 9, 9, "one distribution", "the samples differ", "RBF", "999 draws", 999)
        >>> found.rejects(), found.verdict()
        (True, 'the samples differ (p = 0.001, below 0.05)')
    """

    name: str
    statistic: float
    p_value: float
    n: int
    m: int | None
    null: str
    otherwise: str
    kernel: str
    method: str
    permutations: int = 0

    def rejects(self, level: float = 0.05) -> bool:
        """Whether the null hypothesis is rejected at this level."""
        return self.p_value <= level

    def verdict(self, level: float = 0.05) -> str:
        """The answer in one sentence."""
        if self.rejects(level):
            return f"{self.otherwise} (p = {self.p_value:.3g}, {'at' if self.p_value == level else 'below'} {level:g})"
        return f"no evidence against: {self.null} (p = {self.p_value:.3g}, above {level:g})"

    def to_dict(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    def __str__(self) -> str:
        sizes = f"n = {self.n}" + ("" if self.m is None else f", m = {self.m}")
        shown = f"{self.name} = {self.statistic:.4g}, p = {self.p_value:.3g}: {self.verdict()}"
        return f"{shown}\n  {sizes}; {self.kernel}; {self.method}"


def p_value(observed: Tensor, simulated: Tensor) -> float:
    """(1 + #{simulated ≥ observed}) / (1 + #simulated): never 0, and exact for permutations."""
    # The same split summed in another order differs in its last digits, and is a tie all the same.
    slack = 1e-9 * torch.maximum(observed.abs(), simulated.abs().max())
    return (1 + int((simulated >= observed - slack).sum())) / (1 + len(simulated))
