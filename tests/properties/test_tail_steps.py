"""Rotations seen in the middle: an agent that looks, or dies, between any two steps of them.

What `test_tail_model.py` does in one step, whole rotations, goes step by step here, as logrotate does it: the older ones move
up, app.log is copied, emptied, compressed, and the copy deleted. The worker is driven by hand, with a clock of its own.
"""

from __future__ import annotations

import ast
import gzip
import os
import re
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest
from by_hand import ByHand
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.config import Source

KEPT = 9
PATTERNS = ("app.log", "app.log*")
Step = tuple[str, tuple[float, ...]]


class Host(ByHand):
    """A directory with app.log, and an agent on it. A step that makes no sense where it stands does nothing."""

    def __init__(self, directory: Path, pattern: str) -> None:
        super().__init__(Source(include=(f"{directory}/{pattern}",)))
        self._directory = directory
        self._log, self._one, self._packed = (directory / name for name in ("app.log", "app.log.1", "app.log.1.gz"))
        self._is_copied = False
        self.written: list[str] = []

    def begin(self) -> None:
        self._log.touch()
        self.start()
        self.write(1)
        self.after(6)

    def end(self) -> None:
        """What is there by then has to come."""
        self.start()
        self.after(60)
        self.kill()

    def do(self, step: Step) -> None:
        name, arguments = step
        self.pass_time(0.01)
        getattr(self, name)(*arguments)

    # --- who writes and rotates -------------------------------------------------------------------------------------

    def write(self, count: float) -> None:
        new = [f"line {len(self.written) + number}" for number in range(int(count))]
        with self._log.open("a") as file:
            file.write("".join(f"{line}\n" for line in new))
        self.written += new
        self.touch(self._log)
        self._is_copied = False

    def shift(self) -> None:
        for number in range(KEPT - 1, 0, -1):
            for end in ("", ".gz"):
                path = self._directory / f"app.log.{number}{end}"
                if path.exists() and not (self._directory / f"app.log.{number + 1}{end}").exists():
                    path.rename(self._directory / f"app.log.{number + 1}{end}")

    def copy(self) -> None:
        if not (self._one.exists() or self._packed.exists()):
            shutil.copyfile(self._log, self._one)
            self.touch(self._one)
            self._is_copied = True

    def truncate(self) -> None:
        if self._is_copied:
            os.truncate(self._log, 0)
            self.touch(self._log)
            self._is_copied = False

    def rename(self) -> None:
        if not (self._one.exists() or self._packed.exists()):
            self._log.rename(self._one)
            self._log.touch()
            self.touch(self._log)

    def compress(self) -> None:
        if self._one.exists() and not self._packed.exists() and not self._is_copied:
            seen = self._one.stat()
            self._packed.write_bytes(gzip.compress(self._one.read_bytes()))
            os.utime(self._packed, ns=(seen.st_mtime_ns, seen.st_mtime_ns))

    def unlink(self) -> None:
        if self._packed.exists() and self._one.exists():
            self._one.unlink()


def after(steps: Sequence[Step], pattern: str) -> Host:
    directory = Path(tempfile.mkdtemp(prefix="tail-steps-"))
    try:
        host = Host(directory, pattern)
        host.begin()
        for step in steps:
            host.do(step)
        was_killed = host.was_killed
        host.end()
        host.was_killed = was_killed
    finally:
        shutil.rmtree(directory)
    return host


def complaint(host: Host) -> str:
    """What is wrong with what was delivered; nothing when nothing is. A kill may cost repeats, never lines."""
    lines = host.lines()
    if missing := set(host.written) - set(lines):
        return f"lost {sorted(missing)}"
    if host.was_killed:
        return ""
    if lines != host.written:
        return f"{lines} instead of {host.written}"
    return "" if {Path(path).name for path, _ in host.delivered} == {"app.log"} else f"other names: {host.delivered}"


def told(text: str) -> list[Step]:
    return [
        (name, ast.literal_eval(f"({argument},)") if argument else ())
        for name, argument in re.findall(r"(\w+)\(([\d.]*)\)", text)
    ]


@st.composite
def rotations(draw: st.DrawFn, parts: Sequence[str]) -> list[Step]:
    """One of the given kinds of rotation, with or without something happening after each step."""
    steps: list[Step] = []
    for part in parts:
        steps += [(part, ()), *draw(HAPPENINGS)]
    return steps


TURNS = st.sampled_from((0.05, 0.3, 1.0, 2.5)).map(lambda seconds: ("turn", (seconds,)))
WRITES = st.integers(1, 3).map(lambda count: ("write", (count,)))
DEATHS = st.sampled_from([("kill", ()), ("start", ()), ("persist", (0.5,)), ("persist", (1.0,))])
HAPPENINGS: st.SearchStrategy[list[Step]] = st.one_of(
    st.just([]), st.just([]), st.lists(TURNS, max_size=1), st.lists(DEATHS, max_size=1)
)
KINDS = {
    "copied": ("shift", "copy", "truncate"),
    "copied and compressed": ("shift", "copy", "truncate", "compress", "unlink"),
    "renamed": ("shift", "rename"),
    "renamed and compressed": ("shift", "rename", "compress", "unlink"),
}


def histories(kind: str) -> st.SearchStrategy[list[Step]]:
    others = st.one_of(WRITES, TURNS, DEATHS).map(lambda step: [step])
    silence = st.just([("turn", (1.0,))] * 15)
    pieces = st.lists(st.one_of(others, others, others, rotations(KINDS[kind]), silence), max_size=30)
    return pieces.map(lambda some: [step for piece in some for step in piece])


def check(kind: str, pattern: str, examples: int, *, derandomize: bool) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=derandomize, database=None)
    @given(histories(kind))
    def every_line_comes(steps: list[Step]) -> None:
        assert not complaint(after(steps, pattern))

    every_line_comes()


FOUND = """
shift() copy() truncate() compress() unlink() turn(1) shift() copy() truncate() compress() unlink() turn(2.5)
write(2) shift() copy() truncate() compress() unlink() write(3)

kill() shift() copy() truncate() compress() unlink() shift() copy() truncate() compress() unlink() write(1) shift()
start() copy() turn(0.3) truncate() compress() unlink() turn(1) turn(1) turn(1) shift() copy() truncate() compress()
unlink() persist(1.0) kill()

shift() copy() truncate() kill() compress() unlink() write(1) start() shift() copy() turn(0.05) truncate()
compress() unlink() write(2)

write(2) shift() kill() copy() truncate() start() compress() turn(1) unlink()

shift() copy() truncate() compress() unlink() turn(1) turn(1) write(2) shift() copy() truncate() compress() unlink()
write(3) shift() copy() truncate() compress() unlink() shift() copy() truncate() compress() unlink() write(3)

shift() copy() truncate() shift() copy() truncate() turn(1) write(3) shift() turn(1) copy() turn(0.3) truncate()
persist(1.0) kill()

shift() copy() truncate() kill() write(3) shift() copy() truncate() turn(1) start() write(1) shift() turn(1) copy()
truncate() turn(0.3) persist(0.29) kill()

shift() rename() compress() unlink() shift() rename() compress() unlink() turn(1) persist(1.0) write(1) shift()
rename() compress() unlink() write(3) turn(1) persist(0.33) kill() shift() rename() compress() unlink()

shift() copy() truncate() write(1) shift() copy() truncate() write(1)
"""
"""Steps after which lines were once missing, repeated, out of order, or under the name of a copy."""


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("steps", FOUND.split("\n\n"))
def test_what_went_wrong_once_in_the_middle_of_a_rotation_goes_well(steps: str, pattern: str) -> None:
    host = after(told(steps), pattern)
    assert host.lines() == host.written
    assert {Path(path).name for path, _ in host.delivered} == {"app.log"}


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("kind", KINDS)
def test_whenever_the_agent_looks_at_a_rotation_or_dies_every_line_comes(kind: str, pattern: str) -> None:
    check(kind, pattern, 60, derandomize=True)


@pytest.mark.long
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("kind", KINDS)
def test_whenever_the_agent_looks_at_a_rotation_or_dies_for_long(kind: str, pattern: str) -> None:
    check(kind, pattern, 3000, derandomize=False)
