"""What a metric of disentanglement costs, of 10,000 rows and 10 codes: Fourfold, and disent where it has the metric.

Run with `python -m benchmarks.disentanglement`; `--boosted` also times DCI by boosted trees, minutes a round. The codes
are those of dSprites' factors, randomly rotated, beside five dead ones, and both programs are given the same arrays. No
interval, no controls: `measure` takes four sets of codes and replicates beside. The metric of FactorVAE draws and
encodes its own 970,000 data, here for nothing: the encoder is a product of matrices. Both are asked for their values
too, which must agree where nothing is drawn by chance.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from types import ModuleType

import numpy as np

from benchmarks.harness import Absent, Protocol, machine, save, show, timed
from benchmarks.processes import Spec, Worker, crew, race_processes
from benchmarks.training import parser_of

__all__ = ["disent", "main", "ours"]

SIZES = (3, 6, 40, 32, 32)
LATENTS = 10


def _encoder() -> Callable[[np.ndarray], np.ndarray]:
    from scipy.stats import ortho_group

    turn = np.zeros((len(SIZES), LATENTS))
    turn[:, : len(SIZES)] = ortho_group.rvs(len(SIZES), random_state=7)
    return lambda factors: (factors / (np.array(SIZES) - 1)) @ turn


def _factors(n: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(SIZES, size=(n, len(SIZES)))


def ours(metric: str, rows: int, value: bool = False) -> Callable[[], float]:
    """One metric by Fourfold."""
    from fourfold.data import Factor
    from fourfold.evaluation import disentanglement as d

    about = tuple(Factor(f"v{k}", "ordinal", values=tuple(range(size))) for k, size in enumerate(SIZES))
    encode = _encoder()
    train, test = (
        d.Sample(encode(factors), factors, about) for factors in (_factors(rows, 0), _factors(max(rows // 2, 50), 1))
    )
    votes = d.FactorProtocol(train=rows, test=max(rows // 2, 50), variance=rows)
    rng = np.random.default_rng(0)
    pieces: dict[str, Callable[[], d.Score]] = {
        "MIG": lambda: d.mig_dlib(train),
        "SAP": lambda: d.sap(train, test),
        "FactorVAE": lambda: d.factor_vae(d.Sampled(about, encode), rng, votes),
        "DCI, boosted trees": lambda: d.dci_boosted(train, test).disentanglement,
        "DCI, random trees": lambda: d.dci_forest(train, test).disentanglement,
        "DCI, lasso": lambda: d.dci_lasso(train, test).disentanglement,
        "MIC_e, all rows": lambda: d.mic_scores(train, rng, rows=rows)[0],
        "MIC_e, 2,000 rows": lambda: d.mic_scores(train, rng)[0],
    }
    return (lambda: pieces[metric]().value) if value else timed(pieces[metric])


def disent(metric: str, rows: int, value: bool = False) -> Callable[[], float]:
    """The same by disent, in the environment of the peers.

    Raises:
        Absent: where it is not.
    """
    _without_torchvision()
    try:
        from disent.metrics import _dci, _factor_vae, _mig, _sap
    except ImportError as error:
        raise Absent(f"disent is not there: {error}. See benchmarks/README.md.") from None
    encode = _encoder()
    parts = [_factors(rows, 0), _factors(max(rows // 2, 50), 1)]
    (z, v), (z_test, v_test) = ((encode(factors).T, factors.T) for factors in parts)
    data = _Drawn(encode)
    votes = {"num_train": rows, "num_eval": max(rows // 2, 50), "num_variance_estimate": rows}
    pieces: dict[str, Callable[[], float]] = {
        "MIG": lambda: _mig._compute_mig(z, v)["mig.discrete_score"],
        "SAP": lambda: _sap._compute_sap(z, v, z_test, v_test, False)["sap.score"],
        "FactorVAE": lambda: _factor_vae.metric_factor_vae(data, lambda x: x, **votes)["factor_vae.eval_accuracy"],
        "DCI, boosted trees": lambda: _dci._compute_dci(z, v, z_test, v_test)["dci.disentanglement"],
    }
    if metric not in pieces:
        raise Absent("disent does not have it")
    return (lambda: float(pieces[metric]())) if value else timed(pieces[metric])


class _Drawn:
    """What disent asks of a data set: factors drawn by chance, and their codes instead of images."""

    def __init__(self, encode: Callable[[np.ndarray], np.ndarray]) -> None:
        self._encode, self._rng, self.num_factors, self.gt_data = encode, np.random.default_rng(0), len(SIZES), self

    def sample_factors(self, n: int) -> np.ndarray:
        return self._rng.integers(SIZES, size=(n, len(SIZES)))

    def dataset_batch_from_factors(self, factors: np.ndarray, mode: str) -> np.ndarray:
        return self._encode(factors)

    def dataset_sample_batch(self, n: int, mode: str) -> np.ndarray:
        return self._encode(self.sample_factors(n))


def _without_torchvision() -> None:
    """An empty torchvision, where the real one is missing: disent imports it for images, and metrics have none."""
    try:
        import torchvision  # noqa: F401  # pyright: ignore[reportMissingImports]
    except (ImportError, RuntimeError):  # the latter if it was built for another torch
        for name in list(sys.modules):
            if name.split(".")[0] == "torchvision":
                del sys.modules[name]
        with suppress(ImportError):
            import lightning  # noqa: F401  # it looks whether torchvision is there, and must find that it is not
        for name in ("", ".transforms", ".transforms.functional", ".datasets", ".models"):
            sys.modules[f"torchvision{name}"] = ModuleType(f"torchvision{name}")
        sys.modules["torchvision.datasets"].ImageFolder = object  # type: ignore[attr-defined]
        sys.modules["torchvision.models"].vgg19_bn = None  # type: ignore[attr-defined]


def _values(metric: str, rows: int, threads: int) -> dict[str, float]:
    """What each program says of the same codes."""
    arguments = {"metric": metric, "rows": rows, "value": True}
    specs = [
        Spec("fourfold", "benchmarks.disentanglement:ours", arguments),
        Spec("disent", "benchmarks.disentanglement:disent", arguments, peer=True),
    ]
    with crew(specs, threads, quiet=True) as workers:
        return {name: worker.run() for name, worker in workers.items() if isinstance(worker, Worker)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the arguments, race, print, write the JSON."""
    parser = parser_of(__doc__)
    parser.set_defaults(rounds=5, warmup=1)
    parser.add_argument("--boosted", action="store_true", help="DCI by boosted trees too: minutes a round, one round")
    options = parser.parse_args(arguments)
    rows = 300 if options.trial else 10_000
    names = ["MIG", "SAP", "FactorVAE", "DCI, lasso", "DCI, random trees", "MIC_e, 2,000 rows", "MIC_e, all rows"]
    before, tables, facts, values = machine(options.threads), {}, {}, {}
    rounds, warmup = (1, 0) if options.trial else (options.rounds, options.warmup)
    races = [(name, Protocol(rounds, warmup, "ms", 1e3)) for name in names]
    if options.boosted:
        races.append(("DCI, boosted trees", Protocol(1, 0, "ms", 1e3)))
    for name, protocol in races:
        given = {"metric": name, "rows": rows}
        specs = [
            Spec("disent", "benchmarks.disentanglement:disent", given, peer=True),
            Spec("fourfold", "benchmarks.disentanglement:ours", given),
        ]
        title = f"{name}, {rows:,} × {LATENTS}"
        tables[title], facts[title] = race_processes(specs, ("disent",), protocol, options.threads)
        show(title, tables[title], ("disent",), protocol)
        if name in ("MIG", "SAP", "FactorVAE"):
            values[name] = _values(name, rows, options.threads)
            print("  ".join(f"{who}: {value:.4f}" for who, value in values[name].items()))
    about = {"rows": rows, "values": values, "workers": facts, "trial": options.trial, "machine": before}
    save("disentanglement", tables, Protocol(rounds, warmup, "ms", 1e3), about, options.out)


if __name__ == "__main__":
    main()
