"""Burda, Grosse and Salakhutdinov 2015, Table 1: one stochastic layer on dynamically binarised MNIST, NLL in nats.

Run with ``python -m reproductions.iwae_table1``; a run that is there already is taken up where it stands. Published for
the VAE (k = 1): 86.76, after 3,280 epochs at batch 20. The schedule here is short: batch 100, Adam at 1e-3, falling
tenfold over the last 40 % of the epochs.
"""

import argparse
from pathlib import Path

import fourfold as ff
from fourfold.runs import resume

from .store import keep

__all__ = ["main"]


def main() -> None:
    """Train, estimate the NLL with 5,000 importance samples, keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=float, default=350)
    parser.add_argument("--samples", type=int, default=5000)
    parser.add_argument("--runs", type=Path, default=Path("runs/iwae_table1"))
    options = parser.parse_args()
    data, folder = ff.data.mnist("burda"), options.runs / "vae"
    if (folder / "run.json").exists():
        run = resume(folder, data)
    else:
        recipe = ff.recipes.vae(latent=50, hidden=(200, 200), activation="tanh")
        schedule = "decay:0.1:0.4"
        run = ff.fit(recipe, data, epochs=options.epochs, lr_schedule=schedule, log_steps=600, out=folder)
    keep("iwae_table1", run.evaluate(importance_samples=options.samples).rows)


if __name__ == "__main__":
    main()
