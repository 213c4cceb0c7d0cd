"""One pass through a small trained VAE, in float64: the numbers that every loss is then asked about."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass

import torch
from torch import Tensor

import fourfold as ff
from benchmarks.loops import binary_images
from fourfold.data import DataSet, Split
from fourfold.distributions import Bernoulli, DiagonalGaussian
from fourfold.models import VAE
from fourfold.noise import Noise
from fourfold.trace import Level, Trace

__all__ = ["BATCH", "DATA", "LATENT", "Scene", "made", "scene"]

DATA, BATCH, LATENT = 5_000, 64, 10


@dataclass(frozen=True)
class Scene:
    """Binary images, their posteriors, draws, and the pixels' probabilities; z and what follows are differentiable.

    Attributes:
        x: ``(B, 784)``.
        mean, log_variance: of q, ``(B, D)``; leaves.
        z: ``(S, B, D)``.
        p_x: of the pixels, ``(S, B, 1, 28, 28)``.
        trace: the same as our objectives take it.
        leaves: what gradients are compared in: mean, log-variance and the decoder's parameters.
    """

    x: Tensor
    mean: Tensor
    log_variance: Tensor
    z: Tensor
    p_x: Bernoulli
    trace: Trace
    leaves: tuple[Tensor, ...]

    @property
    def pixels(self) -> Tensor:
        """Probabilities ``(S, B, 784)``."""
        return self.p_x.mean.flatten(2)

    def gradient(self, loss: Tensor) -> Tensor:
        """Of a loss, all leaves in one vector."""
        found = torch.autograd.grad(loss, self.leaves, retain_graph=True, allow_unused=True)
        pairs = zip(self.leaves, found, strict=True)
        return torch.cat([(torch.zeros_like(leaf) if g is None else g).flatten() for leaf, g in pairs])


def made() -> tuple[VAE, Tensor]:
    """A VAE after three epochs on 5,000 binary images, in float64, and the images."""
    images = binary_images(DATA)[0].view(-1, 1, 28, 28)
    data = DataSet("binary", Split(images.numpy()), None, None, levels=2, classes=None)
    recipe = ff.recipes.vae(latent=LATENT, hidden=(200, 200), activation="tanh")
    with tempfile.TemporaryDirectory() as folder:
        run = ff.fit(recipe, data, epochs=3, out=f"{folder}/run", quiet=True)
    assert isinstance(run.model, VAE)
    return run.model.double(), images.double()


def scene(model: VAE, images: Tensor, draws: int = 1, batch: int = BATCH) -> Scene:
    """The first images seen through the model, with so many draws of z each."""
    x = images[:batch]
    q = model.posterior(x, None)
    assert isinstance(q, DiagonalGaussian)
    mean, log_variance = (part.detach().requires_grad_() for part in (q.loc, 2 * q.log_scale))
    posterior, prior = DiagonalGaussian(mean, log_variance / 2), model.prior(None)
    noise = Noise(0, stream="peers").normal((draws, batch, LATENT), batch=1, dtype=torch.float64)
    z = mean + torch.exp(0.5 * log_variance) * noise
    p_x = model.likelihood(z, None)
    assert isinstance(p_x, Bernoulli)
    trace = Trace(x, p_x, p_x.log_prob(x, None), (Level(z, posterior, prior),))
    leaves = (mean, log_variance, *model.likelihood.parameters())
    return Scene(x.flatten(1), mean, log_variance, z, p_x, trace, leaves)
