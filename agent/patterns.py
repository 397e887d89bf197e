"""The compiled patterns of redaction, kept in the state directory: compiling takes a second, loading a millisecond.

    offset length
         0     10  "GSPATTERNS"
        10     16  blake2b of what they were compiled for: the patterns, the compiler's version, this processor
        26     16  blake2b of the rest
        42         the compiled patterns

A file that is damaged, or was made for anything else, counts as none. That it is there also says that the compiler works on
this processor, which is tried in a child process otherwise.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
from pathlib import Path

from agent.durable import replace_whole
from agent.observe.events import Emit, PatternsNotKept

FILE_NAME = "patterns.hyperscan"

_MAGIC = b"GSPATTERNS"
_DIGEST_BYTES = 16
_HEADER_BYTES = len(_MAGIC) + 2 * _DIGEST_BYTES
_CPU_FACTS = ("vendor_id", "cpu family", "model", "stepping", "flags", "features", "cpu implementer", "cpu part")


class PatternFile:
    """processor: whatever tells one kind of processor from another."""

    def __init__(self, state_dir: Path, emit: Emit, processor: str | None = None) -> None:
        self._path = state_dir / FILE_NAME
        self._emit = emit
        self._processor = processor if processor is not None else processor_facts()

    def load(self, key: str) -> bytes | None:
        """What was saved under this key on this kind of processor, intact; else None."""
        try:
            data = self._path.read_bytes()
        except OSError:
            return None
        payload = data[_HEADER_BYTES:]
        return payload if data[:_HEADER_BYTES] == self._header(key, payload) else None

    def save(self, key: str, payload: bytes) -> None:
        """Replaces the file. When it cannot be written, that is told, and the next start compiles again."""
        try:
            replace_whole(self._path, self._header(key, payload) + payload)
        except OSError as error:
            self._emit(PatternsNotKept(str(self._path), error.strerror or str(error)))

    def _header(self, key: str, payload: bytes) -> bytes:
        return _MAGIC + _digest(f"{key}\0{self._processor}".encode()) + _digest(payload)


class NotKept:
    """For commands that leave nothing behind: each compiles anew."""

    def load(self, _key: str) -> bytes | None:
        return None

    def save(self, _key: str, _payload: bytes) -> None:
        pass


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=_DIGEST_BYTES).digest()


def processor_facts() -> str:
    """What Linux says of the first processor, but for what changes while it runs."""
    facts = [platform.machine()]
    with contextlib.suppress(OSError):
        first = Path("/proc/cpuinfo").read_text(errors="replace").partition("\n\n")[0]
        facts += [line for line in first.splitlines() if line.partition(":")[0].strip().lower() in _CPU_FACTS]
    return "\n".join(facts)
