"""Many more files than may be open."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest
from tailing import FAST, Watch, numbered, settings, source, tailing, write

from agent.config import Agent
from agent.tail import worker

MOST = 42


def open_under(directory: Path) -> list[str]:
    """Paths that descriptors of this process lead to."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:  # of the listing itself
            continue
        if path.startswith(f"{directory}/") and ".log" in path:
            found.append(path)
    return found


@pytest.fixture(autouse=True)
def few_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    # This process itself may open as many as ever.
    monkeypatch.setattr(worker, "_most_open", lambda: MOST)


async def test_all_of_many_files_are_read_though_few_may_be_open(tmp_path: Path, watch_mode: Watch) -> None:
    paths = [tmp_path / f"svc-{number}.log" for number in range(3 * MOST)]
    async with tailing(source(tmp_path / "*.log"), agent=settings(watch_mode)) as run:
        for path in paths:
            write(path, *numbered(0, 2))
        await run.until_lines(2 * len(paths))
        assert 0 < len(open_under(tmp_path)) <= MOST
        for path in paths:
            write(path, *numbered(2, 4))
        await run.until_lines(4 * len(paths))
        assert len(open_under(tmp_path)) <= MOST
    assert all(run.lines(path) == numbered(0, 4) for path in paths)


async def test_files_that_are_rotated_all_at_once_keep_to_it_too(tmp_path: Path, watch_mode: Watch) -> None:
    paths = [tmp_path / f"svc-{number}.log" for number in range(3 * MOST)]
    for path in paths:
        write(path, "first")
    timing = replace(FAST, successor_cap_s=30.0)  # the machine may be busy: so long a predecessor may wait for its turn
    async with tailing(source(tmp_path / "*.log"), agent=settings(watch_mode), timing=timing) as run:
        await run.until_lines(len(paths))
        most = 0
        for path in paths:
            write(path, "second")
            path.rename(f"{path}.1")
            write(path, "third")

        def everything_is_read() -> bool:
            nonlocal most
            most = max(most, len(open_under(tmp_path)))
            return len(run.lines()) >= 3 * len(paths)

        await run.until(everything_is_read, seconds=30)
        wrong = {path.name: run.lines(path) for path in paths if run.lines(path) != ["first", "second", "third"]}
        assert not wrong
        # A renamed file with unread lines is kept open, for it may be deleted or compressed any moment; but not too many. One
        # more for a moment, when it is looked into what another holds.
        assert most <= MOST + MOST // 8 + 1
        await run.until(lambda: len(open_under(tmp_path)) <= MOST)


async def test_the_last_line_of_a_file_that_was_closed_for_it_was_idle_comes_before_its_successor(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    write(log, "first")
    # What has been renamed is looked at by the scan that finds it so, whenever the next look is due.
    agent = Agent(watch=watch_mode, scan_interval="150ms", poll_interval="60s")
    async with tailing(source(log), agent=agent) as run:
        for turn in range(4):
            await run.until_lines(1 + 2 * turn)
            await run.until(lambda: not open_under(tmp_path))
            write(log, f"before {turn}")
            log.rename(f"{log}.{9 - turn}")
            write(log, f"after {turn}")
        await run.until_lines(9)
    assert run.lines() == ["first"] + [f"{when} {turn}" for turn in range(4) for when in ("before", "after")]
