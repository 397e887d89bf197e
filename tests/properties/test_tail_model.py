"""Whatever is done to a log file, in whatever order, and wherever the agent dies meanwhile: a model says what must come out.

The worker that a tailer's thread runs is driven by hand, so time is the model's own, and a run repeats exactly. A look is
what the agent does in four seconds: two in which it finds what there is, and two in which a predecessor is quiet. A line is owed from the first look at which it is there, or when it is there at the end.
"""

from __future__ import annotations

import ast
import gzip
import os
import re
import shutil
import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from agent.config import Agent, Source
from agent.model import Chunk, FileId, Position, Resume
from agent.tail.generations import Timing
from agent.tail.memory import Memory
from agent.tail.mounts import WHOLE_TREE
from agent.tail.worker import Ask, Worker

TIMING = Timing(successor_cap_s=1e9, nameless_s=1e9)
IDLE_CLOSE_S = (TIMING.idle_close_s, 1.0)
KEPT = 6
PATTERNS = ("app.log", "app.log*")
NOBODY = 65534


@dataclass
class Generation:
    """What one file holds by now.

    late:    lines written after it was renamed.
    partial: an unended last line.
    is_strange: it was renamed before the agent could see it, when nothing said that its path was ever followed.
    unseen:  lines that were compressed before the agent could see them.
    """

    number: int
    lines: list[str] = field(default_factory=list)
    late: set[str] = field(default_factory=set)
    partial: str = ""
    was_renamed: bool = False
    is_strange: bool = False
    unseen: set[str] = field(default_factory=set)


class Files(RuleBasedStateMachine):
    """`app.log` and its rotated forms, and `link.log`, which points at one target after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="tail-model-"))
        self.directory.chmod(0o755)
        self.log = self.directory / "app.log"
        self.link = self.directory / "link.log"
        self.now = 1000.0
        self.numbers = 0
        self.content: dict[Path, Generation] = {}
        self.written: dict[str, Generation] = {}
        self.pieces: dict[str, str] = {}
        self.owed: set[str] = set()
        self.delivered: list[str] = []
        self.positions: dict[FileId, Position] = {}
        self.killed = self.doubt = False
        self.is_forgotten = False
        self.targets = 0
        self.done: list[str] = []

    @initialize(pattern=st.sampled_from(PATTERNS), idle_close_s=st.sampled_from(IDLE_CLOSE_S))
    def begin(self, pattern: str, idle_close_s: float) -> None:
        self.timing = replace(TIMING, idle_close_s=idle_close_s)
        self.sources = (
            Source(name="app", include=(str(self.directory / pattern),)),
            Source(name="link", include=(str(self.link),)),
        )
        self.start()
        self.write(1)
        self.switch_link()
        self.look()

    # --- the agent ----------------------------------------------------------------------------------------------------

    def wall_ns(self) -> int:
        return int(self.now * 1e9)

    def start(self) -> None:
        self.memory = Memory(Resume(dict(self.positions), {}))
        agent = Agent(watch="poll", scan_interval="1s", poll_interval="500ms")
        self.worker = Worker(
            self.sources, agent, WHOLE_TREE, self.memory, self.timing, self.wall_ns, lambda: self.now, once=False
        )

    def turn(self, *, durable: bool = True) -> None:
        os.seteuid(NOBODY) if os.getuid() == 0 else None
        try:
            turn = self.worker.turn(Ask(set(), False, False, True, WHOLE_TREE))
        finally:
            os.seteuid(0) if os.getuid() == 0 else None
        if durable:
            for chunk in turn.chunks:
                self.take(chunk)

    def take(self, chunk: Chunk) -> None:
        self.positions[chunk.span.file] = chunk.span.after
        self.delivered += chunk.data.decode().splitlines()

    @rule()
    def look(self) -> None:
        # While one cannot be read, those after it wait.
        if all(path.stat().st_mode & 0o444 for path in self.content if path.exists()):
            for generation in self.content.values():
                if not generation.is_strange:
                    self.owed.update(line for line in generation.lines if line not in generation.unseen)
        self.is_forgotten = self.is_forgotten and not (self.log.exists() and self.log.stat().st_mode & 0o444)
        for _ in range(8):
            self.turn()
            self.now += 0.5
        self.done.append("look()")

    @rule(turns=st.integers(1, 3))
    def glance(self, turns: int) -> None:
        """Too short for what waits behind a predecessor to have its turn."""
        for _ in range(turns):
            self.turn()
            self.now += 0.5
        self.done.append(f"glance({turns})")

    @rule(looks=st.integers(0, 3))
    def die(self, looks: int) -> None:
        """Killed after some turns of which nothing became durable."""
        for _ in range(looks):
            self.turn(durable=False)
            self.now += 0.5
        self.worker.close()
        self.killed = True
        self.start()
        self.done.append(f"die({looks})")

    # --- writers ------------------------------------------------------------------------------------------------------

    def next_number(self) -> int:
        self.numbers += 1
        return self.numbers

    def new_generation(self) -> Generation:
        self.numbers += 1
        return Generation(self.numbers)

    def append(self, path: Path, text: str) -> None:
        mode = path.stat().st_mode if path.exists() else 0o100644
        with path.open("a") as file:
            file.write(text)
        path.chmod(mode & 0o777)
        self.stamp(path)

    def stamp(self, path: Path) -> None:
        self.now += 0.001
        os.utime(path, ns=(self.wall_ns(),) * 2)

    def put(self, path: Path, count: int, *, late: bool = False) -> None:
        generation = self.content.setdefault(path, self.new_generation())
        text = ""
        for _ in range(count):
            rest = f"{generation.number}-{self.next_number()}-{'x' * (self.numbers % 7)}"
            text += rest + "\n"
            line = generation.partial + rest
            if generation.partial:
                self.pieces[rest] = self.pieces[generation.partial] = line
                generation.partial = ""
            self.written[line] = generation
            generation.lines.append(line)
            if late:
                generation.late.add(line)
        self.append(path, text)

    @rule(count=st.integers(1, 5))
    def write(self, count: int) -> None:
        self.put(self.log, count)
        self.done.append(f"write({count})")

    @rule()
    def write_half_a_line(self) -> None:
        generation = self.content.setdefault(self.log, self.new_generation())
        if not generation.partial:
            generation.partial = f"{generation.number}-{self.next_number()}-half"
            self.pieces[generation.partial] = ""
            self.append(self.log, generation.partial)
            self.done.append("write_half_a_line()")

    def rotated(self, number: int) -> Path:
        return self.directory / f"app.log.{number}"

    def may_be_written_late(self) -> bool:
        renamed = self.content.get(self.rotated(1))
        return renamed is not None and renamed.was_renamed and bool(renamed.lines)

    @precondition(may_be_written_late)
    @rule()
    def write_late(self) -> None:
        """Whoever wrote to the file still does, after it was renamed. One that was empty then may be anything."""
        self.put(self.rotated(1), 1, late=True)
        self.done.append("write_late()")

    # --- rotation -----------------------------------------------------------------------------------------------------

    def make_room(self) -> None:
        """Every rotated file one number further; the oldest is deleted."""
        if self.is_forgotten:  # nothing says that the path was ever followed, and it was not seen since
            generation = self.content[self.log]
            generation.is_strange = True
        for number in range(KEPT, 0, -1):
            for suffix in ("", ".gz"):
                older = self.directory / f"app.log.{number}{suffix}"
                newer = self.directory / f"app.log.{number + 1}{suffix}"
                if older.exists():
                    older.rename(newer)
                    if older in self.content:
                        self.content[newer] = self.content.pop(older)
        for suffix in ("", ".gz"):
            last = self.directory / f"app.log.{KEPT + 1}{suffix}"
            if last.exists():
                last.unlink()
                self.content.pop(last, None)

    @precondition(lambda self: self.log in self.content)
    @rule(create=st.booleans())
    def rename(self, create: bool) -> None:
        self.make_room()
        if not self.log.stat().st_mode & 0o444:  # a generation nobody could see must be readable when it is renamed
            self.doubt = self.content[self.log].is_strange = True
            self.owed -= {line for line in self.content[self.log].lines if line not in self.delivered}
        self.log.rename(self.rotated(1))
        self.content[self.rotated(1)] = self.content.pop(self.log)
        self.content[self.rotated(1)].was_renamed = True
        if create:
            self.log.touch()
            self.stamp(self.log)
            self.content[self.log] = self.new_generation()
        self.done.append(f"rename({create})")

    @precondition(lambda self: self.log in self.content and not self.content[self.log].partial)
    @rule()
    def copy_and_truncate(self) -> None:
        self.make_room()
        if not self.log.stat().st_mode & 0o444:  # nobody can say then what is a copy of what
            self.doubt = self.content[self.log].is_strange = True
            self.owed -= {line for line in self.content[self.log].lines if line not in self.delivered}
        shutil.copyfile(self.log, self.rotated(1))
        self.stamp(self.rotated(1))
        os.truncate(self.log, 0)
        self.stamp(self.log)
        self.content[self.rotated(1)] = self.content.pop(self.log)
        self.content[self.log] = self.new_generation()
        self.done.append("copy_and_truncate()")

    @rule(count=st.integers(1, 3))
    def replace(self, count: int) -> None:
        temporary = self.directory / "tmp"
        self.content.pop(self.log, None)
        self.put(temporary, count)
        temporary.rename(self.log)
        self.content[self.log] = self.content.pop(temporary)
        self.done.append(f"replace({count})")

    @precondition(lambda self: self.log in self.content)
    @rule()
    def truncate(self) -> None:
        self.lose(self.log)
        os.truncate(self.log, 0)
        self.stamp(self.log)
        self.content[self.log] = self.new_generation()
        self.done.append("truncate()")

    @precondition(lambda self: self.log in self.content)
    @rule()
    def delete(self) -> None:
        self.content.pop(self.log)
        self.log.unlink()
        self.is_forgotten = True
        self.done.append("delete()")

    @precondition(lambda self: any(self.rotated(number) in self.content for number in range(1, KEPT + 1)))
    @rule(which=st.integers(0, KEPT - 1))
    def compress(self, which: int) -> None:
        plain = [number for number in range(1, KEPT + 1) if self.rotated(number) in self.content]
        number = plain[which % len(plain)]
        path = self.rotated(number)
        packed = path.with_name(path.name + ".gz")
        packed.write_bytes(gzip.compress(path.read_bytes()))
        shutil.copystat(path, packed)
        path.unlink()
        self.content[packed] = self.content.pop(path)
        self.content[packed].unseen.update(line for line in self.content[packed].lines if line not in self.owed)
        self.done.append(f"compress({which})")

    @rule()
    def switch_link(self) -> None:
        self.targets += 1
        target = self.directory / f"target-{self.targets}.txt"
        self.put(target, 2)
        (self.directory / "l").symlink_to(target)
        (self.directory / "l").rename(self.link)
        for older in [path for path in self.content if path.name.startswith("target-") and path != target]:
            self.forgive(self.content.pop(older))  # not to be found by its name any more
        self.done.append("switch_link()")

    @precondition(lambda self: os.getuid() == 0 and self.log in self.content)
    @rule(mode=st.sampled_from([0o000, 0o644]))
    def chmod(self, mode: int) -> None:
        self.log.chmod(mode)
        self.done.append(f"chmod({mode:#o})")

    def lose(self, path: Path) -> None:
        self.forgive(self.content.pop(path))

    def forgive(self, generation: Generation) -> None:
        """What is destroyed before it was read need not come."""
        had = set(self.delivered) | {line for piece, line in self.pieces.items() if piece in self.delivered}
        self.owed -= {line for line in generation.lines if line not in had}

    # --- what must be true --------------------------------------------------------------------------------------------

    @invariant()
    def descriptors_are_bounded(self) -> None:
        assert len(list(self.directory.iterdir())) < 100

    def teardown(self) -> None:
        try:
            self.judge()
        finally:
            self.worker.close()
            shutil.rmtree(self.directory)

    def judge(self) -> None:
        for path in self.content:
            if path.exists():
                path.chmod(0o644)
        told = " ".join(self.done)
        self.look()
        for _ in range(40):
            self.turn()
            self.now += 5.0
        found = self.delivered
        strange = [line for line in found if line not in self.written and line not in self.pieces]
        assert not strange, f"integrity: {strange[:3]} after {told}"
        whole = set(found) | {line for piece, line in self.pieces.items() if piece in found}
        missing = sorted(self.owed - whole)
        assert not missing, f"conservation: {missing[:5]} after {told}"
        if not self.killed and not self.doubt:
            twice = sorted({line for line in found if found.count(line) > 1})
            assert not twice, f"repeats without a kill: {twice[:5]} after {told}"
        per_generation: dict[int, list[str]] = {}
        for line in dict.fromkeys(found):
            if line in self.written:
                per_generation.setdefault(self.written[line].number, []).append(line)
        for lines in per_generation.values():
            assert [int(line.split("-")[1]) for line in lines] == sorted(int(line.split("-")[1]) for line in lines), (
                f"order: {lines[:10]} after {told}"
            )
        still_open = [file.path for file in self.worker._generations.files.values() if file.is_open]
        assert not still_open, f"descriptors: {still_open} after {told}"


FOUND = (
    "copy_and_truncate() write_half_a_line() look() compress(0) look() rename(False)",
    "copy_and_truncate() copy_and_truncate() write_half_a_line() look() look() look() write(1) copy_and_truncate() copy_and_truncate() write(1)",
    "glance(1) glance(1) glance(1) replace(1) glance(1) rename(False)",
    "copy_and_truncate() replace(1) copy_and_truncate() look() compress(0) glance(1) copy_and_truncate()",
    "truncate() look() write(2) copy_and_truncate() write(1)",
    "truncate() look() write(2) copy_and_truncate() write(4)",
    "truncate() look() write_half_a_line() write(1) copy_and_truncate()",
    "copy_and_truncate() delete() look() compress(0) look() replace(1) copy_and_truncate() look() rename(False)",
    "copy_and_truncate() copy_and_truncate() look() compress(0) replace(1) glance(1) copy_and_truncate()",
    "rename(False) compress(0) glance(1) replace(1) copy_and_truncate()",
    "copy_and_truncate() replace(1) rename(False) look() write_half_a_line() compress(0)",
    " ".join(["copy_and_truncate()"] * 6 + ["write(1) copy_and_truncate() die(0)"]),
    "copy_and_truncate() write(1) look() copy_and_truncate() chmod(0) rename(False) write_half_a_line() delete() compress(0) look()",
    "replace(1) copy_and_truncate() chmod(0) die(0) look()",
    "rename(False) compress(0) look() look() look() look() write(1) rename(False) look() look()",
    "die(0) delete() look() look() look() write(1) copy_and_truncate() look() replace(1) copy_and_truncate()",
    "copy_and_truncate() copy_and_truncate() delete() glance(1) look() replace(1) copy_and_truncate() copy_and_truncate() look() copy_and_truncate() copy_and_truncate() copy_and_truncate() copy_and_truncate() copy_and_truncate() write(1) copy_and_truncate() look() replace(1) compress(0) copy_and_truncate()",
    "replace(1) write_half_a_line() rename(True) delete() look() replace(1) copy_and_truncate() compress(1)",
    "replace(1) glance(1) copy_and_truncate() copy_and_truncate() copy_and_truncate() copy_and_truncate() rename(False) look() look() look() switch_link() replace(1) copy_and_truncate() replace(1) replace(1) look() copy_and_truncate() replace(1) copy_and_truncate() look() copy_and_truncate() copy_and_truncate() copy_and_truncate() copy_and_truncate()",
    "delete() switch_link() look() die(0) replace(1) copy_and_truncate() look() die(0) replace(1) copy_and_truncate()",
    "glance(1) truncate() rename(False) look() replace(1) compress(0) rename(True)",
    "glance(1) truncate() rename(False) glance(1) die(0) compress(0) write(1) copy_and_truncate() copy_and_truncate() die(0)",
    "glance(1) rename(False) replace(1) write_late() rename(False) look() look() look()",
    "delete() switch_link() write(1) truncate() look() write(1) copy_and_truncate() die(0)",
    "delete() look() write_half_a_line() look() replace(1) copy_and_truncate() die(0)",
    "write_half_a_line() replace(2) chmod(0) glance(1) replace(1) rename(True)",
    "truncate() look() chmod(0) write_half_a_line() glance(2) replace(2) rename(False) replace(1)",
    "die(0) truncate() rename(False) glance(1) replace(1) rename(False)",
    "replace(1) die(0) truncate() rename(False) glance(1) replace(1) copy_and_truncate()",
    "copy_and_truncate() rename(False)",
    "copy_and_truncate() replace(1)",
    "copy_and_truncate() delete()",
    "write(1) copy_and_truncate() replace(1)",
    "truncate() write(1) rename(False) look() compress(0) write_half_a_line() rename(False) look() switch_link()",
    "copy_and_truncate() write(1) write_half_a_line() look() rename(False) compress(0) compress(0)",
    "copy_and_truncate() write(1) look() copy_and_truncate() compress(1) rename(False)",
    "chmod(0) write(1) look() chmod(420) copy_and_truncate() replace(1) compress(0)",
    "rename(False) glance(3) write(1) copy_and_truncate() copy_and_truncate() rename(True) copy_and_truncate() copy_and_truncate() copy_and_truncate()",
    "copy_and_truncate() copy_and_truncate() copy_and_truncate() copy_and_truncate() glance(3) compress(0) compress(2) copy_and_truncate() glance(2) copy_and_truncate() write(1) look() copy_and_truncate()",
    "copy_and_truncate() copy_and_truncate() copy_and_truncate() look() die(0) replace(1) look() replace(1) replace(1) copy_and_truncate()",
)
"""Steps after which something was missing or repeated once, as failures tell them."""


@pytest.mark.parametrize("idle_close_s", IDLE_CLOSE_S)
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("steps", FOUND)
def test_t121_what_went_wrong_once_goes_well(steps: str, pattern: str, idle_close_s: float) -> None:
    files = Files()
    try:
        files.begin(pattern, idle_close_s)
        for name, argument in re.findall(r"(\w+)\((.*?)\)", steps):
            getattr(files, name)(*([ast.literal_eval(argument)] if argument else []))
    finally:
        files.teardown()


# The steps are told by the failure itself; `long` makes them fewer.
SHORT = settings(max_examples=40, stateful_step_count=25, derandomize=True, phases=(Phase.generate,))


def test_t121_whatever_happens_to_files_their_lines_come_once_and_in_order() -> None:
    run_state_machine_as_test(Files, settings=SHORT)


@pytest.mark.long
def test_t121_whatever_happens_to_files_for_long() -> None:
    run_state_machine_as_test(Files, settings=settings(max_examples=3000, stateful_step_count=60))
