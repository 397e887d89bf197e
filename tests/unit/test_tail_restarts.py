"""agent.tail after a kill: generations that nobody had read yet, and originals that were emptied and renamed meanwhile."""

import asyncio
import gzip
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tailing import Run, numbered, source, tailing, write

from agent.config import Agent, Source
from agent.model import Chunk, FileId, Position, Resume
from agent.observe.events import FileUnreadable
from agent.tail.all_files import Tailer
from agent.tail.generations import Timing


class Life:
    """Lives of an agent one after the other. A chunk that was taken is durable: its position is remembered."""

    def __init__(self, log: Path, quiet_s: float) -> None:
        self._log = log
        self._timing = Timing(quiet_s=quiet_s)
        self.positions: dict[FileId, Position] = {}

    async def live(
        self, enough: Callable[[list[bytes]], bool], between: Callable[[int], None] = lambda turn: None
    ) -> list[bytes]:
        """The lines read until they are enough. `between` is called after each turn with its number."""
        lines: list[bytes] = []
        settings = Agent(scan_interval="50ms", poll_interval="50ms")
        tailer = Tailer(
            [Source(include=(str(self._log),))],
            settings,
            Resume(dict(self.positions), {}),
            lambda event: None,
            timing=self._timing,
        )
        async with asyncio.timeout(20), tailer:
            turn = 0
            async for chunks in tailer.turns(lambda: 0.05):
                for chunk in chunks:
                    self._take(chunk, lines)
                turn += 1
                between(turn)
                if enough(lines):
                    tailer.stop()
        return lines

    def _take(self, chunk: Chunk, lines: list[bytes]) -> None:
        self.positions[chunk.span.file] = chunk.span.after
        lines += chunk.data.splitlines()


def copytruncate(log: Path, copy: Path) -> None:
    shutil.copy(log, copy)
    os.truncate(log, 0)


async def test_generations_whose_turn_had_not_come_are_read_after_a_kill(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("a1\n")
    life = Life(log, quiet_s=60)
    assert await life.live(lambda lines: b"a1" in lines) == [b"a1"]
    os.rename(log, tmp_path / "app.log.4")
    (tmp_path / "app.log.3").write_text("b1\n")
    (tmp_path / "app.log.2").write_text("c1\n")
    log.write_text("d1\n")
    stopped = []

    def empty_the_unread(turn: int) -> None:
        if turn == 5:
            copytruncate(log, tmp_path / "app.log.1")
        stopped.append(turn)

    # Writer quiet for a minute at least: nothing but the oldest may be read, yet all are remembered.
    await life.live(lambda lines: len(stopped) > 30, empty_the_unread)
    log.write_text("e1\n")
    patient = Life(log, quiet_s=0.0)
    patient.positions = life.positions
    assert await patient.live(lambda lines: b"e1" in lines) == [b"b1", b"c1", b"d1", b"e1"]


async def test_a_file_that_was_emptied_and_renamed_while_the_agent_was_down_goes_on_in_its_copy(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("a1\na2\n")
    life = Life(log, quiet_s=0.0)
    await life.live(lambda lines: b"a2" in lines)
    with log.open("a") as file:
        file.write("a3\n")
    copytruncate(log, tmp_path / "app.log.2")
    with log.open("a") as file:
        file.write("b1\nb2\nb3\n")
    os.rename(log, tmp_path / "app.log.1")
    log.write_text("c1\n")
    assert await life.live(lambda lines: b"c1" in lines) == [b"a3", b"b1", b"b2", b"b3", b"c1"]


def take_inode(inode: int, path: Path) -> None:
    """Makes an empty file that has this inode, which must be free."""
    for number in range(2000):
        spare = path.parent / f"spare-{number}"
        spare.touch()
        if spare.stat().st_ino == inode:
            spare.rename(path)
            return
    pytest.skip("this file system does not use inodes again")


async def test_a_copy_with_the_inode_of_a_generation_that_was_emptied_and_deleted_is_that_copy(tmp_path: Path) -> None:
    """Of an emptied file there is no content to know it by; whatever has its inode later must not pass for it."""
    two, three = tmp_path / "two.log", tmp_path / "three.log"
    three.write_text("x1\n")
    two.write_text("a1\na2\n")
    life = Life(tmp_path / "*.log", quiet_s=0.0)
    await life.live(lambda lines: {b"x1", b"a2"} <= {*lines})
    emptied = three.stat().st_ino
    turns: list[int] = []

    def empty_it(turn: int) -> None:
        if turn == 3:
            copytruncate(three, tmp_path / "three.log.1")
        turns.append(turn)

    await life.live(lambda lines: len(turns) > 30, empty_it)
    assert FileId(three.stat().st_dev, emptied, 1) in life.positions
    three.unlink()
    with two.open("a") as file:
        file.write("a3\n")
    copy = tmp_path / "two.log.1"
    take_inode(emptied, copy)
    copytruncate(two, copy)
    assert copy.stat().st_ino == emptied
    two.write_text("b1\n")
    assert await life.live(lambda lines: b"b1" in lines) == [b"a3", b"b1"]
    assert {position.origin.path for position in life.positions.values() if position.offset} == {str(two), str(three)}


def remembered(known: Resume, run: Run) -> Resume:
    positions = {**known.positions, **run.resume().positions}
    return Resume({file: position for file, position in positions.items() if file not in run.forgotten}, {})


@pytest.mark.parametrize(
    "changed", [{"exclude": ("a.log",)}, {"include": ("b.log",)}], ids=["excluded", "no longer included"]
)
async def test_a_file_that_is_not_wanted_any_more_is_not_read_and_goes_on_when_it_is_wanted_again(
    tmp_path: Path, changed: dict[str, tuple[str, ...]]
) -> None:
    log, other = tmp_path / "a.log", tmp_path / "b.log"
    write(log, "a1")
    write(other, "b1")
    everything = source(tmp_path / "*.log")
    only_other = everything.model_copy(
        update={key: tuple(str(tmp_path / name) for name in names) for key, names in changed.items()}
    )
    async with tailing(everything) as run:
        await run.until_lines(2)
    known = run.resume()
    write(log, "a2")
    async with tailing(only_other, resume=known) as run:
        write(log, "a3")
        log.rename(tmp_path / "a.log.1")
        write(other, "b2")
        await run.until_lines(1)
        await run.turns(20)
    assert run.lines() == ["b2"]
    async with tailing(everything, resume=remembered(known, run)) as run:
        await run.until_lines(2)
        await run.turns(20)
    assert run.lines() == ["a2", "a3"]


async def test_a_source_that_was_given_another_name_goes_on_with_its_generations(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    write(log, "1")
    async with tailing(source(log, name="old")) as run:
        await run.until_lines(1)
    write(log, "2")
    log.rename(tmp_path / "app.log.1")
    write(log, "3")
    async with tailing(source(log, name="new"), resume=run.resume()) as run:
        await run.until_lines(2)
    assert run.lines() == ["2", "3"]


async def test_a_file_of_another_source_is_no_missed_generation_whatever_its_name(tmp_path: Path) -> None:
    log, other = tmp_path / "worker.log", tmp_path / "worker-2.log"
    sources = source(log, name="one"), source(tmp_path / "worker-*.log", name="each")
    write(log, "1")
    async with tailing(*sources) as run:
        await run.until_lines(1)
    log.rename(tmp_path / "worker.log.1")
    write(log, "2")
    write(other, "3")
    async with tailing(*sources, resume=run.resume()) as run:
        await run.until_lines(2)
        await run.turns(20)
    found = {(chunk.origin.source, chunk.origin.path, chunk.data) for chunk in run.chunks if chunk.data}
    assert found == {("one", str(log), b"2\n"), ("each", str(other), b"3\n")}


async def test_what_was_moved_through_a_link_to_outside_is_told_and_holds_back_its_successor_for_a_while_only(
    tmp_path: Path,
) -> None:
    outside, logs = tmp_path / "outside", tmp_path / "logs"
    outside.mkdir()
    logs.mkdir()
    (logs / "old").symlink_to(outside)
    log = logs / "app.log"
    write(log, "1")
    async with tailing(source(log, olddir="old")) as run:
        await run.until_lines(1)
    write(log, "2")
    log.rename(outside / "app.log.1")
    write(log, "3")
    async with tailing(source(log, olddir="old"), resume=run.resume()) as run:
        await run.until_lines(1)
    assert run.lines() == ["3"]
    assert [event.errno for event in run.seen(FileUnreadable)] == ["EACCES"]


@pytest.mark.parametrize("change", ["emptied", "deleted"])
async def test_another_log_that_begins_like_one_that_is_gone_is_no_copy_of_it(tmp_path: Path, change: str) -> None:
    log, other = tmp_path / "app.log", tmp_path / "app-1.log"
    banner = ["starting", "ready"]
    write(log, *banner)
    async with tailing(source(tmp_path / "*.log")) as run:
        await run.until_lines(2)
    write(other, *banner, "its own")
    if change == "emptied":
        log.write_text("new\n")
    else:
        log.rename(tmp_path / "its inode is not used again")
    async with tailing(source(tmp_path / "*.log"), resume=run.resume()) as run:
        await run.until_lines(3, other)
        await run.turns(20)
    assert run.lines(other) == [*banner, "its own"]


async def test_another_log_under_the_same_glob_is_no_missed_generation(tmp_path: Path) -> None:
    log, other = tmp_path / "worker.log", tmp_path / "worker-2.log"
    write(log, "1")
    async with tailing(source(tmp_path / "*.log")) as run:
        await run.until_lines(1)
    log.rename(tmp_path / "worker.log.1")
    write(log, "2")
    write(other, "3")
    async with tailing(source(tmp_path / "*.log"), resume=run.resume()) as run:
        await run.until_lines(2)
        await run.turns(20)
    assert (run.lines(log), run.lines(other)) == (["2"], ["3"])


async def known_and_rotated(tmp_path: Path) -> Run:
    """One line of app.log was read; app.log.2 has it now, and nobody runs."""
    log = tmp_path / "app.log"
    write(log, "line 0")
    async with tailing(source(log)) as run:
        await run.until_lines(1)
    log.rename(tmp_path / "app.log.2")
    return run


@pytest.mark.parametrize("share", [1.0, 0.5])
async def test_a_generation_that_is_being_compressed_at_the_start_is_read_once(tmp_path: Path, share: float) -> None:
    before = await known_and_rotated(tmp_path)
    log, missed = tmp_path / "app.log", tmp_path / "app.log.1"
    write(missed, *numbered(1, 2000))
    archive = gzip.compress(missed.read_bytes())
    (tmp_path / "app.log.1.gz").write_bytes(archive[: int(len(archive) * share)])
    write(log, "line 2000")
    async with tailing(source(log), resume=before.resume()) as run:
        await run.until_lines(2000)
        missed.unlink()
        (tmp_path / "app.log.1.gz").write_bytes(archive)
        await run.turns(40)
    assert run.lines() == numbered(1, 2001)


async def test_lines_that_came_to_an_empty_file_are_found_in_its_archive_though_a_younger_file_is_gone(
    tmp_path: Path,
) -> None:
    before = await known_and_rotated(tmp_path)
    log, archive = tmp_path / "app.log", tmp_path / "app.log.1.gz"
    archive.write_bytes(gzip.compress(b"line 1\nline 2\n"))
    write(log, "line 3")
    resume, written_ns = before.resume(), archive.stat().st_mtime_ns
    (read,) = resume.positions.values()
    for inode, mtime_ns in ((1, written_ns - 1), (2, written_ns + 1)):  # the one that is compressed now, and another
        resume.positions[FileId(log.stat().st_dev, inode, 0)] = Position(0, 0, b"", b"", 0, read.origin, 0, mtime_ns)
    async with tailing(source(log), resume=resume) as run:
        await run.until_lines(3)
    assert run.lines() == numbered(1, 4)
