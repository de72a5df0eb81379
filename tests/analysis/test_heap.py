"""Whether freed memory stays in the process, seen by the page faults it saves."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from analysis import heap

ROOT = Path(__file__).parents[2]
ON_GLIBC = sys.platform == "linux" and "CS_GNU_LIBC_VERSION" in os.confstr_names

ROUNDS = """
import ctypes, resource
from analysis.heap import give_back_memory, keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
size = 64 << 20  # mapped by itself at whatever threshold glibc has adapted to
def usage():
    return resource.getrusage(resource.RUSAGE_SELF)
def rounds(number):
    first = usage().ru_minflt
    for _ in range(number):
        block = ctypes.c_void_p(libc.malloc(ctypes.c_size_t(size)))
        ctypes.memset(block, 1, size)
        libc.free(block)
    return usage().ru_minflt - first
def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
"""


def run(code: str, environment: Mapping[str, str] | None = None) -> list[float]:
    """Run code after `ROUNDS` in a fresh process; return the numbers it prints."""
    plain = {
        name: value
        for name, value in os.environ.items()
        if name != "GLIBC_TUNABLES" and not name.startswith("MALLOC_")
    }
    done = subprocess.run(
        [sys.executable, "-c", ROUNDS + code],
        cwd=ROOT,
        env=plain | dict(environment or {}),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return [float(word) for word in done.stdout.split()]


needs_glibc = pytest.mark.skipif(not ON_GLIBC, reason="there is nothing to set")


@needs_glibc
def test_pages_of_freed_memory_are_not_fetched_again() -> None:
    one, eight = run("print(rounds(1), rounds(8))")
    assert eight > 7 * one  # every page in every round
    kept, one, eight = run("print(int(keep_freed_memory()), rounds(1), rounds(8))")
    assert kept == 1
    assert eight < one


@needs_glibc
def test_the_peak_does_not_grow() -> None:
    code = "rounds(8); print(usage().ru_maxrss)"
    (plain,), (keeping,) = run(code), run("keep_freed_memory();" + code)
    assert keeping < plain + 8 * 1024  # kB; one block has 65,536


@needs_glibc
def test_memory_is_given_back_between_jobs() -> None:
    held, left = run(
        "keep_freed_memory(); none = resident(); rounds(1); print(resident() - none)\n"
        "give_back_memory(); print(resident() - none)"
    )
    assert held > 60 << 20
    assert left < 4 << 20


@needs_glibc
@pytest.mark.parametrize(
    "chosen",
    [
        {"MALLOC_MMAP_THRESHOLD_": "131072"},
        {"GLIBC_TUNABLES": "glibc.malloc.trim_threshold=131072"},
    ],
)
def test_the_choice_of_the_user_is_kept(chosen: dict[str, str]) -> None:
    code = "print(int(keep_freed_memory()), rounds(1), rounds(8))"
    kept, one, eight = run(code, chosen)
    assert kept == 0
    assert eight > 7 * one


@pytest.mark.parametrize("platform", ["win32", "darwin"])
def test_other_systems_are_left_alone(
    monkeypatch: pytest.MonkeyPatch, platform: str
) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("ctypes.CDLL", lambda _: pytest.fail("opened the C library"))
    assert not heap.keep_freed_memory()
    heap.give_back_memory()


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr("ctypes.CDLL", lambda _: object())
    assert not heap.keep_freed_memory()
    heap.give_back_memory()


@needs_glibc
def test_importing_the_library_changes_nothing() -> None:
    one, eight = run("import analysis, analysis.measures; print(rounds(1), rounds(8))")
    assert eight > 7 * one
