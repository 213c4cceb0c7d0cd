"""What the reader is shown runs: the examples, the Python of the README and of the pages, the commands and tables."""

import ast
import doctest
import importlib
import inspect
import re
import runpy
import sys
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import fourfold as ff
from fourfold.cli import main
from fourfold.cli.main import COMMANDS
from fourfold.data import CATALOG
from fourfold.noise import Replay
from fourfold.plan import argument_helps
from fourfold.recipes import TABLE
from fourfold.trace import Trace

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "examples"
OWN = ("own_data", "own_network", "own_objective")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EACH_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)

pytestmark = pytest.mark.usefixtures("unchecked")


@pytest.fixture(autouse=True)
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, where examples can be imported and temporary files do not outlive the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture
def standalone() -> ModuleType:
    return importlib.import_module("standalone_vae")


def lines_of_code(name: str) -> int:
    """Lines that are neither blank nor comments nor docstrings."""
    text = (EXAMPLES / f"{name}.py").read_text()
    places = (
        node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    )
    docs = [node.body[0] for node in places if ast.get_docstring(node)]
    told = {line for doc in docs for line in range(doc.lineno, (doc.end_lineno or 0) + 1)}
    lines = enumerate(text.splitlines(), start=1)
    return sum(1 for i, line in lines if i not in told and line.strip() and not line.strip().startswith("#"))


def code_of(name: str) -> str:
    """An example without the docstring at its top."""
    return (EXAMPLES / f"{name}.py").read_text().split('"""', 2)[2].strip()


def fences(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("name", OWN)
def test_an_example_is_short_and_stands_in_the_readme(name: str) -> None:
    assert lines_of_code(name) <= 15
    shown = [fence.strip() for fence in fences(ROOT / "README.md", "python")]
    assert code_of(name) in shown


def test_own_data() -> None:
    shown = runpy.run_path(str(EXAMPLES / "own_data.py"), run_name="__main__")
    data, run = shown["data"], shown["run"]
    assert (data.shape, data.levels, data.classes) == ((1, 8, 8), 256, 10)
    digits = ff.data.digits()
    every = [np.concatenate([part.x for part in each.parts.values()]) for each in (data, digits)]
    assert sorted(map(bytes, every[0])) == sorted(map(bytes, every[1]))
    assert -run.evaluate().rows[0].value < 26


def test_own_network(capsys: pytest.CaptureFixture[str]) -> None:
    run = runpy.run_path(str(EXAMPLES / "own_network.py"), run_name="__main__")["run"]
    assert "Conv2d" in capsys.readouterr().out
    assert run.metrics[-1]["validation/elbo [nats]"] > run.metrics[0]["validation/elbo [nats]"] + 5
    assert main(["evaluate", str(run.path), "--no-report"]) == 2
    assert "--trust own_network" in capsys.readouterr().err
    assert main(["evaluate", str(run.path), "--no-report", "--trust", "own_network"]) == 0


def test_own_objective(capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / "own_objective.py"), run_name="__main__")
    assert float(capsys.readouterr().out) == pytest.approx(5.0, abs=0.5)  # in nats
    words = ["own_objective:portion_vae", "--nats", "2", "--epochs", "20", "--out", "two", "-q", "--no-report"]
    assert main(["train", *words]) == 0
    run = ff.runs.Run.open("two", trust=("own_objective",))
    assert run.metrics[-1]["validation/rate [nats]"] == pytest.approx(2.0, abs=0.5)


def test_the_terms_of_the_own_objective() -> None:
    mine = importlib.import_module("own_objective")
    made = mine.portion_vae(nats=3.0).build(ff.data.digits().spec)
    trace: Trace = made.model(torch.ones(4, 1, 8, 8), noise=ff.Noise(0))
    rate = ff.objectives.rate(trace.levels[0])
    wanted = trace.log_likelihood.mean(0) - 10 * (rate - 3).abs()
    torch.testing.assert_close(made.objective(trace).total, wanted)


def test_standalone_is_one_small_file_with_nothing_but_torch() -> None:
    text = (EXAMPLES / "standalone_vae.py").read_text()
    assert len(text.splitlines()) <= 150
    top = [node for node in ast.parse(text).body if isinstance(node, ast.Import | ast.ImportFrom)]
    names = {node.module or "" for node in top if isinstance(node, ast.ImportFrom)}
    names |= {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
    assert {name.partition(".")[0] for name in names} - sys.stdlib_module_names == {"torch"}
    assert "import fourfold" not in text and "from fourfold" not in text


def twins(standalone: ModuleType) -> tuple[ff.models.VAE, torch.nn.Module]:
    """The library's VAE and the standalone one, with the same weights."""
    ours = ff.recipes.vae().build(ff.data.digits().spec, seed=3).model
    theirs = standalone.VAE(64)
    networks = (ours.posterior.network, theirs.encoder), (ours.likelihood.network, theirs.decoder)
    for mine, other in networks:
        weights = list(mine.parameters())
        assert [p.shape for p in weights] == [p.shape for p in other.parameters()]
        with torch.no_grad():
            for target, source in zip(other.parameters(), weights, strict=True):
                target.copy_(source)
    return ours, theirs


@pytest.mark.usefixtures("double")
def test_standalone_gives_the_librarys_numbers(standalone: ModuleType) -> None:
    """Same weights, same noise, float64: the ELBO and the importance-sampled likelihood of each datum to 1e-6 nats."""
    ours, theirs = twins(standalone)
    x = (torch.from_numpy(ff.data.digits().test.x) > 100).double()
    noise = ff.Noise(0).normal((7, len(x), 20))
    trace = ours(x, noise=Replay([noise[:1]]))
    bound = ff.objectives.ELBO()(trace).total
    torch.testing.assert_close(theirs.elbo(x.flatten(1), noise[0]), bound, rtol=0, atol=1e-6)
    weights = ours(x, draws=7, noise=Replay([noise])).log_weight
    marginal = torch.logsumexp(weights, 0) - torch.tensor(7.0).log()
    torch.testing.assert_close(theirs.log_marginal(x.flatten(1), noise), marginal, rtol=0, atol=1e-6)


def test_standalone_begins_as_the_library_does(standalone: ModuleType) -> None:
    """The same law of the first weights, and the same first biases: those of the mean image."""
    spec = ff.data.digits().spec
    ours, theirs = ff.recipes.vae().build(spec).model, standalone.VAE(64)
    theirs.start_at(torch.from_numpy(spec.mean).flatten())
    for mine, other in zip(
        ours.parameters(), [*theirs.encoder.parameters(), *theirs.decoder.parameters()], strict=True
    ):
        if mine.ndim == 2:
            torch.testing.assert_close(mine.std(), other.std(), rtol=0.03, atol=0)
        else:
            torch.testing.assert_close(mine, other)


def test_standalone_trains_as_well_as_the_library(standalone: ModuleType) -> None:
    """Test −ELBO after 20 epochs, over 10 binarisations: within 0.3 nats.

    Five seeds of each gave 25.13 ± 0.06 (standalone) and 25.18 ± 0.02 nats (library), after 10 epochs 26.13 ± 0.14 and
    26.19 ± 0.14; untrained it is 28. So 0.3 is far more than chance and far less than any mistake.
    """
    data = ff.data.digits()
    train, test = (torch.from_numpy(part.x).float().flatten(1) / 255 for part in (data.train, data.test))
    run = ff.fit(ff.recipes.vae(), data, epochs=20, quiet=True)
    ours = np.mean([-run.evaluate(seed=seed, save=False).rows[0].value for seed in range(10)])
    model = standalone.train(train, epochs=20)
    theirs = np.mean([standalone.evaluate(model, test, samples=2, seed=seed)[0] for seed in range(10)])
    assert theirs == pytest.approx(ours, abs=0.3)


def test_standalone_runs_on_a_file_of_images(standalone: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    np.save("images.npy", np.random.default_rng(0).integers(0, 256, (200, 5, 4), dtype=np.uint8))
    standalone.main("images.npy")
    bound, marginal = map(float, re.findall(r"(\d+\.\d+) nats", capsys.readouterr().out))
    assert 13 < bound < 15 and 13 < marginal < 15  # 20 fair coins: 13.86 nats


@EACH_PAGE
def test_the_python_of_a_page_runs(page: Path) -> None:
    """All of a page's Python in one namespace, from top to bottom; prompts are held to their answers."""
    space: dict[str, object] = {"__name__": page.stem}
    whole = {code_of(name) for name in OWN}
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    for i, fence in enumerate(fences(page, "python")):
        if fence.strip() in whole:  # run by the tests above
            continue
        if fence.startswith(">>>"):
            test = parser.get_doctest(fence, space, f"{page.name}[{i}]", str(page), 0)
            runner.run(test, clear_globs=False)
            space |= test.globs
        else:
            exec(compile(fence, f"{page.name}[{i}]", "exec"), space)
    assert runner.summarize(verbose=False).failed == 0


@EACH_PAGE
def test_the_commands_of_a_page_exist(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each ``$ fourfold …`` names a command, a recipe and flags that there are."""
    shown = "\n".join(fences(page, "console"))
    for line in re.findall(rf"fourfold ((?:{'|'.join(COMMANDS)})\b.*)", shown):
        words = line.rstrip(")").split()
        recipe = [] if len(words) < 2 or words[1].startswith("-") else [words[1]]
        asked = {"train": [["train", *recipe]], "sweep": [["sweep"], *([["train", *recipe]] if recipe else [])]}
        for helped in asked.get(words[0], [words[:1]]):
            with suppress(SystemExit):
                main([*helped, "--help"])
        known = capsys.readouterr().out
        for flag in (word for word in words if re.match(r"--?[a-z]", word)):
            assert re.search(rf"(?<![\w-]){flag}\b", known), f"{page.name}: {line}: there is no {flag}"


def test_the_tables_are_whole() -> None:
    """Recipes, data sets, likelihoods and commands: the pages name all that there are."""
    readme, data = PAGES[0].read_text(), (ROOT / "docs/data.md").read_text()
    for name, recipe in TABLE.items():
        assert f"| `{name}` | {recipe.summary} |" in readme
    for name, entry in CATALOG.items():
        row = next(line for line in data.splitlines() if line.startswith(f"| `{name}` |"))
        assert re.findall(r"`(\w+)`", row.split("|")[-2]) == list(entry.splits)
    likelihoods = (ROOT / "docs/likelihoods.md").read_text()
    assert set(re.findall(r"^\| `(\w+)` \|", likelihoods, re.MULTILINE)) == set(ff.likelihoods.LIKELIHOODS)
    training, helps = (ROOT / "docs/training.md").read_text(), argument_helps(inspect.getdoc(ff.Training) or "")
    options = [f"| `{f.name}` | `{f.default}` | {helps[f.name]} |" for f in fields(ff.Training)]
    assert re.findall(r"^\| `.*\|$", training, re.MULTILINE) == options
    commands = (ROOT / "docs/command-line.md").read_text()
    assert set(re.findall(r"^\| `([\w-]+)", commands, re.MULTILINE)) == set(COMMANDS)


@EACH_PAGE
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    made = ("api/", "recipes/")  # written when the documentation is built
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert target.startswith(made) or (page.parent / target).exists(), f"{page.name}: {target}"
