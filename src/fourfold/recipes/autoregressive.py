"""Recipes whose likelihood looks at the pixels before: the PixelCNN alone, and given z."""

__all__ = ["pixel_cnn", "pixel_vae", "pixel_vae2", "vlae"]

from dataclasses import replace
from functools import partial
from math import prod

from torch import nn

from .._checks import choice, non_negative, positive_int
from .._shapes import Shape, as_shape
from ..data import DataSpec
from ..distributions import GaussianHead
from ..likelihoods import OUTPUTS, PixelCNN, PixelDecoder
from ..likelihoods import pixel_cnn as pixel_likelihood
from ..models import VAE, Apart, Climb, Direct, TopDown
from ..networks import Dense, Maps, PixelStacks
from ..objectives import ELBO, FREE_BITS, FreeBits, Objective, SoftFreeBits
from ..plan import Recipe, recipe
from ..posteriors import gaussian
from ..priors import AutoregressiveFlow, StandardNormal
from .choose import GAUSSIAN, NORMAL, NetworkChoice, beta_of, images, networks_for

_PIXELS = "autoregressive over pixels, a gated PixelCNN: Bernoulli, or over 256 levels by name"


@recipe(
    posterior="none: there are no latents",
    prior="none: there are no latents",
    likelihood=_PIXELS,
    objective="the log-likelihood itself, exact",
    equation=r"\log p(x) = \sum_i \log p(x_i|x_{<i})",
    source="van den Oord et al. 2016, arXiv:1606.05328",
    good_for="the number that a PixelVAE has to beat; texture, exact likelihoods, lossless compression",
    not_for="a code, or whole shapes from few layers: what lies beyond their reach a pixel knows nothing of",
    published="static MNIST, NLL: PixelCNN 81.30, gated 80.10 (Gulrajani et al. 2016); CIFAR-10 3.03 bits/dim "
    "(van den Oord et al. 2016)",
)
def pixel_cnn(
    data: DataSpec,
    *,
    layers: int = 5,
    filters: int = 32,
    kernel: int = 5,
    window: tuple[int, ...] = (),
    likelihood: str = "auto",
) -> Recipe:
    """The gated PixelCNN: every pixel given those before it, no latents; the autoregressive baseline.

    Args:
        layers: how many gated layers; the first is 7 wide.
        filters: channels of each of the two stacks; raised to a multiple of the number of colours.
        kernel: width of the layers after the first, odd.
        window: w,h: a pixel sees h rows above, w wide, and half of w to its left; all that the layers reach if empty.
        likelihood: bernoulli, categorical, discretised_logistic or discretised_logistic_mixture; auto is Bernoulli.
    """
    decoder = _decoder(data, likelihood, (layers, filters, kernel, window), "pixel_cnn")
    return Recipe(Direct(PixelCNN(data.shape, decoder)), ELBO())


@recipe(
    posterior=GAUSSIAN,
    prior=NORMAL,
    likelihood=f"{_PIXELS}, to each layer of which z is a bias",
    objective="ELBO",
    equation=r"\mathcal L = \mathbb E_{q(z|x)}\sum_i\log p(x_i|x_{<i}, z) - \mathrm{KL}(q(z|x)\,\|\,p(z))",
    source="Gulrajani et al. 2016, arXiv:1611.05013",
    good_for="likelihoods: z tells the shape, the pixels before tell the stroke, each what it can tell cheapest",
    not_for="a code of everything: what pixels tell each other is not in z, and with many layers little is left for it",
    published="static MNIST, NLL by 1,000 draws: gated PixelVAE 80.08, without upsampling 79.02; PixelCNN 80.10 "
    "(Gulrajani et al. 2016)",
)
def pixel_vae(
    data: DataSpec,
    *,
    latent: int = 16,
    layers: int = 3,
    filters: int = 32,
    kernel: int = 5,
    window: tuple[int, ...] = (),
    upsampling: bool = True,
    network: str = "convolutional",
    hidden: tuple[int, ...] = (256,),
    likelihood: str = "auto",
    draws: int = 1,
    beta_schedule: str | None = None,
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """The PixelVAE: a VAE whose decoder is a gated PixelCNN, so z need not tell what the pixels tell each other.

    Args:
        latent: size of z.
        layers: how many gated layers; the first is 7 wide.
        filters: channels of each of the two stacks; raised to a multiple of the number of colours.
        kernel: width of the layers after the first, odd.
        window: w,h: a pixel sees h rows above, w wide, and half of w to its left; all that the layers reach if empty.
        upsampling: whether z becomes 8 feature maps of the image's size, or goes into each layer as it is, by a linear
            map: then layers have to be many enough that a pixel knows where it is.
        network: dense, convolutional or residual, for z to the feature maps and x to z.
        hidden: widths of the hidden layers of encoder and, reversed, decoder;
            one width (convolutional), or one for each block (residual).
        likelihood: bernoulli, categorical, discretised_logistic or discretised_logistic_mixture; auto is Bernoulli.
        draws: draws of z for each datum in training.
        beta_schedule: weight of the rate over the steps, such as linear:0:1:10000, the paper's; 1 if not given.
        encoder: your own network, x to 2 numbers a latent (mean, log standard deviation).
        decoder: your own network, z to 8 feature maps of the image's size; without upsampling, to as many numbers as z.
    """
    up, down = networks_for(network, hidden, "relu")
    options = _decoder(data, likelihood, (layers, filters, kernel, window), "pixel_vae")
    if not upsampling:
        options, down = replace(options, features=latent, upsampled=False), nn.Identity()
    q = gaussian(encoder or up, data.shape, latent)
    p_x = pixel_likelihood(decoder or down, (latent,), data.shape, decoder=options)
    return Recipe(VAE(q, StandardNormal(latent), p_x), ELBO(beta_of(1.0, beta_schedule), draws))


@recipe(
    posterior="two diagonal Gaussians, each given x alone: q(z₁ | x), of maps, with σ below 1, and q(z₂ | x)",
    prior=f"p(z₂): {NORMAL}; p(z₁ | z₂): autoregressive over the maps' elements, a gated PixelCNN of Gaussians",
    likelihood=f"{_PIXELS}, to each layer of which z₁ is a bias",
    objective="ELBO; the rate of z₁ by Monte Carlo",
    equation=r"\mathcal L = \mathbb E_{q(z_1|x)}\sum_i\log p(x_i|x_{<i}, z_1) - \mathbb E_{q(z_2|x)}"
    r"\mathrm{KL}(q(z_1|x)\,\|\,p(z_1|z_2)) - \mathrm{KL}(q(z_2|x)\,\|\,p(z_2)), \quad "
    r"p(z_1|z_2) = \prod_j\mathcal N(z_{1j}; \mu(z_{1,<j}, z_2), \sigma^2(z_{1,<j}, z_2))",
    source="Gulrajani et al. 2016, arXiv:1611.05013",
    good_for="images too large for one vector: z₂ tells the scene, z₁ the parts, the pixels before the rest",
    not_for="small images, where one level does as well; fast samples (both z₁ and x come element by element)",
    published="64 × 64 ImageNet ≤ 3.66 bits/dim (Gulrajani et al. 2016); none for small images",
)
def pixel_vae2(
    data: DataSpec,
    *,
    latent: int = 16,
    maps: int = 2,
    halvings: int = 2,
    layers: int = 3,
    filters: int = 16,
    kernel: int = 5,
    window: tuple[int, ...] = (),
    prior_layers: int = 2,
    channels: int = 32,
    hidden: int = 256,
    likelihood: str = "auto",
    draws: int = 1,
    beta_schedule: str | None = None,
) -> Recipe:
    """The PixelVAE of two levels: z₂ a vector, z₁ maps whose prior given z₂ is autoregressive, and so are the pixels.

    Both posteriors are of x alone, as in the paper, and σ of z₁ lies between 0 and 1. The paper's bounds on p(z₁ | z₂),
    its clipped latents and its two weights on the rates are left out: σ of p(z₁ | z₂) is at least 0.01.

    Args:
        latent: size of z₂.
        maps: how many maps z₁ has.
        halvings: how often these maps are halved: 2 makes 7 × 7 of 28 × 28.
        layers: how many gated layers of the pixels; the first is 7 wide.
        filters: channels of each of the two stacks; raised to a multiple of the number of colours (of maps for z₁).
        kernel: width of the layers after the first, odd.
        window: w,h: a pixel sees h rows above, w wide, and half of w to its left; all that the layers reach if empty.
        prior_layers: how many gated layers of p(z₁ | z₂); the first is 7 wide, the others 3.
        channels: of the convolutions between x and z₁.
        hidden: width of the layer between x's features and z₂, and between z₂ and what p(z₁ | z₂) is given.
        likelihood: bernoulli, categorical, discretised_logistic or discretised_logistic_mixture; auto is Bernoulli.
        draws: draws of both latents for each datum in training.
        beta_schedule: weight of the rates over the steps, such as linear:0:1:10000; 1 if not given.
    """
    options = _decoder(data, likelihood, (layers, filters, kernel, window), "pixel_vae2")
    z1 = (positive_int(maps, "pixel_vae2: maps"), *(max(side >> halvings, 1) for side in data.shape[1:]))
    stacks = PixelStacks(prior_layers, filters + -filters % maps, 3)
    model = _two_levels(data.shape, z1, latent, (channels, hidden), (stacks, options))
    return Recipe(model, ELBO(beta_of(1.0, beta_schedule), draws))


def _two_levels(
    data: Shape, z1: Shape, latent: int, widths: tuple[int, int], pixels: tuple[PixelStacks, PixelDecoder]
) -> TopDown:
    """Maps z₁ and a vector z₂, both inferred from features of x that have the size of z₁."""
    net, dense = partial(Maps, channels=widths[0]), partial(Dense, hidden=(widths[1],))
    stacks, options = pixels
    p1 = pixel_likelihood(dense, (latent,), z1, decoder=PixelDecoder("gaussian", stacks=stacks))
    features = (widths[0], *z1[1:])
    top = Apart((latent,), StandardNormal(latent), gaussian(dense, features, latent))
    rungs = [top, Apart(z1, p1, gaussian(net, features, z1, head=partial(GaussianHead, ceiling=1.0)))]
    up = Climb([net(data, features), nn.Identity()])
    return TopDown(up, rungs, pixel_likelihood(net, z1, data, decoder=options))


@recipe(
    posterior=GAUSSIAN,
    prior="autoregressive flow: MADE steps from z to N(0, I)",
    likelihood=f"{_PIXELS}, that sees a small window only; to each layer z is a bias",
    objective="ELBO; up to λ the rate is free",
    equation=r"\mathcal L = \mathbb E_{q(z|x)}\Big[\sum_i\log p(x_i|x_{W(i)}, z)\Big] - "
    r"\max\big(\lambda,\, \mathbb E_{q(z|x)}[\log q(z|x) - \log p(z)]\big), \quad "
    r"\log p(z) = \log\mathcal N(g(z); 0, I) + \log\Big|\det\frac{\partial g}{\partial z}\Big|",
    source="Chen et al. 2016, arXiv:1611.02731",
    good_for="a code that you choose: what a window can tell (texture) stays out of z, what it cannot (shape) goes in",
    not_for="fast samples (pixel after pixel), lossless compression (the prior is no product of known conditionals)",
    published="NLL by 4,096 draws: static MNIST 79.03 (rate 13.3 nats), dynamic MNIST 78.53, Omniglot 90.98; dynamic "
    "with the standard prior 79.48, AF prior 78.94; CIFAR-10 2.95 bits/dim, window 4 × 2: 3.12 (Chen et al. 2016)",
)
def vlae(
    data: DataSpec,
    *,
    window: tuple[int, ...] = (4, 2),
    latent: int = 64,
    free_bits: float = 0.01,
    kind: str = "per_group_batchmean",
    layers: int = 3,
    filters: int = 16,
    network: str = "convolutional",
    hidden: tuple[int, ...] = (256,),
    steps: int = 2,
    flow_hidden: tuple[int, ...] = (320, 320),
    mean_only: bool = True,
    likelihood: str = "auto",
    draws: int = 1,
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """The variational lossy autoencoder: the decoder sees only a window of pixels, so z keeps what is farther apart.

    Args:
        window: w,h: a pixel sees h rows above, w wide, and half of w to its left; all that the layers reach if empty.
        latent: size of z.
        free_bits: nats for each element of a datum that the rate may have for nothing; 0 is the plain ELBO.
        kind: how they are free: per_group_batchmean (the rate is not charged below them), per_sample, or soft (a weight
            on the rate that is steered to them).
        layers: how many gated layers; the first is 7 wide, the others 5 until the window is spent, and then 1.
        filters: channels of each of the two stacks; raised to a multiple of the number of colours.
        network: dense, convolutional or residual, for z to 8 feature maps and x to z.
        hidden: widths of the hidden layers of encoder and, reversed, decoder;
            one width (convolutional), or one for each block (residual).
        steps: steps of the prior; the order of the latents is reversed from one to the next (the paper has 4).
        flow_hidden: widths of the hidden layers of each step's masked network (the paper has 640,640,640).
        mean_only: shifts without scales, as in the paper's binary models.
        likelihood: bernoulli, categorical, discretised_logistic or discretised_logistic_mixture; auto is Bernoulli.
        draws: draws of z for each datum in training.
        encoder: your own network, x to 2 numbers a latent (mean, log standard deviation).
        decoder: your own network, z to 8 feature maps of the image's size.
    """
    up, down = networks_for(network, hidden, "relu")
    options = _decoder(data, likelihood, (layers, filters, 5, window), "vlae")
    q = gaussian(encoder or up, data.shape, latent)
    prior = AutoregressiveFlow(latent, steps, as_shape(flow_hidden, "flow_hidden"), mean_only=mean_only)
    p_x = pixel_likelihood(decoder or down, (latent,), data.shape, decoder=options)
    return Recipe(VAE(q, prior, p_x), _with_free_bits(free_bits, kind, prod(data.shape), draws))


def _with_free_bits(nats: float, kind: str, elements: int, draws: int) -> Objective:
    """The ELBO with so many nats an element of x free."""
    choice(kind, (*(one for one in FREE_BITS if one != "per_dim_batchmean"), "soft"), "vlae: kind")
    free = non_negative(nats, "vlae: free_bits") * elements
    if not free:
        return ELBO(draws=draws)
    return SoftFreeBits(free, draws) if kind == "soft" else FreeBits(free, kind, draws)


def _decoder(data: DataSpec, likelihood: str, sizes: tuple[int, int, int, tuple[int, ...]], owner: str) -> PixelDecoder:
    """The PixelCNN of so many layers, filters, kernels and this window, for these data."""
    layers, filters, kernel, window = sizes
    colours = images(data, owner)[0]
    if len(window) not in (0, 2):
        raise ValueError(f"{owner}: window: wanted w,h such as 4,2, or nothing, got {window!r}.")
    whole = (window[0], window[1]) if window else None
    stacks = PixelStacks(layers, filters + -filters % colours, kernel, window=whole)
    return PixelDecoder(_outputs(data, likelihood, owner), stacks=stacks)


def _outputs(data: DataSpec, likelihood: str, owner: str) -> str:
    """The family by name; data that are neither binary, nor grey, nor 8-bit have none."""
    if likelihood == "auto":
        if data.levels is None and not data.grey:
            raise ValueError(f"{owner}: likelihood: PixelCNNs are over levels, and these data are real. Take vae.")
        return "bernoulli"
    return choice(likelihood, OUTPUTS, f"{owner}: likelihood")
