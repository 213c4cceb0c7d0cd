"""Real MNIST against samples of our VAE, and against itself: p-values, and the pictures of docs/statistics.md.

Run with `python -m reproductions.two_sample` from the root of the repository; about five minutes on one core.
Runs that are there already are taken up where they stand.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import fourfold as ff
from fourfold.evaluation import Row
from fourfold.runs import resume
from fourfold.statistics import RBF, Finding, ksd_test, median_bandwidth, mmd_agg_test, mmd_test, witness
from reproductions.store import keep

__all__ = ["main"]

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
N = 1000


def draws(run: ff.Run, n: int, seed: int) -> Tensor:
    """Draws of p(x), flat."""
    return run.model.sample(n, noise=ff.Noise(seed, stream="draws"), mean=False).flatten(1)


def data(run: ff.Run, n: int) -> Tensor:
    """The first binarised test rows, in an order drawn anew: the file has the easier half first."""
    rows = torch.cat([batch.x for batch in run.batches(run.split("test"))()]).flatten(1)
    return rows[ff.Noise(0, stream="order").uniform((len(rows),)).argsort()[:n]]


def row(run: ff.Run, what: str, found: Finding) -> Row:
    """A p-value with its protocol."""
    protocol: dict[str, Any] = {**run.protocol("test", 0), "statistic": found.statistic}
    how = f"{what}: {found.name}, {found.kernel}, {found.method}"
    return Row("two_sample_p", found.p_value, "", None, how, found.n, protocol)


def pixels(run: ff.Run) -> list[Row]:
    """Samples against data, data against data; and the data that tell them apart best."""
    real, made = data(run, 4 * N), draws(run, 2 * N, 1)
    rows = []
    for name, test in (("mmd", mmd_test), ("mmdagg", mmd_agg_test)):
        rows.append(row(run, f"{name}, samples and data", test(made[:N], real[:N])))
        rows.append(row(run, f"{name}, data and data", test(real[N : 2 * N], real[:N])))
    kernel = RBF(median_bandwidth(torch.cat((real[:N], made[:N]))))
    values = [witness(z, real[:N], made[:N], kernel).numpy() for z in (real[2 * N : 4 * N], made[N:])]
    shown = [z.reshape(-1, 1, 28, 28).numpy() for z in (real[2 * N : 4 * N], made[N:])]
    ff.pictures.save(ff.pictures.witness_images(shown[0], values[0], shown[1], values[1]), PICTURES / "witness.png")
    return rows


def latents(run: ff.Run) -> list[Row]:
    """The codes of the data, z ~ q(z), against the prior, from which two latents leave a plane to look at."""
    first = next(run.batches(run.split("test"), size=N)())
    with torch.no_grad():
        codes = run.model(first.x, noise=ff.Noise(0, stream="codes")).levels[0].z[0]
    prior = ff.Noise(1, stream="prior").normal((N, 2))
    axis = torch.linspace(-4, 4, 81)
    plane = torch.cartesian_prod(axis, axis)
    # The median distance would smooth the gaps between the classes away: a quarter of it shows them.
    kernel = RBF(median_bandwidth(torch.cat((codes, prior))) / 4)
    values = witness(plane, codes, prior, kernel).reshape(81, 81)
    names = ("codes of data", "prior")
    picture = ff.pictures.witness_plane(values.numpy(), codes[:300].numpy(), prior[:300].numpy(), (-4.0, 4.0), names)
    ff.pictures.save(picture, PICTURES / "witness_latents.png")
    found = {"mmd": mmd_test(codes, prior), "mmdagg": mmd_agg_test(codes, prior), "ksd": ksd_test(codes, lambda z: -z)}
    return [row(run, f"{name}, q(z) of two latents and the prior", one) for name, one in found.items()]


def main() -> None:
    """Trains both models, tests, draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--epochs", type=float, default=10)
    parser.add_argument("--runs", type=Path, default=Path("runs/two_sample"))
    options, mnist = parser.parse_args(), ff.data.mnist()
    one, two = (trained(options.runs / f"vae-{latent}", latent, options.epochs, mnist) for latent in (20, 2))
    keep("two_sample", [*pixels(one), *latents(two)])


def trained(folder: Path, latent: int, epochs: float, mnist: ff.DataSet) -> ff.Run:
    """The run in this folder, started or continued."""
    if (folder / "run.json").exists():
        return resume(folder, mnist, epochs=epochs)
    return ff.fit(ff.recipes.vae(latent=latent), mnist, epochs=epochs, out=folder, quiet=True)


if __name__ == "__main__":
    main()
