"""Recipes of very deep hierarchies, whose latents are feature maps of several scales."""

__all__ = ["nvae", "vdvae"]

from dataclasses import dataclass
from functools import partial
from math import sqrt

from torch import nn

from .._checks import choice
from ..data import DataSpec
from ..models import ByScale, Climb, ResidualNormal, TopDown, TopDownBlock
from ..networks import Spectral
from ..networks.blocks import Bottleneck, Enlarged, FromImage, Halved, ToImage, convolution, padded, scaled
from ..networks.cells import EncoderCell, GenerativeCell, weight_normed
from ..objectives import ELBO, Balanced
from ..plan import Recipe, recipe
from .choose import BY_NAME, beta_of, images, likelihood_for


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
    likelihood=BY_NAME,
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
    p_x = likelihood_for(data, likelihood)(
        partial(ToImage, patch=blocks.patch, kernel=3 if blocks.patch > 1 else 1), finest, shape
    )
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
            project=scaled(convolution(latent, width), factor),
            after=Bottleneck((width, middle, width), wide, factor=factor),
        )
        for i in range(blocks.down[scale])
    ]


@dataclass(frozen=True, slots=True)
class _Cells:
    """How large an NVAE is; scales are told from the finest to the coarsest.

    Args:
        width: channels where the way up begins; each halving doubles them.
        latent: channels of z.
        groups: groups of latents at each scale.
        cells: for each group, in either direction.
        ends: how often the image is halved before the finest scale, and the cells of each of these sizes.
        expand: how much wider a generative cell is in the middle.
        patch: side of the square of pixels that is one pixel where the way up begins.
    """

    width: int
    latent: int
    groups: tuple[int, ...]
    cells: int = 2
    ends: tuple[int, int] = (0, 0)
    expand: int = 6
    patch: int = 1

    def maps(self, image: tuple[int, ...], halvings: int) -> tuple[int, int, int]:
        """Shape of feature maps after so many halvings."""
        height, width = padded(image, self.ends[0] + len(self.groups) - 1, self.patch)
        return self.width << halvings, height >> halvings, width >> halvings


_NVAE = {
    "tiny": _Cells(16, 8, (3, 2), 1, expand=4, patch=4),
    "small": _Cells(32, 16, (4, 3), 1, (1, 1), patch=2),
    "mnist": _Cells(32, 20, (10, 5), 2, (2, 3)),
    "cifar10": _Cells(128, 20, (30,), 2, (1, 2)),
}


@recipe(
    posterior="Gaussian maps of several scales, each told as its difference from the prior at the same place",
    prior="standard normal at the top, below it Gaussian maps given those above",
    likelihood=BY_NAME,
    objective="ELBO, its rate balanced between groups while it is let in; a price for large singular values",
    equation=r"q(z_i|z_{>i},x) = N(\mu_i + \Delta\mu_i(x), \sigma_i \Delta\sigma_i(x)), "
    r"p(z_i|z_{>i}) = N(\mu_i, \sigma_i)",
    source="Vahdat and Kautz 2020, arXiv:2007.03898",
    good_for="likelihoods and samples of images, with few groups of wide feature maps",
    not_for="small batches, whose statistics are noise; data that are no images",
    published="dynamic MNIST 78.01 nats by 1,000 draws, CIFAR-10 2.93 bits/dim, without flows (Vahdat and Kautz 2020)",
)
def nvae(
    data: DataSpec,
    *,
    layout: str = "tiny",
    smoothness: float = 0.01,
    likelihood: str = "auto",
    beta_schedule: str | None = None,
) -> Recipe:
    """The NVAE: posteriors told as differences from the prior, depthwise convolutions, batch normalisation.

    Args:
        layout: tiny or small; mnist and cifar10 are the published ones.
        smoothness: weight of the spectral regularisation, by which the KL of deep models stays finite.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        beta_schedule: weight of the rate over the steps, such as linear:0.0001:1:5000; 1 if not given.
    """
    shape, cells = images(data, "nvae"), _NVAE[choice(layout, _NVAE, "nvae: layout")]
    up, rungs = _climb(cells, shape), _residual_normals(cells, shape)
    p_x = likelihood_for(data, likelihood)(partial(_after, cells), cells.maps(shape, cells.ends[0]), shape)
    penalty = Spectral([up, *rungs, p_x], smoothness)
    objective = Balanced(cells.groups[::-1], beta_of(1.0, beta_schedule))
    return Recipe(TopDown(up, rungs, p_x, penalty=penalty), objective)


def _climb(cells: _Cells, shape: tuple[int, ...]) -> Climb:
    (halvings, each), first = cells.ends, cells.maps(shape, 0)

    def row(channels: int, count: int) -> list[nn.Module]:
        return [EncoderCell((channels, channels)) for _ in range(count)]

    before: list[nn.Module] = [FromImage(shape, first, patch=cells.patch)]
    for i in range(halvings):
        wide = cells.width << i
        before += [*row(wide, each - 1), EncoderCell((wide, 2 * wide), halve=True)]
    networks: list[nn.Module] = []
    for scale, count in enumerate(cells.groups):
        wide = cells.width << (halvings + scale)
        for i in range(count):
            if scale and not i:
                before = [EncoderCell((wide // 2, wide), halve=True)]
            networks.append(nn.Sequential(*before, *row(wide, cells.cells)))
            before = []
    wide = cells.maps(shape, halvings + len(cells.groups) - 1)[0]
    top = nn.Sequential(nn.ELU(), weight_normed(wide, wide), nn.ELU())
    return Climb([*networks[:-1], nn.Sequential(networks[-1], top)])


def _residual_normals(cells: _Cells, shape: tuple[int, ...]) -> list[ResidualNormal]:
    """The rungs, from the top."""
    made: list[ResidualNormal] = []
    for scale in reversed(range(len(cells.groups))):
        wide, *side = cells.maps(shape, cells.ends[0] + scale)
        for i in range(cells.groups[scale]):
            doubled = [GenerativeCell((2 * wide, wide), True, cells.expand)] if made and not i else []
            row = [GenerativeCell((wide, wide), expand=cells.expand) for _ in range(cells.cells)]
            made.append(
                ResidualNormal(
                    (cells.latent, *side),
                    cells=nn.Sequential(*doubled, *row) if made else Enlarged((wide, *side)),
                    prior=nn.Sequential(nn.ELU(), weight_normed(wide, 2 * cells.latent)) if made else None,
                    join=weight_normed(wide, wide) if made else None,
                    guess=weight_normed(wide, 2 * cells.latent, 3),
                    combine=weight_normed(wide + cells.latent, wide),
                )
            )
    return made


def _after(
    cells: _Cells, inputs: tuple[int, ...], outputs: tuple[int, ...], condition: tuple[int, ...] | None
) -> nn.Sequential:
    """From the feature maps of the finest scale to the numbers of every pixel."""
    halvings, each = cells.ends
    layers: list[nn.Module] = []
    for i in reversed(range(halvings)):
        wide = cells.width << i
        layers += [GenerativeCell((2 * wide, wide), True, 3)]
        layers += [GenerativeCell((wide, wide), expand=3) for _ in range(each - 1)]
    maps = (cells.width, inputs[1] << halvings, inputs[2] << halvings)
    return nn.Sequential(*layers, nn.ELU(), ToImage(maps, outputs, patch=cells.patch, kernel=3))
