"""agent.memory: what was freed goes back to the system, and code that is not needed leaves the resident set."""

from __future__ import annotations

import ctypes
import io
import subprocess
import sys
from pathlib import Path

import pytest

from agent import memory


def resident_mib() -> float:
    fields = Path("/proc/self/statm").read_text().split()
    return int(fields[1]) * 4096 / 2**20


def fill_and_free() -> None:
    """Blocks too small to be mapped by themselves, with one at the end that keeps the heap from shrinking."""
    blocks = [bytearray(60_000) for _ in range(1000)]
    keep.append(bytearray(60_000))
    blocks.clear()


keep: list[bytearray] = []


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_trim"), reason="the C library has no malloc_trim")
def test_what_was_freed_goes_back_to_the_system() -> None:
    fill_and_free()
    before = resident_mib()
    memory.trim()
    assert resident_mib() < before - 30


def test_a_c_library_without_that_call_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "_malloc_trim", lambda: None)
    memory.trim()


LET_GO = """
import ssl, pydantic_core, aiohttp
from agent import memory

def resident_kib():
    return int(open("/proc/self/statm").read().split()[1]) * 4

before = resident_kib()
memory.let_code_go()
after = resident_kib()
aiohttp.ClientTimeout(total=1)
assert pydantic_core.from_json("[1]") == [1]
ssl.create_default_context()
print(before - after)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lists its mappings")
def test_code_leaves_the_resident_set_and_runs_all_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", LET_GO], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 1_024


MAPPINGS = """\
55d0a000-55d0c000 r--p 00000000 fd:00 11                         /usr/bin/python3
Anonymous:             0 kB
55d0c000-55d10000 r-xp 00002000 fd:00 11                         /usr/bin/python3
Rss:                  16 kB
Anonymous:             0 kB
THPeligible:           0
VmFlags:

7f10a000-7f10b000 r-xp 00000000 fd:00 12                         /usr/lib/a name.so
Anonymous:             4 kB
7f10c000-7f10d000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
7f10e000-7f10f000 r-xp 00000000 00:00 0
Anonymous:             0 kB
"""


def test_only_code_that_is_as_its_file_has_it_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "open", lambda _: io.StringIO(MAPPINGS))
    assert list(memory._code()) == [(0x55D0C000, 0x4000)]


def test_without_a_list_of_mappings_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: object) -> object:
        raise FileNotFoundError

    monkeypatch.setattr(Path, "open", missing)
    assert list(memory._code()) == []
    memory.let_code_go()
