"""``fourfold recipes`` and ``fourfold data``: what there is."""

__all__ = ["data", "recipes"]

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any

from .flags import Parser, importable
from .formula import plain
from .show import as_json, columns

if TYPE_CHECKING:
    from ..plan import RecipeFunction


def recipes(words: Sequence[str]) -> int:
    """Lists the recipes, or tells all of one."""
    parser = Parser("recipes", "What can be trained. With a name: what it is, its choices, arguments and source.")
    parser.add_argument("name", nargs="?", help="a recipe, or package.module:function of your own")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    given = parser.read(words)
    from ..recipes import TABLE, find

    if given.name is None:
        told = [_told(recipe) for recipe in TABLE.values()]
        print(as_json(told) if given.json else _list(told))
        return 0
    if ":" in given.name:
        importable()
    one = _told(find(given.name))
    print(as_json(one) if given.json else _page(one))
    return 0


def _told(recipe: "RecipeFunction") -> dict[str, Any]:
    from .options import python_only

    arguments: dict[bool, list[dict[str, Any]]] = {False: [], True: []}
    for one in recipe.parameters:
        arguments[python_only(recipe.signature[one["name"]].annotation)].append(one)
    return {
        "name": recipe.path,
        "about": " ".join(recipe.doc.partition("Args:")[0].split()),
        "choices": dict(recipe.choices),
        "equation": recipe.equation,
        "good_for": recipe.good_for,
        "not_for": recipe.not_for,
        "published": recipe.published,
        "source": recipe.source,
        "arguments": arguments[False],
        "python_arguments": arguments[True],
    }


def _list(told: list[dict[str, Any]]) -> str:
    rows = columns([(one["name"], one["about"].partition(". ")[0].rstrip(".")) for one in told])
    return f"{rows}\n\nfourfold recipes NAME tells all of one; fourfold train NAME trains it."


def _page(one: dict[str, Any]) -> str:
    lines = [one["name"], "", fill(one["about"], 100)]
    if one["choices"]:
        lines += ["", columns(list(one["choices"].items()))]
    if one["equation"]:
        lines += ["", plain(one["equation"])]
    if one["arguments"]:
        lines += ["", "arguments (type, default):", columns([_row(argument) for argument in one["arguments"]])]
    if one["python_arguments"]:
        lines += ["", "arguments in Python only:", columns([(a["name"], a["help"]) for a in one["python_arguments"]])]
    for name in ("good_for", "not_for", "published", "source"):
        if one[name]:
            lines += ["", fill(f"{name.replace('_', ' ')}: {one[name]}", 100, subsequent_indent="  ")]
    if ":" not in one["name"]:
        lines += ["", "ours: on the recipe's page in the documentation, from reproductions/results/flat_table.md"]
    return "\n".join(lines)


def _row(argument: dict[str, Any]) -> tuple[str, ...]:
    default = argument["default"]
    if isinstance(default, tuple | list):
        default = ",".join(map(str, default)) or "[]"
    flag = "--" + argument["name"].replace("_", "-")
    return flag, argument["type"], "" if default is None else str(default), argument["help"]


def data(words: Sequence[str]) -> int:
    """Lists the known data sets: where they live, what is missing and how to get it."""
    parser = Parser("data", "Known data: what they are, where they live, what is missing and how to get it.")
    parser.add_argument("--data-dir", metavar="DIR", help="where to look; else $FOURFOLD_DATA, else the cache folder")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    given = parser.read(words)
    from ..data import available
    from ..data.locate import data_root

    rows = available(given.data_dir)
    if given.json:
        print(as_json(rows))
        return 0
    for row in rows:
        about = [f"{row['about']} ({row['origin']})", f"splits: {', '.join(row['splits'])}"]
        print(columns([(row["name"], "here" if row["present"] else "missing")]))
        print("".join(f"    {line}\n" for line in about + ([] if row["present"] else [row["how"]])))
    print(
        f"Data files are looked for in {data_root(given.data_dir)} (--data-dir or FOURFOLD_DATA changes it).\n"
        "The first split is the default one. train --data takes an .npy, .npz or .txt file, a folder or zip of\n"
        "images, or hf:owner/name too."
    )
    return 0
