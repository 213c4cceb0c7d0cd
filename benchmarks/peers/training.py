"""The peers in training: pythae's trainer and the loop of PyTorch's VAE example, each with the model of `loops.py`.

Both get the images as float tensors in memory, converted beforehand: their loaders then do no decoding and no
conversion, which favours them. Their optimisers, losses and read-backs (`loss.item()` each step) are as they come.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Callable, Iterator
from itertools import islice

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.harness import Absent
from benchmarks.loops import HIDDEN, LATENT, LEARNING_RATE, PIXELS

__all__ = ["example_loop", "pythae_trainer"]


class Pieces:
    """A loader whose iteration yields the *next* `steps` batches of an endless loader.

    A measured piece is shorter than an epoch, yet its batches are drawn from all the data, as in an epoch, and the
    shuffling is paid once an epoch.
    """

    def __init__(self, loader: DataLoader, steps: int) -> None:
        self.dataset = loader.dataset
        self.steps = steps
        self.batches = self._endless(loader)

    def __len__(self) -> int:
        return self.steps

    def __iter__(self) -> Iterator:
        return islice(self.batches, self.steps)

    @staticmethod
    def _endless(loader: DataLoader) -> Iterator:
        while True:
            yield from loader


def example_loop(images: Tensor, batch: int, steps: int) -> Callable[[], None]:
    """The loop of the VAE example in pytorch/examples: DataLoader, probabilities, summed loss, plain Adam, `.item()`.

    Left out, in its favour: the console line every ten batches, image decoding, the continuous-Bernoulli constant.
    """
    torch.manual_seed(0)
    model = _ExampleVAE()
    adam = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    labels = torch.zeros(len(images))
    pieces = Pieces(DataLoader(TensorDataset(images, labels), batch_size=batch, shuffle=True), steps)

    def piece() -> None:
        model.train()
        train_loss = 0.0
        for x, _ in pieces:
            adam.zero_grad()
            probabilities, mean, log_variance = model(x)
            distortion = F.binary_cross_entropy(probabilities, x, reduction="sum")
            rate = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
            loss = distortion + rate
            loss.backward()
            train_loss += loss.item()
            adam.step()

    return piece


def pythae_trainer(images: Tensor, batch: int, steps: int, folder: str) -> Callable[[], None]:
    """pythae's `BaseTrainer` with its defaults, no evaluation set; a piece is its `train_step`, a pass over its loader.

    Left out, in its favour: what `train()` does around an epoch (a deep copy of the best model, saving, messages).
    Its progress bar stays on, written to memory.
    """
    try:
        from pythae.data.datasets import BaseDataset  # pyright: ignore[reportMissingImports]
        from pythae.models import VAE, VAEConfig  # pyright: ignore[reportMissingImports]
        from pythae.trainers import BaseTrainer, BaseTrainerConfig  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise Absent(f"not installed ({error.name}): see benchmarks/README.md") from error

    for name in [n for n in logging.root.manager.loggerDict if n.startswith("pythae")]:
        logging.getLogger(name).setLevel(logging.WARNING)
    encoder, decoder = _pythae_networks()
    config = VAEConfig(input_dim=(PIXELS,), latent_dim=LATENT, reconstruction_loss="bce")
    training = BaseTrainerConfig(
        output_dir=folder, num_epochs=1, per_device_train_batch_size=batch, learning_rate=LEARNING_RATE, no_cuda=True
    )
    data = BaseDataset(images, torch.zeros(len(images)))
    trainer = BaseTrainer(VAE(config, encoder=encoder, decoder=decoder), data, training_config=training)
    trainer.prepare_training()
    trainer.train_loader = Pieces(trainer.train_loader, steps)

    def piece() -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            trainer.train_step(1)
            trainer.callback_handler.on_epoch_end(training)

    return piece


def _pythae_networks() -> tuple[nn.Module, nn.Module]:
    from pythae.models.base.base_utils import ModelOutput  # pyright: ignore[reportMissingImports]
    from pythae.models.nn import BaseDecoder, BaseEncoder  # pyright: ignore[reportMissingImports]

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh())
            self.embedding = nn.Linear(HIDDEN, LATENT)
            self.log_var = nn.Linear(HIDDEN, LATENT)

        def forward(self, x: Tensor) -> ModelOutput:
            h = self.layers(x)
            return ModelOutput(embedding=self.embedding(h), log_covariance=self.log_var(h))

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.Tanh(), nn.Linear(HIDDEN, HIDDEN), nn.Tanh())
            self.pixels = nn.Linear(HIDDEN, PIXELS)

        def forward(self, z: Tensor) -> ModelOutput:
            return ModelOutput(reconstruction=torch.sigmoid(self.pixels(self.layers(z))))

    return Encoder(), Decoder()


class _ExampleVAE(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(PIXELS, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.mean, self.log_variance = nn.Linear(HIDDEN, LATENT), nn.Linear(HIDDEN, LATENT)
        self.fc3, self.fc4 = nn.Linear(LATENT, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.pixels = nn.Linear(HIDDEN, PIXELS)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        h = torch.tanh(self.fc2(torch.tanh(self.fc1(x))))
        mean, log_variance = self.mean(h), self.log_variance(h)
        z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
        h = torch.tanh(self.fc4(torch.tanh(self.fc3(z))))
        return torch.sigmoid(self.pixels(h)), mean, log_variance
