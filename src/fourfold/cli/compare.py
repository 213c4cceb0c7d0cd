"""``fourfold compare-samples``: do two files of data come from one distribution?"""

__all__ = ["compare_samples"]

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .._checks import positive, positive_int
from .._version import __version__
from .flags import Parser
from .show import as_json

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..noise import Noise
    from ..statistics import Finding, Kernel

_NAMES = ("x", "z", "data", "images", "features", "arr_0")
_KERNELS = ("rbf", "laplace", "imq", "polynomial")
_LEAST = 10
_FEWEST = 19  # p is at least 1 / (permutations + 1): with fewer it could never be 0.05


def compare_samples(words: Sequence[str]) -> int:
    """Tests whether two samples come from one distribution, and says how sure that is."""
    parser = Parser("compare-samples", "Do two samples come from one distribution? Rows of two .npy or .npz files.")
    parser.add_argument("first", metavar="A", help="an .npy, or an .npz with x (of sample), z (of encode) or one array")
    parser.add_argument("second", metavar="B", help="the other file")
    parser.add_argument("--array", metavar="NAME", help="which array of the .npz files")
    help_text = "mmd (one kernel, the default), mmdagg (20 bandwidths at once), linear (for very many rows)"
    parser.add_argument("--test", choices=("mmd", "mmdagg", "linear"), default="mmd", help=help_text)
    parser.add_argument("--kernel", choices=_KERNELS, help="of mmd and linear (default rbf)")
    help_text = "of the kernel, or sigma=median (the default) or 2sigma^2=median^2, of the distances in both files"
    parser.add_argument("--bandwidth", metavar="NUMBER", help=help_text)
    help_text = "permutations (default 500), or of mmdagg simulations of each kind (default 2000)"
    parser.add_argument("--permutations", type=int, metavar="N", help=help_text)
    parser.add_argument("--rows", type=int, metavar="N", help="N drawn rows of each file instead of all")
    parser.add_argument("--seed", type=int, default=0, help="of permutations and of drawn rows (default 0)")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    given = parser.read(words)
    _check(given)
    arrays = [_read(Path(name), given.array) for name in (given.first, given.second)]
    _comparable(given, *arrays)
    from ..noise import Noise

    noise = Noise(given.seed, stream="compare-samples")
    x, y = (_points(array, given.rows, noise.fork(name)) for array, name in zip(arrays, "ab", strict=True))
    found = _tested(given, x, y, noise)
    if given.json:
        protocol = {"first": given.first, "second": given.second, "seed": given.seed, "fourfold": __version__}
        print(as_json({**found.to_dict(), "verdict": found.verdict(), **protocol}))
        return 0
    told = [f"{name}: {len(z):,} rows of {z.shape[1]:,} numbers" for name, z in ((given.first, x), (given.second, y))]
    print("\n".join([*told, f"{found.name} = {found.statistic:.4g}, p = {found.p_value:.4g}", found.verdict()]))
    print(f"{found.kernel}; {found.method}; seed {given.seed}")
    return 0


def _check(given: argparse.Namespace) -> None:
    """Refuses values, and flags that the test has no use for, before any file is read."""
    for name in ("permutations", "rows"):
        if getattr(given, name) is not None:
            positive_int(getattr(given, name), f"--{name}")
    if given.permutations is not None and given.permutations < _FEWEST:
        raise ValueError(
            f"compare-samples: --permutations {given.permutations} can give no p below "
            f"{1 / (given.permutations + 1):.2g}, so nothing could ever differ at 0.05. Give at least {_FEWEST}."
        )
    idle = {"mmdagg": ("kernel", "bandwidth"), "linear": ("permutations",), "mmd": ()}[given.test]
    if given.kernel == "polynomial":
        idle = (*idle, "bandwidth")
    for name in idle:
        if getattr(given, name) is not None:
            what = f"--kernel {given.kernel}" if given.kernel == "polynomial" else f"--test {given.test}"
            raise ValueError(f"compare-samples: {what} takes no --{name}. Leave it out.")


def _read(path: Path, name: str | None) -> "np.ndarray":
    """The array of a file."""
    import io

    import numpy as np

    from ..data.readers import read_npz

    if path.is_dir() or path.suffix not in (".npy", ".npz"):
        raise ValueError(f"{path}: wanted an .npy or .npz file. Save your array with np.savez(file, x=...).")
    content = path.read_bytes()
    if path.suffix == ".npy":
        try:
            array = np.load(io.BytesIO(content), allow_pickle=False)
        except Exception as error:  # damaged files raise many kinds
            raise ValueError(f"{path} cannot be read as .npy: {error}. Save it with np.save(file, array).") from None
        if not isinstance(array, np.ndarray):
            raise ValueError(f"{path} is an .npz file by its content. Name it so.")
    else:
        arrays = read_npz(content, str(path))
        known = [one for one in _NAMES if one in arrays] or (list(arrays) if len(arrays) == 1 else [])
        wanted = name or next(iter(known), None)
        if wanted not in arrays:
            asked = f"has no array {name!r}" if name else "has several arrays"
            raise ValueError(f"{path} {asked}: {', '.join(arrays) or 'none'}. Choose one with --array.")
        array = arrays[wanted]
    if array.ndim < 1 or array.dtype.kind not in "biuf":
        raise ValueError(f"{path}: wanted rows of real numbers, got {array.dtype} of shape {array.shape}.")
    return array


def _comparable(given: argparse.Namespace, first: "np.ndarray", second: "np.ndarray") -> None:
    """Refuses arrays whose comparison would say nothing."""
    import numpy as np

    for name, array in ((given.first, first), (given.second, second)):
        if len(array) < _LEAST:
            raise ValueError(f"{name}: at least {_LEAST} rows are needed, got {len(array)}.")
        if not array[0].size:
            raise ValueError(f"{name}: its rows are empty, the shape is {array.shape}.")
        if (broken := ~np.isfinite(array.reshape(len(array), -1)).all(1)).any():
            raise ValueError(
                f"{name}: row {int(broken.argmax())} has numbers that are not finite, and {broken.sum()} rows in all. "
                "Leave them out."
            )
    if first[0].size != second[0].size:
        raise ValueError(
            f"{given.first} has rows of shape {first.shape[1:]}, {given.second} of {second.shape[1:]}: they differ."
        )
    if (first.dtype.kind == "f") != (second.dtype.kind == "f") and max(np.abs(a).max() for a in (first, second)) > 1:
        raise ValueError(
            f"{given.first} has {first.dtype} up to {first.max():g}, {given.second} has {second.dtype} up to "
            f"{second.max():g}: bring them to one scale, such as x / 255."
        )
    if given.test == "linear" and len(first) != len(second) and given.rows is None:
        smaller = min(len(first), len(second))
        raise ValueError(
            f"--test linear needs as many rows of each, got {len(first)} and {len(second)}: --rows {smaller}."
        )
    if given.rows and given.rows > min(len(first), len(second)):
        raise ValueError(f"--rows {given.rows}: the smaller file has {min(len(first), len(second))}.")


def _points(array: "np.ndarray", rows: int | None, noise: "Noise") -> "Tensor":
    import numpy as np
    import torch

    x = torch.from_numpy(np.ascontiguousarray(array.reshape(len(array), -1).astype(_precision(array))))
    return x if rows is None else x[noise.uniform((len(x),)).argsort()[:rows]]


def _precision(array: "np.ndarray") -> str:
    return "float64" if array.dtype.itemsize > 4 else "float32"


def _tested(given: argparse.Namespace, x: "Tensor", y: "Tensor", noise: "Noise") -> "Finding":
    from ..statistics import mmd_agg_test, mmd_test

    if given.test == "mmdagg":
        return mmd_agg_test(x, y, simulations=given.permutations or 2000, noise=noise.fork("simulations"))
    estimator = "linear" if given.test == "linear" else "unbiased"
    kernel, count, key = _kernel(given, x, y, noise.fork("bandwidth")), given.permutations or 500, noise.fork("test")
    return mmd_test(x, y, kernel, estimator=estimator, permutations=count, noise=key)


def _kernel(given: argparse.Namespace, x: "Tensor", y: "Tensor", noise: "Noise") -> "Kernel":
    """The kernel, with the bandwidth that was given or the median distance; C of an imq is its square."""
    import torch

    from ..statistics import CONVENTIONS, IMQ, RBF, Laplace, Polynomial, median_distance

    if given.kernel == "polynomial":
        return Polynomial()
    said = given.bandwidth or "sigma=median"
    if said in CONVENTIONS:
        length = median_distance(torch.cat((x, y)), noise, 1 if given.kernel == "laplace" else 2) * CONVENTIONS[said]
    else:
        try:
            length = positive(float(said), "--bandwidth")
        except ValueError:
            wanted = " or ".join(CONVENTIONS)
            raise ValueError(f"--bandwidth: wanted a number above 0, {wanted}, got {said!r}.") from None
    return {None: RBF, "rbf": RBF, "laplace": Laplace, "imq": lambda length: IMQ(length**2)}[given.kernel](length)
