"""Spectral regularisation against singular values from torch.linalg."""

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from fourfold.networks import BatchNorm, Spectral
from fourfold.networks.cells import weight_normed
from fourfold.noise import Noise


def network() -> nn.Sequential:
    torch.manual_seed(0)
    parts = [nn.Conv2d(2, 5, 3), BatchNorm(5), nn.Conv2d(5, 5, 3, groups=5), nn.Conv2d(2, 5, 3), weight_normed(5, 4)]
    made = nn.Sequential(*parts)
    with torch.no_grad():
        made[1].weight.copy_(torch.tensor([0.5, -3.0, 1.0, 2.0, 0.1]))
    return made


def largest(made: nn.Module) -> Tensor:
    kernels = [part.weight.flatten(1) for part in made.modules() if isinstance(part, nn.Conv2d)]
    return torch.stack([torch.linalg.svdvals(kernel)[0] for kernel in kernels]).sum()


@pytest.fixture
def seeded(double: None):
    with torch.random.fork_rng():
        yield


def test_the_penalty_is_the_sum_of_the_largest_singular_values_and_factors(seeded: None) -> None:
    made = network()
    penalty = Spectral([made], 0.3)
    for _ in range(100):
        penalty.after_step()
    parts = penalty()
    assert_close(parts["spectral"], 0.3 * largest(made), rtol=1e-9, atol=0)
    assert float(parts["norm_scale"].detach()) == pytest.approx(0.9)
    kernels = [made[0].weight, made[4].parametrizations.weight.original1]
    found = torch.autograd.grad(parts["spectral"], kernels)
    assert_close(found, torch.autograd.grad(0.3 * largest(made), kernels), rtol=1e-4, atol=1e-5)


def test_it_begins_near_the_truth_and_follows_the_weights_after_each_step_only(seeded: None) -> None:
    made = network()
    penalty = Spectral([made], 1.0)
    assert float(penalty()["spectral"].detach()) == pytest.approx(float(largest(made).detach()), rel=1e-3)
    with torch.no_grad():
        made[0].weight.copy_(Noise(1).normal((5, 2, 3, 3)))
    before = {name: value.clone() for name, value in penalty.state_dict().items()}
    stale = float(penalty()["spectral"].detach())
    assert_close(dict(penalty.state_dict()), before, rtol=0, atol=0)
    for _ in range(50):
        penalty.after_step()
    fresh = float(penalty()["spectral"].detach())
    assert stale < fresh == pytest.approx(float(largest(made).detach()), rel=1e-6)


def test_a_kernel_of_zeros_is_no_end(seeded: None) -> None:
    layer = nn.Conv2d(2, 3, 3)
    with torch.no_grad():
        layer.weight.zero_()
    penalty = Spectral([layer], 1.0)
    penalty.after_step()
    assert float(penalty()["spectral"].detach()) == 0.0
    with torch.no_grad():
        layer.weight.copy_(Noise(2).normal((3, 2, 3, 3)))
    for _ in range(50):
        penalty.after_step()
    assert_close(penalty()["spectral"], largest(layer), rtol=1e-6, atol=0)


def test_its_parts_are_not_its_own_and_copies_watch_the_copy(seeded: None) -> None:
    whole = nn.ModuleDict({"network": network(), "penalty": nn.Identity()})
    whole["penalty"] = Spectral([whole["network"]], 1.0)
    assert not list(whole["penalty"].parameters())
    other = copy.deepcopy(whole)
    with torch.no_grad():
        other["network"][0].weight.zero_()
    assert float(other["penalty"]()["spectral"].detach()) < float(whole["penalty"]()["spectral"].detach())
