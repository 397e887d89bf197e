"""Discovery, permissions, mounts and limits: what cannot be seen is not gone, and what hangs holds up only itself."""

import asyncio
import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Self

import pytest
import slow_mount
from agent_process import AgentProcess
from oracle import append, stored
from tailing import FAST, Run, Watch, numbered, settings, source, tailing, write

from agent.config import Agent
from agent.demo.loki import LokiStandIn
from agent.observe.events import (
    FileEventsMissed,
    FileSystemAnswers,
    FileSystemGone,
    FileSystemStalled,
    FileUnreadable,
    WatcherFailed,
    WatchMode,
)
from agent.tail import watch
from agent.tail.generations import Timing
from agent.tail.one_file import OneFile

needs_mounts = pytest.mark.skipif(bool(slow_mount.why_not()), reason=slow_mount.why_not() or "can mount")
as_nobody = pytest.mark.skipif(os.geteuid() != 0, reason="root is needed to become somebody else")

Launch = Callable[..., AgentProcess]


async def test_t49_a_file_four_directories_deep_that_did_not_exist_is_read_from_its_first_byte(
    tmp_path: Path, watch_mode: Watch
) -> None:
    deep = tmp_path / "a" / "b" / "c" / "d"
    async with tailing(source(tmp_path / "*" / "b" / "**" / "*.log"), agent=settings(watch_mode)) as run:
        await run.until(lambda: run.tailer.statistics().ready)
        deep.mkdir(parents=True)
        write(deep / "app.log", *numbered(0, 3))
        await run.until_lines(3)
    assert run.lines() == numbered(0, 3)


async def test_t50_a_watched_directory_removed_and_made_again_a_hundred_times_is_still_watched(
    tmp_path: Path, watch_mode: Watch
) -> None:
    directory = tmp_path / "logs"
    async with tailing(source(directory / "*.log"), agent=settings(watch_mode, "50ms")) as run:
        for number in range(100):
            directory.mkdir()
            if number % 10 == 9:
                write(directory / "a.log", f"line {number}")
                await run.until(lambda number=number: f"line {number}" in run.lines())
            shutil.rmtree(directory)
    assert run.lines() == [f"line {number}" for number in range(9, 100, 10)]


@as_nobody
@pytest.mark.parametrize("forbidden", ["file", "directory"])
async def test_t51_t52_what_is_forbidden_for_a_while_is_neither_forgotten_nor_read_again(
    tmp_path: Path, watch_mode: Watch, forbidden: str
) -> None:
    logs = tmp_path / "logs"
    logs.mkdir(mode=0o755)
    for parent in (tmp_path, *list(tmp_path.parents)[:-1]):
        if parent.stat().st_mode & 0o055 != 0o055 and parent.is_relative_to("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o055)
    write(logs / "app.log", *numbered(0, 3))
    target = logs / "app.log" if forbidden == "file" else logs
    mode = target.stat().st_mode & 0o777
    os.seteuid(65534)
    try:
        agent = Agent(watch=watch_mode, scan_interval="50ms", poll_interval="20ms")
        async with tailing(source(logs / "*.log"), agent=agent) as run:
            await run.until_lines(3)
            for round_number in range(3):
                if watch_mode == "poll":  # else its descriptor goes on being read, which is as good
                    await run.until(lambda: run.tailer.statistics().open_files == 0)
                _as_root(lambda: target.chmod(0))
                _as_root(lambda number=round_number: write(logs / "app.log", f"line {3 + number}"))
                if watch_mode == "poll":
                    await run.until(lambda: run.tailer.statistics().files_by_state["unreadable"] == 1)
                _as_root(lambda: target.chmod(mode))
                await run.until_lines(4 + round_number)
            await run.turns(10)
            seen = {event.errno for event in run.seen(FileUnreadable)}
    finally:
        os.seteuid(0)
    assert run.lines() == numbered(0, 6)
    assert seen <= {"EACCES"}
    assert seen or watch_mode == "auto"


def _as_root(act: Callable[[], object]) -> None:
    """Nobody else runs meanwhile: the event loop does not, and no file is looked at by a thread that is root by this.

    The kernel keeps the user of each thread by itself; the C library changes all of them at once.
    """
    os.seteuid(0)
    try:
        act()
    finally:
        os.seteuid(65534)


@asynccontextmanager
async def mounted(
    tmp_path: Path, watch_mode: Watch, timing: Timing = FAST
) -> AsyncIterator[tuple[slow_mount.SlowMount, Run]]:
    """A local directory and a remote one, both followed."""
    (tmp_path / "local").mkdir()
    with slow_mount.slow_mount(tmp_path / "behind", tmp_path / "remote") as mount:
        write(mount.backing / "app.log", *numbered(0, 3))
        write(tmp_path / "local" / "app.log", *numbered(0, 3))
        sources = [source(tmp_path / "remote" / "*.log", name="far"), source(tmp_path / "local" / "*.log", name="near")]
        async with tailing(*sources, agent=settings(watch_mode), timing=timing) as run:
            await run.until_lines(6)
            try:
                yield mount, run
            finally:
                mount.heal()
                mount.go_on()


@needs_mounts
@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.ENOTCONN])
@pytest.mark.parametrize("asked", ["read", "getattr"])
async def test_t55_errors_of_a_file_system_are_waited_out_with_the_offset_kept(
    tmp_path: Path, code: int, asked: str
) -> None:
    async with mounted(tmp_path, "poll") as (mount, run):
        far, near = tmp_path / "remote" / "app.log", tmp_path / "local" / "app.log"
        mount.fail(asked, code)
        write(mount.backing / "app.log", "line 3")
        await run.until(lambda: bool(run.seen(FileUnreadable)))
        write(near, "line 3")
        await run.until_lines(4, near)
        assert run.lines(far) == numbered(0, 3)
        mount.heal()
        await run.until_lines(4, far)
        await run.until(lambda: run.tailer.statistics().files_by_state["unreadable"] == 0)
        await run.turns(20)
    assert run.lines(far) == run.lines(near) == numbered(0, 4)
    assert {event.errno for event in run.seen(FileUnreadable)} == {errno.errorcode[code]}


@needs_mounts
async def test_t56_a_mount_that_hangs_stalls_only_itself(tmp_path: Path, watch_mode: Watch) -> None:
    timing = Timing(quiet_s=0.1, stalled_s=0.3)
    async with mounted(tmp_path, watch_mode, timing) as (mount, run):
        far, near = tmp_path / "remote" / "app.log", tmp_path / "local" / "app.log"
        mount.hang()
        write(mount.backing / "app.log", "line 3")
        await run.until(lambda: bool(run.seen(FileSystemStalled)))
        assert run.tailer.statistics().stalled == (str(tmp_path / "remote"),)
        assert run.tailer.statistics().ready
        for number in range(3, 13):
            write(near, f"line {number}")
            await run.until_lines(number + 1, near)
        assert run.lines(far) == numbered(0, 3)
        mount.go_on()
        await run.until_lines(4, far)
        await run.until(lambda: bool(run.seen(FileSystemAnswers)))
    assert run.lines(far) == numbered(0, 4)
    assert run.lines(near) == numbered(0, 13)
    assert len(run.seen(FileSystemStalled)) == 1


@needs_mounts
async def test_t56_a_hung_mount_does_not_hold_up_the_start_health_or_end_of_the_agent(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    (tmp_path / "local").mkdir()
    with slow_mount.slow_mount(tmp_path / "behind", tmp_path / "remote") as mount:
        append(mount.backing / "app.log", [b"far"])
        append(tmp_path / "local" / "app.log", [b"near"])
        mount.hang()
        agent = launch(loki.url, f'{tmp_path}/remote/*.log", "{tmp_path}/local/*.log')
        await agent.start(ready=False)
        await _until(lambda: stored(loki).get(str(tmp_path / "local" / "app.log")) == [b"near"])
        await agent.until_ready()
        seen = await agent.until(lambda metrics: metrics.get("stalled_file_systems") == 1)
        assert mount.asked_while_hung > 0
        assert seen["file_system_stalls_total"] == 1
        began = time.monotonic()
        assert await agent.stop() == 0
        stopped_s = time.monotonic() - began
        mount.go_on()
        assert stopped_s < 10, "the grace"
        await agent.start()
        await _until(lambda: stored(loki).get(str(tmp_path / "remote" / "app.log")) == [b"far"])


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.02)


@needs_mounts
async def test_t54_an_unmount_keeps_what_is_known_and_a_new_mount_goes_on_there(
    tmp_path: Path, watch_mode: Watch
) -> None:
    timing = Timing(quiet_s=0.05, idle_close_s=0.1)
    far = tmp_path / "remote" / "app.log"
    async with mounted(tmp_path, watch_mode, timing) as (mount, run):
        mount.unmount()
        await run.until(lambda: bool(run.seen(FileSystemGone)))
        await run.until(lambda: len(run.tailer.statistics().files) == 1)
        write(mount.backing / "app.log", "line 3")
        with slow_mount.slow_mount(mount.backing, mount.at):
            await run.until_lines(4, far)
            await run.turns(10)
            assert run.lines(far) == numbered(0, 4)
            assert not run.forgotten or len(run.forgotten) == 1


async def test_t57_with_no_descriptor_left_everything_is_kept_and_read_later(tmp_path: Path, watch_mode: Watch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for number in range(5):
        write(tmp_path / f"{number}.log", *numbered(0, 3))
    async with tailing(source(tmp_path / "*.log"), agent=settings(watch_mode)) as run:
        await run.until_lines(15)
        await run.until(lambda: run.tailer.statistics().open_files == 0)
        with ExitStack() as stack:
            logs = [stack.enter_context((tmp_path / f"{number}.log").open("a")) for number in range(5)]
            highest = max(int(fd) for fd in os.listdir("/proc/self/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest + 1, hard))
            stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
            with suppress(OSError):
                while True:
                    stack.callback(os.close, os.dup(0))
            for log in logs:
                log.write("line 3\n")
                log.flush()
            await run.until(lambda: bool(run.seen(FileUnreadable)))
            await run.turns(10)
            assert len(run.lines()) == 15
        assert {event.errno for event in run.seen(FileUnreadable)} == {"EMFILE"}
        await run.until_lines(20)
        await run.turns(10)
    for number in range(5):
        assert run.lines(tmp_path / f"{number}.log") == numbered(0, 4)


_EXHAUSTED = """
echo 1 > /proc/sys/user/max_inotify_watches
echo {instances} > /proc/sys/user/max_inotify_instances
exec "$@"
"""


def _why_no_limits() -> str:
    script = "echo 1 > /proc/sys/user/max_inotify_watches"
    tried = subprocess.run(
        ["unshare", "--user", "--map-root-user", "sh", "-c", script], capture_output=True, text=True, check=False
    )
    return "" if tried.returncode == 0 else f"inotify cannot be limited here: {tried.stderr.strip()[:100]}"


@pytest.mark.parametrize("instances", [0, 1])
async def test_t58_with_inotify_exhausted_files_are_polled_and_the_agent_says_so(
    tmp_path: Path, loki: LokiStandIn, launch: Launch, instances: int
) -> None:
    if reason := _why_no_limits():
        pytest.skip(reason)
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        append(tmp_path / name / "app.log", [b"first"])
    agent = launch(loki.url, f"{tmp_path}/?/app.log", agent='watch = "auto"')
    script = _EXHAUSTED.format(instances=instances)
    await agent.start(under=["unshare", "--user", "--map-root-user", "sh", "-c", script, "sh"])
    seen = await agent.until(lambda metrics: metrics.get("watch_fallbacks_total", 0) >= 1)
    assert seen["watching"] == 0
    append(tmp_path / "b" / "app.log", [b"second"])
    await _until(lambda: stored(loki).get(str(tmp_path / "b" / "app.log")) == [b"first", b"second"])
    assert "looking at files periodically instead" in agent.errors()


class DeafNotify:
    """What the library is after an overflow of the queue: it works, and knows nothing of what it missed."""

    def __init__(self, *_: object) -> None:
        pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def watch(self, _debounce: int, _step: int, timeout_ms: int, stop: object) -> str:
        stop.wait(timeout_ms / 1000)  # type: ignore[attr-defined]
        return "timeout"


async def test_t59_lost_events_are_noticed_told_and_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watch, "RustNotify", DeafNotify)
    logs = [tmp_path / f"{number}.log" for number in range(20)]
    for log in logs:
        write(log, "line 0")
    agent = Agent(watch="auto", scan_interval="500ms", poll_interval="20ms")
    async with tailing(source(tmp_path / "*.log"), agent=agent) as run:
        await run.until(lambda: run.tailer.statistics().watch_mode == "watch")
        await run.until_lines(20)
        await run.turns(60)
        for log in logs:
            write(log, "line 1")
            long_ago_ns = time.time_ns() - 3 * 10**9
            os.utime(log, ns=(long_ago_ns, long_ago_ns))
        await run.until_lines(40)
        await run.until(lambda: bool(run.seen(FileEventsMissed)))
        assert run.tailer.statistics().watch_mode == "poll"
        write(logs[0], "line 2")
        await run.until_lines(41)
    assert run.lines(logs[0]) == numbered(0, 3)
    assert all(run.lines(log) == numbered(0, 2) for log in logs[1:])


async def test_t59_when_the_kernels_queue_overflows_what_it_dropped_is_found_and_told(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    logs = [tmp_path / f"{number}.log" for number in range(20)]
    for log in logs:
        append(log, [b"first"])
    agent = launch(loki.url, f"{tmp_path}/*.log", agent='watch = "auto"')
    await agent.start()
    await agent.until(lambda metrics: metrics["watching"] == 1)
    await _until(lambda: len(stored(loki)) == 20)
    for number in (20, 21):  # each is found by a scan; what the first one under the watch finds came before the watch
        logs.append(tmp_path / f"{number}.log")
        append(logs[-1], [b"first"])
        await _until(lambda: len(stored(loki)) == len(logs))
    assert agent.process is not None
    agent.process.send_signal(signal.SIGSTOP)
    for _ in range(int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())):
        (tmp_path / "noise").touch()
        (tmp_path / "noise").unlink()
    long_ago_ns = time.time_ns() - 3 * 10**9
    for log in logs:
        append(log, [b"second"])
        os.utime(log, ns=(long_ago_ns, long_ago_ns))
    agent.process.send_signal(signal.SIGCONT)
    await _until(lambda: stored(loki) == {str(log): [b"first", b"second"] for log in logs})
    await agent.until(lambda metrics: metrics.get("file_events_missed_total", 0) >= 1)


async def test_t59_a_burst_of_ten_thousand_events_loses_nothing(tmp_path: Path) -> None:
    logs = [tmp_path / f"{number}.log" for number in range(50)]
    async with tailing(source(tmp_path / "*.log"), agent=settings("auto")) as run:
        for number in range(200):
            for log in logs:
                write(log, f"line {number}")
            if number % 20 == 0:
                await asyncio.sleep(0)
        await run.until_lines(10_000)
        assert not run.seen(WatcherFailed)
    assert all(run.lines(log) == numbered(0, 200) for log in logs)


@pytest.mark.parametrize("idle", [0, 2000])
async def test_t60_idle_files_are_not_looked_at_between_scans_and_hold_no_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, idle: int
) -> None:
    """What 10,000 idle and 50 active files cost: `bench/many_files.py` measures it."""
    busy = [tmp_path / f"busy-{number}.log" for number in range(50)]
    for log in busy + [tmp_path / f"idle-{number}.log" for number in range(idle)]:
        write(log, "line 0")
    looked: list[str] = []
    look = OneFile.look
    monkeypatch.setattr(OneFile, "look", lambda file, now: (looked.append(file.origin.path), look(file, now))[1])
    async with tailing(source(tmp_path / "*.log"), agent=settings("auto", "300ms")) as run:
        await run.until(lambda: run.tailer.statistics().watch_mode == "watch")
        await run.until_lines(50 + idle)
        await run.until(lambda: not run.tailer.statistics().open_files, 20)
        looked.clear()
        for round_ in range(1, 11):
            for log in busy:
                write(log, f"line {round_}")
            await run.until_lines(50 + idle + 50 * round_)
        assert run.tailer.statistics().open_files <= 50
    assert {Path(path).name.split("-")[0] for path in looked} == {"busy"}
    assert all(run.lines(log) == numbered(0, 11) for log in busy)


async def test_t61_thousands_of_files_are_all_known_after_the_first_scan(tmp_path: Path, watch_mode: Watch) -> None:
    """55 000 files within five seconds: `bench/many_files.py` measures it."""
    for number in range(3000):
        (tmp_path / f"{number}.log").touch()
    async with tailing(source(tmp_path / "*.log"), agent=settings(watch_mode, "1h")) as run:
        await run.until(lambda: run.tailer.statistics().ready)
        assert sum(run.tailer.statistics().files_by_state.values()) == 3000
        assert run.tailer.statistics().open_files == 0


async def test_t62_names_that_do_not_match_are_not_looked_at(tmp_path: Path) -> None:
    for number in range(5000):
        (tmp_path / f"{number}.data").touch()
    write(tmp_path / "app.log", "line 0")
    trace = tmp_path / "trace.txt"
    script = f"""
import sys
from agent.config import Source
from agent.tail.discovery import list_files
found = list_files([Source(include=("{tmp_path}/*.log",))])
assert len(found.found) == 1
"""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    command = [
        "strace",
        "-f",
        "-o",
        str(trace),
        "-e",
        "trace=stat,lstat,newfstatat,statx",
        sys.executable,
        "-c",
        script,
    ]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("strace cannot trace here")
    assert not [line for line in trace.read_text().splitlines() if ".data" in line]


async def test_t63_files_that_come_and_go_by_the_hundred_leave_nothing_behind(
    tmp_path: Path, watch_mode: Watch
) -> None:
    async with tailing(source(tmp_path / "*.log"), agent=settings(watch_mode, "50ms")) as run:
        await run.until(lambda: run.tailer.statistics().ready)
        before = len(os.listdir("/proc/self/fd"))
        for batch in range(5):
            logs = [tmp_path / f"{batch}-{number}.log" for number in range(100)]
            for log in logs:
                write(log, f"{log.name}")
            await run.until_lines((batch + 1) * 100)
            for log in logs:
                log.unlink()
        await run.until(lambda: not run.tailer.statistics().files)
        await run.until(lambda: not run.resume().positions)
        await run.until(lambda: len(os.listdir("/proc/self/fd")) <= before)
        await run.until(lambda: not run.tailer._memory._incarnations)
    assert len(set(run.lines())) == len(run.lines()) == 500
    assert not run.tailer._memory._absent


async def test_t64_on_a_network_file_system_files_are_polled_without_being_told_to(tmp_path: Path) -> None:
    table = f"1 0 0:1 / / rw - ext4 d rw\n2 1 0:2 / {tmp_path} rw - nfs4 server:/logs rw\n"
    write(tmp_path / "app.log", "line 0")
    agent = Agent(watch="auto", scan_interval="1h", poll_interval="20ms")
    async with tailing(source(tmp_path / "*.log"), agent=agent, mount_table=lambda: table) as run:
        await run.until_lines(1)
        write(tmp_path / "app.log", "line 1")
        await run.until_lines(2)
    assert [event.mode for event in run.seen(WatchMode)] == ["poll"]
