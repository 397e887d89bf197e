import asyncio
import stat
from pathlib import Path

import pytest

from agent import wire
from agent.observe.events import DeadLettersFull, Event
from agent.push.dead_letters import DeadLetter, DeadLetters

LABELS = '{filename="/var/log/a.log", host="h"}'


def letter(line: bytes, **values: object) -> DeadLetter:
    return DeadLetter(
        **{
            "time_s": 1_735_787_045.5,
            "reason": "line_too_long",
            "message": "max entry size",
            "labels": LABELS,
            "timestamp_ns": 1_735_787_045_123_456_789,
            "line": line,
            **values,
        }
    )


def opened(path: Path, **values: int) -> tuple[DeadLetters, list[Event]]:
    events: list[Event] = []
    return DeadLetters(path / "dead", events.append, **values), events


async def test_letters_come_back_as_they_were(tmp_path: Path) -> None:
    letters, events = opened(tmp_path)
    rows = [
        letter(b"plain"),
        letter('snow ☃ "quoted" \\ \x00'.encode()),
        letter(b"\xff not text", metadata=wire.encode_metadata([(b"request_id", b"r-1"), (b"trace_id", b"t")])),
        letter(b"", timestamp_ns=0),
    ]
    await letters.add(rows)
    assert letters.show(10) == tuple(rows)
    assert letters.show(2) == tuple(rows[2:])
    assert letters.show(0) == ()
    assert events == []


async def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    letters, _ = opened(tmp_path)
    await letters.add([letter(b"x")])
    assert stat.S_IMODE((tmp_path / "dead").stat().st_mode) == 0o700
    for path in (tmp_path / "dead").iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_nothing_to_add_makes_no_file(tmp_path: Path) -> None:
    letters, _ = opened(tmp_path)
    await letters.add([])
    assert not (tmp_path / "dead").exists()
    assert letters.list() == ()
    assert letters.show(5) == ()
    assert letters.take() == ()


async def test_the_whole_is_bounded_and_the_oldest_goes_counted(tmp_path: Path) -> None:
    letters, events = opened(tmp_path, max_bytes=8000)
    for number in range(100):
        await letters.add([letter(b"%03d" % number)])
        assert sum(path.stat().st_size for path in (tmp_path / "dead").glob("*.jsonl")) <= 8000
    kept = letters.show(1000)
    removed = sum(event.count for event in events if isinstance(event, DeadLettersFull))
    assert len(kept) + removed == 100
    assert [row.line for row in kept] == [b"%03d" % number for number in range(removed, 100)]
    assert len(kept) > 25  # no more than about an eighth goes at a time


async def test_a_summary_counts_by_reason(tmp_path: Path) -> None:
    letters, _ = opened(tmp_path)
    await letters.add([letter(b"a"), letter(b"b", reason="too_far_behind"), letter(b"c")])
    (summary,) = letters.list()
    assert (summary.rows, summary.reasons, summary.damaged) == (3, {"line_too_long": 2, "too_far_behind": 1}, 0)
    assert summary.size_bytes == summary.path.stat().st_size


async def test_a_line_cut_off_by_a_crash_spoils_no_other(tmp_path: Path) -> None:
    letters, _ = opened(tmp_path)
    await letters.add([letter(b"a"), letter(b"b")])
    path = letters.list()[0].path
    path.write_bytes(path.read_bytes()[:-10])
    await letters.add([letter(b"c")])
    assert [row.line for row in letters.show(10)] == [b"a", b"c"]
    assert letters.list()[0].damaged == 1


async def test_what_is_taken_is_left_alone_and_offered_until_discarded(tmp_path: Path) -> None:
    letters, _ = opened(tmp_path)
    await letters.add([letter(b"a")])
    (first,) = letters.take()
    await letters.add([letter(b"b")])
    assert [row.line for row in letters.rows(first)] == [b"a"]
    assert [row.line for row in letters.show(10)] == [b"a", b"b"]
    other, _ = opened(tmp_path)  # the command runs in another process than the daemon
    taken = other.take()
    assert [row.line for path in taken for row in other.rows(path)] == [b"a", b"b"]
    other.discard(taken[0])
    assert other.take() == taken[1:]
    other.discard(taken[1])
    assert other.list() == ()


async def test_letters_of_many_groups_at_once_all_arrive(tmp_path: Path) -> None:
    letters, _ = opened(tmp_path)
    await asyncio.gather(*(letters.add([letter(b"%d" % n), letter(b"%d" % n)]) for n in range(20)))
    assert sorted(row.line for row in letters.show(100)) == sorted([b"%d" % n for n in range(20)] * 2)


async def test_a_directory_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "dead").write_text("a file is in the way")
    letters, _ = opened(tmp_path)
    with pytest.raises(OSError, match="dead"):
        await letters.add([letter(b"x")])
