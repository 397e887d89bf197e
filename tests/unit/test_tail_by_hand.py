"""What a hostile operator found to be lost, repeated, or out of order: each told by the turns in which it happens.

On tmpfs, where an inode's number is never used again for long, and on the disk, where it is at once.
"""

from __future__ import annotations

import errno
import gzip
import os
import random
import resource
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from by_hand import ByHand, following

from agent.buffer import meta
from agent.config import Multiline, Source
from agent.tail import likeness, worker
from agent.tail.content import Kind

DAY_NS = 86400 * 10**9


@pytest.fixture(params=["/dev/shm", None])
def logs(request: pytest.FixtureRequest) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="tail-by-hand-", dir=request.param))
    yield directory
    shutil.rmtree(directory)


def copied(agent: ByHand, log: Path, copy: Path) -> None:
    shutil.copyfile(log, copy)
    agent.touch(copy)


def emptied(agent: ByHand, log: Path) -> None:
    os.truncate(log, 0)
    agent.touch(log)


def copied_and_emptied(agent: ByHand, log: Path, copy: Path) -> None:
    copied(agent, log, copy)
    emptied(agent, log)


def refuse_to_open(monkeypatch: pytest.MonkeyPatch, ending: str, code: int) -> None:
    really_open = os.open

    def refused(path: str, *more: Any, **named: Any) -> int:
        if str(path).endswith(ending):
            raise OSError(code, os.strerror(code))
        return really_open(path, *more, **named)

    monkeypatch.setattr(os, "open", refused)


def packed(path: Path) -> Path:
    mtime_ns = path.stat().st_mtime_ns
    archive = Path(f"{path}.gz")
    archive.write_bytes(gzip.compress(path.read_bytes()))
    os.utime(archive, ns=(mtime_ns, mtime_ns))
    path.unlink()
    return archive


# --- one of several logs -------------------------------------------------------------------------------------------


def test_two_idle_logs_of_which_one_is_named_like_the_other_are_emptied_in_one_run(logs: Path) -> None:
    log, err = logs / "app.log", logs / "app.log.err"
    agent = following(log, err)
    agent.append(log, "out 1\n")
    agent.append(err, "err 1\n")
    agent.turns(80)  # both are closed, for they are idle
    copied_and_emptied(agent, log, logs / "app.log.1")
    copied_and_emptied(agent, err, logs / "app.log.err.1")
    agent.append(err, "err 2, longer than what was read\n")
    agent.after(30)
    assert agent.lines(log) == ["out 1"]
    assert agent.lines(err) == ["err 1", "err 2, longer than what was read"]


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("pack", [True, False])
def test_a_line_written_just_before_both_are_emptied_is_in_its_copy(logs: Path, *, pack: bool, both: bool) -> None:
    log, err = logs / "app.log", logs / "app.log.err"
    agent = following(log, err)
    agent.append(log, "out 1\n")
    agent.append(err, "err 1\n")
    agent.turns(80)
    agent.append(err, "err 2\n")
    if both:
        copied_and_emptied(agent, log, logs / "app.log.1")
    copied_and_emptied(agent, err, logs / "app.log.err.1")
    if pack:
        packed(logs / "app.log.err.1")
    agent.append(err, "err 3\n")
    assert agent.after(30, err) == ["err 1", "err 2", "err 3"]


@pytest.mark.parametrize("is_blocked", [True, False])
def test_the_held_copy_of_one_log_is_not_taken_for_that_of_another(logs: Path, *, is_blocked: bool) -> None:
    log, err = logs / "app.log", logs / "app.log.err"
    agent = following(logs / "app.log*")
    agent.append(log, "out 1, this one is longer\n")
    agent.append(err, "err 1\n")
    agent.turns(6)
    agent.append(log, "out 2, this one is longer\n")
    agent.append(err, "err 2\n")
    if not is_blocked:
        agent.turn(0.5)
    for path in (log, err):
        copied(agent, path, Path(f"{path}.1"))
    for _ in range(3):  # they look like copies by then
        agent.turn(read=not is_blocked)
    for path in (log, err):
        emptied(agent, path)
    agent.after(60)
    assert sorted(agent.lines()) == ["err 1", "err 2", "out 1, this one is longer", "out 2, this one is longer"]
    assert agent.lines(err) == ["err 1", "err 2"]


def test_an_inode_freed_by_compressing_one_log_is_used_by_the_next_log_of_the_same_run(logs: Path) -> None:
    for number in range(500):  # whatever inodes are free below
        (logs / f"filler {number}").touch()
    one, two = logs / "a.log", logs / "b.log"
    agent = following(one, two)
    agent.append(one, "a 1\n")
    agent.append(two, "b 1\n")
    agent.turns(80)
    agent.append(one, "a 2\n")
    inode = one.stat().st_ino
    one.rename(logs / "a.log.1")
    agent.append(one, "")
    packed(logs / "a.log.1")
    two.rename(logs / "b.log.1")
    agent.append(two, "")
    if two.stat().st_ino != inode:
        pytest.skip("this file system did not use the inode again")
    agent.turns(60)
    agent.append(one, "a 3\n")
    agent.append(two, "b 2\n")
    agent.after(60)
    assert agent.lines(one) == ["a 1", "a 2", "a 3"]
    assert agent.lines(two) == ["b 1", "b 2"]


# --- names with dates ----------------------------------------------------------------------------------------------


def test_a_name_that_ends_in_a_number_gets_a_date_before_its_extension(logs: Path) -> None:
    log = logs / "worker-2.log"
    agent = following(log)
    agent.append(log, "1\n")
    agent.turns(6)
    for number in range(2, 5):  # rotated again and again while nobody looks
        agent.append(log, f"{number}\n")
        agent.pass_time(1)
        log.rename(logs / f"worker-2-2027010{number}.log")
    agent.append(log, "5\n")
    assert agent.after(60) == ["1", "2", "3", "4", "5"]


def test_a_date_before_the_extension_leads_to_the_log_with_the_longer_name(logs: Path) -> None:
    one, two = logs / "worker.log", logs / "worker-2.log"
    agent = following(one, two)
    agent.append(one, "one 1\n")
    agent.append(two, "two 1\n")
    agent.turns(6)
    for path, name in ((one, "worker-20270102"), (two, "worker-2-20270102"), (two, "worker-2-20270103")):
        agent.append(path, f"{name}\n")
        path.rename(logs / f"{name}.log")
        agent.pass_time(0.1)
    agent.append(one, "one 3\n")
    agent.append(two, "two 4\n")
    agent.after(60)
    assert agent.lines(one) == ["one 1", "worker-20270102", "one 3"]
    assert agent.lines(two) == ["two 1", "worker-2-20270102", "worker-2-20270103", "two 4"]


# --- copies --------------------------------------------------------------------------------------------------------


def test_a_log_is_copied_and_emptied_twice_between_two_looks(logs: Path) -> None:
    log = logs / "app.log"
    agent = following(log)
    agent.append(log, "1\n")
    agent.turns(6)
    copied_and_emptied(agent, log, logs / "app.log-20270101")
    agent.pass_time(0.01)
    agent.append(log, "2\n")
    agent.turn(0.3)
    copied_and_emptied(agent, log, logs / "app.log-20270102")
    agent.pass_time(0.01)
    agent.append(log, "3\n")
    agent.pass_time(0.01)
    copied_and_emptied(agent, log, logs / "app.log-20270103")
    assert agent.after(60) == ["1", "2", "3"]


def test_a_copy_is_compressed_while_reading_is_held_up(logs: Path) -> None:
    log, copy = logs / "app.log", logs / "app.log.1"
    agent = following(logs / "app.log*")
    agent.append(log, "1\n")
    agent.turns(6)
    copied_and_emptied(agent, log, copy)
    mtime_ns = copy.stat().st_mtime_ns
    archive = logs / "app.log.1.gz"
    archive.write_bytes(gzip.compress(b"1\n"))
    os.utime(archive, ns=(mtime_ns, mtime_ns))
    agent.append(log, "2\n3\n")
    for _ in range(3):
        agent.turn(read=False)
    copy.unlink()
    assert agent.after(60) == ["1", "2", "3"]


def test_reading_is_ahead_of_copying_in_the_very_first_read(logs: Path) -> None:
    log = logs / "app.log"
    agent = following(logs / "app.log*")
    agent.turns(3)
    agent.append(log, "1\n")
    copied(agent, log, logs / "app.log.1")
    agent.append(log, "2\n")
    agent.turn(0.3)  # both are read at once
    emptied(agent, log)
    assert agent.after(60) == ["1", "2"]


def test_a_copy_is_shorter_than_the_beginning_that_is_known_of_an_unread_log(logs: Path) -> None:
    log = logs / "app.log"
    agent = following(log)
    agent.append(log, "1\n")
    agent.turns(6)
    copied_and_emptied(agent, log, logs / "app.log-20270102")
    agent.pass_time(0.01)
    agent.append(log, "2\n3\n")
    agent.pass_time(0.01)
    copied(agent, log, logs / "app.log-20270103")
    agent.pass_time(0.01)
    agent.append(log, "lost between copying and emptying, or not\n")
    agent.turn(2.5)
    emptied(agent, log)
    agent.turns(60)
    agent.append(log, "4\n")
    assert [line for line in agent.after(60) if len(line) == 1] == ["1", "2", "3", "4"]


def test_there_is_a_turn_between_emptying_and_the_next_look_at_the_original(logs: Path) -> None:
    log = logs / "app.log"
    agent = following(logs / "app.log*", hinted=False)
    agent.append(log, "1\n")
    agent.turns(8)
    copied(agent, log, logs / "app.log.1")
    agent.turns(6)  # the scan has seen the copy, and it is held as one
    emptied(agent, log)
    agent.turn(0.05)
    agent.turns(60)
    agent.append(log, "2\n")
    assert agent.after(60) == ["1", "2"]


def test_a_copy_that_was_read_and_let_go_is_not_taken_up_again_from_its_archive(logs: Path) -> None:
    log, copy = logs / "app.log", logs / "app.log.1"
    agent = following(log)
    agent.append(log, "1\n")
    agent.turns(6)
    copied_and_emptied(agent, log, copy)
    agent.append(log, "half")
    packed(copy)
    agent.turn(2.5)
    agent.append(log, " 2\n3\n")
    agent.pass_time(0.1)
    (logs / "app.log.1.gz").rename(logs / "app.log.2.gz")
    copied_and_emptied(agent, log, copy)
    agent.append(log, "4 is longer\n5 is longer\n")
    agent.turn(0.05)
    packed(copy)
    assert agent.after(60) == ["1", "half 2", "3", "4 is longer", "5 is longer"]


# --- content -------------------------------------------------------------------------------------------------------


def test_generations_begin_with_the_same_line(logs: Path) -> None:
    log = logs / "app.log"
    agent = following(log)
    agent.append(log, "# started\n")
    agent.turns(2)  # the header is read by itself
    agent.append(log, "1 a long line of the first generation\n")
    agent.turns(3)
    log.rename(logs / "app.log.3")
    agent.append(log, "# started\n2\n")
    agent.pass_time(0.1)
    log.rename(logs / "app.log.2")
    agent.append(log, "# started\n3\n")
    whole = [line for line in agent.after(60) if line[0] != "#"]
    assert whole == ["1 a long line of the first generation", "2", "3"]


def test_a_log_has_grown_past_the_offset_with_the_same_bytes_before_it(logs: Path) -> None:
    log = logs / "app.log"
    agent = following(log)
    agent.append(log, "start A\n" + "tick\n" * 100)
    agent.turns(5)
    log.write_text("start B\n" + "tick\n" * 200)
    agent.touch(log)
    assert agent.after(5) == ["start A", *["tick"] * 100, "start B", *["tick"] * 200]


@pytest.mark.parametrize("idle", [5, 90])
def test_what_is_overwritten_in_place_and_its_time_put_back_is_read(logs: Path, idle: int) -> None:
    log = logs / "app.log"
    agent = following(log)
    agent.append(log, "line A\n")
    mtime_ns = log.stat().st_mtime_ns
    agent.turns(idle)
    with log.open("r+") as file:
        file.write("line B\n")
    os.utime(log, ns=(mtime_ns, mtime_ns))
    assert agent.after(60) == ["line A", "line B"]


# --- missed generations --------------------------------------------------------------------------------------------


def test_a_generation_comes_and_goes_where_rotation_creates_nothing(logs: Path) -> None:
    log = logs / "app.log"
    agent = following(log)
    agent.append(log, "1\n")
    agent.turns(6)
    log.rename(logs / "app.log.2")
    agent.turns(20)
    agent.append(log, "2\n")
    log.rename(logs / "app.log.1")
    assert agent.after(120) == ["1", "2"]


@pytest.mark.parametrize("ahead_s", [0, 3600])
def test_a_time_in_the_future_hides_no_generation(logs: Path, ahead_s: int) -> None:
    log = logs / "app.log"
    agent = following(log)
    agent.append(log, "1\n")
    os.utime(log, ns=(agent.wall_ns + ahead_s * 10**9,) * 2)
    agent.turns(6)
    log.rename(logs / "app.log.3")
    agent.append(log, "2\n")
    agent.turns(20)  # the clock is right again
    log.rename(logs / "app.log.2")
    agent.append(log, "3\n")
    agent.pass_time(0.1)
    log.rename(logs / "app.log.1")
    agent.append(log, "4\n")
    assert agent.after(60) == ["1", "2", "3", "4"]


@pytest.mark.parametrize("seconds", [10**11, 10**17, -(10**11)])
def test_a_position_of_a_file_from_any_time_can_be_kept(logs: Path, seconds: int) -> None:
    log = logs / "app.log"
    log.write_text("1\n")
    try:
        os.utime(log, (seconds, seconds))
    except OverflowError:
        pytest.skip("Python does not set such a time")
    agent = following(log)
    agent.after(5)
    assert agent.positions
    known = meta.decode_head(meta.encode_head(agent.positions, {}))
    assert known is not None
    assert known[0] == agent.positions


@pytest.fixture
def old_archives(logs: Path) -> Callable[[ByHand], None]:
    def make(agent: ByHand) -> None:
        for number in range(2, 7):
            path = logs / f"app.log.{number}.gz"
            path.write_bytes(gzip.compress(f"old {number}\n".encode()))
            os.utime(path, ns=(agent.wall_ns - number * DAY_NS,) * 2)

    return make


def test_an_empty_log_is_rotated_and_old_archives_stay_unread(
    logs: Path, old_archives: Callable[[ByHand], None]
) -> None:
    log = logs / "app.log"
    agent = following(log)
    old_archives(agent)
    agent.append(log, "")
    agent.turns(5)
    log.rename(logs / "app.log.1")
    agent.append(log, "")
    assert agent.after(60) == []


def test_a_log_that_was_empty_is_written_and_rotated_while_the_agent_is_down(
    logs: Path, old_archives: Callable[[ByHand], None]
) -> None:
    log = logs / "app.log"
    agent = following(log)
    old_archives(agent)
    agent.append(log, "yesterday\n")
    agent.turns(5)
    log.rename(logs / "app.log.1")
    agent.append(log, "")
    agent.turns(20)
    packed(logs / "app.log.1")
    assert agent.after(20) == ["yesterday"]
    for file in agent.over:  # what is known of deleted files is forgotten after two minutes
        agent.positions.pop(file, None)
    agent.kill()
    (logs / "app.log.1.gz").rename(logs / "app.log.7.gz")
    agent.pass_time(3600)
    agent.append(log, "today\n")
    log.rename(logs / "app.log.1")
    agent.append(log, "")
    agent.start()
    assert agent.after(60) == ["yesterday", "today"]


# --- events of several lines ---------------------------------------------------------------------------------------


def test_an_event_open_at_the_end_of_a_generation_waits_across_an_empty_one(logs: Path) -> None:
    log = logs / "app.log"
    agent = following(log, multiline=Multiline(start="^S"))
    agent.append(log, "S 1\n")
    agent.turns(6)
    log.rename(logs / "app.log.3")
    agent.append(log, "S 2\n")
    agent.pass_time(0.1)
    log.rename(logs / "app.log.2")
    agent.append(log, "")
    agent.pass_time(0.1)
    log.rename(logs / "app.log.1")
    agent.append(log, "S 3\n")
    packed(logs / "app.log.1")
    assert agent.after(90) == ["S 1", "S 2", "S 3"]


def test_an_event_before_an_unended_line_comes_before_the_next_generation(logs: Path) -> None:
    log = logs / "app.log"
    agent = following(log, multiline=Multiline(start="^S"))
    agent.append(log, "S 1\n")
    agent.turns(6)
    agent.append(log, "S 2\n more")
    log.rename(logs / "app.log.1")
    agent.pass_time(0.1)
    agent.append(log, "S 3\nS 4\n")
    assert [line for line in agent.after(90) if line.startswith("S")] == ["S 1", "S 2", "S 3", "S 4"]


@pytest.mark.parametrize("most_open", [16, 28])
def test_events_of_many_rotated_logs_are_joined_with_few_descriptors(logs: Path, most_open: int) -> None:
    agent = following(logs / "*.log", multiline=Multiline(start="^S"), most_open=most_open)
    paths = [logs / f"{number}.log" for number in range(3 * most_open)]
    for path in paths:
        agent.append(path, "S 1\n")
    agent.turns(2)
    for path in paths:
        path.rename(f"{path}.1")
        agent.append(path, "S 2\nS 3\n")
    agent.after(90)
    assert all(agent.lines(path) == ["S 1", "S 2", "S 3"] for path in paths)


# --- no descriptors ------------------------------------------------------------------------------------------------


def test_there_is_no_descriptor_in_the_moment_in_which_an_archive_is_looked_for(
    logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logs / "app.log"
    agent = following(log)
    agent.append(log, "1\n")
    agent.turns(80)
    agent.append(log, "2\n")
    packed(log).rename(logs / "app.log.1.gz")
    agent.append(log, "")
    with monkeypatch.context() as patched:
        refuse_to_open(patched, ".gz", errno.EMFILE)
        agent.turn()
    agent.turns(60)
    agent.append(log, "3\n")
    assert agent.after(30) == ["1", "2", "3"]


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("ending", ["app.log", ".1", ".1.gz"])
@pytest.mark.parametrize("is_down", [False, True])
def test_there_is_no_descriptor_in_the_moment_in_which_a_missed_generation_is_looked_for(
    logs: Path, monkeypatch: pytest.MonkeyPatch, ending: str, *, pack: bool, is_down: bool
) -> None:
    log = logs / "app.log"
    agent = following(logs / "app.log*")
    agent.append(log, "1\n")
    agent.after(5)
    if is_down:
        agent.kill()
    log.rename(logs / "app.log.2")
    agent.append(log, "2\n")
    agent.pass_time(0.1)
    log.rename(logs / "app.log.1")
    agent.append(log, "3\n")
    for generation in (logs / "app.log.2", logs / "app.log.1") if pack else ():
        packed(generation)
    agent.start()
    with monkeypatch.context() as patched:
        refuse_to_open(patched, ending, errno.EMFILE)
        agent.turns(3)
    assert agent.after(90) == ["1", "2", "3"]


class Limited(ByHand):
    """room: for how many files there are descriptors while the agent works; the test itself may open as many as ever."""

    def __init__(self, *sources: Source, room: int) -> None:
        super().__init__(*sources)
        self._room = room
        self._others = max(map(int, os.listdir("/proc/self/fd"))) + 1

    def _under_the_limit(self, work: Callable[[], None]) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (self._others + self._room, hard))
        try:
            work()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def start(self) -> None:
        self._under_the_limit(super().start)

    def turn(self, seconds: float = 1.0, *, read: bool = True) -> None:
        work = super().turn
        self._under_the_limit(lambda: work(seconds, read=read))


@pytest.mark.parametrize("room", [40, 150])
@pytest.mark.parametrize("is_deleted", [False, True])
def test_many_more_files_than_descriptors_are_rotated_at_once_with_unread_lines(
    logs: Path, room: int, *, is_deleted: bool
) -> None:
    agent = Limited(Source(include=(f"{logs}/*.log",)), room=room)
    agent.start()
    paths = [logs / f"{number}.log" for number in range(300)]
    for path in paths:
        agent.append(path, "1\n")
    agent.turns(10)
    for path in paths:
        agent.append(path, "2\n")
        path.rename(f"{path}.1")
        agent.append(path, "3\n")
    agent.turns(60)
    for path in paths if is_deleted else ():
        Path(f"{path}.1").unlink()
    agent.after(60)
    agent.kill()
    assert {path.name: sorted(agent.lines(path)) for path in paths} == {path.name: ["1", "2", "3"] for path in paths}


def test_a_log_that_was_only_touched_does_not_hold_up_another_that_has_grown(logs: Path) -> None:
    touched, grown = logs / "a.log", logs / "b.log"
    agent = following(logs / "*.log")
    for log in (touched, grown):
        agent.append(log, "1\n")
    agent.turns(5)
    agent.append(grown, "2\n")
    agent.touch(touched)
    agent.turn()
    agent.persist()
    assert agent.lines(grown) == ["1", "2"]


# --- read again ------------------------------------------------------------------------------------------------------


def test_a_lost_span_of_an_archive_is_read_again(logs: Path) -> None:
    log = logs / "app.log"
    agent = following(log)
    agent.append(log, "1\n")
    agent.turns(5)
    agent.persist()
    agent.kill()
    agent.append(log, "2\n3\n")
    log.rename(logs / "app.log.1")
    packed(logs / "app.log.1")
    agent.append(log, "4\n")
    agent.start()
    agent.turns(6)
    agent.lose(b"2\n3\n")
    agent.after(60)
    assert sorted(agent.lines(log)) == ["1", "2", "3", "4"]


@pytest.mark.parametrize("zeros", [0, 4096])
def test_a_lost_span_behind_a_hole_is_read_again(logs: Path, zeros: int) -> None:
    log = logs / "app.log"
    agent = following(log)
    with log.open("wb") as file:
        file.write(b"\0" * zeros)
        file.truncate(1 << 21)
        file.seek(1 << 21)
        file.write(b"1\n2\n")
    agent.touch(log)
    agent.turns(5)
    agent.lose(b"1\n2\n")
    agent.after(60)
    assert agent.lines(log) == ["1", "2"]


# --- at the end ------------------------------------------------------------------------------------------------------


def test_only_the_very_first_start_begins_at_the_end(logs: Path) -> None:
    log = logs / "app.log"
    agent = following(log, start_at="end")
    agent.turns(5)
    agent.append(log, "1\n")
    agent.after(5)
    log.unlink()
    agent.turns(130)
    agent.kill()
    assert agent.over
    agent.positions.clear()
    agent.append(log, "2\n")
    agent.start()
    agent.append(log, "3\n")
    assert agent.after(10) == ["1", "2", "3"]


def test_a_file_that_cannot_be_read_at_the_very_first_start_begins_where_it_ended_then(
    logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = logs / "app.log"
    log.write_text("old\n")
    with monkeypatch.context() as patched:
        refuse_to_open(patched, str(log), errno.EACCES)
        agent = following(log, start_at="end")
        agent.turns(3)
        agent.append(log, "new\n")
        agent.turns(3)
    assert agent.after(20) == ["new"]


# --- links -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["renamed while down", "copied", "renamed while closed", "switched while closed"])
def test_what_a_link_leads_to_is_rotated_where_it_lies(logs: Path, how: str) -> None:
    (logs / "data").mkdir()
    real, link = logs / "data/app.log", logs / "current.log"
    link.symlink_to(real)
    agent = following(link)
    agent.append(real, "1\n")
    agent.after(5)
    if how == "copied":
        agent.append(real, "2\n")
        copied_and_emptied(agent, real, logs / "data/app.log.1")
    else:
        agent.kill() if how == "renamed while down" else agent.turns(80)
        agent.append(real, "2\n")
        real.rename(logs / "data/app.log.1")
    if how.startswith("switched"):
        link.unlink()
        (logs / "more").mkdir()
        real = logs / "more/app.log"
        link.symlink_to(real)
    agent.append(real, "3\n")
    agent.start()
    assert agent.after(60, link) == ["1", "2", "3"]


# --- two directories -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_copied", [False, True])
def test_an_archive_gets_the_inode_of_another_log_while_nobody_looks(logs: Path, *, is_copied: bool) -> None:
    (logs / "a").mkdir()
    (logs / "b").mkdir()
    one, other = logs / "a/app.log", logs / "b/app.log"
    agent = following(one, other)
    agent.append(one, "1\n")
    agent.append(other, "1\n")
    agent.after(6)
    agent.kill()
    agent.append(one, "2\n")
    agent.append(other, "2\n")
    one.rename(logs / "a/app.log.1")
    if is_copied:
        packed(logs / "a/app.log.1")
        copied_and_emptied(agent, other, logs / "b/app.log.1")
    else:
        other.rename(logs / "b/app.log.1")
        packed(logs / "a/app.log.1")
        packed(logs / "b/app.log.1")
    agent.append(one, "3\n")
    agent.append(other, "3\n")
    agent.start()
    agent.after(60)
    assert (agent.lines(one), agent.lines(other)) == (["1", "2", "3"], ["1", "2", "3"])


# --- kinds of files --------------------------------------------------------------------------------------------------


def test_an_archive_that_is_seen_while_it_is_empty_is_no_text(logs: Path) -> None:
    log, archive = logs / "app.log", logs / "app.log.1.gz"
    archive.write_bytes(gzip.compress(b"of an earlier time\n"))
    os.utime(archive, ns=(0, 0))
    agent = following(logs / "app.log*")
    agent.append(log, "1\n")
    agent.turns(5)
    log.rename(logs / "app.log.1")
    agent.append(log, "")
    agent.turns(5)
    archive.rename(logs / "app.log.2.gz")
    agent.append(archive, "")
    agent.turn()
    archive.write_bytes(gzip.compress(b"1\n" + random.Random(1).randbytes(5000)))
    agent.touch(archive)
    (logs / "app.log.1").unlink()
    agent.turns(30)
    agent.persist()
    assert agent.lines() == ["1"]


def test_an_archive_that_was_left_alone_is_overwritten_with_lines(logs: Path) -> None:
    log = logs / "app.log"
    agent = following(logs / "*.log")
    log.write_bytes(gzip.compress(b"no line"))
    agent.touch(log)
    agent.turns(5)
    log.write_text("1, which is longer than the archive was\n2\n")
    agent.touch(log)
    agent.after(30)
    assert agent.lines(log) == ["1, which is longer than the archive was", "2"]


def test_a_short_lived_log_begins_with_all_that_was_read_of_another_whose_name_it_extends(logs: Path) -> None:
    log, job = logs / "app.log", logs / "app.log.job17"
    agent = following(logs / "app.log*")
    agent.append(log, "# started\n")
    agent.turns(5)
    agent.append(job, "# started\njob 1\n")
    agent.turns(3)
    job.unlink()
    agent.after(30)
    assert agent.lines(job) == ["# started", "job 1"]


# --- several sources -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [False, True])
@pytest.mark.parametrize("rest", ["*", "*.log"])
def test_a_missed_generation_with_a_date_is_shown_by_another_source(logs: Path, rest: str, *, pack: bool) -> None:
    log = logs / "app.log"
    agent = ByHand(Source(name="app", include=(str(log),)), Source(name="rest", include=(f"{logs}/{rest}",)))
    agent.start()
    agent.append(log, "1\n")
    agent.turns(6)
    log.rename(logs / "app-20270102.log")
    agent.append(log, "2\n")
    agent.pass_time(1)
    log.rename(logs / "app-20270103.log")
    agent.append(log, "3\n")
    for date in ("20270102", "20270103") if pack else ():
        packed(logs / f"app-{date}.log")
    agent.after(90)
    assert (agent.lines(log), agent.lines()) == (["1", "2", "3"], ["1", "2", "3"])


def test_a_generation_is_read_as_its_log_says_whoever_shows_it_after_a_restart(logs: Path) -> None:
    log = logs / "app.log"
    agent = ByHand(
        Source(name="app", include=(str(log),), encoding="utf-16-le"), Source(name="rest", include=(f"{logs}/*",))
    )
    agent.start()
    with log.open("ab") as writer:
        writer.write("1\n".encode("utf-16-le"))
        writer.flush()
        agent.touch(log)
        agent.after(5)
        log.rename(logs / "app.log.1")
        writer.write("2\n".encode("utf-16-le"))
    agent.touch(logs / "app.log.1")
    agent.kill()
    agent.start()
    assert agent.after(30) == ["1", "2"]


def test_a_log_whose_name_is_that_of_another_and_a_number_is_a_log_of_its_own(logs: Path) -> None:
    log, other = logs / "worker", logs / "worker-2"
    agent = following(logs / "worker*")
    agent.append(log, "1\n")
    agent.turns(6)
    log.rename(logs / "worker.1")
    agent.append(log, "2\n")
    agent.append(other, "other 1\n")
    agent.after(60)
    assert (agent.lines(log), agent.lines(other)) == (["1", "2"], ["other 1"])


# --- archives --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("olddir", [None, "old"])
@pytest.mark.parametrize("seed", range(12))
def test_a_copy_that_was_missed_and_read_is_not_read_again_from_its_archive(
    logs: Path, olddir: str | None, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever of it a scan comes between."""
    dice = random.Random(seed)
    monkeypatch.setattr(worker, "have_changed", lambda _: dice.random() < 0.5)
    (logs / "old").mkdir()
    log, old = logs / "app.log", logs / (olddir or "")
    agent = following(log, olddir=olddir, hinted=False)

    def write(text: str) -> None:
        agent.append(log, text)
        agent.pass_time(0.01)

    def copy(date: str) -> Path:
        copied(agent, log, old / f"app.log-{date}")
        agent.pass_time(0.01)
        return old / f"app.log-{date}"

    write("# s\n1\n")
    agent.turns(6)
    write("2\n3\n")
    agent.turns(4)
    first = copy("20270104")
    emptied(agent, log)
    agent.pass_time(0.01)
    write("# s\n4\n5.\n")
    second = copy("20270106")
    agent.turn(0.3)
    emptied(agent, log)
    agent.pass_time(0.01)
    packed(first)
    write("# s\n6\n7\n8\n")
    agent.turn(2.5)
    copy("20270107")
    emptied(agent, log)
    packed(second)
    assert [line for line in agent.after(100) if line[0] != "#"] == ["1", "2", "3", "4", "5.", "6", "7", "8"]


def test_an_archive_is_moved_to_another_file_system_while_the_agent_starts(logs: Path) -> None:
    log, old = logs / "app.log", logs / "old"
    old.mkdir()
    agent = following(log, olddir="old")
    agent.append(log, "0\n")
    agent.after(5)
    agent.kill()
    agent.append(log, "".join(f"{number}, {number * 7919 % 10007}\n" for number in range(1, 20_000)))
    archive, written_ns = packed(log), log.stat().st_mtime_ns if log.exists() else agent.wall_ns
    whole = archive.read_bytes()
    agent.append(log, "end\n")
    (old / "app.log.1.gz").write_bytes(whole[: len(whole) // 2])
    agent.touch(old / "app.log.1.gz")
    agent.start()
    agent.turns(2)
    (old / "app.log.1.gz").write_bytes(whole)
    os.utime(old / "app.log.1.gz", ns=(written_ns, written_ns))
    archive.unlink()
    assert len(agent.after(60)) == 20_001


def test_large_files_are_compared_once_while_reading_is_held_up(logs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = logs / "app.log"
    agent = following(log)
    agent.append(log, "1\n")
    agent.after(5)
    log.rename(logs / "app.log.1")
    agent.append(logs / "app.log.1", "2\n")
    agent.append(log, "3\n" * 1000)
    agent.turn(read=False)
    log.rename(logs / "app.log.0")
    agent.turn(read=False)
    packed(logs / "app.log.0")
    comparisons = []
    really_compare = likeness.is_archive_of_file

    def compared(*files: Any, **more: Any) -> bool:
        comparisons.append(files)
        return really_compare(*files, **more)

    monkeypatch.setattr(likeness, "is_archive_of_file", compared)
    for number in range(20):
        (logs / f"app.log.{number + 5}").touch()
        agent.turn(5, read=False)
    assert len(comparisons) <= 3
    assert len(agent.after(30)) == 1002


# --- what is remembered ----------------------------------------------------------------------------------------------


def test_refused_paths_are_forgotten_when_they_are_gone(logs: Path) -> None:
    agent = following(logs / "*.log")
    for number in range(50):
        (logs / f"{number}.log").symlink_to("/nowhere")
    agent.turns(6)
    assert len(agent.events) == 50
    for link in logs.iterdir():
        link.unlink()
    agent.turns(6)
    agent.turns(6)
    (logs / "1.log").symlink_to("/nowhere")
    agent.turns(6)
    assert len(agent.events) == 51, "it is told again"


def test_deleted_copies_on_another_file_system_are_forgotten(tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as old:
        log = tmp_path / "app.log"
        agent = following(log, olddir=old)
        for number in range(5):
            agent.append(log, f"{number}, {'x' * 20}\n")
            agent.turns(4)
            copied_and_emptied(agent, log, Path(old) / f"app.log-2027010{number}")
            agent.turns(100)
            agent.persist()
            (Path(old) / f"app.log-2027010{number}").unlink()
            agent.pass_time(86400)
        for _ in range(20):
            agent.pass_time(86400)
            agent.turns(3)
        assert len(agent.lines()) == 5
        for file in agent.over:
            agent.positions.pop(file, None)
        assert len(agent.positions) <= 2


def test_the_last_lines_of_a_pod_are_read_when_its_last_alias_is_gone(logs: Path) -> None:
    pod = logs / "pods/ns_app-1_11111111-2222-3333-4444-555555555555/main"
    pod.mkdir(parents=True)
    (logs / "containers").mkdir()
    log, link = pod / "0.log", logs / f"containers/app-1_ns_main-{'0' * 64}.log"
    link.symlink_to(log)
    agent = following(logs / "containers/app*.log")
    agent.append(log, "2026-01-02T03:04:05.678901Z stdout F 1\n")
    agent.after(80)
    agent.append(log, "2026-01-02T03:04:05.678902Z stdout F 2\n")
    link.unlink()
    assert agent.after(30) == ["1", "2"]


@pytest.mark.parametrize("name", ["app.log-2027010{}", "app.log.{}"])
def test_what_was_read_under_a_name_that_is_not_included_any_more_is_no_missed_generation(
    logs: Path, name: str
) -> None:
    """Under the glob it had, its name after two rotations between two looks was all that was known of it."""
    log = logs / "app.log"
    agent = following(logs / "app.log*")
    agent.append(log, "1\n")
    agent.turns(6)
    agent.persist()
    log.rename(logs / name.format(3 if name.endswith("log.{}") else 1))
    agent.pass_time(0.01)
    agent.append(log, "2\n")
    log.rename(logs / name.format(2))
    assert agent.after(60) == ["1", "2"]
    agent.kill()
    agent._sources = (Source(include=(str(log),)),)
    agent.append(log, "4\n")
    log.rename(logs / name.format(1 if name.endswith("log.{}") else 3))
    agent.pass_time(1)
    agent.append(log, "5\n")
    agent.start()
    assert agent.after(60) == ["1", "2", "4", "5"]


@pytest.mark.parametrize("after_s", [0.05, 0.3, 1, 2])
def test_a_copy_that_a_glob_shows_is_gone_when_its_log_is_found_emptied(logs: Path, after_s: float) -> None:
    """logrotate with `copytruncate` and `rotate 0`."""
    log, copy = logs / "app.log", logs / "app.log.1"
    agent = following(logs / "app.log*")
    agent.append(log, "1\n2\n")
    agent.turns(6)
    copied(agent, log, copy)
    agent.turn(after_s)
    emptied(agent, log)
    copy.unlink()
    agent.turns(60)
    agent.append(log, "3\n")
    assert agent.after(60) == ["1", "2", "3"]


@pytest.mark.parametrize("phase", range(0, 20, 3))
def test_without_events_a_file_that_lives_for_four_seconds_is_read(logs: Path, phase: int) -> None:
    """Longer than the two seconds that are promised, and shorter than the time between two scans."""

    def wait(agent: ByHand, turns: int) -> None:
        for _ in range(turns):
            agent.turn(0.25)

    new = following(logs / "*.log", hinted=False)
    new.append(logs / "other.log", "0\n")
    wait(new, 40 + phase)
    new.append(logs / "job.log", "1\n")
    wait(new, 16)
    (logs / "job.log").unlink()
    assert new.after(30) == ["0", "1"]
    replaced = following(logs / "other.log", hinted=False)
    wait(replaced, 40 + phase)
    for text in ("1\n", "2\n"):
        replaced.append(logs / "next", text)
        (logs / "next").rename(logs / "other.log")
        wait(replaced, 16)
    assert replaced.after(30) == ["0", "1", "2"]


def test_what_is_noted_of_very_many_new_files_is_handed_over_by_and_by(tmp_path: Path) -> None:
    """All at once it would hold up the event loop for seconds; and no line may come before what is noted."""
    for number in range(4_500):
        (tmp_path / f"{number}.log").touch()
    agent = following(tmp_path / "*.log")
    handed_over = []
    agent.append(tmp_path / "7.log", "1\n")
    for _ in range(4):
        agent.turn()
        handed_over.append([len(chunk.data) for chunk in agent._taken])
        agent.persist()
    assert [len(sizes) for sizes in handed_over] == [2_000, 2_000, 500, 0]
    assert handed_over[2][-1] == len("1\n")
    assert agent.lines() == ["1"]
    assert len(agent.positions) == 4_500


# --- at rest -------------------------------------------------------------------------------------------------------


def test_a_file_is_passed_over_once_it_is_read_and_closed_until_there_is_something_to_do(logs: Path) -> None:
    log, empty = logs / "app.log", logs / "empty.log"
    empty.touch()
    agent = following(log, empty)
    agent.append(log, "1\n")
    agent.turn()
    assert not agent.at_rest()  # it is open
    assert agent.after(80) == ["1"]
    assert [file.path for file in agent.at_rest()] == [str(log)]
    agent.append(log, "2")
    agent.turn()
    assert not agent.at_rest()  # its last line is not whole
    agent.append(log, "\n")
    assert agent.after(80) == ["1", "2"]
    assert agent.at_rest()
    log.rename(logs / "app.log.1")
    agent.turn()
    assert not agent.at_rest()


@pytest.mark.parametrize(
    "what",
    [
        lambda file: setattr(file, "error", errno.EIO),
        lambda file: setattr(file, "deleted", True),
        lambda file: setattr(file, "_kind", Kind.IGNORED),
        lambda file: setattr(file, "_kind", Kind.ARCHIVE),
        lambda file: file._reader.lost.append((0, 2)),
    ],
)
def test_a_file_of_which_there_is_something_to_tell_is_not_passed_over(logs: Path, what: Callable[[Any], None]) -> None:
    agent = following(logs / "app.log")
    agent.append(logs / "app.log", "1\n")
    agent.turns(80)
    (file,) = agent.at_rest()
    what(file)
    assert not agent.at_rest()


# --- what a path leads to ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize("pattern", ["*.log", "app.log"])
@pytest.mark.parametrize("begins", [b"BZh91AY&SY", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"])
def test_a_log_that_is_replaced_by_a_link_to_what_is_left_alone_disturbs_no_other(
    logs: Path, link: Callable[[Path, Path], None], pattern: str, begins: bytes
) -> None:
    log, other = logs / "app.log", logs / "other.log"
    agent = following(logs / pattern, other)
    agent.append(log, "1\n")
    agent.turns(3)
    agent.append(logs / "app.log.1", begins + bytes(40))
    log.unlink()
    link(logs / "app.log.1", log)
    agent.turns(10)
    agent.append(other, "2\n")
    assert agent.after(10) == ["1", "2"]
    agent.kill()
    agent.start()
    agent.append(other, "3\n")
    assert agent.after(10) == ["1", "2", "3"]


@pytest.mark.parametrize("idle_s", [3, 80])
def test_a_file_that_is_moved_to_the_directory_of_another_source_is_read_on(logs: Path, idle_s: int) -> None:
    before, after = logs / "a" / "x.log", logs / "b" / "x.log"
    for path in (before, after):
        path.parent.mkdir()
    agent = ByHand(Source(name="a", include=(f"{logs}/a/*",)), Source(name="b", include=(f"{logs}/b/*",)))
    agent.start()
    agent.append(before, "1\n")
    agent.turns(idle_s)
    agent.append(before, "2\n")
    before.rename(after)
    agent.turns(5)
    agent.append(after, "3\n")
    assert agent.after(80) == ["1", "2", "3"]
    agent.kill()
    agent.append(after, "4\n")
    agent.start()
    assert agent.after(10) == ["1", "2", "3", "4"]


def test_a_directory_that_has_the_name_and_the_inode_of_a_log_is_not_it(
    logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, really_stat = logs / "app.log", os.stat
    agent = following(log)
    agent.append(log, "1\n")
    assert agent.after(80) == ["1"]
    key = really_stat(log)[1:3]
    log.unlink()
    log.mkdir()

    def stat_of_the_same_inode(path: Any, **how: Any) -> os.stat_result:
        seen = really_stat(path, **how)
        how_made, (fields, named) = seen.__reduce__()
        return how_made((fields[0], *key, *fields[3:]), named) if str(path) == str(log) else seen

    with monkeypatch.context() as patched:
        patched.setattr(os, "stat", stat_of_the_same_inode)
        agent.turns(80)
        assert not agent.statuses()
    log.rmdir()
    agent.append(log, "2\n")
    assert agent.after(10) == ["1", "2"]


@pytest.mark.parametrize("name", ["hidden.txt", "hidden.log"])
@pytest.mark.parametrize("idle_s", [3, 80])
def test_no_link_leads_to_what_another_source_does_not_want(logs: Path, name: str, idle_s: int) -> None:
    log, hidden = logs / "a" / "x.log", logs / "b" / name
    for path in (log, hidden):
        path.parent.mkdir()
    agent = ByHand(
        Source(name="a", include=(f"{logs}/a/*.log",)),
        Source(name="b", include=(f"{logs}/b/*.log",), exclude=(f"{logs}/b/hidden.log",)),
    )
    agent.start()
    agent.append(log, "1\n")
    agent.turns(idle_s)
    log.rename(hidden)
    log.symlink_to(hidden)
    agent.turns(80)
    agent.append(hidden, "2\n")
    assert agent.after(80) == ["1"]
    agent.kill()
    agent.start()
    assert agent.after(10) == ["1"]


def test_a_writer_of_one_source_cannot_have_a_file_of_another_read_between_the_scan_and_the_opening(
    logs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, good, hidden = logs / "a" / "x.log", logs / "a" / "good.txt", logs / "b" / "hidden.txt"
    for path in (good, hidden):
        path.parent.mkdir()
        path.write_text(f"{path.name}\n")
    link.symlink_to(hidden)
    agent = ByHand(Source(name="a", include=(f"{logs}/a/*.log",)), Source(name="b", include=(f"{logs}/b/*.log",)))
    # The link is switched while it is judged: its target looks fine, what it leads to is another.
    monkeypatch.setattr(os.path, "realpath", lambda path: str(good) if str(path) == str(link) else str(path))
    agent.start()
    agent.turns(5)
    agent.append(hidden, "more\n")
    assert agent.after(80) == []


# --- what changes while it is looked at ----------------------------------------------------------------------------


def test_generations_whose_events_belong_together_are_overwritten_in_one_gap(logs: Path) -> None:
    log, first, second = logs / "app.log", logs / "app.log.2", logs / "app.log.1"
    agent = following(log, hinted=False, multiline=Multiline(start="^[0-9]", timeout="30s"))
    agent.append(log, "")
    agent.turns(3)
    for path, text in ((first, "0 z\n1 a\n"), (second, " c\n"), (log, " d\n")):
        agent.pass_time(1)
        agent.append(path, text)
    agent.turns(12)
    was = first.read_bytes()
    for path, data in ((second, was + b" e\n"), (first, b"9 zz\n" * 3)):
        with path.open("r+b") as file:
            file.write(data)
        agent.touch(path)
    agent.append(log, " f\n")
    lines = agent.after(60)
    assert lines[-1] == " f"
    assert lines.count("9 zz") == 3


@pytest.mark.parametrize("begins", [b"BZh91AY&SY", b"\xfd7zXZ\0", b"\x1f\x8b\x08"])
def test_a_copy_is_overwritten_by_an_archive_and_its_original_emptied_in_one_gap(logs: Path, begins: bytes) -> None:
    log, copy = logs / "app.log", logs / "app.log.1"
    agent = following(logs / "app.log*")
    agent.append(log, "".join(f"{number}\n" for number in range(100)))
    agent.turns(3)
    copied(agent, log, copy)
    agent.append(log, "100\n")
    agent.turns(2)
    copy.write_bytes(begins + bytes(40))
    agent.touch(copy)
    emptied(agent, log)
    agent.turns(60)
    agent.append(log, "101\n")
    assert agent.after(20) == [str(number) for number in range(102)]


@pytest.mark.parametrize("count", [3, 300])
@pytest.mark.parametrize("between", [0, 1, 3])
@pytest.mark.parametrize("pattern", ["app.log", "app.log*"])
def test_a_copy_is_made_again_with_other_content_in_one_gap(logs: Path, pattern: str, between: int, count: int) -> None:
    log, copy = logs / "app.log", logs / "app.log.1"
    agent = following(logs / pattern)
    agent.append(log, "".join(f"{number}\n" for number in range(100)))
    agent.turns(3)
    copied(agent, log, copy)
    agent.turns(between)
    emptied(agent, log)
    agent.append(log, "".join(f"again {number}\n" for number in range(count)))
    agent.pass_time(0.5)
    copied_and_emptied(agent, log, copy)
    agent.append(log, "end\n")
    expected = [str(number) for number in range(100)] + [f"again {number}" for number in range(count)] + ["end"]
    assert agent.after(60) == expected


def test_a_file_is_gone_by_the_time_its_lost_lines_are_to_be_read_again(logs: Path) -> None:
    one, two = logs / "a.log", logs / "b.log"
    agent = following(logs / "*.log")
    agent.append(one, "a line\n")
    agent.append(two, "b line\n")
    agent.turns(100)
    agent.lose(b"a line\n")
    agent.lose(b"b line\n")
    with one.open("r+b") as file:
        file.write(b"ZZZZ")
    inode = two.stat().st_ino
    two.unlink()
    agent.append(logs / "a.log.idx", "something else\n")
    if (logs / "a.log.idx").stat().st_ino != inode:
        pytest.skip("the inode was not used again")
    agent.turn(0.01, hint=False)
    agent.append(one, "end\n")
    assert "end" in agent.after(20)


@pytest.mark.parametrize("idle_s", [3, 80])
def test_a_log_whose_former_name_has_become_a_link_to_itself_is_found_under_another(logs: Path, idle_s: int) -> None:
    log, was, now = logs / "app.log", logs / "app.log.1", logs / "app.log.2"
    agent = following(log)
    agent.append(log, "1\n")
    agent.turns(3)
    log.rename(was)
    agent.turns(idle_s)
    was.rename(now)
    was.symlink_to(was.name)
    if idle_s < 60:
        agent.turns(100)
    agent.append(now, "2\n")
    agent.append(log, "3\n")
    assert agent.after(120) == ["1", "2", "3"]
