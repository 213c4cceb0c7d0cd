"""What all tests share: shapes checked at run time, one thread, real data when there is some."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import jaxtyping
import pytest
import torch

# Before anything of fourfold is imported: every annotated shape is checked at every call.
jaxtyping.install_import_hook("fourfold", "checked.annotations")

torch.set_num_threads(1)
# A suite started in the background ignores Ctrl-C, and so would the programs that tests interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
hypothesis.settings.register_profile("fourfold", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("fourfold")

NO_DATA = "set FOURFOLD_DATA to the folder with mnist/ (the four IDX files), freyfaces/ and omniglot_small/"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data; a test that asks for it is skipped where there is none, unless it is required."""
    folder = Path(os.environ.get("FOURFOLD_DATA", ""))
    if (folder / "mnist").is_dir():
        return folder
    if os.environ.get("FOURFOLD_REQUIRE_DATA") == "1":
        pytest.fail(f"FOURFOLD_REQUIRE_DATA=1, but there is no {folder / 'mnist'}: {NO_DATA}")
    pytest.skip(NO_DATA)


@pytest.fixture
def double() -> Iterator[None]:
    """float64 as torch's default, for exact cases."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


@pytest.fixture
def unchecked() -> Iterator[None]:
    """What a user meets: annotations are not checked, so a wrong argument reaches the library's own errors."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def fresh_python() -> Callable[[str], str]:
    """Runs a program in an interpreter that has imported nothing and checks no annotations; gives what it prints.

    What ``torch.compile`` makes of the library can only be seen there: it does not get through the checks.
    """

    def run(program: str) -> str:
        ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
        assert ran.returncode == 0, ran.stderr
        return ran.stdout

    return run
