"""The known data sets in one table; loading by name or path; and what is there, what is missing, how to get it."""

__all__ = ["CATALOG", "Entry", "Variant", "available", "load"]

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from .._checks import choice, unknown
from .._shapes import as_shape
from .arrays import from_file
from .dataset import DataSet, Split
from .hub import from_hub
from .known import (
    Content,
    amat_parts,
    chardata_parts,
    digits_parts,
    drawings_parts,
    frey_parts,
    idx_parts,
    small_parts,
)
from .locate import DataNotFound, File, content, data_root, fetch, find
from .splits import Parts
from .text import sentences_parts
from .vocabulary import Vocabulary


@final
@dataclass(frozen=True, slots=True)
class Variant:
    """One way to split a data set.

    Args:
        files: what it is read from. Each item is a file, or alternatives of which one is enough.
        read: content of the files and a seed to train, validation, test; and the vocabulary, of sentences.
        levels: as in :class:`~fourfold.data.DataSet`.
        classes: how many labels.
        seeded: whether the seed matters.
    """

    files: tuple[tuple[File, ...], ...]
    read: Callable[[Content, int], Parts | tuple[Split, Split, Split, Vocabulary]]
    levels: int | None
    classes: int | None
    seeded: bool = False


@final
@dataclass(frozen=True, slots=True)
class Entry:
    """A known data set: what it is, its splits (the first is the default), its origin and licence."""

    about: str
    splits: Mapping[str, Variant]
    origin: str


def _idx(folders: tuple[str, ...], md5: tuple[str, str, str, str], of_content: bool) -> tuple[tuple[File, ...], ...]:
    names = ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
    return tuple(
        (File(f"{name}-ubyte.gz", tuple(f"{folder}/{name}-ubyte.gz" for folder in folders), digest, of_content),)
        for name, digest in zip(names, md5, strict=True)
    )


_MNIST = _idx(
    ("https://ossci-datasets.s3.amazonaws.com/mnist", "https://storage.googleapis.com/cvdf-datasets/mnist"),
    (
        "6bbc9ace898e44ae57da46a324031adb",
        "a25bea736e30d166cdddb491f175f624",
        "2646ac647ad5339dbf082846283269ea",
        "27ae3e4e09519cfbb04c329615203637",
    ),
    of_content=True,
)
_FASHION = _idx(
    (
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com",
        "https://github.com/zalandoresearch/fashion-mnist/raw/master/data/fashion",
    ),
    (
        "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "25c81989df183df01b3e8a0aad5dffbe",
        "bef4ecab320f06d8554ea6380940ec79",
        "bb300cfdad3c16e7a12a480ee83cd310",
    ),
    of_content=False,
)
_LAROCHELLE = "http://www.cs.toronto.edu/~larocheh/public/datasets/binarized_mnist"
_AMAT = tuple(
    (File(f"binarized_mnist_{part}.amat", (f"{_LAROCHELLE}/binarized_mnist_{part}.amat",)),)
    for part in ("train", "valid", "test")
)
_BURDA = "https://github.com/yburda/iwae/raw/master/datasets/OMNIGLOT"
_LAKE = "https://github.com/brendenlake/omniglot/raw/master/python"


def _lake(name: str, md5: str | None = None) -> tuple[File, ...]:
    return (File(f"{name}.zip", (f"{_LAKE}/{name}.zip",), md5),)


_SST = ("train", "dev", "test")
_SIXTY = ("burda", "larochelle", "vamp")

CATALOG: dict[str, Entry] = {
    "digits": Entry(
        "1,797 grey 8 x 8 handwritten digits, carried by scikit-learn: nothing to download",
        {"random": Variant((), digits_parts, 256, 10, seeded=True)},
        "E. Alpaydin, C. Kaynak, UCI repository; CC BY 4.0",
    ),
    "mnist": Entry(
        "70,000 grey 28 x 28 handwritten digits",
        {split: Variant(_MNIST, idx_parts(split), 256, 10) for split in _SIXTY},
        "Y. LeCun, C. Cortes; CC BY-SA 3.0",
    ),
    "fashion_mnist": Entry(
        "70,000 grey 28 x 28 pictures of clothes",
        {split: Variant(_FASHION, idx_parts(split), 256, 10) for split in _SIXTY},
        "Zalando Research; MIT",
    ),
    "binarized_mnist": Entry(
        "MNIST binarised once, 50,000 + 10,000 + 10,000 (static MNIST)",
        {"larochelle": Variant(_AMAT, amat_parts, 2, None)},
        "H. Larochelle, after R. Salakhutdinov and I. Murray; CC BY-SA 3.0",
    ),
    "omniglot": Entry(
        "32,000 handwritten characters at 28 x 28; burda: the file of the IWAE paper, lake: the drawings, resized",
        {
            "burda": Variant(
                ((File("chardata.mat", (f"{_BURDA}/chardata.mat",)),),),
                chardata_parts,
                None,
                None,
            ),
            "lake": Variant(
                (
                    _lake("images_background", "68d2efa1b9178cc56df9314c21c6e718"),
                    _lake("images_evaluation", "6b91aef0f799c5bb55b94e3f2daec811"),
                ),
                drawings_parts,
                256,
                1623,
                seeded=True,
            ),
        },
        "B. Lake et al.; MIT",
    ),
    "omniglot_small": Entry(
        "the two small background sets of Omniglot, drawings resized to 28 x 28",
        {
            "random": Variant(
                (_lake("images_background_small1"), _lake("images_background_small2")),
                small_parts,
                256,
                None,
                seeded=True,
            )
        },
        "B. Lake et al.; MIT",
    ),
    "freyfaces": Entry(
        "1,965 grey 28 x 20 frames of one face",
        {
            "random": Variant(
                (
                    (
                        File("freyfaces.npz"),
                        File("frey_rawface.mat", ("https://cs.nyu.edu/~roweis/data/frey_rawface.mat",)),
                    ),
                ),
                frey_parts,
                256,
                None,
                seeded=True,
            )
        },
        "B. Frey; for research",
    ),
    "sentences": Entry(
        "11,855 tokenised sentences of film reviews, the Stanford Sentiment Treebank without its labels",
        {"given": Variant(tuple((File(f"sst_{part}.txt.gz"),) for part in _SST), sentences_parts, None, None)},
        "R. Socher et al. 2013",
    ),
}
"""Name to data set: the one table that loading, the command line and the documentation read."""


def load(
    name: str | Path,
    *,
    split: str | None = None,
    data_dir: str | Path | None = None,
    seed: int = 0,
    download: bool = True,
    size: int | tuple[int, int] | None = None,
) -> DataSet:
    """A data set by name, by path, or by the id of a Hugging Face repository.

    Args:
        name: a name of the table (``fourfold data`` lists them); a ``.npy`` or ``.npz`` file; a folder of ``.npy``
            shards; a folder or zip archive of images; a ``.txt`` or ``.txt.gz`` file, a sentence a line;
            ``hf:owner/name``.
        split: its name; None takes the default of the data set.
        data_dir: where the files of known data sets are; else ``$FOURFOLD_DATA``, else the cache folder.
        seed: of splits drawn at random.
        download: whether missing files may be downloaded.
        size: pixels, or (height, width), to resize one's own images to.

    Raises:
        DataNotFound: if a file is missing and cannot be had, with what to put where.
        ValueError: for unknown names and splits, and damaged files.

    Example:
        >>> load("digits")
        DataSet('digits', shape=(1, 8, 8), levels=256, classes=10, train 1,439, validation 179, test 179)
    """
    origin = {
        "name": str(name),
        "split": split,
        "data_dir": str(data_dir) if data_dir else None,
        "seed": seed,
        "size": size,
    }
    return _loaded(name, split, data_dir, seed, download, size).with_origin(origin)


def _loaded(
    name: str | Path,
    split: str | None,
    data_dir: str | Path | None,
    seed: int,
    download: bool,
    size: int | tuple[int, int] | None,
) -> DataSet:
    text = str(name)
    key = text.replace("-", "_")
    if key in CATALOG:
        return _load_known(key, split, data_dir, seed, download)
    pixels = None if size is None else as_shape(size, "load: size")
    pixels = pixels and (pixels * 2 if len(pixels) == 1 else pixels)
    if pixels is not None and len(pixels) != 2:
        raise ValueError(f"load: size must be pixels or (height, width), got {size!r}.")
    if text.startswith("hf:"):
        return from_hub(text.removeprefix("hf:"), split, seed, pixels)
    path = Path(name).expanduser()
    if not path.exists() and len(path.parts) == 1 and not path.suffix:
        raise DataNotFound(
            unknown("data set", text, CATALOG) + " Or give a file, a folder of images, or hf:owner/name."
        )
    return from_file(path, split, seed, pixels)


def _load_known(name: str, split: str | None, data_dir: str | Path | None, seed: int, download: bool) -> DataSet:
    entry = CATALOG[name]
    split = choice(split or next(iter(entry.splits)), entry.splits, f"data {name!r}: split")
    variant = entry.splits[split]
    files: dict[str, tuple[bytes, str]] = {}
    for alternatives in variant.files:
        file = next((one for one in alternatives if find(one, name, data_dir)), alternatives[-1])
        files[file.name] = content(fetch(file, name, data_dir, download), file)
    train, validation, test, *words = variant.read(files, seed)
    vocabulary = words[0] if words else None
    protocol: dict[str, Any] = {"split": split, "source": entry.origin}
    if variant.seeded:
        protocol["seed"] = seed
    if files:
        protocol["checksum"] = {file: md5 for file, (_, md5) in files.items()}
    if vocabulary is not None:
        protocol["vocabulary"] = vocabulary.protocol
    classes = variant.classes
    if classes is None and train.labels is not None:
        classes = 1 + max(
            int(part.labels.max()) for part in (train, validation, test) if part and part.labels is not None
        )
    return DataSet(name, train, validation, test, variant.levels, classes, protocol, vocabulary=vocabulary)


def available(data_dir: str | Path | None = None) -> list[dict[str, Any]]:
    """One JSON-able row per known data set: what it is, its splits, where it lives, what is missing, how to get it."""
    return [_row(name, entry, data_dir) for name, entry in CATALOG.items()]


def _row(name: str, entry: Entry, data_dir: str | Path | None) -> dict[str, Any]:
    missing = {
        split: [files[-1] for files in variant.files if not any(find(file, name, data_dir) for file in files)]
        for split, variant in entry.splits.items()
    }
    default = next(iter(entry.splits))
    folder = data_root(data_dir) / name
    urls = [file.urls[0] for file in missing[default] if file.urls]
    how = "nothing to do: it is here"
    if missing[default]:
        names = ", ".join(file.name for file in missing[default])
        how = f"put {names} into {folder}"
        if urls:
            how = f"downloaded on first use from {urls[0].rpartition('/')[0]}; or {how}"
    return {
        "name": name,
        "about": entry.about,
        "origin": entry.origin,
        "splits": list(entry.splits),
        "default_split": default,
        "present": not missing[default],
        "missing": {split: [file.name for file in files] for split, files in missing.items() if files},
        "folder": str(folder) if any(variant.files for variant in entry.splits.values()) else None,
        "how": how,
    }
