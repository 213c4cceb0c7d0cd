"""``fourfold compress`` and ``decompress``: images into a lossless file under a run's model, and back."""

__all__ = ["compress", "decompress"]

import argparse
import shlex
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .flags import Parser, trusted
from .show import as_json, columns, target

if TYPE_CHECKING:
    from ..compression import Compressed, Header, Images, Size
    from ..runs import Run

_PARTS = ("train", "validation", "test")
_KINDS = {"npy": "an .npy file", "npz": "an .npz file", "folder": "a folder of pictures", "zip": "a zip of pictures"}


def compress(words: Sequence[str]) -> int:
    """Compresses images with the model of a run, and says how well others do."""
    about = (
        "Images into a lossless file, by bits-back coding with the model of a run. IMAGES is an .npy or .npz file of "
        "uint8 or bool values, or a folder or zip of pictures (PNG, BMP, TIFF); without it, the run's own data are "
        "taken. Nothing is binarised or rounded. Decompressing needs the run."
    )
    usage = "fourfold compress RUN [IMAGES] OUT.ff [flags]"
    parser = Parser("compress", about, usage=usage)
    parser.add_argument("run", metavar="RUN", help="the run folder")
    parser.add_argument("files", nargs="+", metavar="FILE", help="[IMAGES] OUT.ff: what to compress, and into what")
    parser.add_argument("--data", metavar="NAME", help="in place of IMAGES: known data other than the run's")
    parser.add_argument("--split", choices=_PARTS, help="the part of such data, or of the run's own (default test)")
    parser.add_argument("--data-dir", metavar="DIR", help="where the files of known data are; else $FOURFOLD_DATA")
    parser.add_argument("--no-baselines", action="store_true", help="do not compare with gzip, bz2, xz, PNG and WebP")
    _add_model(parser)
    given = parser.read(words)
    source, out = _files(given)
    path = target(out, ".ff")
    from ..compression import baselines
    from ..compression import compress as write

    run = _open(given.run, given)
    images = _images(run, source, given)
    with _counting("coding", given) as show:
        found = write(run.model, images, path, about=_about(run, given.run), progress=show)
    others: list[Size] = []
    if not given.no_baselines:
        with _counting("comparing", given) as show:
            others = baselines(images, run.model.support == "binary", show)
    if given.json:
        print(as_json(_document(path, found, others, run)))
        return 0
    print(f"{path}: {_what(found.header)}; model {_model(found.header)}")
    print(_table(found, others))
    return 0


def decompress(words: Sequence[str]) -> int:
    """Shows what is in a compressed file, or gives it back."""
    about = (
        "What is in a file that fourfold compress wrote; with --out, the images themselves: every value, name and "
        "type as it was. Without --run the run is looked for where it was."
    )
    parser = Parser("decompress", about)
    parser.add_argument("file", metavar="FILE.ff", help="the compressed file")
    parser.add_argument("--run", metavar="RUN", help="the run that it was compressed with")
    help_text = "the .npy or .npz file, the zip, or the new folder of pictures: whichever it was"
    parser.add_argument("--out", metavar="PATH", help=help_text)
    _add_model(parser)
    given = parser.read(words)
    from ..compression import decompress as write
    from ..compression import open_compressed, writer_of
    from ..data.locate import make_folder

    _, found = open_compressed(given.file)
    header, size = found.header, found.size
    if given.out is not None:
        out = Path(given.out)
        writer_of(header, out)
        make_folder(out.parent, "Choose another with --out.")
        place = given.run or _found(header, Path(given.file))
        if place is None:
            raise ValueError(f"{given.file}: compressed with {_model(header)}, which is not there. Give --run RUN.")
        if given.checkpoint == "auto" and header.model.get("checkpoint") in ("last", "best"):
            given.checkpoint = header.model["checkpoint"]
        run = _open(place, given)
        with _counting("decoding", given) as show:
            write(run.model, given.file, out, show)
    if given.json:
        told = {"file": given.file, "size": size, "out": given.out, "header": header.to_dict(), **_numbers(found)}
        print(as_json(told))
    elif given.out is not None:
        print(f"{given.out}: {_what(header)}, exactly as compressed")
    else:
        print(_page(given.file, found))
    return 0


def _add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--checkpoint", default="auto", help="auto, last or best (default auto)")
    parser.add_argument("--trust", metavar="PKG", help="packages (a,b) outside fourfold whose code may be imported")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")


def _files(given: argparse.Namespace) -> tuple[str | None, str]:
    """What to compress (or None: data by name), and into what."""
    *sources, out = given.files
    if len(sources) > 1:
        raise ValueError(f"compress: wanted RUN [IMAGES] OUT.ff, got {len(sources) + 2} names. Put images in one file.")
    if sources and (given.data or given.split):
        raise ValueError("compress: IMAGES and --data or --split say two things. Leave one of them out.")
    return (sources[0] if sources else None), out


def _open(place: str, given: argparse.Namespace) -> "Run":
    from ..runs import Run

    return Run.open(place, trust=trusted(given.trust), checkpoint=given.checkpoint)


@contextmanager
def _counting(what: str, given: argparse.Namespace) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error."""
    from tqdm import tqdm

    with tqdm(desc=what, unit=" images", disable=True if given.quiet else None, delay=1) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def _images(run: "Run", source: str | None, given: argparse.Namespace) -> "Images":
    from ..compression import open_array, open_images
    from ..data import CATALOG, load

    shape, classes = tuple(run.folder.record()["spec"]["shape"]), _classes(run)
    if source is not None:
        return open_images(source, shape, classes)
    if given.data is not None and given.data.replace("-", "_") not in CATALOG:
        known = ", ".join(sorted(CATALOG))
        raise ValueError(f"--data: wanted known data ({known}), got {given.data!r}. A file stands before OUT.ff.")
    part = given.split or "test"
    data = run.dataset() if given.data is None else load(given.data, data_dir=given.data_dir)
    if part not in data.parts:
        raise ValueError(f"--split: {data.name} has no {part!r}; it has {', '.join(data.parts)}.")
    rows = data.parts[part]
    return open_array(rows.x, rows.labels, shape, classes, f"{data.name}, {part}")


def _classes(run: "Run") -> tuple[str, ...] | None:
    """The classes that the model is to be told, if it is conditioned on them."""
    if run.vocabulary is not None:
        raise ValueError(f"{run.path}: its model is of sentences, and only images are coded. Take a run of images.")
    if run.view.condition is None:
        return None
    if run.view.condition != "label":
        raise ValueError(
            f"{run.path}: its model predicts a part of an image from the rest, so it codes no whole images. "
            "Take a run of another recipe."
        )
    spec = run.folder.record()["spec"]
    return tuple(spec.get("class_names") or map(str, range(spec["classes"])))


def _about(run: "Run", place: str) -> dict[str, Any]:
    """What the file says of its model: a folder on another machine is no one's business but its name."""
    record = run.folder.record()
    return {
        "run": Path(place).resolve().name if Path(place).is_absolute() else Path(place).as_posix(),
        "recipe": record["recipe"].get("recipe"),
        "arguments": record["recipe"].get("arguments"),
        "checkpoint": run.checkpoint,
        "steps": run.outcome.step,
        "dataset": record["data"]["protocol"].get("dataset"),
        "split": record["data"]["protocol"].get("split"),
        "binarize": run.view.binarize,
    }


def _found(header: "Header", file: Path) -> str | None:
    """The run that the file names, if it is still where it was: from here, or from the file's folder."""
    name = header.model.get("run")
    if not isinstance(name, str) or Path(name).is_absolute():
        return None
    return next((str(at) for at in (Path(name), file.parent / name) if (at / "run.json").is_file()), None)


def _what(header: "Header") -> str:
    shape = " × ".join(map(str, header.shape))
    return f"{header.n:,} images of {shape} from {_KINDS[header.form['kind']]}"


def _model(header: "Header") -> str:
    told = header.model
    name = (
        f"{told['run']} ({told.get('recipe')}, {told.get('checkpoint')} checkpoint)" if told.get("run") else "a model"
    )
    return _printable(f"{name} of digest {told['digest']}")


def _printable(text: object) -> str:
    """Words of a file that anybody may have written, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in str(text))


def _coded(found: "Compressed") -> str:
    many = "1 block" if found.header.blocks == 1 else f"{found.header.blocks:,} blocks"
    return f"bits-back coding, {many}; {found.initial_bits // 8:,} bytes of it start the code"


def _numbers(found: "Compressed") -> dict[str, float]:
    """In bits per value: of the file, of the coded images, of what was needed to start, of the bound."""
    return {
        "bits_per_dim": found.per_dimension(8 * found.size),
        "coded_bits_per_dim": found.per_dimension(found.coded_bits),
        "initial_bits_per_dim": found.per_dimension(found.initial_bits),
        "bound_bits_per_dim": found.per_dimension(found.bound_bits),
    }


def _table(found: "Compressed", others: "Sequence[Size]") -> str:
    def row(name: str, size: int, about: str) -> tuple[str, ...]:
        return name, f"{size:,}", f"{found.per_dimension(8 * size):.4f}", about

    rows = [("", "bytes", "bits/dim", ""), row("fourfold", found.size, "the whole file")]
    rows.append(row("  coded images", found.coded_bits // 8, _coded(found)))
    if found.kept:
        rows.append(row("  kept with them", found.kept, "other arrays, labels, names"))
    rows.append(("−ELBO, quantised", "", f"{found.per_dimension(found.bound_bits):.4f}", "what the code aims at"))
    rows += [row(other.name, other.size, other.how) for other in others]
    wide = max(len(size) for _, size, *_ in rows)
    return columns([(name, f"{size:>{wide}}", *rest) for name, size, *rest in rows])


def _page(file: str, found: "Compressed") -> str:
    header, numbers = found.header, _numbers(found)
    bits = f"{numbers['bits_per_dim']:.4f} bits/dim; −ELBO, quantised: {numbers['bound_bits_per_dim']:.4f}"
    made = _printable(", ".join(f"{name} {version}" for name, version in header.versions.items()))
    place = shlex.quote(_printable(header.model.get("run") or "RUN"))
    out = {"npy": "images.npy", "npz": "images.npz"}.get(header.form["kind"], "images")
    rows = [
        ("images", _what(header)),
        ("size", f"{found.size:,} bytes, {bits}"),
        ("model", _model(header)),
        ("made with", made),
        ("state", "whole: every byte agrees with its digest"),
        ("to get them", f"fourfold decompress {shlex.quote(file)} --run {place} --out {out}"),
    ]
    return columns(rows)


def _document(path: Path, found: "Compressed", others: "Sequence[Size]", run: "Run") -> dict[str, Any]:
    """Every number as a row with its protocol."""
    from ..evaluation import Row

    header = found.header
    images = {"images": header.form["kind"], "shape": list(header.shape), "file": str(path)}
    protocol = {**run.protocol("given", 0), **images, "options": header.options, "versions": header.versions}
    numbers = _numbers(found)
    told: list[tuple[str, float, str, int | None]] = [
        ("bits_per_dim_file", numbers["bits_per_dim"], "the whole file", found.size),
        ("bits_per_dim_coded", numbers["coded_bits_per_dim"], _coded(found), found.coded_bits // 8),
        ("bits_per_dim_bound", numbers["bound_bits_per_dim"], "quantised −ELBO, 1 draw", None),
    ]
    told += [
        ("bits_per_dim_file", found.per_dimension(8 * other.size), f"{other.name}, {other.how}", other.size)
        for other in others
    ]
    rows = [
        Row(metric, value, "bits/dim", None, estimator, header.n, {**protocol, "bytes": size}).to_dict()
        for metric, value, estimator, size in told
    ]
    return {"file": str(path), "size": found.size, **numbers, "header": header.to_dict(), "rows": rows}
