"""The flags of ``fourfold train``: from the recipe's signature and from the fields of ``Training``."""

__all__ = ["OPTIONS", "only", "python_only", "read_flags"]

import re
from collections.abc import Container, Iterator, Sequence
from dataclasses import fields
from inspect import Parameter, getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from torch import nn

from ..plan import RecipeFunction, argument_helps
from ..recipes import TABLE
from ..recipes.choose import NetworkChoice
from ..training import Training
from .flags import check_known, unknown_name

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser

#: Names of the fields of ``Training``: each is a flag.
OPTIONS = tuple(f.name for f in fields(Training))

# Name: type, default, help.
_Flag = tuple[str, Any, Any, str]
_OWN: tuple[_Flag, ...] = (
    ("recipe", str, None, "what to train, where it does not follow the word train (in a --config file)"),
    (
        "data",
        str,
        "digits",
        "a name of fourfold data, .npy, .npz or .txt file, folder of .npy shards or of images, zip, hf:owner/name",
    ),
    ("data_dir", str, None, "where the files of known data are; else $FOURFOLD_DATA, else the cache folder"),
    ("split", str, None, "how data are split, such as burda or vamp; else the first that fourfold data names"),
    ("size", tuple[int, ...], None, "pixels, or height,width, to resize images of your own to"),
    ("out", str, None, "the run folder, new or empty; else runs/RECIPE-DATA-NUMBER"),
    ("init_from", str, None, "a run whose weights are taken as the first ones"),
    ("resume", str, None, "go on with the run in this folder; only --epochs, --devices and the like may change"),
    ("trust", str, None, "packages (a,b) outside fourfold whose code a resumed run may import"),
    ("tensorboard", bool, False, "write the metrics for TensorBoard too, into the run folder"),
    ("report", bool, True, "draw the pictures and write report.html at the end"),
)


def python_only(annotation: Any) -> bool:
    """Whether an argument cannot be a flag: it is a network."""
    kinds = get_args(annotation) or (annotation,)
    return annotation == NetworkChoice or any(isinstance(kind, type) and issubclass(kind, nn.Module) for kind in kinds)


def only(given: dict[str, Any], names: Container[str]) -> dict[str, Any]:
    """The entries of these names."""
    return {name: value for name, value in given.items() if name in names}


def read_flags(recipe: RecipeFunction | None, words: Sequence[str]) -> dict[str, Any]:
    """What the words and the configuration file say; what they do not say is not in it.

    Raises:
        ValueError: for what cannot be understood, in one line.
    """
    from jsonargparse import ArgumentError

    parser = _parser(recipe)
    check_known(words, parser)
    kinds = {"--" + name.replace("_", "-"): kind for name, kind, _, _ in (*_OWN, *_of_recipe(recipe))}
    listed = {flag for flag, kind in kinds.items() if tuple in (get_origin(kind), *map(get_origin, get_args(kind)))}
    try:
        # --print_config tells the defaults too; a run is made of what was said, on the defaults of the signatures.
        every = any(word.startswith("--print_config") for word in words)
        found = vars(parser.parse_args(_gathered(words, listed), defaults=every))
    except ArgumentError as error:
        raise ValueError(f"{parser.prog}: {_plain(str(error), parser)} See {parser.prog} --help.") from None
    return {name: value for name, value in found.items() if name not in ("config", "recipe") and value is not None}


def _of_recipe(recipe: RecipeFunction | None) -> Iterator[_Flag]:
    if recipe is None:
        return
    helps = argument_helps(recipe.doc)
    for name, parameter in recipe.signature.items():
        if name in OPTIONS or name in {flag[0] for flag in _OWN} | {"config"}:
            raise ValueError(f"recipe {recipe.path}: argument {name!r} has the name of a flag of train. Rename it.")
        if not python_only(parameter.annotation):
            default = None if parameter.default is Parameter.empty else parameter.default
            kind = type(default) if default is not None else str
            kind = kind if parameter.annotation is Parameter.empty else parameter.annotation
            yield name, kind, default, helps.get(name, "")


def _parser(recipe: RecipeFunction | None) -> "ArgumentParser":
    from jsonargparse import ActionConfigFile, ArgumentParser

    name = recipe.path if recipe else "RECIPE"
    about = recipe.summary if recipe else "Trains a recipe on data, in a run folder of its own."
    usage = f"fourfold train {name} [flags]\n       fourfold train --resume DIR [--epochs N] [flags]"
    parser = ArgumentParser(prog=f"fourfold train {name}", usage=usage, description=about, exit_on_error=False)
    parser.epilog = "Lists are written 200,200 or 200 200; [] is the empty one."
    if recipe is None:
        known = f"{', '.join(TABLE)}, or package.module:function of your own"
        parser.epilog = f"RECIPE is {known}. Each has flags of its own: fourfold train vae --help."
    parser.add_argument("--config", action=ActionConfigFile, help="a file of flags, such as --print_config writes")
    helps = argument_helps(getdoc(Training) or "")
    options = [(f.name, f.type, f.default, helps[f.name]) for f in fields(Training)]
    groups = {"data and folders": _OWN, f"recipe {name}": tuple(_of_recipe(recipe)), "training": options}
    for title, flags in groups.items():
        group = parser.add_argument_group(title)
        for flag in flags:
            _add(group, *flag)
    if recipe:
        parser.set_defaults(recipe=recipe.path)
    return parser


def _add(group: Any, name: str, kind: Any, default: Any, about: str) -> None:
    from jsonargparse import ActionYesNo

    flag = "--" + name.replace("_", "-")
    if kind is not bool:
        group.add_argument(flag, type=kind, default=default, help=about)
    elif default:
        group.add_argument(flag, action=ActionYesNo(yes_prefix="", no_prefix="no-"), default=True, help=about)
    else:
        group.add_argument(*(["-q"] if name == "quiet" else []), flag, action="store_true", help=about)


def _gathered(words: Sequence[str], flags: set[str]) -> list[str]:
    """Lists as the parser takes them: ``--hidden 200,200`` and ``--hidden 200 200`` become ``--hidden=[200,200]``."""
    gathered, i = [], 0
    while i < len(words):
        flag, equals, value = words[i].partition("=")
        i += 1
        if flag not in flags:
            gathered.append(words[i - 1])
            continue
        values = [value] if equals else []
        while not equals and i < len(words) and not re.match(r"--?[a-zA-Z]", words[i]):
            values.append(words[i])
            i += 1
        if values:
            inside = ",".join(values).strip("[]() ").strip(",")
            flag = f"{flag}=[{inside}]"
        gathered.append(flag)
    return gathered


def _plain(message: str, parser: "ArgumentParser") -> str:
    """An error of the parser in our words."""
    text = " ".join(message.split())
    if found := re.search(r'Parser key "(\w+)": (.*)', text):
        name, rest = found.groups()
        wanted = re.search(r"Expected an? (?:<class '(\w+)'>|(.+?))\. Got value: (.*)", rest)
        if name == "config":
            return f"--config: {rest.replace(str(Path.cwd()) + '/', '')}. Give a file that --print_config wrote."
        if wanted:
            kind = {"str": "text (in quotes, in a file)"}.get(wanted[1], wanted[1] or wanted[2])
            return f"--{name.replace('_', '-')}: wanted {kind}, got {wanted[3]}."
        return f"--{name.replace('_', '-')}: {rest}."
    if found := re.search(r"Option '(\S+)' is not accepted", text):
        known = {action.dest for action in parser._actions}
        return f"--config: {unknown_name('key', found[1], known)}"
    return text.rstrip(".") + "."
