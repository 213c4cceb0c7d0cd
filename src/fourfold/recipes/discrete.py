"""Recipes whose latents are codes."""

__all__ = ["vq_vae"]

from functools import partial

from .._checks import choice, fraction, positive
from .._shapes import Shape, as_shape
from ..conditional import Conditional, NetworkConditional
from ..data import DataSpec
from ..models import VQVAE
from ..networks import Codebook, FiniteScalar, NetworkFactory, PixelStacks, Quantiser, Strided, VectorQuantiser
from ..objectives import ELBO
from ..plan import Player, Recipe, Stage, recipe
from ..posteriors import point
from ..priors import PixelCodes, UniformCodes
from .choose import BY_NAME, NetworkChoice, images, likelihood_for, networks_for


@recipe(
    posterior="one-hot: the code of the vector nearest to the encoder's, at each place",
    prior="a gated PixelCNN over the codes, trained when they stand; or uniform",
    likelihood=f"{BY_NAME}, given the vectors of the codes",
    objective="ELBO, whose rate is −log p(z); beside it the commitment to the codebook",
    equation=r"\log p(x) \ge \log p(x|e_z) + \log p(z), \quad z = \arg\min_k \lVert z_e(x) - e_k \rVert; "
    r"\quad \min \beta \lVert z_e(x) - \mathrm{sg}[e_z] \rVert^2",
    source="van den Oord, Vinyals and Kavukcuoglu 2017, arXiv:1711.00937; fsq: Mentzer et al. 2023, arXiv:2309.15505",
    good_for="codes that another model is to take up (a PixelCNN, a language model); small maps that keep what is seen",
    not_for="low bounds: its posterior has no noise, so each datum pays for a whole code; smooth walks between data",
    published="CIFAR-10, bits/dim: VQ-VAE 4.67, VAE 4.51, VIMCO 5.14 (van den Oord et al. 2017)",
)
def vq_vae(
    data: DataSpec,
    *,
    codes: int = 64,
    dim: int = 16,
    quantiser: str = "vq",
    levels: tuple[int, ...] = (8, 5, 5, 5),
    commitment: float = 0.25,
    codebook: str = "ema",
    network: str = "convolutional",
    hidden: tuple[int, ...] = (64,),
    places: tuple[int, ...] = (),
    prior: str = "pixel_cnn",
    layers: int = 4,
    filters: int = 32,
    prior_share: float = 0.4,
    likelihood: str = "auto",
    encoder: NetworkChoice = None,
    decoder: NetworkChoice = None,
) -> Recipe:
    """The VQ-VAE: a map of codes for each image, a codebook for the decoder, and a prior over the maps.

    Args:
        codes: K, the size of the codebook.
        dim: numbers in each of its vectors.
        quantiser: vq, the nearest vector of a codebook; or fsq, rounding to a grid, with nothing of it learned.
        levels: of fsq, for each number of a vector; their product is K, and codes and dim are not asked.
        commitment: β, weight of the commitment of a vector to its code, a sum over numbers and places.
        codebook: ema, running means of the vectors that chose a code; or loss, learned by gradient.
        network: convolutional, a map of codes; or dense, any number of them.
        hidden: one width, the channels (convolutional); or widths of the hidden layers of encoder and, reversed,
            decoder (dense).
        places: height and width of the map of codes; image halved twice if empty (dense: a row of 32).
        prior: pixel_cnn, trained in a second stage; or uniform, log K for each code.
        layers: of the PixelCNN: how many gated layers.
        filters: of the PixelCNN: channels of each of its two stacks.
        prior_share: of the training that goes to the prior.
        likelihood: name of the likelihood; auto is Bernoulli for binary and grey data, Gaussian for real data.
        encoder: your own network, x to the vectors (dim, height, width) of the map.
        decoder: your own network, those vectors to the likelihood's raw numbers.
    """
    made = _quantiser(quantiser, levels, Codebook(codes, dim, codebook), commitment)
    up, down = _networks(data, network, hidden)
    z = (made.dim, *_places(data, network, places, own=bool(encoder and decoder)))
    parts = point(encoder or up, data.shape, z), made, likelihood_for(data, likelihood)(decoder or down, z, data.shape)
    return _recipe(parts, prior, PixelStacks(layers, filters, 3, 5), prior_share)


def _quantiser(name: str, levels: tuple[int, ...], codebook: Codebook, commitment: float) -> Quantiser:
    if choice(name, ("vq", "fsq"), "vq_vae: quantiser") == "fsq":
        return FiniteScalar(levels)
    return VectorQuantiser(codebook, commitment)


def _networks(data: DataSpec, name: str, hidden: tuple[int, ...]) -> tuple[NetworkFactory, NetworkFactory]:
    """Factories of encoder and decoder."""
    if choice(name, ("convolutional", "dense"), "vq_vae: network") == "dense":
        return networks_for(name, hidden, "relu")
    images(data, "vq_vae")
    if len(hidden) != 1:
        raise ValueError(f"hidden: a convolutional network has layers of one width, such as 64, got {hidden!r}.")
    made = partial(Strided, filters=hidden[0])
    return made, made


def _places(data: DataSpec, network: str, places: tuple[int, ...], *, own: bool) -> Shape:
    """Height and width of the map of codes; those that only networks of one's own lead to are refused without."""
    if len(places) not in (0, 2):
        raise ValueError(f"vq_vae: places: wanted height,width such as 7,7, or nothing, got {places!r}.")
    if network == "dense":
        return as_shape(places or (1, 32), "vq_vae: places")
    found = as_shape(places or tuple(max(side // 4, 1) for side in data.shape[1:]), "vq_vae: places")
    if not own:
        _check_halved(data.shape[1:], found)
    return found


def _check_halved(image: Shape, places: Shape) -> None:
    """Refuses a map that halving the image does not lead to, nor the other way round."""
    from_image, from_places = _halvings(image), _halvings(places)
    if places not in from_image and image not in from_places:
        possible = ", ".join(",".join(map(str, pair)) for pair in from_image)
        raise ValueError(
            f"vq_vae: places: wanted height,width that halving leads to from an image of {image[0]} × {image[1]}: "
            f"{possible}; got {places[0]},{places[1]}."
        )


def _halvings(sides: Shape) -> list[Shape]:
    """Height and width, halved again and again."""
    found = [sides]
    while min(found[-1]) > 1:
        found.append(tuple(side // 2 for side in found[-1]))
    return found


def _recipe(parts: tuple[Conditional, Quantiser, Conditional], prior: str, stacks: PixelStacks, share: float) -> Recipe:
    """Encoder, quantiser and decoder under a uniform prior; then, where it is asked for, a prior of what they found."""
    q, quantiser, p_x = parts
    assert isinstance(q, NetworkConditional)
    latent, objective = (1, *q.head.event[1:]), ELBO()
    first = VQVAE(q, quantiser, UniformCodes(latent, quantiser.levels), p_x)
    if choice(prior, ("pixel_cnn", "uniform"), "vq_vae: prior") == "uniform":
        return Recipe(first, objective)
    share = positive(fraction(share, "vq_vae: prior_share"), "vq_vae: prior_share")
    p = PixelCodes(latent, quantiser.levels, stacks)
    before = Stage((Player(ELBO()),), "codes", 1 - share, first)
    stages = (before, Stage((Player(objective, (p,)),), share=share))
    return Recipe(VQVAE(q, quantiser, p, p_x), objective, stages=stages)
