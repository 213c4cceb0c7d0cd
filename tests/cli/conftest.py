"""One small run that many commands look at, and a way to call the program as a shell would."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from fourfold.cli import main

SMALL = ["--hidden", "8", "--latent", "2", "--epochs", "1", "--quiet", "--no-report"]


@pytest.fixture(autouse=True)
def as_a_user(unchecked: None) -> None:
    """Annotations are not checked: wrong values meet the library's own errors."""


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a tiny VAE on the digits; not to be changed."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert main(["train", "vae", "--out", str(folder), *SMALL]) == 0
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of that run."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty current folder; what it lets be imported is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    path, modules = list(sys.path), set(sys.modules)
    yield tmp_path
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if name.startswith("mine"):
            del sys.modules[name]


@pytest.fixture
def program() -> Callable[..., subprocess.Popen[str]]:
    """Starts ``fourfold`` as a program of its own."""

    def started(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "fourfold", *words]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipe = subprocess.PIPE
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment)

    return started
