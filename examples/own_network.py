"""Networks of your own: any nn.Module, for any recipe that takes encoder and decoder."""

from torch import nn

import fourfold as ff


def encoder(latent: int) -> nn.Module:
    image = nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(), nn.MaxPool2d(2))
    # Its output: the means, then the log standard deviations.
    return nn.Sequential(image, nn.Flatten(), nn.Linear(16 * 4 * 4, 2 * latent))


def decoder(latent: int) -> nn.Module:
    # Its output: one logit a pixel.
    return nn.Sequential(nn.Linear(latent, 128), nn.SiLU(), nn.Linear(128, 8 * 8))


if __name__ == "__main__":
    networks = {"encoder": ff.own(encoder, 8), "decoder": ff.own(decoder, 8)}
    run = ff.fit(ff.recipes.vae(latent=8, **networks), ff.data.digits(), epochs=10)
    print(ff.load(run.path, trust=("own_network",)))
