"""Recipes of very deep hierarchies, whose latents are feature maps of several scales."""

__all__ = ["vdvae"]

from dataclasses import dataclass
from functools import partial
from math import sqrt

from torch import nn

from .._checks import choice
from ..data import DataSpec
from ..models import ByScale, TopDown, TopDownBlock
from ..networks.blocks import Bottleneck, Enlarged, FromImage, Halved, ToImage, convolution, padded
from ..objectives import ELBO
from ..plan import Recipe, recipe
from .choose import beta_of, images, likelihood_for


@dataclass(frozen=True, slots=True)
class _Blocks:
    """How large a VDVAE is; scales are told from the finest to the coarsest, which is one pixel.

    Args:
        width: channels of the state and of the way up.
        middle: channels inside a block.
        latent: channels of z.
        up: blocks of the way up at each scale, besides those that lead to it.
        down: groups of latents at each scale.
        patch: side of the square of pixels that is one pixel of the finest scale.
    """

    width: int
    middle: int
    latent: int
    up: tuple[int, ...]
    down: tuple[int, ...]
    patch: int = 1

    def sides(self, image: tuple[int, ...]) -> list[tuple[int, int]]:
        """Height and width of every scale."""
        height, width = padded(image, len(self.up) - 2, self.patch)
        return [*((height >> i, width >> i) for i in range(len(self.up) - 1)), (1, 1)]


_VDVAE = {
    "tiny": _Blocks(32, 16, 8, (2, 1), (4, 1), patch=4),
    "small": _Blocks(64, 32, 16, (1, 2, 3, 1), (2, 4, 6, 3)),
    "cifar10": _Blocks(384, 96, 16, (11, 6, 6, 3, 3), (22, 11, 6, 3, 1)),
    "imagenet32": _Blocks(512, 128, 16, (15, 9, 8, 6, 6), (41, 20, 10, 5, 2)),
}


@recipe(
    posterior="Gaussian maps of several scales, each given those above and the way up's feature of its scale",
    prior="Gaussian maps, each given those above, through the same network as the posterior",
    likelihood="by name; Bernoulli, or Gaussian on real data",
    objective="ELBO",
    equation=r"q(z|x) = \prod_i q(z_i|z_{>i}, d(x)), p(x,z) = p(x|z) \prod_i p(z_i|z_{>i})",
    source="Child 2020, arXiv:2011.10650",
    good_for="likelihoods of images without looking at other pixels: many small groups of latents, coarse to fine",
    not_for="one short code: what an image is lies in many maps of latents",
    published="CIFAR-10 2.87 bits/dim, ImageNet-32 3.80, bounds by one draw (Child 2020)",
)
def vdvae(
    data: DataSpec,
    *,
    layout: str = "tiny",
    likelihood: str = "auto",
    beta_schedule: str | None = None,
) -> Recipe:
    """The very deep VAE: dozens of groups of latents, from one pixel to the image's size.

    Args:
        layout: tiny or small; cifar10 or imagenet32 are the published ones.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        beta_schedule: weight of the rate over the steps, such as linear:0:1:5000; 1 if not given, as published.
    """
    shape, blocks = images(data, "vdvae"), _VDVAE[choice(layout, _VDVAE, "vdvae: layout")]
    finest = (blocks.width, *blocks.sides(shape)[0])
    p_x = likelihood_for(data, likelihood)(partial(ToImage, patch=blocks.patch), finest, shape)
    rungs = [rung for scale in reversed(range(len(blocks.up))) for rung in _rungs_of(blocks, shape, scale)]
    return Recipe(TopDown(_way_up(blocks, shape), rungs, p_x), ELBO(beta_of(1.0, beta_schedule)))


def _way_up(blocks: _Blocks, shape: tuple[int, ...]) -> ByScale:
    sides, factor = blocks.sides(shape), sqrt(1 / (sum(blocks.up) + len(blocks.up) - 1))

    def block(scale: int) -> Bottleneck:
        wide = min(sides[scale]) > 2
        return Bottleneck((blocks.width, blocks.middle, blocks.width), wide, factor=factor)

    first: list[nn.Module] = [FromImage(shape, (blocks.width, *sides[0]), patch=blocks.patch)]
    first += [Halved(block(i), whole=i == len(sides) - 2) for i in range(len(sides) - 1)]
    networks = [nn.Sequential(one, *(block(i) for _ in range(blocks.up[i]))) for i, one in enumerate(first)]
    return ByScale(networks, blocks.down)


def _rungs_of(blocks: _Blocks, shape: tuple[int, ...], scale: int) -> list[TopDownBlock]:
    """The rungs of a scale, from the top."""
    (width, middle, latent), side = (blocks.width, blocks.middle, blocks.latent), blocks.sides(shape)[scale]
    factor, wide = sqrt(1 / sum(blocks.down)), min(side) > 2
    return [
        TopDownBlock(
            (latent, *side),
            enlarge=nn.Identity() if i else Enlarged((width, *side)),
            prior=Bottleneck((width, middle, 2 * latent + width), wide, residual=False, factor=0.0),
            posterior=Bottleneck((2 * width, middle, 2 * latent), wide, residual=False),
            project=convolution(latent, width, factor=factor),
            after=Bottleneck((width, middle, width), wide, factor=factor),
        )
        for i in range(blocks.down[scale])
    ]
