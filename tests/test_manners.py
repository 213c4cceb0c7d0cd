"""Tests about the code itself: the habits that every file of the library keeps."""

import ast
import importlib
import inspect
import pkgutil
import re
from abc import ABC
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from torch import nn

import fourfold

SOURCE = Path(fourfold.__file__).parent
FILES = sorted(SOURCE.rglob("*.py"))
TREES = {str(file.relative_to(SOURCE)): ast.parse(file.read_text(encoding="utf-8")) for file in FILES}
IN_EVERY_FILE = pytest.mark.parametrize("name", TREES)

# scikit-learn asks that an estimator's options are plain arguments of its constructor, and that it inherits.
ESTIMATOR = "runs/estimator.py"
HEAVY = {"PIL", "datasets", "jsonargparse", "lightning_fabric", "matplotlib", "scipy", "sklearn", "tensorboard"}

type_definitions = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
functions = ast.FunctionDef | ast.AsyncFunctionDef


def modules() -> Iterator[ModuleType]:
    """The package and all its modules, imported."""
    yield fourfold
    for found in pkgutil.walk_packages(fourfold.__path__, "fourfold."):
        if not found.name.endswith("__main__"):
            yield importlib.import_module(found.name)


def classes() -> set[type]:
    """All classes that the package defines."""
    return {
        value
        for module in modules()
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__
    }


def lines_of_code(function: functions) -> int:
    """The lines that a definition spans, its docstring left out: that one may be as long as it is useful."""
    docstring = function.body[0] if ast.get_docstring(function) else None
    written = (docstring.end_lineno or 0) - docstring.lineno + 1 if docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - written


def where(name: str, node: type_definitions | ast.expr) -> str:
    """A place in a file, as editors understand it."""
    return f"{name}:{node.lineno}"


def functions_in(name: str) -> list[functions]:
    """All functions and methods of a file."""
    return [node for node in ast.walk(TREES[name]) if isinstance(node, functions)]


def test_every_class_is_abstract_or_final():
    def abstract(cls: type) -> bool:
        return inspect.isabstract(cls) or ABC in cls.__bases__ or getattr(cls, "_is_protocol", False)

    ours = classes()
    for cls in ours:
        heirs = [other for other in ours if other is not cls and cls in other.__mro__]
        assert abstract(cls) or issubclass(cls, Exception) or not heirs, f"{cls} is concrete and subclassed by {heirs}"


def test_every_module_of_torch_says_what_it_is():
    for cls in classes():
        assert not issubclass(cls, nn.Module) or vars(cls).get("__doc__"), f"{cls} has no docstring"


def test_every_declared_name_exists():
    for module in modules():
        missing = [name for name in module.__all__ if not hasattr(module, name)]
        assert not missing, f"{module.__name__}.__all__ names {missing}, which it does not have"


@IN_EVERY_FILE
def test_everything_public_is_declared(name: str):
    def names(node: ast.stmt) -> list[str]:
        if isinstance(node, type_definitions):
            return [node.name]
        if isinstance(node, ast.Assign) and not ast.unparse(node.value).startswith("TypeVar("):
            return [target.id for target in node.targets if isinstance(target, ast.Name)]
        return [node.target.id] if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) else []

    if name.endswith("__main__.py"):
        return
    body = TREES[name].body
    declared = [node.value for node in body if isinstance(node, ast.Assign) and names(node) == ["__all__"]]
    assert len(declared) == 1, f"{name} needs one __all__"
    public = {found for node in body for found in names(node) if not found.startswith("_")}
    undeclared = public - set(ast.literal_eval(declared[0]))
    assert not undeclared, f"{name}: {sorted(undeclared)} should be in __all__, or begin with an underscore"


@IN_EVERY_FILE
def test_everything_public_says_what_it_is(name: str):
    tree = TREES[name]
    assert ast.get_docstring(tree), f"{name} has no docstring"
    for node in tree.body:
        if isinstance(node, type_definitions) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{where(name, node)}: {node.name} has no docstring"


@IN_EVERY_FILE
def test_no_file_and_no_function_is_a_burden(name: str):
    assert len((SOURCE / name).read_text(encoding="utf-8").splitlines()) <= 400, f"{name} has more than 400 lines"
    limit = 25 if name.startswith("recipes/") else 60
    for function in functions_in(name):
        lines = lines_of_code(function)
        assert lines <= limit, f"{where(name, function)}: {function.name} has {lines} lines, more than {limit}"


@IN_EVERY_FILE
def test_no_function_takes_more_than_six_arguments(name: str):
    for function in functions_in(name):
        positional = [a.arg for a in function.args.posonlyargs + function.args.args if a.arg not in ("self", "cls")]
        by_name = [] if name.startswith("recipes/") else [a.arg for a in function.args.kwonlyargs]
        if (name, function.name) != (ESTIMATOR, "__init__"):
            assert len(positional + by_name) <= 6, (
                f"{where(name, function)}: {function.name} takes {positional + by_name}"
            )


@IN_EVERY_FILE
def test_heavy_things_are_imported_where_they_are_used(name: str):
    for node in TREES[name].body:
        imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            imported = [node.module or ""]
        heavy = HEAVY & {module.split(".")[0] for module in imported}
        assert not heavy or name == ESTIMATOR, f"{name} imports {heavy} at its top: import it inside the function"


@IN_EVERY_FILE
def test_nothing_is_executed_on_load(name: str):
    for node in ast.walk(TREES[name]):
        if isinstance(node, ast.Import | ast.ImportFrom):
            from_where = [getattr(node, "module", "") or "", *(alias.name for alias in node.names)]
            wrong = {"pickle", "cPickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"} & set(from_where)
            assert not wrong, f"{name}:{node.lineno}: {wrong} runs what it reads"
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in ("torch.load", "torch.save", "eval", "exec"), f"{where(name, node)}: {called}"
            assert not any(
                keyword.arg == "allow_pickle" and ast.unparse(keyword.value) != "False" for keyword in node.keywords
            ), f"{where(name, node)}: allow_pickle"


OF_TORCH = ["bernoulli", "multinomial", "normal", "poisson", "rand", "randint", "randn", "randperm"]
GLOBAL_DRAWS = {f"torch.{name}{like}" for name in OF_TORCH for like in ("", "_like")}
GLOBAL_DRAWS |= {f"{module}.{name}" for module in ("F", "nn.functional") for name in ("dropout", "gumbel_softmax")}
GLOBAL_DRAWS |= {"torch.manual_seed", "torch.seed", "nn.Dropout", "random.seed"}
DRAWS_IN_PLACE = {"bernoulli_", "exponential_", "normal_", "random_", "uniform_"}


def in_a_fork(tree: ast.Module) -> set[ast.AST]:
    """What happens where torch's global generator is put back afterwards: there, networks draw their weights."""
    forks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.With) and any("fork_rng(" in ast.unparse(i) for i in node.items)
    ]
    return {node for fork in forks for node in ast.walk(fork)}


@IN_EVERY_FILE
def test_nothing_draws_from_a_global_generator(name: str):
    if name == "noise.py":
        return
    forked = in_a_fork(TREES[name])
    for node in ast.walk(TREES[name]):
        if (
            not isinstance(node, ast.Call)
            or node in forked
            or "generator" in [keyword.arg for keyword in node.keywords]
        ):
            continue
        called = ast.unparse(node.func)
        in_place = isinstance(node.func, ast.Attribute) and node.func.attr in DRAWS_IN_PLACE
        of_numpy = re.fullmatch(r"(np|numpy)\.random\.[a-z_]+", called) and not called.endswith("default_rng")
        assert not (in_place or of_numpy or called in GLOBAL_DRAWS), (
            f"{where(name, node)}: {called} without a generator"
        )


def test_importing_fourfold_imports_no_torch(fresh_python):
    fresh_python(
        """
import sys, fourfold
assert fourfold.__version__ and set(fourfold.__all__) <= set(dir(fourfold))
found = {"torch", "numpy"} & set(sys.modules)
assert not found, found
"""
    )


@pytest.mark.parametrize("flag", ["--help", "--version"])
def test_the_command_line_answers_without_torch(flag: str, fresh_python):
    said = fresh_python(
        f"""
import sys
from fourfold.cli import main
try:
    status = main(["{flag}"])
except SystemExit as stop:
    status = stop.code
assert not status, status
found = {{"torch", "numpy", "jsonargparse"}} & set(sys.modules)
assert not found, found
"""
    )
    assert fourfold.__version__ in said if flag == "--version" else "train" in said


def test_importing_every_module_changes_nothing_global(fresh_python):
    fresh_python(
        """
import importlib, pkgutil, random, warnings
import numpy, torch
from torch.distributions import Distribution

def state():
    return {
        "default dtype": torch.get_default_dtype(),
        "default device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "anomaly detection": torch.is_anomaly_enabled(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "matmul precision": torch.get_float32_matmul_precision(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic, torch.backends.cudnn.allow_tf32),
        "random numbers of torch": torch.get_rng_state().tolist(),
        "random numbers of numpy": str(numpy.random.get_state()),
        "random numbers of python": random.getstate(),
        "validation": Distribution._validate_args,
        "printing": vars(torch._tensor_str.PRINT_OPTS).copy(),
        "warnings": list(warnings.filters),
    }

before = state()
import fourfold
for found in pkgutil.walk_packages(fourfold.__path__, "fourfold."):
    if not found.name.endswith(("__main__", ".estimator")):
        importlib.import_module(found.name)
after = state()
changed = [name for name in before if before[name] != after[name]]
assert not changed, changed
"""
    )
