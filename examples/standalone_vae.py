"""A variational autoencoder in one file, with nothing but torch.

It is what ``fourfold train vae`` trains, without the library: a perceptron with 300 hidden units each way, 20 latents,
grey images binarised anew whenever they are shown, Adam. ``tests/test_examples.py`` holds it to the library: with the
same weights and the same noise its bound is the library's, datum by datum; trained as long, it is as good.

    python standalone_vae.py                      the digits of scikit-learn
    python standalone_vae.py images.npy           a uint8 array (N, pixels) or (N, height, width)
"""

import math
import sys
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits


def perceptron(*widths: int) -> nn.Sequential:
    """Linear layers with ReLU between them; Glorot-uniform weights, biases at zero."""
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        linear = nn.Linear(a, b)
        nn.init.xavier_uniform_(linear.weight)
        nn.init.zeros_(linear.bias)
        layers += [linear, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class VAE(nn.Module):
    """q(z|x) = N(μ(x), diag σ²(x)), p(z) = N(0, I), p(x|z) = Π Bernoulli(x_i; logits(z)).

    Args:
        pixels: size of x, whose values are 0 and 1.
        latent: size of z.
        hidden: width of the hidden layers.
    """

    def __init__(self, pixels: int, latent: int = 20, hidden: int = 300) -> None:
        super().__init__()
        self.latent = latent
        self.encoder = perceptron(pixels, hidden, 2 * latent)
        self.decoder = perceptron(latent, hidden, pixels)

    def start_at(self, mean: Tensor) -> None:
        """Lets the decoder begin at the mean image: the background need not be learnt."""
        with torch.no_grad():
            self.decoder[-1].bias.copy_(mean.clamp(0.001, 0.999).logit())

    def posterior(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The mean and the log standard deviation of q(z|x), each (batch, latent)."""
        mean, log_scale = self.encoder(x).chunk(2, 1)
        return mean, log_scale

    def log_likelihood(self, x: Tensor, z: Tensor) -> Tensor:
        """log p(x|z) in nats: a sum over pixels."""
        logits = self.decoder(z)
        return -binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none").sum(-1)

    def elbo(self, x: Tensor, noise: Tensor) -> Tensor:
        """A lower bound on log p(x), (batch,) in nats: one draw z = μ + σ · noise, the rate in closed form."""
        mean, log_scale = self.posterior(x)
        rate = 0.5 * (mean.square() + (2 * log_scale).exp() - 1 - 2 * log_scale).sum(1)
        return self.log_likelihood(x, mean + log_scale.exp() * noise) - rate

    def log_marginal(self, x: Tensor, noise: Tensor) -> Tensor:
        """log p(x) by importance sampling, (batch,) in nats, with noise of shape (samples, batch, latent)."""
        mean, log_scale = self.posterior(x)
        z = mean + log_scale.exp() * noise
        prior_over_posterior = (0.5 * (noise.square() - z.square()) + log_scale).sum(-1)
        return torch.logsumexp(self.log_likelihood(x, z) + prior_over_posterior, 0) - math.log(len(noise))


def binarised(grey: Tensor, random: torch.Generator) -> Tensor:
    """Each pixel is 1 with its grey value (0 to 1) as probability."""
    return (torch.rand(grey.shape, generator=random) < grey).to(grey.dtype)


def train(grey: Tensor, epochs: int, batch: int = 100, lr: float = 1e-3, seed: int = 0) -> VAE:
    """A VAE trained on grey images (N, pixels) with values from 0 to 1."""
    torch.manual_seed(seed)
    random = torch.Generator().manual_seed(seed)
    model = VAE(grey.shape[1])
    model.start_at(grey.mean(0))
    optimiser = torch.optim.Adam(model.parameters(), lr=lr)
    for _ in range(epochs):
        for rows in torch.randperm(len(grey), generator=random).split(batch):
            x = binarised(grey[rows], random)
            loss = -model.elbo(x, torch.randn(len(x), model.latent, generator=random)).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return model


@torch.no_grad()
def evaluate(model: VAE, grey: Tensor, samples: int = 500, seed: int = 1) -> tuple[float, float]:
    """Means over the images of −ELBO and of −log p(x) by importance sampling, in nats."""
    random = torch.Generator().manual_seed(seed)
    x = binarised(grey, random)
    bound = model.elbo(x, torch.randn(len(x), model.latent, generator=random))
    marginal = [
        model.log_marginal(row, torch.randn(samples, len(row), model.latent, generator=random)) for row in x.split(50)
    ]
    return -bound.mean().item(), -torch.cat(marginal).mean().item()


def main(path: str | None = None) -> None:
    """Trains on nine tenths of the images, and tells how well the others are modelled."""
    if path is None:
        from sklearn.datasets import load_digits

        grey = torch.as_tensor(load_digits().data / 16, dtype=torch.float32)
    else:
        import numpy as np

        grey = torch.as_tensor(np.load(path)).float().flatten(1) / 255
    grey = grey[torch.randperm(len(grey), generator=torch.Generator().manual_seed(0))]
    held_out = len(grey) // 10
    model = train(grey[held_out:], epochs=30)
    bound, marginal = evaluate(model, grey[:held_out])
    print(f"test −ELBO {bound:.2f} nats, −log p(x) ≈ {marginal:.2f} nats (importance sampling, 500 samples)")


if __name__ == "__main__":
    main(*sys.argv[1:2])
