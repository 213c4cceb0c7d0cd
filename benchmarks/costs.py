"""What a training step of each recipe costs, counted and not timed: multiplications, parameters, memory.

Run with `python -m benchmarks.costs`. Floating-point operations are those of products and convolutions, two for each
multiplication, as torch's `FlopCounterMode` counts them; activations are the bytes that wait for the backward pass,
weights left out, each storage once. Counted at two batch sizes: `a datum` is the difference, `a step` what is left for
none (the norms of weights, a codebook). The table of `docs/scaling.md` is made of these. torch counts the backward pass
of a depthwise convolution as that of a full one: NVAE's is three times its forward, and not what is printed.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

__all__ = ["main"]


def counted(plan: Any, spec: Any, batch: int) -> tuple[int, int, int, int]:
    """Parameters; operations forward, and in all; bytes that wait for the backward pass."""
    from torch.utils.flop_counter import FlopCounterMode

    from fourfold.data import View
    from fourfold.noise import Noise
    from fourfold.training import Step

    made = plan.build(spec, seed=0)
    step = Step(
        View(spec.levels, binarize="dynamic" if made.model.support == "binary" else None), made.model, made.objective
    )
    raw = torch.randint(0, 256, (batch, *spec.shape), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    own, kept = {p.untyped_storage().data_ptr() for p in step.parameters()}, {}

    def seen(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with FlopCounterMode(display=False) as flops:
        with torch.autograd.graph.saved_tensors_hooks(seen, lambda tensor: tensor):
            loss, _ = step(raw, None, Noise(0))
        forward = flops.get_total_flops()
        loss.backward()
    return sum(p.numel() for p in step.parameters()), forward, flops.get_total_flops(), sum(kept.values())


def main(arguments: Sequence[str] | None = None) -> None:
    """Count and print."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args(
        arguments
    )
    from fourfold import recipes
    from fourfold.data import DataSpec

    grey, colour = DataSpec((1, 28, 28), 256, None), DataSpec((3, 32, 32), 256, None)
    net = {"latent": 50, "hidden": (200, 200)}
    rows = {
        "vae 784-200-200-50": (recipes.vae(**net), grey),
        "iwae, 50 draws": (recipes.iwae(draws=50, **net), grey),
        "iwae, one-backward": (recipes.iwae(draws=50, estimator="one-backward", **net), grey),
        "iaf_vae": (recipes.iaf_vae(), grey),
        "lvae": (recipes.lvae(), grey),
        "conv_vae": (recipes.conv_vae(), grey),
        "pixel_cnn": (recipes.pixel_cnn(), grey),
        "pixel_vae": (recipes.pixel_vae(), grey),
        "vq_vae": (recipes.vq_vae(), colour),
        "vdvae": (recipes.vdvae(), colour),
        "nvae": (recipes.nvae(), colour),
    }
    heads = ("parameters", "MFLOP forward", "MFLOP in all", "forward/2P", "KiB waiting", "MFLOP a step")
    print(f"{'':20}" + "".join(f" {head:>13}" for head in heads))
    for name, (plan, spec) in rows.items():
        few, many = counted(plan, spec, 2), counted(plan, spec, 6)
        forward, total, bytes_ = ((b - a) / 4 for a, b in zip(few[1:], many[1:], strict=True))
        fixed = few[2] - 2 * total
        told = f"{forward / 1e6:13.2f} {total / 1e6:13.2f} {forward / 2 / few[0]:13.1f} {bytes_ / 1024:13.0f}"
        print(f"{name:20} {few[0]:13,} {told} {fixed / 1e6:13.1f}", flush=True)


if __name__ == "__main__":
    main()
