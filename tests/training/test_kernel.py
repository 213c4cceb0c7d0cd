"""The kernel alone is the optimiser's step, and its state is the optimiser's."""

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from fourfold.training import Training
from fourfold.training.kernel import Kernel
from fourfold.training.optimisers import make_optimiser


def pair(**how: object) -> tuple[nn.Module, nn.Module, Kernel, torch.optim.Optimizer]:
    """Two equal modules, one stepped by the kernel and one by torch's optimiser."""
    torch.manual_seed(0)
    ours = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    theirs = deepcopy(ours)
    options = Training(lr=0.01).but(**how)
    return (
        ours,
        theirs,
        Kernel(make_optimiser(ours.parameters(), options)),
        make_optimiser(theirs.parameters(), options),
    )


def push(module: nn.Module, step: int, without: tuple[int, ...] = ()) -> None:
    """Gives gradients, but not to some parameters."""
    draw = torch.Generator().manual_seed(step)
    for i, p in enumerate(module.parameters()):
        gradient = torch.randn(p.shape, generator=draw)
        p.grad = None if i in without else gradient


def state_of(optimiser: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {f"{i}/{k}": v for i, one in optimiser.state_dict()["state"].items() for k, v in one.items()}


@pytest.mark.parametrize("how", [{}, {"optimiser": "adamw", "weight_decay": 0.1}, {"optimiser": "adamax"}], ids=str)
def test_it_is_the_optimisers_step(how: dict[str, object]) -> None:
    """Also where a gradient is missing for some steps, and after: bit for bit."""
    ours, theirs, kernel, optimiser = pair(**how)
    for step in range(9):
        missing = (1,) if step in (4, 5) else ()
        for module in (ours, theirs):
            push(module, step, missing)
        for one in (kernel.optimiser, optimiser):
            one.param_groups[0]["lr"] = 0.01 / (1 + step)
        kernel.step()
        optimiser.step()
        for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(a, b)
        found, wanted = state_of(kernel.optimiser), state_of(optimiser)
        assert found.keys() == wanted.keys()
        for name, value in wanted.items():
            assert_close(found[name], value, rtol=0, atol=0)


def test_steps_are_the_kernels_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first, which makes the state, the optimiser itself is asked no more."""
    ours, _, kernel, _ = pair()
    asked: list[int] = []
    own = kernel.optimiser.step
    monkeypatch.setattr(kernel.optimiser, "step", lambda: (asked.append(1), own())[1])
    for step in range(4):
        push(ours, step)
        kernel.step()
    assert len(asked) == 1


def test_it_goes_on_from_a_state_that_was_loaded() -> None:
    ours, theirs, kernel, optimiser = pair()
    for step in range(3):
        push(theirs, step)
        optimiser.step()
    for step in range(5):  # a history that is given up
        push(ours, 10 + step)
        kernel.step()
    ours.load_state_dict(theirs.state_dict())
    kernel.optimiser.load_state_dict(deepcopy(optimiser.state_dict()))
    for step in range(3, 6):
        for module in (ours, theirs):
            push(module, step)
        kernel.step()
        optimiser.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
    assert float(state_of(kernel.optimiser)["0/step"]) == 6


def test_unequal_histories_are_left_to_the_optimiser() -> None:
    """Each parameter is corrected by its own count, whatever the others count."""
    ours, theirs, kernel, optimiser = pair()
    for step, missing in enumerate([(0,), (0,), (), ()]):
        for module in (ours, theirs):
            push(module, step, missing)
        kernel.step()
        optimiser.step()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert torch.equal(a, b)
    assert [float(state_of(kernel.optimiser)[f"{i}/step"]) for i in range(2)] == [2, 4]
