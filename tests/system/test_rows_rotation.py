"""Rotation, truncation, links: every line once and in order, whatever a file is called and whoever copied it."""

import asyncio
import gzip
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from tailing import FAST, NOTHING_KNOWN, Run, Watch, numbered, settings, source, tailing, write

from agent.config import Agent
from agent.model import Resume
from agent.observe.events import ArchiveDamaged, BytesAbandoned, CopyFound, Event, FileForgotten, FileTruncated
from agent.tail.all_files import Tailer
from agent.tail.descriptor import generation_of
from agent.tail.generations import Timing


def rotate(log: Path, keep: int = 9) -> None:
    """Every generation one number further; those beyond `keep` are deleted."""
    for number in range(keep, 0, -1):
        if (older := log.with_name(f"{log.name}.{number}")).exists():
            older.rename(log.with_name(f"{log.name}.{number + 1}"))
    log.rename(log.with_name(f"{log.name}.1"))
    log.with_name(f"{log.name}.{keep + 1}").unlink(missing_ok=True)


def compress(path: Path) -> Path:
    packed = path.with_name(path.name + ".gz")
    packed.write_bytes(gzip.compress(path.read_bytes()))
    shutil.copystat(path, packed)
    path.unlink()
    return packed


def copy_and_truncate(log: Path, copy: Path) -> None:
    shutil.copyfile(log, copy)
    os.truncate(log, 0)


def paths_followed(run: Run) -> set[str]:
    return {status.path for status in run.tailer.statistics().files}


def descriptors(directory: Path) -> list[str]:
    links = [f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd")]
    return [
        target
        for link in links
        if (target := os.readlink(link) if os.path.islink(link) else "").startswith(f"{directory}/")
    ]


async def test_t21_a_writer_that_keeps_the_renamed_file_open_for_long_is_read(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    with log.open("a", buffering=1) as writer:
        writer.write("line 0\n")
        async with tailing(source(log), agent=settings(watch_mode)) as run:
            await run.until_lines(1)
            rotate(log)
            log.touch()
            for number in range(1, 6):
                await run.turns(10)
                writer.write(f"line {number}\n")
                await run.until_lines(number + 1)
    assert run.lines(log) == numbered(0, 6)


async def test_t22_rotations_in_quick_succession_double_nothing_and_leave_no_descriptor(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    timing = Timing(
        quiet_s=0.02, copy_quiet_s=0.02, copy_wait_s=0.2, successor_cap_s=0.5, idle_close_s=0.1, forget_s=0.1
    )
    number = 0
    async with tailing(source(tmp_path / "app.log*"), agent=settings(watch_mode, "50ms"), timing=timing) as run:
        for _ in range(60):
            write(log, *numbered(number, number + 20))
            number += 20
            await run.turns(1)  # at its best every 20 ms, and as seldom as the machine is slow
            rotate(log, keep=5)
        write(log, "last")
        await run.until(lambda: "last" in run.lines())
        await run.until(lambda: not run.tailer.statistics().unread_bytes and not descriptors(tmp_path))
    assert len(run.lines()) == len(set(run.lines()))
    read = [int(line.split()[1]) for line in run.lines() if line != "last"]
    for chunk in run.chunks:
        assert chunk.data.count(b"\n") % 20 in (0, 1), "whole generations, each in order"
    assert len(read) > 0.5 * number, "most live long enough"


@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
async def test_t24_generations_compressed_while_down_are_read_on_from_their_plain_life(
    tmp_path: Path, pattern: str, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    write(log, *numbered(0, 3))
    async with tailing(source(tmp_path / pattern), agent=settings(watch_mode)) as before:
        await before.until_lines(3)
    write(log, *numbered(3, 6))
    for generation in range(1, 4):
        rotate(log)
        write(log, *numbered(generation * 10, generation * 10 + 3))
        os.utime(log, ns=(log.stat().st_mtime_ns + generation * 10**9,) * 2)
    # Packed are the one that was read in part, and the oldest that nobody saw.
    compress(tmp_path / "app.log.3").rename(tmp_path / "app.log.3.gz")
    compress(tmp_path / "app.log.2").rename(tmp_path / "app.log.2.gz")
    expected = [*numbered(3, 6), *numbered(10, 13), *numbered(20, 23), *numbered(30, 33)]
    async with tailing(source(tmp_path / pattern), resume=before.resume(), agent=settings(watch_mode)) as run:
        await run.until_lines(len(expected))
        await run.turns(30)
    assert run.lines(log) == run.lines() == expected
    assert not run.seen(ArchiveDamaged)
    positions = {**before.resume().positions, **run.resume().positions}
    async with tailing(source(tmp_path / pattern), resume=Resume(positions, {})) as again:
        write(log, "line 33")
        await again.until_lines(1)
        await again.turns(20)
    assert again.lines() == ["line 33"]


async def test_t24_compressed_generations_are_left_alone_when_configured_so(tmp_path: Path, watch_mode: Watch) -> None:
    log = tmp_path / "app.log"
    write(log, *numbered(0, 3))
    async with tailing(source(log), agent=settings(watch_mode)) as before:
        await before.until_lines(3)
    write(log, *numbered(3, 6))
    rotate(log)
    compress(tmp_path / "app.log.1")
    write(log, "line 6")
    async with tailing(source(log, compressed="skip"), resume=before.resume(), agent=settings(watch_mode)) as run:
        await run.until_lines(1)
        await run.turns(20)
    assert run.lines() == ["line 6"]


async def test_t25_the_copy_of_a_truncating_rotation_that_ends_before_our_offset_is_not_sent_again(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log, copy = tmp_path / "app.log", tmp_path / "app.log.1"
    async with tailing(source(tmp_path / "app.log*"), agent=settings(watch_mode)) as run:
        for number in range(5):
            write(log, f"line {number}")
            await run.until_lines(number + 1)
        # What is written and read between copying and truncating is not in the copy.
        content = log.read_bytes()
        write(log, "line 5")
        await run.until_lines(6)
        copy.write_bytes(content)
        os.truncate(log, 0)
        write(log, "line 6")
        await run.until_lines(7)
        await run.turns(60)
        resume = run.resume()
    assert run.lines() == numbered(0, 7)
    assert run.seen(CopyFound)
    async with tailing(source(tmp_path / "app.log*"), agent=settings(watch_mode), resume=resume) as again:
        write(log, "line 7")
        await again.until_lines(1)
        await again.turns(30)
    assert again.lines() == ["line 7"]


async def test_t25_a_copy_that_takes_longer_than_the_wait_for_it_is_still_a_copy(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log, copy = tmp_path / "app.log", tmp_path / "app.log.1"
    write(log, *numbered(0, 40))
    content = log.read_bytes()
    async with tailing(source(tmp_path / "app.log*"), agent=settings(watch_mode, scan="50ms")) as run:
        await run.until_lines(40)
        with copy.open("ab", buffering=0) as file:
            for at in range(0, len(content), 8):
                file.write(content[at : at + 8])
                await run.turns(3)
        os.truncate(log, 0)
        write(log, "line 40")
        await run.until_lines(41)
        await run.turns(40)
    assert run.lines() == numbered(0, 41)


async def test_t26_a_writer_that_does_not_append_leaves_a_gibibyte_of_nothing_that_is_not_read(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    with log.open("wb", buffering=0) as writer:
        writer.truncate(1 << 30)
        writer.seek(1 << 30)
        writer.write(b"line 0\n")
        async with tailing(source(log), agent=settings(watch_mode)) as run:
            await run.until_lines(1)
            os.truncate(log, 0)
            writer.write(b"line 1\n")
            await run.until_lines(2)
            read_before = _bytes_read()
            writer.write(b"line 2\n")
            await run.until_lines(3)
            read = _bytes_read() - read_before
    assert run.lines() == numbered(0, 3)
    assert read < 64 * 1024 * 1024
    assert log.stat().st_size > 1 << 30


def _bytes_read() -> int:
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    return int(fields["rchar"])


async def test_t27_truncated_and_grown_past_the_offset_while_down_is_read_from_the_start(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    write(log, *numbered(0, 3))
    async with tailing(source(log), agent=settings(watch_mode)) as before:
        await before.until_lines(3)
    log.write_text("".join(f"other {number}\n" for number in range(9)))
    async with tailing(source(log), resume=before.resume(), agent=settings(watch_mode)) as run:
        await run.until_lines(9)
        await run.turns(10)
    assert run.lines() == [f"other {number}" for number in range(9)]
    assert len(run.seen(FileTruncated)) == 1


async def test_t31_each_version_of_an_atomically_replaced_file_is_read_once(tmp_path: Path, watch_mode: Watch) -> None:
    log = tmp_path / "state.log"
    async with tailing(source(log), agent=settings(watch_mode, "50ms")) as run:
        for version in range(15):
            write(tmp_path / "tmp", f"version {version}", "end")
            (tmp_path / "tmp").rename(log)
            inode = str(log.stat().st_ino)
            # For as long as the promise asks.
            await run.until(
                lambda inode=inode: any(f.file.split(":")[1] == inode and f.size for f in run.tailer.statistics().files)
            )
        await run.until_lines(30)
        await run.turns(20)
        await run.until(lambda: len(run.tailer.statistics().files) == 1)
    assert [line for line in run.lines() if line != "end"] == [f"version {version}" for version in range(15)]


async def test_t33_an_inode_used_again_by_a_smaller_file_is_a_new_file(tmp_path: Path, watch_mode: Watch) -> None:
    log = tmp_path / "app.log"
    write(log, *numbered(0, 50))
    async with tailing(source(log), agent=settings(watch_mode)) as run:
        await run.until_lines(50)
        log.unlink()
        await run.until(lambda: not run.tailer.statistics().files)
        write(log, "new")
        await run.until_lines(51)
        await run.turns(5)
    assert run.lines()[50:] == ["new"]


@pytest.mark.skipif(not Path("/proc/self/mountinfo").exists(), reason="needs Linux")
async def test_t34_an_inode_used_again_by_a_file_that_begins_with_the_very_same_bytes_is_a_new_file(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    write(log, *numbered(0, 3))
    with log.open("rb") as file:
        if not generation_of(file.fileno()):
            pytest.skip("this file system does not count generations of inodes")
    inode = log.stat().st_ino
    async with tailing(source(log), agent=settings(watch_mode)) as before:
        await before.until_lines(3)
    for _ in range(200):  # until the file system gives the inode out again
        log.unlink()
        write(log, *numbered(0, 4))
        if log.stat().st_ino == inode:
            break
        log.rename(tmp_path / f"other-{time.monotonic_ns()}")
        write(log, "x")
    else:
        pytest.skip("the inode was not used again")
    async with tailing(source(log), resume=before.resume(), agent=settings(watch_mode)) as run:
        await run.until_lines(4)
    assert run.lines() == numbered(0, 4)


async def test_t35_a_file_whose_device_has_another_number_after_a_reboot_goes_on(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    write(log, *numbered(0, 3))
    async with tailing(source(log), agent=settings(watch_mode)) as before:
        await before.until_lines(3)
    ((file, position),) = before.resume().positions.items()
    elsewhere = type(file)(file.device + 1000, file.inode, file.incarnation)
    write(log, "line 3")
    async with tailing(source(log), resume=Resume({elsewhere: position}, {}), agent=settings(watch_mode)) as run:
        await run.until_lines(1)
        await run.turns(10)
        await run.until(lambda: run.forgotten == [elsewhere])
    assert run.lines() == ["line 3"]
    assert run.chunks[-1].span.file.device == log.stat().st_dev


async def test_t37_a_chain_of_renames_keeps_every_file_apart(tmp_path: Path, watch_mode: Watch) -> None:
    names = [tmp_path / f"{letter}.log" for letter in "abcd"]
    for path in names:
        write(path, f"{path.name} 0")
    async with tailing(source(tmp_path / "*.log"), agent=settings(watch_mode)) as run:
        await run.until_lines(4)
        names[3].rename(tmp_path / "e.log")
        for index in (2, 1, 0):
            names[index].rename(names[index + 1])
        write(names[0], "new")
        for index in (1, 2, 3):
            write(names[index], f"{names[index - 1].name} 1")
        await run.until_lines(8)
        await run.turns(10)
    for index, path in enumerate(names[:3]):
        assert run.lines(path)[:2] == [f"{path.name} 0", f"{path.name} 1"], index
    assert run.lines(names[0])[2:] == ["new"]


async def test_t38_dated_files_that_are_deleted_leave_nothing_behind(tmp_path: Path, watch_mode: Watch) -> None:
    async with tailing(source(tmp_path / "app-*.log"), agent=settings(watch_mode, "50ms")) as run:
        for day in range(1, 21):
            log = tmp_path / f"app-2026-01-{day:02}.log"
            write(log, f"day {day}")
            await run.until_lines(day)
            if day > 3:
                (tmp_path / f"app-2026-01-{day - 3:02}.log").unlink()
        await run.until(lambda: len(run.tailer.statistics().files) == 3)
    assert run.lines() == [f"day {day}" for day in range(1, 21)]
    assert run.tailer._memory.take_moved(range(1 << 22)) == {} or len(run.forgotten) >= 1


async def test_t38_a_deleted_file_is_forgotten_by_the_buffer_too(tmp_path: Path, watch_mode: Watch) -> None:
    log = tmp_path / "app.log"
    write(log, "only")
    async with tailing(source(log), agent=settings(watch_mode)) as run:
        await run.until_lines(1)
        log.unlink()
        await run.until(lambda: bool(run.forgotten))
    assert run.forgotten == [run.chunks[0].span.file]
    assert run.resume().positions == {}


async def test_t39_with_the_last_known_generation_gone_only_younger_ones_are_taken_for_missed(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    old = tmp_path / "app.log.7"
    write(old, "from long before the agent came")
    os.utime(old, (time.time() - 9000,) * 2)
    write(log, *numbered(0, 3))
    async with tailing(source(log), agent=settings(watch_mode)) as before:
        await before.until_lines(3)
    log.unlink()
    write(tmp_path / "app.log.1", "missed")
    write(log, "now")
    async with tailing(source(log), resume=before.resume(), agent=settings(watch_mode)) as run:
        await run.until_lines(2)
        await run.turns(20)
    assert run.lines() == ["missed", "now"]


async def test_t40_a_file_compressed_before_it_was_read_is_read_from_its_descriptor_once(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    write(log, "line 0")
    async with tailing(source(tmp_path / "app.log*"), agent=settings(watch_mode)) as run:
        await run.until_lines(1)
        write(log, *numbered(1, 20_000))
        rotate(log)
        write(log, "last")
        compress(tmp_path / "app.log.1")
        await run.until_lines(20_001)
        await run.turns(20)
    assert run.lines() == [*numbered(0, 20_000), "last"]


async def test_t40_what_was_written_to_an_idle_file_just_before_it_was_compressed_is_read_from_the_archive(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    write(log, *numbered(0, 3))
    async with tailing(source(log), agent=settings(watch_mode, scan="300ms")) as run:
        await run.until_lines(3)
        await run.until(lambda: run.tailer.statistics().files_by_state["idle"] == 1)
        os.rename(log, tmp_path / "hidden")  # nobody looks between these steps
        write(tmp_path / "hidden", *numbered(3, 5))
        packed = compress(tmp_path / "hidden")
        packed.rename(tmp_path / "app.log.1.gz")
        await run.until_lines(5)
        await run.turns(20)
    assert run.lines(log) == run.lines() == numbered(0, 5)


async def test_t41_a_torn_archive_a_bomb_and_other_formats_do_no_harm(tmp_path: Path, watch_mode: Watch) -> None:
    log = tmp_path / "app.log"
    write(log, *numbered(0, 3))
    async with tailing(source(tmp_path / "app.log*"), agent=settings(watch_mode)) as before:
        await before.until_lines(3)
    write(log, *numbered(3, 2000))
    packed = gzip.compress(log.read_bytes())
    log.unlink()
    (tmp_path / "app.log.1.gz").write_bytes(packed[: len(packed) // 2])
    (tmp_path / "app.log.2.gz").write_bytes(gzip.compress(b"\0" * 200_000_000))
    (tmp_path / "app.log.3.xz").write_bytes(b"\xfd7zXZ\0" + os.urandom(100))
    (tmp_path / "app.log.4.zst").write_bytes(b"\x28\xb5\x2f\xfd" + os.urandom(100))
    (tmp_path / "app.log.5.bz2").write_bytes(b"BZh91AY&SY" + os.urandom(100))
    os.utime(tmp_path / "app.log.2.gz", (1, 1))
    write(log, "last")
    async with tailing(source(tmp_path / "app.log*"), resume=before.resume(), agent=settings(watch_mode)) as run:
        await run.until(lambda: "last" in run.lines())
        await run.until(lambda: bool(run.seen(ArchiveDamaged)))
        await run.until(lambda: run.tailer.statistics().files_by_state["ignored"] == 4)
    *torn, last = run.lines()
    assert torn[:-1] == numbered(3, 2 + len(torn)), "all but the line that is torn itself"
    assert len(torn) > 100
    assert last == "last"


async def test_t43_a_switched_directory_link_leads_to_the_new_tree(tmp_path: Path, watch_mode: Watch) -> None:
    (tmp_path / "r1").mkdir()
    (tmp_path / "r2").mkdir()
    write(tmp_path / "r1" / "app.log", "one")
    write(tmp_path / "r2" / "app.log", "two")
    current = tmp_path / "current"
    current.symlink_to("r1")
    async with tailing(source(current / "*.log"), agent=settings(watch_mode)) as run:
        await run.until_lines(1)
        write(tmp_path / "r1" / "app.log", "more of one")
        (tmp_path / "next").symlink_to("r2")
        (tmp_path / "next").rename(current)
        await run.until_lines(3)
    assert run.lines() == ["one", "more of one", "two"]


async def test_t44_a_link_swapped_between_the_look_and_the_opening_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, watch_mode: Watch
) -> None:
    """Whoever may write into the log directory has all the time in the world to win this race."""
    logs, secret = tmp_path / "logs", tmp_path / "shadow"
    logs.mkdir()
    write(secret, "root:secret")
    write(logs / "inside.txt", "harmless")
    link = logs / "app.log"
    link.symlink_to(secret)
    really = os.path.realpath

    def swap_while_resolving(path: str, *arguments: object, **more: object) -> str:
        if str(path) == str(link):
            return str(logs / "inside.txt")
        return really(path, *arguments, **more)

    monkeypatch.setattr(os.path, "realpath", swap_while_resolving)
    write(logs / "good.log", "good")
    async with tailing(source(logs / "*.log"), agent=settings(watch_mode)) as run:
        await run.until_lines(1)
        await run.turns(30)
    assert run.lines() == ["good"]


@pytest.mark.parametrize("olddir", ["old", "absolute"])
async def test_t48_files_moved_into_another_directory_are_read_to_their_end(
    tmp_path: Path, olddir: str, watch_mode: Watch
) -> None:
    log, old = tmp_path / "logs" / "app.log", tmp_path / "logs" / "old"
    configured = olddir if olddir == "old" else str(tmp_path / "elsewhere")
    old = old if olddir == "old" else tmp_path / "elsewhere"
    log.parent.mkdir()
    old.mkdir()
    write(log, *numbered(0, 3))
    one = source(log, olddir=configured)
    async with tailing(one, agent=settings(watch_mode)) as before:
        await before.until_lines(3)
    write(log, *numbered(3, 5))
    log.rename(old / "app.log.2")
    write(old / "app.log.1", *numbered(5, 7))
    write(log, *numbered(7, 9))
    async with tailing(one, agent=settings(watch_mode), resume=before.resume()) as run:
        await run.until_lines(6)
        copy_and_truncate(log, old / "app.log.0")
        write(log, "line 9")
        await run.until_lines(7)
        await run.turns(20)
    assert run.lines(log) == numbered(3, 10)


async def test_t85_deleted_files_keep_no_more_of_the_disk_than_allowed_and_what_is_let_go_is_counted(
    tmp_path: Path, watch_mode: Watch
) -> None:
    agent = Agent(watch=watch_mode, scan_interval="50ms", poll_interval="20ms", max_held_bytes="3MiB")
    logs = [tmp_path / f"{number}.log" for number in range(5)]
    for log in logs:
        write(log, "begun")
    events: list[Event] = []
    lines = b""
    tailer = Tailer([source(tmp_path / "*.log")], agent, NOTHING_KNOWN, events.append, timing=FAST)
    async with tailer, asyncio.timeout(20):
        turns = tailer.turns(lambda: 0.02)
        while lines.count(b"\n") < len(logs):
            lines += b"".join(chunk.data for chunk in await anext(turns))
        # Whoever takes the chunks is held up now.
        for number, log in enumerate(logs):
            with log.open("ab") as file:
                file.write((b"y" * 999 + b"\n") * 1049)
            await until(lambda log=log: any(f.path == str(log) and f.size > 10**6 for f in tailer.statistics().files))
            log.unlink()
            # Noticed before the next one goes, or nothing tells which went first.
            await until(lambda number=number: _deleted(tailer) + _abandoned(events) >= number + 1)
        await until(lambda: _abandoned(events) == 3)
        await until(lambda: 0 < tailer.statistics().held_bytes <= 3 * 1024 * 1024)
        while tailer.statistics().files:
            lines += b"".join(chunk.data for chunk in await anext(turns))
        await turns.aclose()
    abandoned = [event for event in events if isinstance(event, BytesAbandoned)]
    assert [event.path for event in abandoned] == [str(log) for log in logs[:3]], "the one deleted first, first"
    assert {(event.size_bytes, event.reason) for event in abandoned} == {(1_049_000, "released")}
    assert lines.count(b"\n") == 5 + 2 * 1049
    assert {event.reason for event in events if isinstance(event, FileForgotten)} == {"released", "deleted"}


def _deleted(tailer: Tailer) -> int:
    return tailer.statistics().files_by_state["draining"]


def _abandoned(events: list[Event]) -> int:
    return sum(isinstance(event, BytesAbandoned) for event in events)


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.005)
