"""An optimiser's step without its bookkeeping."""

__all__ = ["Kernel"]

from typing import Any, final

import torch
from torch import Tensor
from torch.optim import Adam, Optimizer


@final
class Kernel:
    """Steps an optimiser by its fused kernel alone, with lists that are made once.

    Torch's ``step`` looks up the state of every parameter, counts the steps of each and keeps a profiler informed: a
    twentieth of a small model's step, and more of a tiny one's. The optimiser and its state stay what they are, but
    that its parameters share one count. What the kernel cannot do the optimiser does itself: another one than Adam and
    AdamW, another device, a parameter without gradient, parameters of unequal history.

    Args:
        optimiser: what is stepped.
    """

    def __init__(self, optimiser: Optimizer) -> None:
        self.optimiser = optimiser
        self.parameters: list[Tensor] = [p for group in optimiser.param_groups for p in group["params"]]
        alone = len(optimiser.param_groups) == 1 and all(p.device.type == "cpu" for p in self.parameters)
        self.able = alone and isinstance(optimiser, Adam) and optimiser.param_groups[0]["fused"] is True
        self._kept: Any = None  # the state that the lists are of
        self._lists: tuple[list[Tensor], list[Tensor], list[Tensor]] = [], [], []

    @torch.no_grad()
    def step(self) -> None:
        """Steps all parameters by their gradients."""
        gradients = [p.grad for p in self.parameters]
        if not self.able or any(g is None for g in gradients) or not self._known():
            self._forget()
            self.optimiser.step()
            return
        group = self.optimiser.param_groups[0]
        means, squares, counts = self._lists
        counts[0].add_(1)
        fused = torch._fused_adamw_ if group["decoupled_weight_decay"] else torch._fused_adam_
        fused(
            self.parameters,
            gradients,  # type: ignore[arg-type]
            means,
            squares,
            [],
            counts,
            lr=group["lr"],
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            amsgrad=False,
            maximize=False,
        )

    def _known(self) -> bool:
        """Whether the lists are of the optimiser's present state, or can be made of it."""
        state = self.optimiser.state
        if self._kept is not None and self._kept is state.get(self.parameters[0]):
            return True
        own = [state.get(p) for p in self.parameters]
        if not all(own) or len({float(one["step"]) for one in own if one}) > 1:
            return False
        whole: list[dict[str, Tensor]] = [one for one in own if one]
        count = whole[0]["step"].clone()
        for one in whole:
            one["step"] = count
        self._lists = [one["exp_avg"] for one in whole], [one["exp_avg_sq"] for one in whole], [count] * len(whole)
        self._kept = whole[0]
        return True

    def _forget(self) -> None:
        """Every parameter counts its own steps again: the optimiser counts one for each."""
        if self._kept is None:
            return
        for one in self.optimiser.state.values():
            one["step"] = one["step"].clone()
        self._kept = None
