"""The peers in training: pythae's trainer and the loop of PyTorch's VAE example, each with a model of `loops.py`.

Both get the images as float tensors in memory, converted beforehand: their loaders then do no decoding and no
conversion, which favours them. Their optimisers, losses and read-backs (`loss.item()` each step) are as they come.
"""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable, Iterator
from itertools import islice
from math import log
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.harness import Absent, timed
from benchmarks.loops import LEARNING_RATE, Kind, images_of, latent_of, networks

__all__ = ["Pieces", "SplitHead", "example", "example_loop", "naive", "pythae", "pythae_loop", "pythae_model"]


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


class SplitHead(nn.Module):
    """An encoder of `loops` with its last layer in two, mean and log-variance, as both peers write it."""

    def __init__(self, encoder: nn.Sequential) -> None:
        super().__init__()
        self.layers = encoder[:-1]
        last = encoder[-1]
        assert isinstance(last, nn.Linear)
        self.mean, self.log_variance = (nn.Linear(last.in_features, last.out_features // 2) for _ in range(2))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.layers(x)
        return self.mean(h), self.log_variance(h)


def example(kind: Kind, batch: int, steps: int, device: str = "cpu") -> Callable[[], float]:
    """The loop of `example_loop`, timed."""
    body, decoder = networks(kind)
    pair = SplitHead(body).to(device), decoder.to(device)
    return timed(example_loop(images_of(kind, batch).float(), pair, batch, steps, device), steps * batch)


def example_loop(
    images: Tensor, pair: tuple[nn.Module, nn.Module], batch: int, steps: int, device: str = "cpu"
) -> Callable[[], None]:
    """The loop of the VAE example in pytorch/examples: DataLoader, probabilities, summed loss, plain Adam, `.item()`.

    `pair` is encoder and decoder, where the device is. Left out, in its favour: the console line every ten batches,
    image decoding, the worker process that it has on a GPU.
    """
    encoder, decoder = pair
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=LEARNING_RATE)
    labels = torch.zeros(len(images))
    pinned = device != "cpu"
    loader = DataLoader(TensorDataset(images, labels), batch_size=batch, shuffle=True, pin_memory=pinned)
    pieces = Pieces(loader, steps)

    def piece() -> None:
        train_loss = 0.0
        for seen, _ in pieces:
            x = seen.to(device)
            adam.zero_grad()
            mean, log_variance = encoder(x)
            z = mean + torch.randn_like(mean) * torch.exp(0.5 * log_variance)
            distortion = F.binary_cross_entropy(torch.sigmoid(decoder(z)), x, reduction="sum")
            rate = -0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
            loss = distortion + rate
            loss.backward()
            train_loss += loss.item()
            adam.step()

    return piece


def naive(kind: Kind, batch: int, steps: int, draws: int) -> Callable[[], float]:
    """The example's loop with the importance-weighted bound in the shortest way: every datum repeated `draws` times."""
    images = images_of(kind, batch).float()
    body, decoder = networks(kind)
    encoder = SplitHead(body)
    adam = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=LEARNING_RATE)
    labels = torch.zeros(len(images))
    pieces = Pieces(DataLoader(TensorDataset(images, labels), batch_size=batch, shuffle=True), steps)

    def piece() -> None:
        train_loss = 0.0
        for once, _ in pieces:
            adam.zero_grad()
            x = once.repeat(draws, *[1] * (once.ndim - 1))
            mean, log_variance = encoder(x)
            noise = torch.randn_like(mean)
            z = mean + noise * torch.exp(0.5 * log_variance)
            likelihood = -F.binary_cross_entropy(torch.sigmoid(decoder(z)), x, reduction="none").flatten(1).sum(1)
            log_ratio = 0.5 * (noise.square() + log_variance - z.square()).sum(1)
            log_weight = (likelihood + log_ratio).view(draws, len(once))
            loss = (log(draws) - log_weight.logsumexp(0)).sum()
            loss.backward()
            train_loss += loss.item()
            adam.step()

    return timed(piece, steps * batch)


def pythae(kind: Kind, batch: int, steps: int, draws: int = 0, device: str = "cpu") -> Callable[[], float]:
    """The trainer of `pythae_loop`, timed."""
    return timed(
        pythae_loop(images_of(kind, batch).float(), pythae_model(kind, draws), batch, steps, device), steps * batch
    )


def pythae_loop(images: Tensor, model: Any, batch: int, steps: int, device: str = "cpu") -> Callable[[], None]:
    """pythae's `BaseTrainer` with its defaults, no evaluation set; a piece is its `train_step`, a pass over its loader.

    Left out, in its favour: what `train()` does around an epoch (a deep copy of the best model, saving, messages).
    Its progress bar stays on, written to memory.
    """
    from pythae.data.datasets import BaseDataset  # pyright: ignore[reportMissingImports]
    from pythae.trainers import BaseTrainer, BaseTrainerConfig  # pyright: ignore[reportMissingImports]

    for name in [n for n in logging.root.manager.loggerDict if n.startswith("pythae")]:
        logging.getLogger(name).setLevel(logging.WARNING)
    training = BaseTrainerConfig(
        output_dir=tempfile.mkdtemp(),
        num_epochs=1,
        per_device_train_batch_size=batch,
        learning_rate=LEARNING_RATE,
        no_cuda=device == "cpu",
    )
    trainer = BaseTrainer(model, BaseDataset(images, torch.zeros(len(images))), training_config=training)
    trainer.prepare_training()
    trainer.train_loader = Pieces(trainer.train_loader, steps)

    def piece() -> None:
        with contextlib.redirect_stderr(io.StringIO()):
            trainer.train_step(1)
            trainer.callback_handler.on_epoch_end(training)

    return piece


def pythae_model(kind: Kind, draws: int = 0) -> Any:
    """pythae's VAE, or its IWAE where there are draws, with the networks of `loops` as its own classes."""
    try:
        from pythae.models import IWAE, VAE, IWAEConfig, VAEConfig  # pyright: ignore[reportMissingImports]
        from pythae.models.base.base_utils import ModelOutput  # pyright: ignore[reportMissingImports]
        from pythae.models.nn import BaseDecoder, BaseEncoder  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise Absent(f"not installed ({error.name}): see benchmarks/README.md, “The peers”") from error

    body, tail = networks(kind)

    class Encoder(BaseEncoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = SplitHead(body)

        def forward(self, x: Tensor) -> Any:
            mean, log_variance = self.body(x)
            return ModelOutput(embedding=mean, log_covariance=log_variance)

    class Decoder(BaseDecoder):
        def __init__(self) -> None:
            super().__init__()
            self.body = tail

        def forward(self, z: Tensor) -> Any:
            return ModelOutput(reconstruction=torch.sigmoid(self.body(z)))

    common: dict[str, Any] = {
        "input_dim": tuple(images_of(kind, 1, 1).shape[1:]),
        "latent_dim": latent_of(kind),
        "reconstruction_loss": "bce",
    }
    if draws:
        return IWAE(IWAEConfig(**common, number_samples=draws), encoder=Encoder(), decoder=Decoder())
    return VAE(VAEConfig(**common), encoder=Encoder(), decoder=Decoder())
