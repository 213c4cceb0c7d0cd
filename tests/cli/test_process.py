"""What the command sets in its own process, and what nobody sets in another's."""

import os
import subprocess
import sys

import pytest

from fourfold._process import settle

try:
    GLIBC = bool(os.confstr("CS_GNU_LIBC_VERSION"))
except (AttributeError, ValueError):
    GLIBC = False
needs_glibc = pytest.mark.skipif(not GLIBC, reason="the allocator is not glibc's")

# Whether a block of 20 MiB comes from the kernel, as mallinfo tells: of itself glibc maps every block that large.
MAPPED = """
import ctypes, sys
class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "arena ordblks smblks hblks hblkhd usmblks fsmblks u f k".split()]
libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
libc.malloc.restype, libc.malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
def mapped():
    before = libc.mallinfo2().hblkhd
    libc.malloc(20 << 20)
    return libc.mallinfo2().hblkhd - before >= 20 << 20
"""


def told(program: str, **environment: str) -> str:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MALLOC_", "FOURFOLD_MALLOC", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", MAPPED + program], capture_output=True, text=True, env={**clean, **environment}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[-1]


AS_A_PROGRAM = "from fourfold.cli import main\nsys.argv = ['fourfold', '--version']\nmain()\nprint(mapped())"


@needs_glibc
def test_the_command_has_large_blocks_kept() -> None:
    assert told("print(mapped())") == "True"  # or the next lines would show nothing
    assert told(AS_A_PROGRAM) == "False"


@needs_glibc
@pytest.mark.parametrize(
    "environment",
    [
        {"FOURFOLD_MALLOC": "default"},
        {"MALLOC_TOP_PAD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.mmap_max=65536"},
    ],
    ids=["ours", "glibcs", "tunables"],
)
def test_the_command_leaves_the_allocator_to_who_has_settled_it(environment: dict[str, str]) -> None:
    assert told(AS_A_PROGRAM, **environment) == "True"


@needs_glibc
def test_a_host_program_keeps_its_allocator() -> None:
    """Neither an import nor a command given in words sets anything."""
    program = """
import importlib, pkgutil
import fourfold, fourfold._process
def never(*given): raise AssertionError("the allocator was set")
fourfold._process.settle = never  # before whoever takes it by name
for found in pkgutil.walk_packages(fourfold.__path__, "fourfold."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
from fourfold.cli import main
assert main(["recipes"]) == 0 and main(["--version"]) == 0
print("kept")
"""
    assert told(program) == "kept"


def test_without_glibc_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> str:
        raise ValueError("unrecognized configuration name")

    for name in ("FOURFOLD_MALLOC", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_", "MALLOC_TOP_PAD_"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os, "confstr", none, raising=False)
    assert settle() is False


def test_a_wrong_switch_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from fourfold.cli import main

    monkeypatch.setenv("FOURFOLD_MALLOC", "defualt")
    monkeypatch.setattr(sys, "argv", ["fourfold", "--version"])
    assert main() == 2
    assert "FOURFOLD_MALLOC" in capsys.readouterr().err
