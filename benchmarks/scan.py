"""JAX: the dense model's steps as one compiled program, `lax.scan` over the batches, on the CPU.

Data and permutation stay in its memory, Adam is written out, random numbers come from its fast generator (`rbg`: the
default one costs more than the step). One call does the steps of one piece; compiling is in no time. Before anything
is timed, its loss and gradient are compared with torch's, on the same weights and noise.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from benchmarks.harness import Absent, timed
from benchmarks.loops import LATENT, LEARNING_RATE, bound, images_of, negative_elbo, networks

__all__ = ["apart", "scan"]


def scan(batch: int, steps: int, draws: int = 0) -> Callable[[], float]:
    """So many steps a call, of the VAE, or with draws of the importance-weighted one.

    Raises:
        Absent: without JAX, or if what it computes is not what torch computes.
    """
    jax = _jax()
    import numpy as np

    if (far := apart(min(batch, 20), min(draws, 5))) > 1e-3:
        raise Absent(f"its loss or gradient is not torch's: {far:.1e} apart")
    images = jax.numpy.asarray(images_of("dense", batch).numpy())
    parameters = _weights()
    epoch = _program(jax, images, draws)
    first, second = (jax.tree.map(jax.numpy.zeros_like, parameters) for _ in range(2))
    state: Any = (jax.tree.map(jax.numpy.array, parameters), first, second, jax.numpy.zeros((), "int32"))
    key = jax.random.key(0)
    orders = _orders(np.random.default_rng(0), len(images), batch, steps)

    def piece() -> None:
        nonlocal state, key
        key, own = jax.random.split(key)
        state, loss = epoch(state, jax.numpy.asarray(next(orders)), own)
        if not bool(jax.numpy.isfinite(loss)):  # waits for the loss of the last step
            raise ArithmeticError(f"scan: the loss became {loss}")

    piece()  # compiles
    return timed(piece, steps * batch)


def apart(batch: int, draws: int) -> float:
    """How far loss and gradient are from those of `loops` by torch: the greatest difference over the greatest value."""
    jax = _jax()
    encoder, decoder = networks("dense")
    x = images_of("dense", batch, batch).float()
    noise = torch.randn(
        (draws, batch, LATENT) if draws else (batch, LATENT), generator=torch.Generator().manual_seed(0)
    )
    loss = (bound if draws else negative_elbo)(x, noise, encoder(x), decoder)
    loss.backward()
    arrays = [jax.numpy.asarray(t.numpy()) for t in (x, noise)]
    found, slopes = jax.value_and_grad(_loss(jax, draws))(_weights(), *arrays)
    pairs = [(loss.detach(), found)]
    for layer, slope in zip(_layers(encoder, decoder), slopes, strict=True):
        assert layer.weight.grad is not None and layer.bias.grad is not None
        pairs += [(layer.weight.grad.t(), slope[0]), (layer.bias.grad, slope[1])]
    far = [(ours - torch.tensor(theirs.tolist())).abs().max() / ours.abs().max() for ours, theirs in pairs]
    return float(max(far))


def _jax() -> Any:
    try:
        import jax  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise Absent(f"not installed ({error.name}): see benchmarks/README.md, “The peers”") from error
    jax.config.update("jax_default_prng_impl", "rbg")
    return jax


def _layers(*modules: nn.Sequential) -> list[nn.Linear]:
    return [layer for module in modules for layer in module if isinstance(layer, nn.Linear)]


def _weights() -> list[tuple[Any, Any]]:
    """Those of `loops`, as JAX has them: inputs by outputs."""
    layers = _layers(*networks("dense"))
    return [(layer.weight.detach().t().contiguous().numpy(), layer.bias.detach().numpy()) for layer in layers]


def _orders(draw: Any, count: int, batch: int, steps: int) -> Iterator[Any]:
    """The rows of each piece, `(steps, batch)`: of permutations, what is left of one after whole pieces not used."""
    while True:
        batches = draw.permutation(count).reshape(-1, batch)
        for start in range(0, len(batches) - steps + 1, steps):
            yield batches[start : start + steps]


def _loss(jax: Any, draws: int) -> Callable[..., Any]:
    jnp = jax.numpy

    def through(x: Any, layers: Any) -> Any:
        for weight, bias in layers[:-1]:
            x = jnp.tanh(x @ weight + bias)
        weight, bias = layers[-1]
        return x @ weight + bias

    def loss_of(parameters: Any, x: Any, noise: Any) -> Any:
        mean, log_variance = jnp.split(through(x, parameters[:3]), 2, axis=1)
        z = mean + jnp.exp(0.5 * log_variance) * noise
        logits = through(z, parameters[3:])
        likelihood = (x * logits - jax.nn.softplus(logits)).sum(-1)
        if draws:
            log_weight = likelihood + 0.5 * (noise**2 + log_variance - z**2).sum(-1)
            return (jnp.log(draws) - jax.nn.logsumexp(log_weight, axis=0)).mean()
        rate = -0.5 * (1 + log_variance - mean**2 - jnp.exp(log_variance)).sum(-1)
        return (rate - likelihood).mean()

    return loss_of


def _program(jax: Any, images: Any, draws: int) -> Callable[..., Any]:
    jnp, loss_of = jax.numpy, _loss(jax, draws)

    def step(carry: Any, inputs: Any) -> Any:
        parameters, first, second, t = carry
        rows, key = inputs
        noise = jax.random.normal(key, (draws, len(rows), LATENT) if draws else (len(rows), LATENT))
        loss, slope = jax.value_and_grad(loss_of)(parameters, images[rows].astype(jnp.float32), noise)
        t = t + 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, slope)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, slope)
        rate, root = LEARNING_RATE / (1 - 0.9**t), jnp.sqrt(1 - 0.999**t)
        parameters = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) / root + 1e-8), parameters, first, second)
        return (parameters, first, second, t), loss

    def epoch(state: Any, rows: Any, key: Any) -> Any:
        state, losses = jax.lax.scan(step, state, (rows, jax.random.split(key, len(rows))))
        return state, losses.mean()

    return jax.jit(epoch, donate_argnums=0)
