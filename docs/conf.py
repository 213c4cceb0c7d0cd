"""How the documentation is built: Sphinx and MyST, offline, with two chapters written from the code itself."""

import importlib
import json
import pkgutil
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import ziamath
from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

import fourfold

project = "Fourfold"
author = "The Fourfold authors"
copyright = author
version = release = fourfold.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
]
exclude_patterns = ["_build"]

myst_enable_extensions = ["amsmath", "colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_typehints = "none"
autodoc_default_options = {"members": True, "show-inheritance": True}
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_attr_annotations = False  # a shape such as "S B *latent" is no markup

html_math_renderer = "svg"
html_theme = "furo"
html_title = f"Fourfold {version}"
html_show_sphinx = False

HERE = Path(__file__).parent
EM = 18  # a formula's size in its own units: it is scaled to the text around it
ziamath.config.svg2 = False  # glyphs as paths, so that two formulas on one page share no names
NOTICE = "<!-- Written by docs/conf.py when the documentation is built. -->\n\n"


def row(*cells: object) -> str:
    """A row of a table in Markdown."""
    return "".join("| " + str(cell).replace("|", "\\|") + " " for cell in cells) + "|\n"


def write_chapter(name: str, index: str, pages: dict[str, str]) -> None:
    """Replace a folder of pages: what is no longer in the code leaves no page behind."""
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    toctree = "\n".join(["```{toctree}", ":maxdepth: 1", "", *pages, "```", ""])
    for page, text in {"index": index + toctree, **pages}.items():
        (folder / f"{page}.md").write_text(NOTICE + text, encoding="utf-8")


def write_reference(app: Sphinx) -> None:
    """One page for each room, with everything that its ``__all__`` declares."""
    rooms = sorted(found.name for found in pkgutil.iter_modules(fourfold.__path__) if not found.name.startswith("_"))
    rooms.insert(rooms.index("evaluation") + 1, "evaluation.disentanglement")
    pages = {room: f"# fourfold.{room}\n\n```{{eval-rst}}\n.. automodule:: fourfold.{room}\n```\n" for room in rooms}
    write_chapter("api", "# Reference\n\nEvery room of the library, and what it offers.\n\n", pages)


def write_recipes(app: Sphinx) -> None:
    """One page for each recipe, from the table that also feeds the command line."""
    table = importlib.import_module("fourfold.recipes").TABLE
    pages = {name: recipe_page(recipe) for name, recipe in table.items()}
    index = "# Recipes\n\nEach published system is a function that picks one thing from each room. "
    index += "Published numbers are cited as the literature gives them; *not checked* marks those we are unsure of.\n\n"
    index += "| recipe | what it is |\n|---|---|\n"
    index += "".join(f"| [{name}]({name}.md) | {recipe.summary} |\n" for name, recipe in table.items())
    write_chapter("recipes", index + "\n", pages)


def short_names(annotation: str) -> str:
    """A type without the modules that its parts come from."""
    return re.sub(r"(\w+\.)+(?=\w)", "", annotation)


def ours(name: str) -> str:
    """What the recipe came to in the flat table, one sentence an entry."""
    path = HERE.parent / "reproductions" / "results" / "flat_table.json"
    rows = [row for row in json.loads(path.read_text()) if row["protocol"]["recipe"] == name]
    entries: dict[str, dict[str, dict]] = {}
    for found in rows:
        entries.setdefault(found["protocol"]["entry"], {})[found["metric"]] = found
    told = "".join(f"- `{entry}`: {'; '.join(said(metrics))}.\n" for entry, metrics in entries.items())
    if not told:
        return "**Ours:** not in the table of flat recipes.\n\n"
    return (
        "**Ours**, on dynamically binarised MNIST after 30 epochs, 50 latents and hidden layers of 200, 200 where the "
        f"recipe lets one choose; the protocol is that of `python -m reproductions.flat_table`:\n\n{told}\n"
    )


def said(metrics: dict[str, dict]) -> list[str]:
    """The numbers of one entry in words; what a point posterior does not have is not told."""
    names = {"elbo": "−ELBO", "nll_is": "NLL", "rate": "rate", "distortion": "−log p(x given z)"}
    parts = []
    for metric, name in names.items():
        if found := metrics.get(metric):
            value, error = abs(found["value"]), found["standard_error"]
            parts.append(f"{name} {value:.2f} ± {error:.2f} nats ({found['n']:,} test images)")
    if found := metrics.get("active_units"):
        parts.append(f"{found['value']:.0f} active units")
    if found := metrics.get("reconstruction_mse"):
        parts.append(f"squared error {found['value']:.5f} a pixel; a point has no rate, so there is no bound")
    return parts


def recipe_page(recipe) -> str:
    """A recipe in Markdown: what it is, its four choices, what it maximises, its arguments, its source."""

    choices = "".join(row(room, choice) for room, choice in recipe.choices.items())
    arguments = "".join(
        row(f"`{found['name']}`", f"`{short_names(found['type'])}`", f"`{found['default']}`", found["help"])
        for found in recipe.parameters
    )
    return (
        f"# {recipe.name}\n\n{recipe.summary}\n\n"
        f"| room | choice |\n|---|---|\n{choices}\n"
        f"$$\n{recipe.equation}\n$$\n\n"
        f"| argument | type | default | meaning |\n|---|---|---|---|\n{arguments}\n"
        f"```console\n$ fourfold train {recipe.name}\n```\n\n"
        f"**Good for:** {recipe.good_for}\n\n**Not for:** {recipe.not_for}\n\n"
        f"**Published:** {recipe.published}\n\n{ours(recipe.name)}"
        f"Source: {recipe.source}\n"
    )


def write_formula(self: HTML5Translator, node: nodes.math | nodes.math_block) -> None:
    """A formula as an SVG drawing: the pages need no script, no font and no other site."""
    block = isinstance(node, nodes.math_block)
    latex = re.sub(r"(\\math(?:bb|cal)) +(\w)", r"\1{\2}", node.astext())
    try:
        drawing = ziamath.Latex(latex, size=EM, color="currentColor", inline=not block).svgxml()
    except Exception as error:  # whatever it stumbles over, the page shows the source, and the build warns
        logging.getLogger(__name__).warning("cannot draw %r: %s", latex, error, location=node)
        self.body.append(self.encode(latex))
        raise nodes.SkipNode from None
    _, top, width, height = map(float, drawing.attrib["viewBox"].split())
    sizes = {"width": width, "height": height, "vertical-align": -(top + height)}
    drawing.attrib |= {"role": "img", "aria-label": latex}
    drawing.set("style", ";".join(f"{name}:{size / EM:.3f}em" for name, size in sizes.items()))
    formula = ElementTree.tostring(drawing, encoding="unicode")
    self.body.append(f'<div class="math">{formula}</div>' if block else formula)
    raise nodes.SkipNode


def leave_attributes_alone(app: Sphinx) -> None:
    """Napoleon takes what stands before a colon in an attribute's docstring for its type: ours are sentences."""
    written: dict[str, list[str]] = {}

    def before(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
        written[name] = lines[:]

    def after(app: Sphinx, what: str, name: str, thing: object, options: object, lines: list[str]) -> None:
        if what in ("attribute", "property"):
            lines[:] = written[name]

    app.connect("autodoc-process-docstring", before, priority=400)
    app.connect("autodoc-process-docstring", after, priority=600)


def setup(app: Sphinx) -> None:
    """Write the chapters before Sphinx looks for pages; draw formulas without a script."""
    leave_attributes_alone(app)
    app.add_html_math_renderer("svg", (write_formula, None), (write_formula, None))
    app.connect("builder-inited", write_reference)
    app.connect("builder-inited", write_recipes)
