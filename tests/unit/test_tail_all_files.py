"""The tailer on real files: whatever happens to them, every line comes once and in order."""

import asyncio
import errno
import glob
import gzip
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tailing import FAST, NOTHING_KNOWN, Run, Watch, numbered, settings, source, tailing, write

from agent.config import Agent, Source
from agent.model import Resume, Span
from agent.observe.events import (
    ArchiveDamaged,
    CopyFound,
    FileForgotten,
    FileSystemGone,
    FileTruncated,
    FileUnreadable,
    PathRefused,
    RotationFound,
    WatcherFailed,
    WatchMode,
)
from agent.tail import content, discovery, watch
from agent.tail.all_files import Tailer
from agent.tail.generations import Timing
from agent.tail.reader import QUANTUM_BYTES
from agent.tail.worker import LONG_TURN_BYTES, TURN_BYTES, Worker

# --- growth and discovery ------------------------------------------------------------------------------------------


async def test_lines_come_as_the_file_grows(tmp_path: Path, watch_mode: Watch) -> None:
    log = tmp_path / "app.log"
    write(log, *numbered(0, 3))
    async with tailing(source(tmp_path / "*.log"), agent=settings(watch_mode)) as run:
        await run.until_lines(3)
        for number in range(3, 10):
            write(log, f"line {number}")
            await run.until_lines(number + 1)
    assert run.lines() == numbered(0, 10)
    assert [chunk.span.start for chunk in run.chunks[1:]] == [chunk.span.after.offset for chunk in run.chunks[:-1]]


async def test_growth_is_noticed_by_events_long_before_the_next_scan_or_look(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    write(log, "first")
    agent = Agent(watch="auto", scan_interval="1h", poll_interval="60s")
    async with tailing(source(tmp_path / "*.log"), agent=agent) as run:
        await run.until(lambda: run.tailer.statistics().watch_mode == "watch")
        await run.until_lines(1)
        loop = asyncio.get_running_loop()
        delays = []
        for number in range(2, 7):
            await run.turns(10)
            began = loop.time()
            write(log, "next")
            await run.until_lines(number)
            delays.append(loop.time() - began)
    assert sorted(delays)[2] < 1.0, "the median; 0.1 s is meant, and a minute without events"


async def test_a_line_is_given_only_when_it_is_whole(tmp_path: Path, watch_mode: Watch) -> None:
    log = tmp_path / "app.log"
    write(log, "whole", "begin", end="\n")
    with log.open("r+b") as file:
        file.truncate(log.stat().st_size - 1)
    async with tailing(source(log), agent=settings(watch_mode)) as run:
        await run.until_lines(1)
        await run.turns(5)
        assert run.lines() == ["whole"]
        write(log, "ning")
        await run.until_lines(2)
    assert run.lines() == ["whole", "beginning"]


async def test_t49_a_new_file_in_a_directory_made_later_is_found(tmp_path: Path, watch_mode: Watch) -> None:
    async with tailing(source(tmp_path / "a" / "b" / "*.log"), agent=settings(watch_mode)) as run:
        await run.until(lambda: run.tailer.statistics().ready)
        (tmp_path / "a" / "b").mkdir(parents=True)
        write(tmp_path / "a" / "b" / "new.log", *numbered(0, 2))
        await run.until_lines(2)
        write(tmp_path / "a" / "b" / "newer.log", *numbered(2, 4))
        await run.until_lines(4)
    assert run.lines() == numbered(0, 4)


async def test_a_directory_removed_and_made_again_is_followed(tmp_path: Path, watch_mode: Watch) -> None:
    directory = tmp_path / "logs"
    async with tailing(source(directory / "*.log"), agent=settings(watch_mode)) as run:
        for number in range(3):
            directory.mkdir()
            write(directory / "a.log", f"line {number}")
            await run.until_lines(number + 1)
            (directory / "a.log").unlink()
            directory.rmdir()
    assert run.lines() == numbered(0, 3)


async def test_t06_an_empty_file_is_read_from_its_first_byte(tmp_path: Path, watch_mode: Watch) -> None:
    log = tmp_path / "app.log"
    log.touch()
    async with tailing(source(log), agent=settings(watch_mode)) as run:
        await run.until(lambda: len(run.tailer.statistics().files) == 1)
        write(log, "x")
        await run.until_lines(1)
    assert run.lines() == ["x"]


async def test_t08_files_with_the_same_first_bytes_are_different_files(tmp_path: Path, watch_mode: Watch) -> None:
    banner = "=" * 4095
    for number in range(200):
        write(tmp_path / f"{number}.log", banner, f"line {number}")
    async with tailing(source(tmp_path / "*.log"), agent=settings(watch_mode)) as run:
        await run.until_lines(400)
    assert sorted(run.lines()) == sorted([banner] * 200 + numbered(0, 200))


async def test_t45_one_file_under_two_names_and_two_globs_is_read_once(tmp_path: Path, watch_mode: Watch) -> None:
    write(tmp_path / "a.log", *numbered(0, 3))
    os.link(tmp_path / "a.log", tmp_path / "b.log")
    (tmp_path / "c.log").symlink_to(tmp_path / "a.log")
    sources = [source(tmp_path / "*.log", name="one"), source(tmp_path / "a*", name="two")]
    async with tailing(*sources, agent=settings(watch_mode)) as run:
        await run.until_lines(3)
        write(tmp_path / "b.log", "line 3")
        await run.until_lines(4)
        await run.turns(20)
    assert run.lines() == numbered(0, 4)


async def test_excluded_files_are_not_read(tmp_path: Path) -> None:
    write(tmp_path / "a.log", "wanted")
    write(tmp_path / "debug.log", "not wanted")
    async with tailing(source(tmp_path / "*.log", exclude=(str(tmp_path / "debug*"),))) as run:
        await run.until_lines(1)
        await run.turns(5)
    assert run.lines() == ["wanted"]


async def test_at_the_very_first_start_reading_may_begin_at_the_end(tmp_path: Path) -> None:
    log, later = tmp_path / "app.log", tmp_path / "later.log"
    write(log, "old")
    there_before = source(tmp_path / "*.log", start_at="end")
    async with tailing(there_before, resume=Resume({}, {}, is_first=True)) as run:
        await run.until(lambda: bool(run.chunks))
        write(log, "new")
        write(later, "whole")
        await run.until_lines(2)
    assert sorted(run.lines()) == ["new", "whole"]
    assert run.chunks[0].data == b"", "the position where reading began is remembered before there is a line"
    write(log, "while down")
    first = Resume({run.chunks[0].span.file: run.chunks[0].span.after}, {})
    async with tailing(there_before, resume=first) as run:
        await run.until_lines(3)
    assert sorted(run.lines()) == ["new", "while down", "whole"]


# --- rotation by renaming ------------------------------------------------------------------------------------------


async def test_a_renamed_file_is_read_to_its_end_before_its_successor(tmp_path: Path, watch_mode: Watch) -> None:
    log, old = tmp_path / "app.log", tmp_path / "app.log.1"
    write(log, *numbered(0, 3))
    async with tailing(source(tmp_path / "*.log"), agent=settings(watch_mode)) as run:
        await run.until_lines(3)
        with log.open("a") as writer:
            log.rename(old)
            write(log, *numbered(5, 7))
            writer.write("line 3\nline 4\n")
            writer.flush()
            await run.until_lines(7)
            writer.write("late\n")
            writer.flush()
            await run.until_lines(8)
            write(log, "line 7")
            await run.until_lines(9)
    assert run.lines(log) == [*numbered(0, 7), "late", "line 7"]
    assert run.seen(RotationFound)


async def test_a_successor_waits_until_its_predecessor_is_quiet_but_not_for_ever(tmp_path: Path) -> None:
    log, old = tmp_path / "app.log", tmp_path / "app.log.1"
    write(log, "first")
    timing = Timing(quiet_s=30.0, successor_cap_s=0.3)
    async with tailing(source(log), timing=timing) as run:
        await run.until_lines(1)
        log.rename(old)
        write(log, "successor")
        await run.turns(5)
        assert run.lines() == ["first"]
        await run.until_lines(2)


async def test_a_deleted_predecessor_lets_its_successor_begin_at_once(tmp_path: Path, watch_mode: Watch) -> None:
    log = tmp_path / "app.log"
    write(log, "old")
    timing = Timing(quiet_s=30.0)
    async with tailing(source(log), agent=settings(watch_mode), timing=timing) as run:
        await run.until_lines(1)
        for number in range(5):
            fresh = tmp_path / "tmp"
            write(fresh, f"line {number}")
            fresh.rename(log)
            await run.until_lines(number + 2)
    assert run.lines() == ["old", *numbered(0, 5)]


async def test_t20_many_rotations_keep_the_order(tmp_path: Path, watch_mode: Watch) -> None:
    log = tmp_path / "app.log"
    async with tailing(source(tmp_path / "app.log*"), agent=settings(watch_mode)) as run:
        for generation in range(5):
            write(log, *numbered(generation * 10, generation * 10 + 10))
            # As long as the promise asks for, and no longer: until it is known.
            await run.until(lambda: any(f.path == str(log) for f in run.tailer.statistics().files))
            for number in range(generation, 0, -1):
                (tmp_path / f"app.log.{number}").rename(tmp_path / f"app.log.{number + 1}")
            log.rename(tmp_path / "app.log.1")
            await run.until(lambda: not any(f.path == str(log) for f in run.tailer.statistics().files))
        await run.until_lines(50)
    assert run.lines(log) == numbered(0, 50)


async def test_generations_that_came_and_went_between_two_scans_are_found(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    write(log, *numbered(0, 3))
    async with tailing(source(log), agent=settings(scan="50ms")) as run:
        await run.until_lines(3)
        log.rename(tmp_path / "app.log.3")
        write(tmp_path / "app.log.2", *numbered(3, 5))
        write(tmp_path / "app.log.1", *numbered(5, 7))
        write(tmp_path / "new", *numbered(7, 9))
        (tmp_path / "new").rename(log)
        await run.until_lines(9)
    assert run.lines(log) == numbered(0, 9)


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
async def test_t23_four_rotations_while_down_lose_and_repeat_nothing(
    tmp_path: Path, pattern: str, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    write(log, *numbered(0, 3))
    async with tailing(source(tmp_path / pattern), agent=settings(watch_mode)) as run:
        await run.until_lines(3)
    before = run
    write(log, *numbered(3, 5))
    for generation in range(1, 5):
        for number in range(generation, 1, -1):
            (tmp_path / f"app.log.{number - 1}").rename(tmp_path / f"app.log.{number}")
        log.rename(tmp_path / "app.log.1")
        write(log, *numbered(generation * 10, generation * 10 + 3))
        os.utime(log, ns=(log.stat().st_mtime_ns + generation * 1000,) * 2)
    expected = numbered(3, 5) + [line for g in range(1, 5) for line in numbered(g * 10, g * 10 + 3)]
    async with tailing(source(tmp_path / pattern), resume=before.resume(), agent=settings(watch_mode)) as run:
        await run.until_lines(len(expected))
        await run.turns(30)
    assert run.lines(log) == run.lines() == expected


async def test_t36_a_swap_of_names_leaves_each_file_at_its_own_offset(tmp_path: Path, watch_mode: Watch) -> None:
    a, b = tmp_path / "a.log", tmp_path / "b.log"
    write(a, "a 0")
    write(b, "b 0")
    async with tailing(source(tmp_path / "*.log"), agent=settings(watch_mode)) as run:
        await run.until_lines(2)
        a.rename(tmp_path / "c")
        b.rename(a)
        (tmp_path / "c").rename(b)
        write(b, "a 1")
        write(a, "b 1")
        await run.until_lines(4)
    assert run.lines(a) == ["a 0", "a 1"]
    assert run.lines(b) == ["b 0", "b 1"]


async def test_t42_a_link_that_is_switched_leads_to_the_new_file(tmp_path: Path, watch_mode: Watch) -> None:
    (tmp_path / "r").mkdir()
    link = tmp_path / "current.log"
    async with tailing(source(link), agent=settings(watch_mode)) as run:
        for number in range(3):
            target = tmp_path / "r" / f"{number}.txt"
            write(target, f"line {number}")
            (tmp_path / "l").symlink_to(target)
            (tmp_path / "l").rename(link)
            await run.until_lines(number + 1)
    assert run.lines(link) == numbered(0, 3)


# --- truncation ----------------------------------------------------------------------------------------------------


def copy_and_truncate(log: Path, copy: Path) -> None:
    copy.write_bytes(log.read_bytes())
    os.truncate(log, 0)


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
async def test_a_successor_that_began_empty_and_is_deleted_before_its_turn_is_read(
    tmp_path: Path, pattern: str, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    write(log, "1")
    patient = Timing(quiet_s=1.5, copy_quiet_s=0.05, copy_wait_s=0.4, successor_cap_s=60, forget_s=0.3)
    async with tailing(source(tmp_path / pattern), agent=settings(watch_mode), timing=patient) as run:
        await run.until_lines(1)
        log.rename(tmp_path / "app.log.1")
        log.touch()
        await run.until(lambda: len(run.tailer.statistics().files) == 2)
        write(tmp_path / "app.log.1", "2")  # whose writer holds on to it
        write(log, "3")
        await run.until_lines(2)
        await run.until(lambda: run.tailer.statistics().unread_bytes == 2)
        await run.turns(5)
        assert run.lines() == ["1", "2"]
        log.unlink()
        await run.until_lines(3)
    assert run.lines() == ["1", "2", "3"]


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
async def test_copytruncate_repeats_nothing(tmp_path: Path, pattern: str, watch_mode: Watch) -> None:
    log = tmp_path / "app.log"
    write(log, *numbered(0, 3))
    async with tailing(source(tmp_path / pattern), agent=settings(watch_mode)) as run:
        await run.until_lines(3)
        copy_and_truncate(log, tmp_path / "app.log.1")
        write(log, "line 3")
        await run.until_lines(4)
        await run.turns(40)
    assert run.lines() == run.lines(log) == numbered(0, 4)
    assert len(run.seen(FileTruncated)) == 1
    assert len(run.seen(CopyFound)) == 1
    async with tailing(source(tmp_path / pattern), resume=run.resume()) as again:
        write(log, "line 4")
        await again.until_lines(1)
        await again.turns(40)
    assert again.lines() == ["line 4"]


@pytest.mark.parametrize("is_absolute", [True, False])
async def test_copytruncate_into_another_directory_repeats_nothing(
    tmp_path: Path, is_absolute: bool, watch_mode: Watch
) -> None:
    log, olddir = tmp_path / "app.log", tmp_path / "old"
    olddir.mkdir()
    write(log, *numbered(0, 3))
    named = str(olddir) if is_absolute else "old"
    async with tailing(source(tmp_path / "**" / "app.log*", olddir=named), agent=settings(watch_mode)) as run:
        await run.until_lines(3)
        copy_and_truncate(log, olddir / "app.log.1")
        write(log, "line 3")
        await run.until_lines(4)
        await run.turns(40)
    assert run.lines() == run.lines(log) == numbered(0, 4)


async def test_very_many_files_are_found_with_olddir_as_fast_as_without(tmp_path: Path) -> None:
    for number in range(6000):
        write(tmp_path / f"{number}.log", "line")
    async with tailing(source(tmp_path / "*.log", olddir="old")) as run:
        await run.until(lambda: len(run.chunks) == 6000, seconds=50)  # minutes, were each compared with each


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
@pytest.mark.parametrize("copy_name", ["app.log.1", "app-20260102.log"])
async def test_t25_what_was_unread_at_a_truncation_is_read_from_the_copy(
    tmp_path: Path, pattern: str, copy_name: str, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    write(log, *numbered(0, 3))
    agent = Agent(watch=watch_mode, scan_interval="100ms", poll_interval="50ms")
    async with tailing(source(tmp_path / pattern), agent=agent) as run:
        await run.until_lines(3)
        write(log, *numbered(3, 6))
        copy_and_truncate(log, tmp_path / copy_name)
        write(log, "line 6")
        await run.until_lines(7)
        await run.turns(20)
    assert run.lines() == run.lines(log) == numbered(0, 7)


async def test_files_copied_emptied_and_compressed_one_after_the_other_are_read_from_their_archives(
    tmp_path: Path,
) -> None:
    logs = [tmp_path / "first.log", tmp_path / "second.log"]
    for log in logs:
        write(log, "line 0")
    async with tailing(source(tmp_path / "*.log"), agent=settings(scan="1h")) as run:
        await run.until_lines(2)
        for log in logs:  # no scan comes between them
            write(log, "line 1")
            copy_and_truncate(log, tmp_path / "copy")
            (tmp_path / f"{log.name}.1.gz").write_bytes(gzip.compress((tmp_path / "copy").read_bytes()))
            await run.until_lines(2, log)
    assert [run.lines(log) for log in logs] == [numbered(0, 2)] * 2


async def test_a_copy_that_is_compressed_before_its_original_is_seen_to_be_emptied_is_not_read(tmp_path: Path) -> None:
    log, copy = tmp_path / "app.log", tmp_path / "app.log.1"
    write(log, *numbered(0, 3))
    timing = replace(FAST, copy_wait_s=5.0)  # it is known to be a copy as long as what is done here takes
    async with tailing(source(tmp_path / "app.log*"), timing=timing) as run:
        await run.until_lines(3)
        copy.write_bytes(log.read_bytes())
        await run.until(lambda: any(file.path == str(copy) for file in run.tailer.statistics().files))
        os.truncate(log, 0)
        (tmp_path / "app.log.1.gz").write_bytes(gzip.compress(copy.read_bytes()))
        copy.unlink()
        write(log, "line 3")
        await run.until_lines(4)
        await run.turns(40)
    assert run.lines() == run.lines(log) == numbered(0, 4)


async def test_what_waits_for_its_turn_is_read_from_its_archive_when_it_was_copied_and_emptied_before(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log, packed = tmp_path / "app.log", tmp_path / "app.log.1.gz"
    write(log, "line 0")
    timing = replace(FAST, quiet_s=1.0)
    async with tailing(source(log), agent=settings(watch_mode), timing=timing) as run:
        await run.until_lines(1)
        log.rename(tmp_path / "app.log.2")
        log.touch()
        await run.turns(20)
        write(log, "line 1", "line 2")
        await run.turns(20)  # it is known by now, and its predecessor has not been quiet for a second
        packed.write_bytes(gzip.compress(log.read_bytes()))
        shutil.copystat(log, packed)
        os.truncate(log, 0)
        await run.turns(20)
        write(log, "line 3")
        await run.until_lines(4)
        await run.turns(20)
    assert run.lines() == numbered(0, 4)


async def test_a_file_of_which_nothing_was_read_yet_is_read_from_its_copy(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    write(log, "first")
    tailer = Tailer([source(tmp_path / "*.log")], settings(scan="50ms"), NOTHING_KNOWN, lambda _: None, timing=FAST)
    lines = b""
    async with tailer, asyncio.timeout(20):
        turns = tailer.turns()
        await anext(turns)
        # Whoever takes the chunks is held up now.
        write(tmp_path / "other.log", *numbered(0, 3))
        while not any(file.path.endswith("other.log") and file.size for file in tailer.statistics().files):
            await asyncio.sleep(0.01)
        copy_and_truncate(tmp_path / "other.log", tmp_path / "other.log.1")
        taken = tailer._turns_taken
        while tailer._turns_taken < taken + 3:
            await asyncio.sleep(0.01)
        write(tmp_path / "other.log", "line 3")
        async for chunks in turns:
            lines += b"".join(chunk.data for chunk in chunks)
            if lines.count(b"\n") == 4:
                break
        await turns.aclose()
    assert lines.decode().splitlines() == numbered(0, 4)


async def test_a_copy_that_got_the_inode_of_a_deleted_generation_is_a_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(content, "generation_of", lambda fd: 0)  # of a file system that counts none
    log, old = tmp_path / "app.log", tmp_path / "app.log.1"
    write(log, "line 0")
    async with tailing(source(log), agent=settings(scan="50ms")) as run:
        await run.until_lines(1)
        copy_and_truncate(log, old)
        write(log, *numbered(1, 3))
        await run.until_lines(3)
        # The first copy is closed by now or soon; its content is replaced under the same inode.
        await run.until(lambda: run.tailer.statistics().files_by_state["draining"] == 1)
        await run.until(lambda: not worker(run)._generations.files[inode_key(old)].is_open)
        copied = log.read_bytes() + b"line 3\n"
        old.rename(tmp_path / "app.log.7")
        (tmp_path / "app.log.7").write_bytes(copied)
        os.truncate(log, 0)
        write(log, "line 4")
        await run.until_lines(5)
        await run.turns(20)
    assert run.lines() == numbered(0, 5)


def worker(run: Run) -> Worker:
    (lane,) = run.tailer._lanes.values()
    return lane.files()


def inode_key(path: Path) -> tuple[int, int]:
    return path.stat().st_dev, path.stat().st_ino


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
async def test_a_truncation_while_down_is_found_at_the_start(tmp_path: Path, pattern: str) -> None:
    log = tmp_path / "app.log"
    write(log, *numbered(0, 3))
    async with tailing(source(tmp_path / pattern)) as before:
        await before.until_lines(3)
    write(log, *numbered(3, 5))
    copy_and_truncate(log, tmp_path / "app.log.1")
    write(log, *numbered(5, 15))  # longer than it was
    async with tailing(source(tmp_path / pattern), resume=before.resume()) as run:
        await run.until_lines(12)
        await run.turns(30)
    assert run.lines() == run.lines(log) == numbered(3, 15)
    assert max(chunk.span.file.incarnation for chunk in run.chunks) == 1


async def test_t28_truncated_and_grown_past_the_offset_between_two_looks_is_noticed(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    write(log, *numbered(0, 3))
    async with tailing(source(log), agent=settings(watch_mode)) as run:
        await run.until_lines(3)
        log.write_text("".join(f"other {number}\n" for number in range(5)))
        await run.until_lines(8)
    assert run.lines() == [*numbered(0, 3), *(f"other {number}" for number in range(5))]


async def test_t29_the_same_size_written_over_in_place_is_noticed(tmp_path: Path, watch_mode: Watch) -> None:
    log = tmp_path / "app.log"
    write(log, "version 1")
    async with tailing(source(log), agent=settings(watch_mode)) as run:
        await run.until_lines(1)
        with log.open("r+b") as file:
            file.write(b"version 2\n")
        await run.until_lines(2)
    assert run.lines() == ["version 1", "version 2"]


async def test_t26_the_hole_a_truncation_leaves_is_skipped(tmp_path: Path, watch_mode: Watch) -> None:
    log = tmp_path / "app.log"
    hole = 1 << 40
    log.touch()
    os.truncate(log, hole)
    write(log, *numbered(0, 3))
    async with tailing(source(log), agent=settings(watch_mode)) as run:
        await run.until_lines(3)
        write(log, "line 3")
        await run.until_lines(4)
    assert run.lines() == numbered(0, 4)
    assert run.chunks[-1].span.after.offset == log.stat().st_size
    write(log, "line 4")
    async with tailing(source(log), resume=run.resume(), agent=settings(watch_mode)) as again:
        await again.until_lines(1)
    assert again.lines() == ["line 4"]


async def test_a_file_whose_name_extends_another_but_is_no_copy_is_read(tmp_path: Path) -> None:
    write(tmp_path / "app.log", *numbered(0, 3))
    async with tailing(source(tmp_path / "app.log*")) as run:
        await run.until_lines(3)
        write(tmp_path / "app.log.worker", "own")
        await run.until_lines(1, tmp_path / "app.log.worker")


async def test_a_copy_whose_original_is_never_truncated_is_a_file_of_its_own(tmp_path: Path) -> None:
    log, copy = tmp_path / "app.log", tmp_path / "app.log.bak"
    write(log, *numbered(0, 3))
    timing = replace(FAST, copy_wait_s=5.0)  # it is known to be a copy as long as what is done here takes
    async with tailing(source(tmp_path / "app.log*"), timing=timing) as run:
        await run.until_lines(3)
        copy.write_bytes(log.read_bytes())
        await run.until_lines(3, copy)
    assert run.lines(copy) == numbered(0, 3)


# --- deletion, restart, what cannot be read -------------------------------------------------------------------------


async def test_t04_t32_a_file_deleted_while_open_is_read_to_its_end_with_its_last_line(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    write(log, "first")
    async with tailing(source(tmp_path / "*.log"), agent=settings(watch_mode)) as run:
        await run.until_lines(1)
        with log.open("a") as writer:
            log.unlink()
            writer.write("after\nunended")
            writer.flush()
            await run.until_lines(3)
        await run.until(lambda: not run.tailer.statistics().files)
    assert run.lines() == ["first", "after", "unended"]
    assert run.seen(FileForgotten)


async def test_the_unended_last_line_of_a_renamed_file_comes_after_its_successor_began(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    write(log, "whole")
    write(log, "unended", end="")
    async with tailing(source(log)) as run:
        await run.until_lines(1)
        log.rename(tmp_path / "app.log.1")
        write(log, "next")
        await run.until_lines(3)
    assert run.lines() == ["whole", "next", "unended"]


async def test_a_restart_goes_on_where_the_last_chunk_ended(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    resume, lines = NOTHING_KNOWN, []
    for run_number in range(4):
        write(log, *numbered(run_number * 1000, run_number * 1000 + 1000))
        async with tailing(source(log), resume=resume) as run:
            await run.until_lines(1000)
        lines += run.lines()
        resume = run.resume()
    assert lines == numbered(0, 4000)


async def test_an_inode_used_again_by_another_file_is_a_new_file(tmp_path: Path) -> None:
    log, other = tmp_path / "a.log", tmp_path / "b.log"
    write(log, *numbered(0, 3))
    async with tailing(source(tmp_path / "*.log")) as before:
        await before.until_lines(3)
    log.rename(other)  # as if the inode had been freed and taken: the same number, another content
    other.write_text("other content, longer than the file that was here before\n")
    async with tailing(source(tmp_path / "*.log"), resume=before.resume()) as run:
        await run.until_lines(1)
    assert run.chunks[-1].origin.path == str(other)
    assert run.chunks[-1].span.file.incarnation == 1
    assert run.chunks[-1].span.start == 0


async def test_lost_spans_are_read_again_without_moving_the_position(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    write(log, *numbered(0, 3))
    async with tailing(source(log)) as run:
        await run.until_lines(3)
        write(log, *numbered(3, 6))
        await run.until_lines(6)
        write(log, *numbered(6, 8))
        await run.until_lines(8)
    first, middle, *_ = [chunk for chunk in run.chunks if chunk.data]
    after = run.resume()
    write(log, "line 8")
    lost = Span(middle.span.file, first.span.after.offset, middle.span.after)
    async with tailing(source(log), resume=Resume(after.positions, {}, (lost,))) as again:
        await again.until_lines(1 + middle.data.count(b"\n"))
    assert again.lines() == [*middle.data.decode().splitlines(), "line 8"]
    offset = after.positions[middle.span.file].offset
    assert all(chunk.span.after.offset >= offset for chunk in again.chunks)


@pytest.mark.parametrize("code", [errno.EACCES, errno.EMFILE, errno.EIO, errno.ESTALE])
async def test_a_file_that_cannot_be_opened_is_tried_again_and_others_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    write(tmp_path / "bad.log", "bad")
    write(tmp_path / "good.log", "good")
    broken = True
    really_open = os.open

    def open_or_fail(path: str, flags: int, *args: int, **more: int) -> int:
        if broken and str(path).endswith("bad.log"):
            raise OSError(code, os.strerror(code))
        return really_open(path, flags, *args, **more)

    monkeypatch.setattr(discovery.os, "open", open_or_fail)
    async with tailing(source(tmp_path / "*.log")) as run:
        await run.until_lines(1)
        await run.until(lambda: run.tailer.statistics().files_by_state["unreadable"] == 1)
        await run.turns(30)
        assert run.lines() == ["good"]
        broken = False
        await run.until_lines(2)
        await run.until(lambda: run.tailer.statistics().files_by_state["unreadable"] == 0)
    assert [event.errno for event in run.seen(FileUnreadable)] == [errno.errorcode[code]]


async def test_a_file_that_cannot_be_seen_at_the_start_keeps_its_position(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "app.log"
    write(log, *numbered(0, 3))
    async with tailing(source(log)) as before:
        await before.until_lines(3)
    write(log, "line 3")
    broken = True

    def failing(really: Callable) -> Callable:
        def fail_or(path: object, *args: object, **more: object) -> object:
            if broken and isinstance(path, str) and path.startswith(str(tmp_path)):
                raise PermissionError(errno.EACCES, "no")
            return really(path, *args, **more)

        return fail_or

    for name in ("stat", "lstat", "scandir"):
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    async with tailing(source(log), resume=before.resume()) as run:
        await run.until(lambda: bool(run.seen(FileUnreadable)))
        await run.turns(10)
        broken = False
        await run.until_lines(1)
    assert run.lines() == ["line 3"]


async def test_t44_what_is_no_regular_file_is_refused_once_and_never_opened(tmp_path: Path, watch_mode: Watch) -> None:
    logs = tmp_path / "logs"
    logs.mkdir()
    os.mkfifo(logs / "fifo.log")
    (logs / "directory.log").mkdir()
    (logs / "dangling.log").symlink_to(logs / "nowhere")
    (logs / "loop.log").symlink_to(logs / "loop.log")
    (logs / "shadow.log").symlink_to("/etc/shadow")
    (logs / "zero.log").symlink_to("/dev/zero")
    (logs / "up").symlink_to("/etc")
    write(logs / "good.log", "good")
    async with tailing(
        source(logs / "*.log"), source(logs / "*" / "passwd", name="deep"), agent=settings(watch_mode)
    ) as run:
        await run.until_lines(1)
        await run.turns(20)
        assert len(run.tailer.statistics().files) == 1
    assert run.lines() == ["good"]
    refused = [event.path.rsplit("/", 1)[-1] for event in run.seen(PathRefused)]
    unseen = [event.path.rsplit("/", 1)[-1] for event in run.seen(FileUnreadable)]
    assert sorted(refused) == ["dangling.log", "directory.log", "fifo.log", "passwd", "shadow.log", "zero.log"]
    assert unseen == ["loop.log"]


async def test_when_the_system_gives_no_events_files_are_polled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_watches(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "OS file watch limit reached")

    monkeypatch.setattr(watch, "RustNotify", no_watches)
    log = tmp_path / "app.log"
    write(log, "first")
    async with tailing(source(log), agent=Agent(watch="auto", scan_interval="1h", poll_interval="20ms")) as run:
        await run.until_lines(1)
        write(log, "second")
        await run.until_lines(2)
        assert run.tailer.statistics().watch_mode == "poll"
    assert len(run.seen(WatcherFailed)) == 1
    assert run.seen(WatchMode)


@pytest.mark.parametrize("pattern", ["*/app.log", "*/*/*.log", "new/below/app.log"])
async def test_a_new_directory_is_noticed_by_an_event(tmp_path: Path, pattern: str) -> None:
    async with tailing(source(tmp_path / pattern), agent=Agent(watch="auto", scan_interval="1h")) as run:
        await run.until(lambda: run.tailer.statistics().watch_mode == "watch")
        directory = tmp_path / "new" if pattern == "*/app.log" else tmp_path / "new" / "below"
        directory.mkdir(parents=True)
        write(directory / "app.log", "1")
        await run.until_lines(1)


# --- long lines, formats, archives ----------------------------------------------------------------------------------


async def test_a_table_of_mounts_that_cannot_be_read_for_a_while_changes_nothing(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    write(log, "1")
    tables = ["1 1 7:7 / / rw - ext4 /dev/sda1 rw\n"]  # then there is none
    async with tailing(source(log), mount_table=lambda: tables.pop() if tables else "") as run:
        await run.until_lines(1)
        run.tailer._next_mounts = 0.0
        await run.turns(20)
        write(log, "2")
        await run.until_lines(2)
    assert run.lines() == ["1", "2"]
    assert not run.seen(FileSystemGone)


async def test_a_directory_whose_name_is_no_utf_8_is_polled_and_told(tmp_path: Path) -> None:
    directory = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff"))
    directory.mkdir()
    write(directory / "app.log", "1")
    async with tailing(source(tmp_path / "*" / "*.log"), agent=settings("auto")) as run:
        await run.until_lines(1)
        await run.until(lambda: bool(run.seen(WatcherFailed)))
        write(directory / "app.log", "2")
        await run.until_lines(2)
    assert [event.mode for event in run.seen(WatchMode)] == ["poll"]
    (told,) = run.seen(WatcherFailed)
    assert "\\udcff' is no UTF-8" in told.error
    assert "rename or exclude" in told.remedy


async def test_t09_a_line_of_many_mebibytes_comes_in_parts_and_stops_nobody(tmp_path: Path, watch_mode: Watch) -> None:
    text = "äbc" * (2 * 1024 * 1024)
    long, other = tmp_path / "long.log", tmp_path / "other.log"
    write(long, "before")
    write(long, text, end="")
    write(other, *numbered(0, 10))
    async with tailing(source(tmp_path / "*.log", max_line_bytes=64 * 1024), agent=settings(watch_mode)) as run:
        await run.until_lines(10, other)
        write(long, "", "after")
        await run.until(lambda: run.chunks[-1].data.endswith(b"after\n"))
    chunks = [chunk for chunk in run.chunks if chunk.origin.path == str(long)]
    parts = [chunk for chunk in chunks if chunk.first_part]
    assert "".join(chunk.data[:-1].decode() for chunk in parts) == text
    assert [chunk.first_part for chunk in parts] == list(range(1, len(parts) + 1))
    assert [chunk.last_part for chunk in parts] == [*range(1, len(parts)), 0]
    assert max(len(chunk.data) for chunk in parts) <= 64 * 1024 + 1
    middle = parts[len(parts) // 2]
    resume = Resume({middle.span.file: middle.span.after}, {})
    async with tailing(source(long, max_line_bytes=64 * 1024), resume=resume, agent=settings(watch_mode)) as again:
        await again.until(lambda: bool(again.chunks) and again.chunks[-1].data.endswith(b"after\n"))
    assert [(c.data, c.first_part) for c in again.chunks if c.first_part] == [
        (c.data, c.first_part) for c in parts[middle.first_part :]
    ]


async def test_container_lines_are_unwrapped_and_joined_over_reads(tmp_path: Path) -> None:
    log = tmp_path / "0.log"
    write(log, "2026-01-02T03:04:05.000000001Z stdout F one", "2026-01-02T03:04:05.000000002Z stdout P two, ")
    async with tailing(source(log)) as run:
        await run.until_lines(1)
        await run.turns(5)
        assert run.lines() == ["one"]
        write(log, "2026-01-02T03:04:06Z stderr F three", "2026-01-02T03:04:06Z stdout F continued")
        await run.until_lines(3)
    assert run.lines() == ["one", "three", "two, continued"]
    assert [time for chunk in run.chunks for time in chunk.times_ns] == [
        1767323045000000001,
        1767323046000000000,
        1767323045000000002,
    ]


async def test_docker_lines_are_recognised(tmp_path: Path) -> None:
    log = tmp_path / "c-json.log"
    write(log, '{"log":"{\\"a\\":1}\\n","stream":"stdout","time":"2026-01-02T03:04:05Z"}')
    async with tailing(source(log)) as run:
        await run.until_lines(1)
    assert run.lines() == ['{"a":1}']


async def test_utf_16_comes_as_utf_8(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_bytes("﻿one\r\nਊ two\n".encode("utf-16-le"))
    async with tailing(source(log)) as run:
        await run.until_lines(2)
        with log.open("ab") as file:
            file.write("three\n".encode("utf-16-le"))
        await run.until_lines(3)
    assert run.lines() == ["one", "ਊ two", "three"]


async def test_compressed_files_are_ignored_when_running(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_bytes(gzip.compress(b"compressed\n"))
    write(tmp_path / "b.log", "plain")
    async with tailing(source(tmp_path / "*.log")) as run:
        await run.until_lines(1)
        await run.until(lambda: run.tailer.statistics().files_by_state["ignored"] == 1)
    assert run.lines() == ["plain"]


def literal(*paths: Path) -> Source:
    return Source(include=tuple(glob.escape(str(path)) for path in paths))


async def test_once_reads_every_file_to_its_end_and_ends(tmp_path: Path) -> None:
    plain, packed, torn = tmp_path / "a*[1.log", tmp_path / "b.log.gz", tmp_path / "c.log.gz"
    write(plain, *numbered(0, 3))
    write(plain, "unended", end="")
    packed.write_bytes(
        gzip.compress("".join(f"{line}\n" for line in numbered(0, 50_000)).encode()) + gzip.compress(b"more\nend")
    )
    whole = gzip.compress(os.urandom(1000).hex().encode() + b"\nsecond\n", mtime=0)
    torn.write_bytes(whole[:-30])
    async with tailing(literal(plain, packed, torn), once=True) as run:
        await run.until(lambda: run.ended)
    assert run.lines(plain) == [*numbered(0, 3), "unended"]
    assert run.lines(packed) == [*numbered(0, 50_000), "more", "end"]
    assert [event.path for event in run.seen(ArchiveDamaged)] == [str(torn)]
    half = next(chunk for chunk in run.chunks if chunk.origin.path == str(packed))
    async with tailing(literal(packed), resume=Resume({half.span.file: half.span.after}, {}), once=True) as again:
        await again.until(lambda: again.ended)
    assert half.data.decode().splitlines() + again.lines() == run.lines(packed)
    async with tailing(literal(plain, packed), resume=run.resume(), once=True) as nothing:
        await nothing.until(lambda: nothing.ended)
    assert nothing.lines() == []


async def test_once_without_any_file_ends(tmp_path: Path) -> None:
    async with tailing(literal(tmp_path / "none.log"), once=True) as run:
        await run.until(lambda: run.ended)


# --- turns ---------------------------------------------------------------------------------------------------------


async def test_a_big_file_does_not_keep_small_ones_waiting(tmp_path: Path) -> None:
    with (tmp_path / "big.log").open("w") as file:
        file.writelines(f"{'x' * 999}\n" for _ in range(20_000))
    for number in range(5):
        write(tmp_path / f"small{number}.log", "small")
    tailer = Tailer([source(tmp_path / "*.log")], settings(), NOTHING_KNOWN, lambda _: None)
    async with tailer:
        turns = []
        async for chunks in tailer.turns():
            turns += [chunks] if chunks else []  # on a busy machine an idle tick comes first
            if len(turns) == 3:
                tailer.stop()
    paths = {chunk.origin.path for chunk in turns[0]}
    assert len(paths) == 6
    assert all(sum(len(chunk.data) for chunk in turn) <= LONG_TURN_BYTES for turn in turns)


@pytest.mark.parametrize(("files", "most"), [(12, LONG_TURN_BYTES), (13, TURN_BYTES)])
async def test_a_turn_of_many_files_is_a_short_one(tmp_path: Path, files: int, most: int) -> None:
    for number in range(files):
        (tmp_path / f"{number}.log").write_bytes((b"x" * 99 + b"\n") * (QUANTUM_BYTES // 50))
    tailer = Tailer([source(tmp_path / "*.log")], settings(), NOTHING_KNOWN, lambda _: None, once=True)
    async with tailer:
        turns = [chunks async for chunks in tailer.turns(lambda: 0.02) if chunks]
    first = turns[0]
    assert most - files * 100 <= sum(len(chunk.data) for chunk in first) <= most


async def test_a_turn_holds_a_quantum_of_each_file_and_then_all_else_of_the_busy_one(tmp_path: Path) -> None:
    line = b"x" * 99 + b"\n"
    big, small = tmp_path / "a-big.log", tmp_path / "b-small.log"
    big.write_bytes(line * (3 * LONG_TURN_BYTES // len(line)))
    small.write_bytes(line)
    tailer = Tailer([source(tmp_path / "*.log")], settings(), NOTHING_KNOWN, lambda _: None, once=True)
    async with tailer:
        turns = [chunks async for chunks in tailer.turns(lambda: 0.02) if chunks]
    first = turns[0]
    assert [Path(chunk.origin.path) for chunk in first] == [big, small, big, big, big]
    assert len(first[0].data) <= QUANTUM_BYTES < len(first[2].data)
    assert len(turns[1]) == 3
    for chunks in turns[:-1]:
        assert LONG_TURN_BYTES - QUANTUM_BYTES < sum(len(chunk.data) for chunk in chunks) <= LONG_TURN_BYTES
    assert sum(len(chunk.data) for chunks in turns for chunk in chunks) == big.stat().st_size + len(line)


@pytest.mark.parametrize(("chunk_bytes", "most"), [(100, QUANTUM_BYTES), (3 * QUANTUM_BYTES, 3 * QUANTUM_BYTES)])
async def test_a_chunk_of_a_lone_file_is_no_larger_than_allowed_but_a_quantum(
    tmp_path: Path, chunk_bytes: int, most: int
) -> None:
    (tmp_path / "a.log").write_bytes((b"x" * 99 + b"\n") * (3 * TURN_BYTES // 100))
    tailer = Tailer(
        [source(tmp_path / "*.log")], settings(), NOTHING_KNOWN, lambda _: None, once=True, chunk_bytes=chunk_bytes
    )
    async with tailer:
        sizes = [len(chunk.data) async for chunks in tailer.turns(lambda: 0.02) for chunk in chunks]
    assert most - 100 < max(sizes) <= most
    assert sum(sizes) == (3 * TURN_BYTES // 100) * 100


async def test_files_are_followed_while_whoever_takes_the_chunks_is_held_up(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    write(log, "first")
    tailer = Tailer([source(log)], settings(scan="50ms"), NOTHING_KNOWN, lambda _: None, timing=FAST)
    lines = b""
    async with tailer, asyncio.timeout(20):
        turns = tailer.turns()
        async for chunks in turns:
            if chunks:
                lines += chunks[0].data
                break
        # Nothing is taken now. Two generations come and go, each for as long as it takes to be seen.
        for number in range(2):
            log.unlink()
            write(log, f"line {number}")
            inode = str(log.stat().st_ino)
            while not any(file.file.split(":")[1] == inode and file.size for file in tailer.statistics().files):
                await asyncio.sleep(0.01)
        log.unlink()
        async for chunks in turns:
            lines += b"".join(chunk.data for chunk in chunks)
            if lines.count(b"\n") == 3:
                break
        await turns.aclose()
    assert lines == b"first\nline 0\nline 1\n"


async def test_idle_files_cost_no_descriptor_and_are_opened_again(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    write(log, "first")
    async with tailing(source(log)) as run:
        await run.until_lines(1)
        await run.until(lambda: run.tailer.statistics().files_by_state["idle"] == 1)
        write(log, "second")
        await run.until_lines(2)
    assert run.lines() == ["first", "second"]


async def test_all_descriptors_are_closed_at_the_end(tmp_path: Path, watch_mode: Watch) -> None:
    for number in range(20):
        write(tmp_path / f"{number}.log", "x")
    async with tailing(source(tmp_path / "*.log"), agent=settings(watch_mode)) as run:
        await run.until_lines(20)
    targets = [
        os.readlink(f"/proc/self/fd/{fd}")
        for fd in os.listdir("/proc/self/fd")
        if os.path.islink(f"/proc/self/fd/{fd}")
    ]
    assert not [target for target in targets if target.startswith(str(tmp_path))]


async def test_a_log_that_gets_the_inode_of_an_archive_that_was_left_alone_is_read(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log, packed = tmp_path / "app.log", tmp_path / "app.log.1.gz"
    packed.write_bytes(gzip.compress(b"of an earlier time\n"))
    async with tailing(source(tmp_path / "app.log*"), agent=settings(watch_mode)) as run:
        await run.until(lambda: run.tailer.statistics().files_by_state["ignored"] == 1)
        inode = packed.stat().st_ino
        packed.unlink()
        write(log, *numbered(0, 20))
        if log.stat().st_ino != inode:
            pytest.skip("this file system does not use inodes again at once")
        await run.until_lines(20)
        write(log, "line 20")
        await run.until_lines(21)
    assert run.lines(log) == numbered(0, 21)
