"""``fourfold sample``, ``reconstruct``, ``traverse``, ``interpolate`` and ``report``: pictures, or sentences."""

__all__ = ["interpolate", "reconstruct", "report", "sample", "traverse"]

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
    help_text = "factor on the standard deviations of p(z): one for all levels, or 1,1,0.7 from the top (default 1)"
    parser.add_argument("--temperature", default="1", metavar="T", help=help_text)
    parser.add_argument("--out", metavar="FILE", help="a .png, or an .npz of the array x; a .txt of sentences")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress bar")
    given = parser.read(words)
    positive_int(given.n, "sample: n")
    path = target(given.out, ".png", ".npz", ".txt") if given.out else None
    run = open_run(given)
    _warn_of_no_prior(run)
    if run.vocabulary is not None and given.draw:
        raise ValueError("--draw: sentences are draws in any case. Leave it out.")
    if run.vocabulary is not None and not (path and path.suffix == ".npz"):
        return _tell(_sentences(run, given), path)
    _refuse_text(path)
    print(_write_samples(run, given, path))
    return 0


def reconstruct(words: Sequence[str]) -> int:
    """Draws data beside their reconstructions."""
    about = "Data beside their reconstructions: a picture in RUN/pictures, or --out FILE.png; of sentences text."
    parser = Parser("reconstruct", about)
    add_run(parser)
    add_data(parser)
    parser.add_argument("-n", type=int, default=10, help="how many data (default 10)")
    help_text = "keep the K upper levels of latents as inferred, and draw those below from p given them"
    parser.add_argument("--keep-top", type=int, metavar="K", help=help_text)
    help_text = "keep the K lower levels as inferred, and draw those above from the prior"
    parser.add_argument("--keep-bottom", type=int, metavar="K", help=help_text)
    parser.add_argument("--draws", type=int, metavar="N", help="with either, of each datum (default 6)")
    help_text = "with either, factor on the deviations of what is drawn: one for all levels, or 1,1,0.7 from the top"
    parser.add_argument("--temperature", metavar="T", help=help_text)
    parser.add_argument("--out", metavar="FILE", help="a .png; a .txt of sentences")
    given = parser.read(words)
    positive_int(given.n, "reconstruct: n")
    path = target(given.out, ".png", ".txt") if given.out else None
    from ..runs.gallery import draw_reconstructions

    run, part = subject(open_run(given), given)
    _refuse_what_cannot_act(given, run.vocabulary is not None)
    if run.vocabulary is not None:
        from ..runs.sentences import reconstructed

        pairs = reconstructed(run, given.n, given.seed, part)
        return _tell([line for pair in pairs for line in (f"data   {pair[0]}", f"model  {pair[1]}")], path)
    _refuse_text(path)
    if given.keep_top is None and given.keep_bottom is None:
        print(draw_reconstructions(run, given.n, given.seed, path, part))
        return 0
    from ..runs.levels import Resampling, draw_resampled

    draws, heat = 6 if given.draws is None else given.draws, _temperature(given.temperature or "1")
    how = Resampling(given.keep_top, given.keep_bottom, draws, heat)
    print(draw_resampled(run, how, given.n, given.seed, path, part))
    return 0


def traverse(words: Sequence[str]) -> int:
    """Draws one datum with one latent at a time through its range."""
    parser = Parser("traverse", "One latent at a time through its range, from one datum: a picture in RUN/pictures.")
    add_run(parser)
    add_data(parser)
    parser.add_argument("--index", type=int, default=0, help="the row to start from (default 0)")
    parser.add_argument("--level", type=int, metavar="K", help="of which level, 1 the top (default 1)")
    help_text = "of maps of latents, move a channel at all places together, and not each of its elements"
    parser.add_argument("--channels", action="store_true", help=help_text)
    parser.add_argument("--out", metavar="FILE", help="a .png")
    given = parser.read(words)
    path = target(given.out, ".png") if given.out else None
    from ..runs.gallery import draw_traversal
    from ..runs.levels import Moving, draw_level_traversal

    run, part = subject(open_run(given), given)
    flat = len(run.model.latent_shapes) == 1 and len(run.model.latent_shapes[0]) == 1
    if flat and given.level in (None, 1) and not given.channels:
        print(draw_traversal(run, given.index, given.seed, path, part))
    else:
        how = Moving(1 if given.level is None else given.level, given.index, channels=given.channels)
        print(draw_level_traversal(run, how, given.seed, path, part))
    return 0


def interpolate(words: Sequence[str]) -> int:
    """Draws the way from one datum to another, or tells it in sentences."""
    about = "The way from one datum to another through their latents: a picture in RUN/pictures; of sentences text."
    parser = Parser("interpolate", about)
    add_run(parser)
    add_data(parser)
    parser.add_argument("--from", dest="start", type=int, default=0, metavar="I", help="the row it begins with (0)")
    parser.add_argument("--to", dest="end", type=int, default=1, metavar="J", help="the row it ends with (1)")
    parser.add_argument("--steps", type=int, default=9, metavar="N", help="how many, both ends among them (default 9)")
    help_text = "let one level of latents move alone, 1 the top; all by default"
    parser.add_argument("--level", type=int, metavar="K", help=help_text)
    parser.add_argument("--out", metavar="FILE", help="a .png; a .txt of sentences")
    given = parser.read(words)
    path = target(given.out, ".png", ".txt") if given.out else None
    run, part = subject(open_run(given), given)
    if run.vocabulary is not None:
        from ..runs.sentences import interpolated

        if given.level is not None:
            raise ValueError("--level: sentences are interpolated in all levels. Leave it out.")
        return _tell(interpolated(run, given.start, given.end, given.steps, part), path)
    _refuse_text(path)
    from ..runs.levels import Way, draw_interpolation

    print(draw_interpolation(run, Way(given.start, given.end, given.steps, given.level), given.seed, path, part))
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


def _temperature(text: str) -> float | list[float]:
    """One number, or one for each level from the top."""
    try:
        numbers = [float(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(f"--temperature: wanted a number, or one a level such as 1,1,0.7, got {text!r}.") from None
    return numbers[0] if len(numbers) == 1 else numbers


def _refuse_what_cannot_act(given: argparse.Namespace, sentences: bool) -> None:
    """Refuses the options of reconstruct that would change nothing."""
    kept = given.keep_top is not None or given.keep_bottom is not None
    for name in ("keep_top", "keep_bottom", "draws", "temperature"):
        flag = "--" + name.replace("_", "-")
        if getattr(given, name) is not None and sentences:
            raise ValueError(f"{flag}: nothing is drawn anew when sentences are reconstructed. Leave it out.")
        if getattr(given, name) is not None and not kept:
            raise ValueError(f"{flag}: without --keep-top or --keep-bottom nothing is drawn anew. Add one of them.")


def _sentences(run: "Run", given: argparse.Namespace) -> list[str]:
    from ..runs.levels import check_temperature
    from ..runs.sentences import sampled

    if given.label is not None:
        raise ValueError("label was given, but this model is not conditioned on a label. Leave it out.")
    heat = _temperature(given.temperature)
    check_temperature(heat, len(run.model.latent_shapes), "sample")
    return sampled(run, given.n, given.seed, heat)


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


def _write_samples(run: "Run", given: argparse.Namespace, path: Path | None) -> Path:
    """Draws, with a bar on standard error where they are made element by element; as a picture or an array."""
    import numpy as np
    from tqdm import tqdm

    from ..runs.gallery import Drawing, keep_samples, samples

    with tqdm(unit=" pixels", disable=True if given.quiet else None, delay=1) as bar:

        def show(done: int, total: int) -> None:
            if done < bar.n:  # the latents are drawn, and now the data
                bar.reset(total)
            bar.total = total
            bar.update(done - bar.n)

        how = Drawing(given.draw, _temperature(given.temperature))
        x, title = samples(run, given.n, given.label, given.seed, how=how, progress=show)
    if path is None or path.suffix != ".npz":
        return keep_samples(run, x, title, path)
    with whole(path) as file:
        np.savez(file, x=x)
    return path
