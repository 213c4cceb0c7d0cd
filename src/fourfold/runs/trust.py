"""Which code a run's record may name: classes of a short list, and what trusted packages define themselves."""

__all__ = ["network_of", "packages_of", "recipe_of"]

import inspect
import sys
from functools import partial
from typing import Any

from torch import nn

from ..networks import NETWORKS
from ..plan import Own, RecipeFunction, imported
from ..recipes import as_recipe, find
from .folder import RunError

_INSTEAD = "Pass model=…."
# Looked up by their whole path: nothing is imported, and no attribute followed, because a record says so.
_PLAIN = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Flatten, nn.Identity, *NETWORKS.values())
_KNOWN = {f"{cls.__module__}:{cls.__qualname__}": cls for cls in _PLAIN}  # type: ignore[attr-defined]


def recipe_of(name: object, trust: tuple[str, ...]) -> RecipeFunction:
    """The recipe by name, or by the path of a function that a trusted package defines.

    Raises:
        RunError: for a path that is not trusted, or for none.
    """
    if not isinstance(name, str):
        raise RunError("This run's model was built by hand, not by a recipe: pass it, as in load(path, model=…).")
    return as_recipe(_trusted(name, trust), name) if ":" in name else find(name)


def network_of(value: Any, trust: tuple[str, ...]) -> Any:
    """An argument as it was given: the network that its description tells of, or the value itself.

    Raises:
        RunError: for a network whose class is not trusted, or that is not described in full.
    """
    match value:
        case {"module": path}:
            raise RunError(
                f"This run has a network of class {path} whose arguments are unknown: pass model=…, "
                "or wrap the network in fourfold.own(…) when training."
            )
        case {"own": str(path), "args": list(args), "kwargs": dict(kwargs)}:
            return Own(path, _KNOWN.get(path) or _trusted(path, trust), tuple(args), kwargs)
        case {"network": str(name), "kwargs": dict(kwargs)} if name in NETWORKS:
            return partial(NETWORKS[name], **{key: _tuples(one) for key, one in kwargs.items()})
        case {"own": _} | {"network": _}:
            raise RunError(f"{value}: not the description of a network. {_INSTEAD}")
    return _tuples(value)


def packages_of(record: Any) -> tuple[str, ...]:
    """Packages outside fourfold whose code a record names: what those are to trust who build it beside its owner."""
    found: set[str] = set()
    match record:
        case dict():
            paths = [record.get(key) for key in ("recipe", "own")]
            found |= {p.partition(":")[0].partition(".")[0] for p in paths if isinstance(p, str) and ":" in p}
            found |= {name for value in record.values() for name in packages_of(value)}
        case list() | tuple():
            found |= {name for value in record for name in packages_of(value)}
    return tuple(sorted(found - {"fourfold", "__main__"}))


def _tuples(value: Any) -> Any:
    """Lists as the tuples that they were."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def _trusted(path: str, trust: tuple[str, ...]) -> Any:
    """What a trusted package itself defines at ``package.module:name``: a class, a function, a recipe.

    What it has only imported, such as ``os`` and all that is in it, is not trusted with it.
    """
    module, _, names = path.partition(":")
    if not _under(module, trust):
        raise RunError(_refusal(path, module))
    first, *inner = names.split(".")
    found = imported(f"{module}:{first}")
    _check_defined(found, path, trust)
    for name in inner:  # a class within a class
        found = getattr(found, name, None)
        _check_defined(found, path, trust)
    return found


def _check_defined(found: Any, path: str, trust: tuple[str, ...]) -> None:
    made = found.function if isinstance(found, RecipeFunction) else found
    if not (inspect.isclass(made) or inspect.isfunction(made)) or not _under(made.__module__, trust):
        raise RunError(f"{path}: not a class or a function that {', '.join(trust)} defines. {_INSTEAD}")


def _under(module: str, packages: tuple[str, ...]) -> bool:
    return any(module == package or module.startswith(package + ".") for package in packages)


def _refusal(path: str, module: str) -> str:
    """Why this is not imported, and what to do."""
    package = module.partition(".")[0]
    if module == "__main__":
        return f"This run needs {path}, which was made in a notebook or a session: no import finds it. {_INSTEAD}"
    if package in ("fourfold", "torch") or package in sys.stdlib_module_names:
        return f"This run's record names {path}, which is no network or recipe that loading makes. {_INSTEAD}"
    return (
        f"This run needs code of your own, {path}. Loading imports nothing outside fourfold unless you say so: "
        f"--trust {package} (trust=({package!r},)), or pass model=…."
    )
