"""strace as a tool of tests: which system calls an agent makes, and killing it or failing it at a chosen one.

The agent stays the direct child (`-D`: strace watches as a process beside it), so its signals and exit status are its own.
strace counts the calls of each thread by itself: `when=3` strikes at the first thread that comes to its third call.
`--seccomp-bpf` would be faster, but with it strace 6.1 kills no main thread.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

STRACE = ("strace", "-f", "-D", "-qq", "-y", "-s", "0")


@cache
def why_not() -> str:
    """The reason why nothing can be traced here; empty when it can."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    tried = subprocess.run([*STRACE, "-e", "trace=none", "true"], capture_output=True, text=True, check=False)
    return "" if tried.returncode == 0 else f"strace cannot trace here: {tried.stderr.strip()[:200]}"


@dataclass(frozen=True, slots=True)
class Point:
    """The `number`th call of `syscall` on one kind of file by one thread; of kind `""`, on whatever descriptor."""

    syscall: str
    kind: str
    number: int

    def __str__(self) -> str:
        return f"{self.syscall} {self.kind or 'anything'} #{self.number}"


def recording(log: Path, syscalls: Sequence[str]) -> list[str]:
    """The prefix that writes these calls to a file."""
    return [*STRACE, "-o", str(log), "-e", f"trace={','.join(syscalls)}"]


def injecting(log: Path, what: str, syscall: str, when: str, paths: Iterable[str] = ()) -> list[str]:
    """The prefix that strikes: `what` is `signal=KILL` or `error=EIO`, `when` as strace has it (`3`, `3+`, `2+5`)."""
    only = [word for path in paths for word in ("-P", path)]
    return [*STRACE, "-o", str(log), *only, "-e", f"trace={syscall}", "-e", f"inject={syscall}:{what}:when={when}"]


_CALL = re.compile(r"^(\d+) +(\w+)\((.*)")
_OF_DESCRIPTOR = re.compile(r"^\d+<([^>]*)>")
_OF_NAME = re.compile(r'^(?:AT_FDCWD(?:<[^>]*>)?, )?"([^"]*)"')


@dataclass(frozen=True, slots=True)
class Call:
    thread: int
    syscall: str
    path: str
    rest: str


def calls(log: Path) -> list[Call]:
    """What a recording holds, in order of beginning. path: of the file or descriptor, empty when it has none."""
    found = []
    for line in log.read_text(errors="replace").splitlines():
        match = _CALL.match(line)
        if match is None:
            continue
        thread, syscall, arguments = int(match[1]), match[2], match[3]
        place = _OF_DESCRIPTOR.match(arguments) or _OF_NAME.match(arguments)
        found.append(Call(thread, syscall, place[1] if place else "", arguments))
    return found


def points(made: Sequence[Call], kind_of: Callable[[str], str], since: str) -> list[Point]:
    """Every point at which such a run can be struck, in order.

    kind_of: of the path of a file, empty for a file of no interest. Calls on sockets and pipes are counted over all
             descriptors, for strace can choose by path only.
    since:   kind of the first call that counts; before it there is nothing but the interpreter's own start.
    """
    found: dict[Point, None] = {}
    counts: Counter[tuple[int, str, str]] = Counter()
    begun = False
    for call in made:
        kind = kind_of(call.path)
        begun = begun or kind == since
        counts[call.thread, call.syscall, ""] += 1
        if kind:
            counts[call.thread, call.syscall, kind] += 1
        if begun and (kind or call.path.startswith(("socket:", "pipe:", "anon_inode:"))):
            found.setdefault(Point(call.syscall, kind, counts[call.thread, call.syscall, kind]))
    return list(found)
