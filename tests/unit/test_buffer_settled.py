"""agent.buffer.settled: what is settled behind the cursor, and what a start does with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_buffer_samples import Opened, batch, flip, segments, small

from agent.buffer.meta import Tally
from agent.buffer.segment import Mark, Place, Segment
from agent.buffer.settled import SLOT_BYTES, Progress, Settled, decode, encode, fitting
from agent.model import Record
from agent.observe.events import BufferDamaged, BufferDropped


def noted(directory: Path, *sequences: int) -> None:
    settled = Settled(directory)
    for sequence in sequences:
        settled.note(Progress(1, sequence, 9, 5))
    settled.close()


def known(directory: Path) -> list[int]:
    settled = Settled(directory)
    try:
        return [progress.sequence for progress in settled.found()]
    finally:
        settled.close()


def test_what_was_noted_is_found_again(tmp_path: Path) -> None:
    noted(tmp_path, 4, 7)
    noted(tmp_path, 5)
    assert known(tmp_path) == [4, 7, 5]
    assert (tmp_path / "settled").stat().st_mode & 0o777 == 0o600


def test_a_damaged_slot_never_passes_and_costs_no_other() -> None:
    first, second = encode(Progress(1, 4, 9, 5)), encode(Progress(1, 7, 9, 5, bodies=2, refused=1))
    for at in range(SLOT_BYTES):
        damaged = first[:at] + bytes([first[at] ^ 8]) + first[at + 1 :]
        assert list(decode(damaged + second)) == [Progress(1, 7, 9, 5, bodies=2, refused=1)]
        assert list(decode(first + second[:at])) == [Progress(1, 4, 9, 5)]


def test_a_slot_cut_short_is_written_over(tmp_path: Path) -> None:
    noted(tmp_path, 4, 7)
    with (tmp_path / "settled").open("r+b") as file:
        file.truncate(SLOT_BYTES + 3)
    noted(tmp_path, 8)
    assert known(tmp_path) == [4, 8]


def test_the_file_holds_no_more_than_is_still_of_use(tmp_path: Path) -> None:
    settled = Settled(tmp_path)
    for sequence in range(10_000):
        settled.note(Progress(1, sequence, 9, 5))
        settled.pass_to(sequence - 10)
    assert (tmp_path / "settled").stat().st_size <= 2 * 64 * 1024
    settled.pass_to(9_990)
    assert [progress.sequence for progress in settled.found()][-10:] == list(range(9_990, 10_000))
    settled.pass_to(10_000)
    assert (tmp_path / "settled").stat().st_size == 0
    settled.close()


def test_only_records_of_these_segments_count() -> None:
    first = Segment(3, Path("3"), 9, 32, 100, Tally(10, 0, 0))
    second = Segment(4, Path("4"), 8, 32, 100, Tally(20, 0, 0))
    start, end = Mark(Place(3, 50), Tally(12)), Mark(Place(4, 100), Tally(30))
    found = [
        Progress(3, 11, 9, 1),  # before the cursor
        Progress(3, 12, 9, 1),
        Progress(3, 20, 9, 1),  # a sequence that came again in the next segment
        Progress(3, 13, 8, 1),  # another tag
        Progress(5, 13, 9, 1),  # no such segment
        Progress(4, 29, 8, 1, bodies=2),
        Progress(4, 30, 8, 1),  # cut off
    ]
    done = fitting(found, [first, second], start, end)
    assert (done.whole, list(done.begun), done.entries) == ({12: 1}, [29], 1)


async def delivered(opened: Opened, *sequences: int) -> None:
    """Takes what can be taken, and acknowledges these."""
    taken: list[Record] = []
    while not set(sequences) <= {record.sequence for record in taken}:
        record = await opened.take()
        taken.append(record)
        if record.sequence in sequences:
            opened.buffer.ack(record)


@pytest.mark.parametrize("index_records", [2, 50_000])
async def test_what_was_faster_than_a_refused_record_is_not_sent_again(tmp_path: Path, index_records: int) -> None:
    groups = "abcdefgh"
    with Opened(tmp_path) as opened:
        await opened.buffer.append([batch(group, 0, entries=3) for group in groups])
        await delivered(opened, 2, 3, 5, 8)
    with Opened(tmp_path, index_records=index_records) as opened:
        facts = opened.buffer.statistics()
        assert (facts.recovered_entries, facts.waiting_entries, facts.waiting_records) == (12, 12, 4)
        await opened.buffer.append([batch("z", 0)])
        assert await opened.take_all() == [("a", 0), ("d", 0), ("f", 0), ("g", 0), ("z", 0)]
        facts = opened.buffer.statistics()
        assert (facts.waiting_entries, facts.delivered_entries) == (0, 13)
        assert (tmp_path / "settled").stat().st_size == 0


async def test_what_was_settled_and_deleted_is_known_though_nothing_was_written_behind_it(tmp_path: Path) -> None:
    for group in "ac":  # each start begins a segment
        with Opened(tmp_path) as opened:
            await opened.buffer.append([batch(group, 0, entries=3)])
    with Opened(tmp_path, index_records=2) as opened:
        await delivered(opened, 2)
        opened.buffer._log.in_background(lambda: None).result()  # in which files are deleted
        assert not [path for path in segments(tmp_path) if path.stem.endswith("2")]
    for _ in range(2):
        with Opened(tmp_path) as opened:
            assert opened.buffer.statistics().recovered_entries == 3
    with Opened(tmp_path) as opened:
        assert await opened.take_all() == [("a", 0)]
        facts = opened.buffer.statistics()
        assert (facts.waiting_entries, facts.delivered_entries, facts.damaged_entries) == (0, 3, 0)
        assert not opened.of(BufferDamaged)


@pytest.mark.parametrize("kept", [0, 1])
async def test_a_number_of_which_is_said_that_it_is_settled_is_not_given_again(tmp_path: Path, kept: int) -> None:
    """Or what comes next in a buffer that was robbed of its segments would pass for what was settled."""
    with Opened(tmp_path) as opened:
        await opened.buffer.append([batch("a", 0)])
        for at in range(6):
            await opened.buffer.append([batch("b", at, size=4000)])
        await delivered(opened, *range(2, 8))
    for path in segments(tmp_path)[kept:]:
        path.unlink()
    with Opened(tmp_path) as opened:
        for at in range(8):
            await opened.buffer.append([batch("c", at)])
    with Opened(tmp_path) as opened:
        assert [each for each in await opened.take_all() if each[0] == "c"] == [("c", at) for at in range(8)]


async def test_when_nobody_knows_it_any_more_it_is_sent_again(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        await opened.buffer.append([batch(group, 0) for group in "abc"])
        await delivered(opened, 2)
    (tmp_path / "settled").write_bytes(b"\0" * 100)
    with Opened(tmp_path) as opened:
        assert await opened.take_all() == [("a", 0), ("b", 0), ("c", 0)]


async def test_the_first_bodies_of_a_record_are_known_to_be_settled(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        await opened.buffer.append([batch("a", 0, entries=2, bodies=4)])
        record = await opened.take()
        opened.buffer.note_progress(record, 1, 0)
        opened.buffer.note_progress(record, 3, 1)
    with Opened(tmp_path) as opened:
        record = await opened.take()
        assert (record.entries, record.bodies_done, record.refused_before) == (8, 3, 1)
        assert opened.buffer.statistics().recovered_entries == 8


async def test_what_is_dropped_or_damaged_does_not_count_when_it_was_settled(tmp_path: Path) -> None:
    groups = "abcdefgh"
    with Opened(tmp_path) as opened:
        await opened.buffer.append([batch(group, 0, size=500, entries=3) for group in groups[:4]])
        await delivered(opened, 2, 4)
        await opened.buffer.append([batch(group, 0, size=3000, entries=3) for group in groups[4:]])
        await delivered(opened, 6)
    for_damage = segments(tmp_path)[0]
    flip(for_damage, for_damage.stat().st_size - 2600)
    with Opened(tmp_path, small(when_full="drop_oldest", max_bytes=1 << 14), index_records=1) as opened:
        assert opened.buffer.statistics().recovered_entries == 15
        await opened.buffer.append([batch("z", 0, size=9000)])
        await opened.take_all()
        facts = opened.buffer.statistics()
        assert facts.waiting_entries == 0
        gone = facts.delivered_entries + facts.dropped_entries + facts.damaged_entries
        assert facts.recovered_entries + facts.appended_entries == gone
        assert opened.of(BufferDropped) or opened.of(BufferDamaged)
