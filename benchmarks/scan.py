"""JAX: the dense model's steps as one compiled program, `lax.scan` over the batches, on the CPU.

Data and permutation stay in its memory, Adam is written out, random numbers come from its fast generator (`rbg`: the
default one costs more than the step). One call does the steps of one piece; compiling is in no time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

from benchmarks.harness import Absent, timed

__all__ = ["scan"]


def scan(batch: int, steps: int, draws: int = 0) -> Callable[[], float]:
    """So many steps a call, of the VAE, or with draws of the importance-weighted one."""
    try:
        import jax  # pyright: ignore[reportMissingImports]
    except ModuleNotFoundError as error:
        raise Absent(f"not installed ({error.name}): see benchmarks/README.md, “The peers”") from error
    import numpy as np

    from benchmarks.loops import HIDDEN, LATENT, PIXELS, images_of

    jax.config.update("jax_default_prng_impl", "rbg")
    encoder, decoder = (PIXELS, HIDDEN, HIDDEN, 2 * LATENT), (LATENT, HIDDEN, HIDDEN, PIXELS)
    draw = np.random.default_rng(0)
    parameters = [
        (draw.uniform(-1, 1, (a, b)).astype("float32") * (6 / (a + b)) ** 0.5, np.zeros(b, "float32"))
        for sizes in (encoder, decoder)
        for a, b in pairwise(sizes)
    ]
    images = jax.numpy.asarray(images_of("dense", batch).numpy())
    epoch = _program(jax, images, draws)
    first, second = (jax.tree.map(jax.numpy.zeros_like, parameters) for _ in range(2))
    state: Any = (jax.tree.map(jax.numpy.array, parameters), first, second, jax.numpy.zeros((), "int32"))
    key = jax.random.key(0)
    orders = _orders(draw, len(images), batch, steps)

    def piece() -> None:
        nonlocal state, key
        key, own = jax.random.split(key)
        state, loss = epoch(state, jax.numpy.asarray(next(orders)), own)
        if not bool(jax.numpy.isfinite(loss)):
            raise ArithmeticError(f"scan: the loss became {loss}")

    piece()  # compiles
    return timed(piece, steps * batch)


def _orders(draw: Any, count: int, batch: int, steps: int) -> Iterator[Any]:
    """The rows of each piece, `(steps, batch)`: of permutations, what is left of one after whole pieces not used."""
    while True:
        batches = draw.permutation(count).reshape(-1, batch)
        for start in range(0, len(batches) - steps + 1, steps):
            yield batches[start : start + steps]


def _program(jax: Any, images: Any, draws: int) -> Callable[..., Any]:
    from benchmarks.loops import LATENT, LEARNING_RATE

    jnp = jax.numpy

    def through(x: Any, layers: Any) -> Any:
        for weight, bias in layers[:-1]:
            x = jnp.tanh(x @ weight + bias)
        weight, bias = layers[-1]
        return x @ weight + bias

    def loss_of(parameters: Any, x: Any, key: Any) -> Any:
        mean, log_variance = jnp.split(through(x, parameters[:3]), 2, axis=1)
        noise = jax.random.normal(key, (draws, len(x), LATENT) if draws else (len(x), LATENT))
        z = mean + jnp.exp(0.5 * log_variance) * noise
        logits = through(z, parameters[3:])
        likelihood = (x * logits - jax.nn.softplus(logits)).sum(-1)
        if draws:
            log_weight = likelihood + 0.5 * (noise**2 + log_variance - z**2).sum(-1)
            return (jnp.log(draws) - jax.nn.logsumexp(log_weight, axis=0)).mean()
        rate = -0.5 * (1 + log_variance - mean**2 - jnp.exp(log_variance)).sum(-1)
        return (rate - likelihood).mean()

    def step(carry: Any, inputs: Any) -> Any:
        parameters, first, second, t = carry
        rows, key = inputs
        loss, slope = jax.value_and_grad(loss_of)(parameters, images[rows].astype(jnp.float32), key)
        t = t + 1
        first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, first, slope)
        second = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, second, slope)
        rate = LEARNING_RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        parameters = jax.tree.map(lambda p, m, v: p - rate * m / (jnp.sqrt(v) + 1e-8), parameters, first, second)
        return (parameters, first, second, t), loss

    def epoch(state: Any, rows: Any, key: Any) -> Any:
        state, losses = jax.lax.scan(step, state, (rows, jax.random.split(key, len(rows))))
        return state, losses.mean()

    return jax.jit(epoch, donate_argnums=0)
