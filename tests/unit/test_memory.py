"""agent.memory: what was freed goes back to the system."""

from __future__ import annotations

import ctypes
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
