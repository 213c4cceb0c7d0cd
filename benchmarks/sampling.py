"""What a PixelCNN decoder costs: 64 images of 28×28 to draw, and the same ones to score at many draws of z.

Run with `python -m benchmarks.sampling`. Both draw under the same weights and the same z, both without gradients. The
naive loop runs the whole network for each of 784 pixels. It is timed on a few of them, spread over the image: each
costs the same, and what is shown is the time of all. Scored, as importance sampling does, the features of x are made
once for all draws of z; the base makes them for each draw.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks.harness import Candidate, Protocol, compare, machine, positive, save, show, timed

__all__ = ["main"]

BASE, EACH = "naive loop", "x for each draw"
_DATA, _PIXELS, _LATENT = (1, 28, 28), 784, 16


def pieces(images: int, layers: int, filters: int, tried: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """The two ways to draw: all pixels with what is kept, and `tried` of the 784 pixels without."""
    from fourfold.likelihoods import PixelDecoder, pixel_cnn
    from fourfold.networks import Dense, PixelStacks
    from fourfold.noise import Noise

    torch.manual_seed(0)
    decoder = PixelDecoder(stacks=PixelStacks(layers, filters))
    p = pixel_cnn(partial(Dense, hidden=(100,)), (_LATENT,), _DATA, decoder=decoder)
    z, noise = Noise(0).normal((images, _LATENT)), Noise(1)

    @torch.no_grad()
    def kept() -> None:
        p(z).sample(noise)

    @torch.no_grad()
    def naive() -> None:
        head, features = p.head, p.raw(z)
        x = torch.zeros(images, *_DATA)
        for place in range(0, _PIXELS, _PIXELS // tried):
            drawn = head.image(head.network(x, features)).sample(noise)
            x.flatten(1)[:, place] = drawn.flatten(1)[:, place]

    return kept, naive


def scores(images: int, layers: int, filters: int, draws: int) -> tuple[Callable[[], object], Callable[[], object]]:
    """The two ways to score images at draws of z: features of x made once, or for each draw."""
    from fourfold.likelihoods import PixelDecoder, pixel_cnn
    from fourfold.networks import Dense, PixelStacks
    from fourfold.noise import Noise

    torch.manual_seed(0)
    decoder = PixelDecoder(stacks=PixelStacks(layers, filters))
    p = pixel_cnn(partial(Dense, hidden=(100,)), (_LATENT,), _DATA, decoder=decoder)
    z, x = Noise(0).normal((draws, images, _LATENT)), Noise(1).uniform((images, *_DATA)).round()

    @torch.no_grad()
    def once() -> None:
        p(z).log_prob(x)

    @torch.no_grad()
    def each() -> None:
        for one in z:
            p(one).log_prob(x)

    return once, each


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, race, print, write the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=positive, default=1)
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--images", type=positive, default=64)
    parser.add_argument("--layers", type=positive, default=4)
    parser.add_argument("--filters", type=positive, default=16)
    parser.add_argument("--tried", type=positive, default=7, help="pixels of the naive loop; a divisor of 784")
    parser.add_argument("--draws", type=positive, default=20, help="of z, at which the images are scored")
    parser.add_argument("--out", type=Path, help="folder of the JSON (default: benchmarks/results)")
    parser.add_argument("--trial", action="store_true", help="one round of two images: does it run?")
    options = parser.parse_args(arguments)
    if options.trial:
        options.rounds, options.images, options.layers, options.filters, options.draws = 1, 2, 1, 4, 2
    if _PIXELS % options.tried:
        parser.error(f"--tried: wanted a divisor of {_PIXELS}, got {options.tried}")
    torch.set_num_threads(options.threads)
    protocol, before = Protocol(options.rounds, 1, "ms/image", 1e3), machine(options.threads)
    sizes = {"images": options.images, "layers": options.layers, "filters": options.filters}
    kept, naive = pieces(options.images, options.layers, options.filters, options.tried)
    some, share = timed(naive, options.images), options.tried / _PIXELS
    field = [Candidate("kept", timed(kept, options.images)), Candidate(BASE, lambda: some() / share)]
    rows = compare(field, [BASE], protocol)
    show(f"{options.images} images of 28×28", rows, [BASE], protocol)
    once, each = (timed(p, options.images) for p in scores(*sizes.values(), options.draws))
    scored = compare([Candidate("x once", once), Candidate(EACH, each)], [EACH], protocol)
    show(f"{options.images} images of 28×28 scored at {options.draws} draws of z", scored, [EACH], protocol)
    sizes |= {"tried": options.tried, "draws": options.draws, "trial": options.trial}
    save("sampling", {"sampling": rows, "scoring": scored}, protocol, {**sizes, "machine": before}, options.out)


if __name__ == "__main__":
    main()
