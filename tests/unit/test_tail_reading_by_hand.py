"""What files may hold that is hard to read, and how they may go on elsewhere: each told by the turns in which it happens."""

from __future__ import annotations

import gzip
import os
from pathlib import Path

import pytest
from by_hand import following

from agent.config import Multiline
from agent.observe.events import ArchiveDamaged
from agent.tail.content import Content
from agent.tail.reader import QUANTUM_BYTES
from agent.tail.watch import step_ms
from agent.tail.worker import LONG_TURN_BYTES, rest_after_scan_s

TIME = "2026-01-02T03:04:05.678901234Z"


def docker(text: str, attrs: str = "") -> str:
    return f'{{"log":"{text}\\n","stream":"stdout","time":"{TIME}","attrs":{{"x":"{attrs}"}}}}\n'


# --- how much one turn reads ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", [docker("a", "y" * 8000), f"{TIME} stdout F:{'t' * 8000} a\n"])
def test_a_turn_ends_after_so_many_bytes_read_however_few_lines_they_hold(tmp_path: Path, line: str) -> None:
    log = tmp_path / "app.log"
    agent = following(log)
    agent.append(log, line * (3 * LONG_TURN_BYTES // len(line)))
    agent.turn()
    agent.persist()
    assert [position.offset for position in agent.positions.values()] == [
        pytest.approx(LONG_TURN_BYTES, abs=QUANTUM_BYTES)
    ]
    assert agent.after(5) == ["a"] * (3 * LONG_TURN_BYTES // len(line))


def test_lines_of_a_file_that_is_emptied_while_it_is_read_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "app.log"
    agent = following(log)
    agent.append(log, "".join(f"old {number} {'x' * 20}\n" for number in range(100)))
    assert len(agent.after(5)) == 100
    agent.append(log, "".join(f"new {number}\n" for number in range(50)))
    read = Content.read

    def read_and_empty(content: Content, offset: int, size: int) -> bytes:
        data = read(content, offset, size)
        if b"new 49" in data:
            os.truncate(log, 0)
        return data

    monkeypatch.setattr(Content, "read", read_and_empty)
    assert agent.after(5)[100:] == [f"new {number}" for number in range(50)]


# --- how long it rests ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("took_s", "events_tell", "rest_s"),
    [
        (0.001, True, 5.0),
        (0.015, True, 7.5),  # some eight hundred names: a fifth of a percent
        (0.030, True, 10.0),  # no more than twice the interval for that
        (0.200, True, 20.0),  # one percent, whatever it takes
        (0.100, False, 5.0),
        (0.500, False, 10.0),
    ],
)
def test_a_scan_rests_by_what_it_took(took_s: float, events_tell: bool, rest_s: float) -> None:
    assert rest_after_scan_s(took_s, 5.0, events_tell=events_tell) == pytest.approx(rest_s)


def test_the_longer_nothing_happens_the_more_rarely_it_looks() -> None:
    assert [step_ms(silent) for silent in (0, 2, 3, 29, 30, 10_000)] == [25, 25, 100, 100, 250, 250]


# --- how it begins --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
@pytest.mark.parametrize("excess", range(-1, 4))
def test_a_lost_first_line_of_about_the_limit_behind_a_mark_is_read_again(
    tmp_path: Path, excess: int, line_end: str
) -> None:
    log = tmp_path / "app.log"
    agent = following(log)
    agent.append(log, "\N{BYTE ORDER MARK}" + "x" * (256 * 1024 + excess) + line_end + "next\n")
    agent.turns(5)
    read = [chunk.data for chunk in agent._taken if chunk.data]
    for data in read:
        agent.lose(data)
    agent.turns(5)
    assert b"".join(chunk.data for chunk in agent._taken) == b"".join(read)  # parts end like lines


@pytest.mark.parametrize("hole", [100_000, 700_000, 5_000_000])
@pytest.mark.parametrize("is_filled", [False, True])
def test_lines_behind_a_hole_are_still_those_of_a_container_after_a_restart(
    tmp_path: Path, hole: int, *, is_filled: bool
) -> None:
    log = tmp_path / "c-json.log"
    zeros = 300_000 if is_filled else 0  # where it was written, or the file system knows no holes
    log.write_bytes(b"")
    os.truncate(log, hole)
    agent = following(log)
    agent.append(log, b"\0" * zeros + docker("1").encode())
    assert agent.after(5) == ["1"]
    agent.kill()
    agent.append(log, docker("2"))
    agent.start()
    assert agent.after(5) == ["1", "2"]


def test_lines_behind_a_mark_are_still_those_of_a_container_after_a_restart(tmp_path: Path) -> None:
    log = tmp_path / "c-json.log"
    agent = following(log)
    agent.append(log, "\N{BYTE ORDER MARK}" + docker("1"))
    assert agent.after(5) == ["1"]
    agent.kill()
    agent.append(log, docker("2"))
    agent.start()
    assert agent.after(5) == ["1", "2"]


# --- archives -------------------------------------------------------------------------------------------------------


def test_a_huge_archive_of_hardly_any_content_holds_nothing_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log, archive = tmp_path / "app.log", tmp_path / "app.log.1.gz"
    agent = following(log)
    agent.append(log, "1\n")
    agent.turns(5)
    log.rename(tmp_path / "app.log.2")
    archive.write_bytes(gzip.compress(b"2\n"))
    os.truncate(archive, 4 * 10**9)
    agent.pass_time(1)
    agent.touch(archive)
    agent.append(log, "3\n")
    pread, read_bytes = os.pread, 0

    def counted(fd: int, size: int, offset: int) -> bytes:
        nonlocal read_bytes
        data = pread(fd, size, offset)
        read_bytes += len(data)
        return data

    monkeypatch.setattr(os, "pread", counted)
    assert agent.after(10) == ["1", "2", "3"]
    assert read_bytes < 10_000_000
    assert not [event for event in agent.events if isinstance(event, ArchiveDamaged)]


# --- events across generations --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("earlier", "later", "is_one"),
    [
        ("utf-16-le", "utf-16-le", True),
        ("utf-16-be", "utf-16-be", True),
        ("utf-32-le", "utf-32-le", True),
        ("utf-8", "utf-8", True),
        ("utf-16-be", "utf-16-le", False),
        ("utf-16-le", "utf-8", False),
        ("utf-8", "utf-16-be", False),
    ],
)
def test_an_event_goes_on_in_the_next_generation_if_that_is_encoded_alike(
    tmp_path: Path, earlier: str, later: str, *, is_one: bool
) -> None:
    log, mark = tmp_path / "app.log", "\N{BYTE ORDER MARK}"
    agent = following(log, multiline=Multiline(start="^S", timeout="20s"))
    agent.append(log, (mark + "S 1\nS 2\n").encode(earlier))
    agent.turns(5)
    log.rename(tmp_path / "app.log.1")
    agent.append(log, (mark + " more of 2\nS 3\n").encode(later))
    agent.turns(60)
    counts = [count for chunk in agent._taken for count in chunk.line_counts or ()]
    assert counts == ([1, 2, 1] if is_one else [1, 1, 1, 1])
    assert agent.after(0) == ["S 1", "S 2", " more of 2", "S 3"]


def test_a_container_line_does_not_go_on_in_a_generation_of_another_format(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    agent = following(log)
    agent.append(log, f"{TIME} stdout F 1\n{TIME} stdout P 2\n")
    agent.turns(5)
    log.rename(tmp_path / "app.log.1")
    agent.append(log, docker("3"))
    assert agent.after(60) == ["1", "2", "3"]


@pytest.mark.parametrize("hinted", [False, True])
@pytest.mark.parametrize("rest", ["", f"{TIME} stdout F of 4\n"])
def test_a_container_line_goes_on_although_the_generation_it_begins_in_is_compressed_unread(
    tmp_path: Path, rest: str, *, hinted: bool
) -> None:
    log, earlier = tmp_path / "0.log", tmp_path / "0.log.20270102-000001"
    agent = following(log, hinted=hinted)
    agent.append(log, f"{TIME} stdout F 1\n")
    agent.turns(6)
    agent.append(log, f"{TIME} stdout F 2\n{TIME} stdout F 3\n{TIME} stdout P 4 \n")
    log.rename(earlier)
    agent.append(log, f"{TIME} stdout F rest\n{TIME} stdout F 5\n")
    agent.turn(0.3, read=not rest)
    agent.turn(2.5, read=not rest)
    for _ in range(4):
        agent.turn(read=False)
    if rest:  # the runtime was slow to let go of it
        agent.append(earlier, rest)
    with gzip.open(f"{earlier}.gz", "wb") as archive:
        archive.write(earlier.read_bytes())
    agent.touch(Path(f"{earlier}.gz"))
    earlier.unlink()
    agent.turn(read=False)
    assert agent.after(90) == ["1", "2", "3", "4 of 4" if rest else "4 rest", *(["rest"] if rest else []), "5"]


# --- emptied --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("is_marked", [False, True])
@pytest.mark.parametrize("is_appending", [False, True])
@pytest.mark.parametrize("length", [1000, 50_000])
def test_a_writer_goes_on_in_its_encoding_after_its_log_was_emptied(
    tmp_path: Path, encoding: str, length: int, *, is_marked: bool, is_appending: bool
) -> None:
    log = tmp_path / "app.log"
    agent = following(log, encoding="utf-8" if is_marked else encoding)
    with log.open("ab" if is_appending else "wb", buffering=0) as writer:
        for text in ("\N{BYTE ORDER MARK}" * is_marked + "x" * length + "\n", "2\n", "3\n"):
            writer.write(text.encode(encoding))
            agent.touch(log)
            agent.turns(5)
            os.truncate(log, 0)
            agent.touch(log)
            agent.turn()
    assert agent.after(5) == ["x" * length, "2", "3"]


def test_a_log_is_emptied_by_another_writer_who_writes_no_mark(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    agent = following(log)
    agent.append(log, "\N{BYTE ORDER MARK}1\n".encode("utf-16-le"))
    agent.turns(5)
    log.write_text("2\n")
    agent.touch(log)
    assert agent.after(5) == ["1", "2"]
