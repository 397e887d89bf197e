"""What files hold and how they grow: every complete line once, whatever its length, its bytes, and how it was written."""

import asyncio
import os
import random
from pathlib import Path

import pytest
from tailing import Watch, numbered, settings, source, tailing, write

from agent.config import Agent

SOAK_S = 3600


@pytest.mark.long
@pytest.mark.timeout(2 * SOAK_S)
async def test_t01_an_hour_of_growth_costs_no_memory_and_no_descriptor(tmp_path: Path, watch_mode: Watch) -> None:
    log = tmp_path / "app.log"
    loop = asyncio.get_running_loop()
    taken = written = 0
    used: list[tuple[int, int]] = []
    async with tailing(source(log), agent=settings(watch_mode, "5s"), limit_s=2 * SOAK_S) as run:
        end = loop.time() + SOAK_S
        while loop.time() < end:
            write(log, *(f"{number:012}" for number in range(written, written + 500)))
            written += 500
            await asyncio.sleep(0.1)  # five thousand lines a second
            if written % 100_000 == 0:
                await run.until(lambda: taken + len(run.lines()) == written)  # noqa: B023
                for number, line in enumerate(run.lines(), taken):
                    assert int(line) == number
                taken += len(run.lines())
                run.chunks.clear()
                pages = int(Path("/proc/self/statm").read_text().split()[1])
                used.append((pages, len(os.listdir("/proc/self/fd"))))
    quarter = len(used) // 4
    assert max(used[-quarter:])[0] < 1.1 * max(used[:quarter])[0]
    assert {descriptors for _, descriptors in used[1:]} == {used[1][1]}


async def test_t02_a_line_written_in_three_parts_with_pauses_is_one_line(tmp_path: Path, watch_mode: Watch) -> None:
    log = tmp_path / "app.log"
    write(log, "before")
    async with tailing(source(log), agent=settings(watch_mode)) as run:
        await run.until_lines(1)
        for part in ("one ", "two "):
            write(log, part, end="")
            await run.turns(30)  # much longer than it takes to notice, and than a file counts as quiet
            assert run.lines() == ["before"]
        write(log, "three", "after")
        await run.until_lines(3)
    assert run.lines() == ["before", "one two three", "after"]


async def test_t03_no_border_of_writes_or_reads_cuts_a_character_or_keeps_a_carriage_return(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    text = [f"ä€😀{'x' * (number % 97)}" for number in range(12_000)]  # over two quanta, at every offset of them
    data = "".join(f"{line}\r\n" for line in text).encode()
    dice = random.Random(3)
    async with tailing(source(log), agent=settings(watch_mode)) as run:
        at = 0
        while at < len(data):
            step = dice.choice([1, 2, 3, 64 * 1024, 64 * 1024 + 1])
            with log.open("ab") as file:
                file.write(data[at : at + step])
            at += step
            await asyncio.sleep(0)
        await run.until_lines(len(text))
    assert run.lines() == text


async def test_t05_the_unended_last_line_of_a_rotated_file_is_delivered_once(tmp_path: Path, watch_mode: Watch) -> None:
    log = tmp_path / "app.log"
    write(log, "whole")
    write(log, "unended", end="")
    async with tailing(source(log), agent=settings(watch_mode)) as run:
        await run.until_lines(1)
        log.rename(tmp_path / "app.log.1")
        write(log, "next")
        await run.until_lines(3)
        await run.turns(30)
    assert sorted(run.lines()) == ["next", "unended", "whole"]


async def test_t07_files_of_any_smallest_size_are_delivered(tmp_path: Path, watch_mode: Watch) -> None:
    for size in range(1, 1001):
        write(tmp_path / f"{size}.log", f"{size:04}".ljust(size, ".")[-size:])
    async with tailing(source(tmp_path / "*.log"), agent=settings(watch_mode)) as run:
        await run.until_lines(1000)
        await run.turns(5)
    assert len(run.lines()) == 1000
    assert sorted(map(len, run.lines())) == list(range(1, 1001))


async def test_t10_a_million_one_byte_lines_and_a_million_empty_ones_move_the_offset_exactly(
    tmp_path: Path, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    log.write_bytes(b"x\n" * 1_000_000 + b"\n" * 1_000_000 + b"end\n")
    async with tailing(source(log), agent=settings(watch_mode)) as run:
        await run.until(lambda: bool(run.chunks) and run.chunks[-1].data.endswith(b"end\n"))
    data = b"".join(chunk.data for chunk in run.chunks)
    assert data == log.read_bytes()
    assert run.chunks[-1].span.after.offset == log.stat().st_size
    assert [chunk.span.start for chunk in run.chunks[1:]] == [chunk.span.after.offset for chunk in run.chunks[:-1]]


async def test_t11_binary_garbage_disturbs_no_other_file(tmp_path: Path, watch_mode: Watch) -> None:
    garbage = random.Random(11).randbytes(3_000_000) + b"\n"
    (tmp_path / "core.log").write_bytes(b"\x7fELF" + garbage)
    write(tmp_path / "app.log", *numbered(0, 3))
    async with tailing(source(tmp_path / "*.log"), agent=settings(watch_mode)) as run:
        await run.until_lines(3, tmp_path / "app.log")
        await run.until(lambda: not run.tailer.statistics().unread_bytes)
        write(tmp_path / "core.log", "text again")
        write(tmp_path / "app.log", "line 3")
        await run.until_lines(4, tmp_path / "app.log")
        await run.until(lambda: any(b"text again" in chunk.data for chunk in run.chunks))
    assert run.lines(tmp_path / "app.log") == numbered(0, 4)


@pytest.mark.parametrize("border", [1 << 31, 1 << 32])
async def test_t47_offsets_beyond_two_and_four_gibibytes_are_exact_over_a_restart(
    tmp_path: Path, border: int, watch_mode: Watch
) -> None:
    log = tmp_path / "app.log"
    first = "x" * 30
    log.touch()
    os.truncate(log, border - 40)
    write(log, first)
    async with tailing(source(log), agent=settings(watch_mode)) as before:
        await before.until_lines(1)
    assert before.chunks[-1].span.after.offset == border - 9
    write(log, "over the border")
    async with tailing(source(log), resume=before.resume(), agent=settings(watch_mode)) as run:
        await run.until_lines(1)
        write(log, "behind")
        await run.until_lines(2)
    assert before.lines() + run.lines() == [first, "over the border", "behind"]
    assert run.chunks[-1].span.after.offset == log.stat().st_size


async def test_t65_the_agents_own_messages_among_its_logs_do_not_feed_on_themselves(
    tmp_path: Path, watch_mode: Watch
) -> None:
    """Whoever sends the agent's own stderr into a file that it reads gets each message once: no line makes another."""
    log = tmp_path / "agent.log"
    log.touch()
    told = 0
    async with tailing(source(tmp_path / "*.log"), agent=Agent(watch=watch_mode, poll_interval="10ms")) as run:
        for _ in range(10):
            for event in run.events[told:]:
                if event.level in ("info", "warning", "error"):
                    write(log, event.text)
            told = len(run.events)
            await run.turns(10)
    assert len(run.lines()) < 3
