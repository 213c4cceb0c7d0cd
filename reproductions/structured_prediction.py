"""Sohn, Lee and Yan 2015: the rest of a digit from 1, 2 or 3 quadrants; negative conditional log-likelihood in nats.

Run with ``python -m reproductions.structured_prediction``; a run that is there already is taken up where it stands.
Published (test, over the predicted pixels): baseline NN 99.75 / 62.18 / 25.99, GSNN 99.82 / 62.41 / 26.29,
CVAE by Monte Carlo 68.39 / 45.34 / 20.96, CVAE by importance sampling (S = 100) 63.91 / 44.73 / 20.95.
The baseline is the calibration: its number depends on nothing but the pixel convention. Ours: pixels are binarised
afresh in training, once (by seed) in testing; networks of 2 × 500 ReLU units and z of 200, as in Pyro's tutorial.
"""

import argparse
from pathlib import Path

import fourfold as ff
from fourfold.runs import Run, resume

from .store import keep

__all__ = ["main"]


def main() -> None:
    """Train, score, keep the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--observed", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--kind", nargs="+", default=["baseline", "gsnn", "cvae"])
    parser.add_argument("--epochs", type=float, default=50)
    parser.add_argument("--samples", type=int, default=100, help="S of both estimates")
    parser.add_argument("--runs", type=Path, default=Path("runs/structured_prediction"))
    options = parser.parse_args()
    data = ff.data.mnist("larochelle")
    for observed in options.observed:
        for kind in options.kind:
            run = trained(options.runs / f"{kind}-{observed}", kind, observed, options.epochs, data)
            found = run.evaluate(importance_samples=options.samples, prior_samples=options.samples)
            keep("structured_prediction", found.rows)


def trained(folder: Path, kind: str, observed: int, epochs: float, data: ff.DataSet) -> Run:
    """The run in this folder, started or continued."""
    if (folder / "run.json").exists():
        return resume(folder, data, epochs=epochs)
    recipe = ff.recipes.structured_cvae(observed=observed, kind=kind)
    return ff.fit(recipe, data, epochs=epochs, patience=3, out=folder)


if __name__ == "__main__":
    main()
