"""``fourfold sample``, ``reconstruct``, ``traverse`` and ``report``: pictures of a run, or its sentences."""

__all__ = ["reconstruct", "report", "sample", "traverse"]

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .._checks import positive_int
from .._files import whole
from .flags import Parser
from .show import target
from .subject import add_data, add_run, open_run, subject

if TYPE_CHECKING:
    from ..runs import Run


def sample(words: Sequence[str]) -> int:
    """Draws from the model, as a picture or an array."""
    about = "Draws from the model: a picture in RUN/pictures, or --out FILE.png, or FILE.npz (x); of sentences text."
    parser = Parser("sample", about)
    add_run(parser)
    parser.add_argument("-n", type=int, default=64, help="how many (default 64)")
    parser.add_argument("--label", type=int, help="the class to draw, of a model that is given labels")
    parser.add_argument("--draw", action="store_true", help="draws from p(x|z), such as data are, and not its means")
    parser.add_argument("--out", metavar="FILE", help="a .png, or an .npz of the array x; a .txt of sentences")
    given = parser.read(words)
    positive_int(given.n, "sample: n")
    path = target(given.out, ".png", ".npz", ".txt") if given.out else None
    run = open_run(given)
    _warn_of_no_prior(run)
    if run.vocabulary is not None and not (path and path.suffix == ".npz"):
        return _tell(_sentences(run, given.n, given.label, given.seed), path)
    _refuse_text(path)
    if path and path.suffix == ".npz":
        _write_samples(run, given, path)
    else:
        from ..runs.gallery import draw_samples

        path = draw_samples(run, given.n, given.label, given.seed, path, given.draw)
    print(path)
    return 0


def reconstruct(words: Sequence[str]) -> int:
    """Draws data beside their reconstructions."""
    about = "Data beside their reconstructions: a picture in RUN/pictures, or --out FILE.png; of sentences text."
    parser = Parser("reconstruct", about)
    add_run(parser)
    add_data(parser)
    parser.add_argument("-n", type=int, default=10, help="how many data (default 10)")
    parser.add_argument("--out", metavar="FILE", help="a .png; a .txt of sentences")
    given = parser.read(words)
    positive_int(given.n, "reconstruct: n")
    path = target(given.out, ".png", ".txt") if given.out else None
    from ..runs.gallery import draw_reconstructions

    run, part = subject(open_run(given), given)
    if run.vocabulary is not None:
        from ..runs.sentences import reconstructed

        pairs = reconstructed(run, given.n, given.seed, part)
        return _tell([line for pair in pairs for line in (f"data   {pair[0]}", f"model  {pair[1]}")], path)
    _refuse_text(path)
    print(draw_reconstructions(run, given.n, given.seed, path, part))
    return 0


def traverse(words: Sequence[str]) -> int:
    """Draws one datum with one latent at a time through its range."""
    parser = Parser("traverse", "One latent at a time through its range, from one datum: a picture in RUN/pictures.")
    add_run(parser)
    add_data(parser)
    parser.add_argument("--index", type=int, default=0, help="the row to start from (default 0)")
    parser.add_argument("--out", metavar="FILE", help="a .png")
    given = parser.read(words)
    path = target(given.out, ".png") if given.out else None
    from ..runs.gallery import draw_traversal

    run, part = subject(open_run(given), given)
    print(draw_traversal(run, given.index, given.seed, path, part))
    return 0


def report(words: Sequence[str]) -> int:
    """Draws all pictures and writes the page."""
    parser = Parser("report", "All pictures and report.html, into the run folder.")
    add_run(parser)
    run = open_run(parser.read(words))
    page = run.report()
    for picture in sorted(run.folder.pictures().iterdir()):
        print(picture)
    print(page)
    return 0


def _sentences(run: "Run", n: int, label: int | None, seed: int) -> list[str]:
    from ..runs.sentences import sampled

    if label is not None:
        raise ValueError("label was given, but this model is not conditioned on a label. Leave it out.")
    return sampled(run, n, seed)


def _tell(lines: Sequence[str], path: Path | None) -> int:
    """Prints lines, or writes them into a .txt file."""
    if path is None:
        print("\n".join(lines))
        return 0
    if path.suffix != ".txt":
        raise ValueError(f"--out: sentences make no picture: wanted a name that ends in .txt, got {str(path)!r}.")
    with whole(path) as file:
        file.write(("\n".join(lines) + "\n").encode())
    print(path)
    return 0


def _refuse_text(path: Path | None) -> None:
    if path is not None and path.suffix == ".txt":
        raise ValueError("--out: this run is of no sentences: wanted a name that ends in .png, got a .txt.")


def _warn_of_no_prior(run: "Run") -> None:
    """An autoencoder decodes draws of a prior that its latents do not follow: that is said, and done."""
    from ..runs.gallery import unheld

    if unheld(run):
        import warnings

        warnings.warn(
            "sample: an autoencoder has no prior that its latents follow: these are decoded draws of one that no "
            "training held them to. For samples train a vae; for the autoencoder's own work: fourfold reconstruct.",
            stacklevel=2,
        )


def _write_samples(run: "Run", given: argparse.Namespace, path: Path) -> None:
    import numpy as np

    from ..runs.gallery import samples

    x, _ = samples(run, given.n, given.label, given.seed, draw=given.draw)
    with whole(path) as file:
        np.savez(file, x=x)
