"""What is left after damage: a table of named corruptions, and the ends a crash can leave."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_buffer_samples import Opened, batch, file_of, flip, segments, small

from agent.buffer.cursor import Cursor, decode
from agent.buffer.disk import FutureFormat, StateUnusable
from agent.buffer.record import FILE_HEADER_BYTES, Frame, encode_file_header, frames
from agent.buffer.segment import Segment, file_name, inspect, number_of, reading
from agent.model import Resume, Span
from agent.observe.events import (
    BufferCursorLost,
    BufferDamaged,
    BufferFileSetAside,
    BufferForeignFiles,
    BufferRecovered,
    BufferSpansLost,
    BufferTailCut,
)

SIZE = 900
COUNT = 12
ALL = [("ab"[at % 2], at // 2 * SIZE) for at in range(COUNT)]


async def fill(directory: Path, *, acked: int = 0) -> None:
    """Twelve records of two files in three segments, four in each."""
    with Opened(directory, small(segment_bytes=5000)) as opened:
        for group, start in ALL:
            await opened.buffer.append([batch(group, start, size=SIZE, entries=2)])
        for _ in range(acked):
            opened.buffer.ack(await opened.take())
    assert [len(records_of(path)) for path in segments(directory)] == [4, 4, 4][acked // 4 :]


def records_of(path: Path) -> list[Frame]:
    number = number_of(path.name)
    assert number is not None
    segment = inspect(path, number)
    assert isinstance(segment, Segment)
    with reading(path) as read:
        found = frames(read, segment.start, segment.end, segment.tag, payload=True)
        return [frame for frame in found if isinstance(frame, Frame)]


def flip_in_record(path: Path, index: int, within: float) -> None:
    frame = records_of(path)[index]
    flip(path, frame.offset + int(within * (frame.length - 1)))


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def nul_tail(path: Path) -> None:
    os.truncate(path, path.stat().st_size + 5000)


def cut(path: Path, bytes_off: int) -> None:
    os.truncate(path, path.stat().st_size - bytes_off)


def without(*gone: int) -> list[tuple[str, int]]:
    return [each for at, each in enumerate(ALL) if at not in gone]


@dataclass(frozen=True)
class Case:
    """survive: what is delivered. lost: spans to be read again, known at the opening; found: those known when their turn
    comes. resumed: offsets of files a and b."""

    damage: Callable[[list[Path]], object]
    survive: list[tuple[str, int]]
    lost: tuple[tuple[str, int, int], ...] = ()
    resumed: tuple[int, int] = (6 * SIZE, 6 * SIZE)
    damaged_entries: int = 0
    found: tuple[tuple[str, int, int], ...] = ()


CASES = {
    "nothing": Case(lambda _: None, ALL),
    "torn last record": Case(lambda files: cut(files[2], 10), without(11), resumed=(5400, 4500)),
    "two records cut off": Case(lambda files: cut(files[2], 1500), without(10, 11), resumed=(4500, 4500)),
    "NUL tail": Case(lambda files: nul_tail(files[2]), ALL),
    "junk tail": Case(lambda files: overwrite(files[2], files[2].stat().st_size, b"\xf5GSR junk" * 40), ALL),
    "last record flipped": Case(lambda files: flip_in_record(files[2], 3, 0.9), without(11), resumed=(5400, 4500)),
    "header flipped in the newest": Case(
        lambda files: flip_in_record(files[2], 1, 0), without(9), lost=(("b", 3600, 4500),), damaged_entries=2
    ),
    "payload flipped in the newest": Case(
        lambda files: flip_in_record(files[2], 0, 1), without(8), lost=(("a", 3600, 4500),), damaged_entries=2
    ),
    "two records flipped in the newest": Case(
        lambda files: (flip_in_record(files[2], 1, 0), flip_in_record(files[2], 0, 0.5)),
        without(8, 9),
        lost=(("a", 3600, 4500), ("b", 3600, 4500)),
        damaged_entries=4,
    ),
    "payload flipped in the oldest": Case(
        lambda files: flip_in_record(files[0], 1, 0.8), without(1), damaged_entries=2, found=(("b", 0, 900),)
    ),
    "header flipped in the oldest": Case(
        lambda files: flip_in_record(files[0], 2, 0.01), without(2), damaged_entries=2, found=(("a", 900, 1800),)
    ),
    "last record of the middle flipped": Case(
        lambda files: flip_in_record(files[1], 3, 0), without(7), damaged_entries=2, found=(("b", 2700, 3600),)
    ),
    "middle segment cut": Case(
        lambda files: cut(files[1], 1500),
        without(6, 7),
        damaged_entries=4,
        found=(("a", 2700, 3600), ("b", 2700, 3600)),
    ),
    "two places in the oldest": Case(
        lambda files: (flip_in_record(files[0], 3, 0.01), flip_in_record(files[0], 0, 0.01)),
        without(0, 3),
        damaged_entries=4,
        found=(("a", 0, 900), ("b", 900, 1800)),
    ),
    "a head and a record flipped": Case(
        lambda files: (flip_in_record(files[1], 1, 0.01), flip(files[1], FILE_HEADER_BYTES + 33)),
        without(5),
        damaged_entries=2,
        found=(("b", 1800, 2700),),
    ),
    "middle segment missing": Case(
        lambda files: files[1].unlink(),
        without(4, 5, 6, 7),
        damaged_entries=8,
        found=(("a", 1800, 3600), ("b", 1800, 3600)),
    ),
    "middle segment empty": Case(
        lambda files: os.truncate(files[1], 0),
        without(4, 5, 6, 7),
        damaged_entries=8,
        found=(("a", 1800, 3600), ("b", 1800, 3600)),
    ),
    "middle segment all NULs": Case(
        lambda files: files[1].write_bytes(bytes(4000)),
        without(4, 5, 6, 7),
        damaged_entries=8,
        found=(("a", 1800, 3600), ("b", 1800, 3600)),
    ),
    "oldest segment missing": Case(
        lambda files: files[0].unlink(),
        without(0, 1, 2, 3),
        damaged_entries=8,
        found=(("a", 0, 1800), ("b", 0, 1800)),
    ),
    "the two oldest ruined": Case(
        lambda files: [path.write_bytes(os.urandom(4000)) for path in files[:2]],
        without(0, 1, 2, 3, 4, 5, 6, 7),
        damaged_entries=16,
        found=(("a", 0, 3600), ("b", 0, 3600)),
    ),
    "newest segment missing": Case(lambda files: files[2].unlink(), ALL[:8], resumed=(3600, 3600)),
    "newest segment empty": Case(lambda files: os.truncate(files[2], 0), ALL[:8], resumed=(3600, 3600)),
    "newest segment cut in its head": Case(lambda files: os.truncate(files[2], 50), ALL[:8], resumed=(3600, 3600)),
    "file header flipped": Case(lambda files: [flip(path, 3) for path in files], ALL),
    "head of the newest flipped": Case(lambda files: flip(files[2], FILE_HEADER_BYTES + 33), ALL),
    "every head flipped": Case(lambda files: [flip(path, FILE_HEADER_BYTES + 33) for path in files], ALL),
    "header of every head flipped": Case(lambda files: [flip(path, FILE_HEADER_BYTES) for path in files], ALL),
    "cursor gone": Case(lambda files: files[0].with_name("cursor").unlink(), ALL),
    "cursor garbage": Case(lambda files: files[0].with_name("cursor").write_bytes(os.urandom(700)), ALL),
    "cursor empty": Case(lambda files: files[0].with_name("cursor").write_bytes(b""), ALL),
}


def told(spans: tuple[Span, ...]) -> list[tuple[str, int, int]]:
    return [(chr(each.file.inode), each.start, each.after.offset) for each in spans]


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_what_survives(case: Case, tmp_path: Path) -> None:
    await fill(tmp_path)
    case.damage(segments(tmp_path))
    with Opened(tmp_path) as opened:
        resume = opened.buffer.resume()
        assert tuple(resume.positions[file_of(group)].offset for group in "ab") == case.resumed
        assert told(resume.lost) == list(case.lost)
        assert sorted(await opened.take_all()) == sorted(case.survive)
        assert told(opened.buffer.take_lost()) == list(case.found)
        assert opened.buffer.take_lost() == ()
        facts = opened.buffer.statistics()
        assert facts.waiting_entries == 0
        assert facts.damaged_entries == case.damaged_entries
        assert facts.recovered_entries == facts.delivered_entries + facts.damaged_entries
        assert sum(event.entries for event in opened.of(BufferDamaged)) == case.damaged_entries
        assert bool(opened.of(BufferSpansLost)) == bool(case.lost or case.found)
        for group, start in (("a", 5400), ("b", 5400)):
            await opened.buffer.append([batch(group, start, size=SIZE)])
        assert await opened.take_all() == [("a", 5400), ("b", 5400)]
    with Opened(tmp_path) as opened:
        assert not opened.of(BufferDamaged)
        assert opened.buffer.statistics().waiting_entries == 0
        assert opened.buffer.statistics().segments == 1


async def test_a_tail_torn_at_any_byte_costs_the_last_record_only(tmp_path: Path) -> None:
    await fill(tmp_path / "made")
    last = records_of(segments(tmp_path / "made")[2])[-1]
    for kept in range(0, last.length, 7):
        directory = tmp_path / "cut"
        shutil.copytree(tmp_path / "made", directory)
        newest = segments(directory)[2]
        os.truncate(newest, last.offset + kept)
        with Opened(directory) as opened:
            assert opened.buffer.statistics().recovered_entries == 22
            assert opened.buffer.resume().positions[file_of("b")].offset == 4500
            assert len(opened.of(BufferTailCut)) == (kept > 0)
        assert newest.stat().st_size == last.offset
        shutil.rmtree(directory)


@given(
    acked=st.integers(0, COUNT - 1),
    damages=st.lists(
        st.tuples(st.integers(0, 3), st.floats(0, 1), st.sampled_from(["flip", "cut", "NULs", "junk", "delete"])),
        min_size=1,
        max_size=4,
    ),
)
@settings(max_examples=150)
def test_any_damage_is_survived_and_accounted_for(acked: int, damages: list[tuple[int, float, str]]) -> None:
    """Whatever is not delivered is counted, or is read again because positions or lost spans say so."""

    async def survive(directory: Path) -> None:
        await fill(directory, acked=acked)
        knowable = True
        for which, where, how in damages:
            path = sorted([*segments(directory), directory / "cursor"])[which % (len(segments(directory)) + 1)]
            if path.exists() and path.stat().st_size:
                _damage(path, int(where * (path.stat().st_size - 1)), how)
                # Without a cursor nothing tells whether what is gone from the oldest end had been delivered.
                knowable = knowable and path.name != "cursor"
        with Opened(directory) as opened:
            resume = opened.buffer.resume()
            delivered = await opened.take_all()
            facts = opened.buffer.statistics()
            assert set(delivered) <= set(ALL)
            assert len(delivered) == len(set(delivered))
            assert all(delivered.index(each) < delivered.index(later) for each, later in _neighbours(delivered))
            assert facts.waiting_entries == facts.waiting_records == 0
            assert facts.recovered_entries == facts.delivered_entries + facts.damaged_entries
            resume = replace(resume, lost=(*resume.lost, *opened.buffer.take_lost()))
            missing = [each for each in ALL[acked:] if each not in delivered and not _read_again(each, resume)]
            assert 2 * len(missing) <= facts.damaged_entries or not knowable
            assert not missing or not knowable
        with Opened(directory) as opened:
            assert opened.buffer.statistics().waiting_entries == 0

    with tempfile.TemporaryDirectory() as directory:
        asyncio.run(survive(Path(directory)))


def _damage(path: Path, offset: int, how: str) -> None:
    match how:
        case "flip":
            flip(path, offset)
        case "cut":
            os.truncate(path, offset)
        case "NULs":
            overwrite(path, offset, bytes(700))
        case "junk":
            overwrite(path, offset, os.urandom(300))
        case "delete":
            path.unlink()


def _neighbours(delivered: list[tuple[str, int]]) -> list[tuple[tuple[str, int], tuple[str, int]]]:
    return [(one, two) for one in delivered for two in delivered if one[0] == two[0] and one[1] < two[1]]


def _read_again(each: tuple[str, int], resume: Resume) -> bool:
    group, start = each
    known = resume.positions.get(file_of(group))
    again = any(
        lost.file == file_of(group) and lost.start <= start and start + SIZE <= lost.after.offset
        for lost in resume.lost
    )
    return again or known is None or known.offset <= start


@pytest.mark.parametrize("acked", [0, 8, 10])
async def test_the_only_segment_with_records_is_gone_and_the_newest_has_none(tmp_path: Path, acked: int) -> None:
    """Killed between the making of a segment and the first record in it: its head speaks of all the records before."""
    await fill(tmp_path, acked=acked)
    with Opened(tmp_path):
        pass
    for path in segments(tmp_path)[:-1]:
        path.write_bytes(os.urandom(5000))
    with Opened(tmp_path) as opened:
        waiting = 2 * (COUNT - acked)
        assert opened.buffer.statistics().recovered_entries == waiting
        assert await opened.take_all() == []
        assert opened.buffer.statistics().damaged_entries == waiting
        assert told(opened.buffer.take_lost()) == [("a", 0, 5400), ("b", 0, 5400)]
    with Opened(tmp_path) as opened:
        assert opened.buffer.statistics().waiting_entries == 0
        assert opened.buffer.take_lost() == ()


async def test_a_segment_is_deleted_only_when_the_cursor_is_durable_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    there: list[tuple[int, int]] = []
    sync = Cursor.sync

    def spy(cursor: Cursor) -> None:
        sync(cursor)
        hint = decode((tmp_path / "cursor").read_bytes())
        assert hint is not None
        there.append((hint.mark.place.segment, len(segments(tmp_path))))

    monkeypatch.setattr(Cursor, "sync", spy)
    await fill(tmp_path, acked=4)
    assert there == [(2, 3)]


async def test_a_segment_stays_while_the_cursor_cannot_be_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(fd: int, data: bytes, offset: int) -> int:
        raise OSError(errno.EIO, "broken")

    with Opened(tmp_path, small(segment_bytes=5000)) as opened:
        for group, start in ALL:
            await opened.buffer.append([batch(group, start, size=SIZE, entries=2)])
        monkeypatch.setattr(os, "pwrite", fail)
        for _ in range(5):
            opened.buffer.ack(await opened.take())
    monkeypatch.undo()
    assert len(segments(tmp_path)) == 3
    with Opened(tmp_path) as opened:
        assert await opened.take_all() == ALL
        assert opened.buffer.take_lost() == ()


async def test_what_was_delivered_is_not_lost_when_it_is_damaged_later(tmp_path: Path) -> None:
    await fill(tmp_path, acked=10)
    newest = segments(tmp_path)[-1]
    flip_in_record(newest, 1, 0)
    flip_in_record(newest, 0, 1)
    with Opened(tmp_path) as opened:
        assert opened.buffer.resume().lost == ()
        assert opened.buffer.statistics().recovered_entries == 4
        assert await opened.take_all() == ALL[10:]
        assert opened.buffer.statistics().damaged_entries == 0


async def test_delivery_goes_on_behind_the_settled_prefix(tmp_path: Path) -> None:
    await fill(tmp_path, acked=5)
    with Opened(tmp_path) as opened:
        assert opened.buffer.statistics().waiting_entries == 14
        assert [event.entries for event in opened.of(BufferRecovered)] == [14]
        assert await opened.take_all() == ALL[5:]


async def test_without_a_cursor_what_is_there_is_sent_again_and_said(tmp_path: Path) -> None:
    await fill(tmp_path, acked=5)
    (tmp_path / "cursor").unlink()
    with Opened(tmp_path) as opened:
        assert len(opened.of(BufferCursorLost)) == 1
        assert await opened.take_all() == ALL[4:]


async def test_a_cursor_of_another_buffer_is_not_believed(tmp_path: Path) -> None:
    await fill(tmp_path / "one", acked=5)
    await fill(tmp_path / "two")
    shutil.copy(tmp_path / "one" / "cursor", tmp_path / "two" / "cursor")
    with Opened(tmp_path / "two") as opened:
        assert await opened.take_all() == ALL


async def test_everything_delivered_leaves_one_segment_after_many_starts(tmp_path: Path) -> None:
    await fill(tmp_path)
    for _ in range(3):
        with Opened(tmp_path):
            pass
    # The backlog of three segments stays, and the newest, empty one; those of earlier starts are gone.
    assert len(segments(tmp_path)) == 4
    with Opened(tmp_path) as opened:
        assert await opened.take_all() == ALL
    for _ in range(3):
        with Opened(tmp_path) as opened:
            assert opened.buffer.resume().positions[file_of("a")].offset == 5400
    assert len(segments(tmp_path)) == 1


async def test_a_newer_format_is_refused_and_nothing_touched(tmp_path: Path) -> None:
    await fill(tmp_path)
    newest = segments(tmp_path)[2]
    number = number_of(newest.name)
    assert number is not None
    overwrite(newest, 0, encode_file_header(number, 1, version=2))
    before = {path: path.read_bytes() for path in tmp_path.iterdir() if path.name != "lock"}
    with pytest.raises(FutureFormat, match="format 2"):
        Opened(tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.iterdir() if path.name != "lock"} == before


async def test_foreign_files_are_left_alone_and_named_once(tmp_path: Path) -> None:
    await fill(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "000000000002.segment.bak").write_text("mine too")
    shutil.copy(segments(tmp_path)[0], tmp_path / file_name(77))
    (tmp_path / file_name(78)).mkdir()
    with Opened(tmp_path) as opened:
        (event,) = opened.of(BufferForeignFiles)
        assert event.count == 4
        assert await opened.take_all() == ALL
        assert file_name(79) in {path.name for path in segments(tmp_path)}
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / file_name(77)).exists()


async def test_a_file_without_anything_intact_is_moved_aside(tmp_path: Path) -> None:
    await fill(tmp_path)
    junk = os.urandom(3000)
    segments(tmp_path)[1].write_bytes(junk)
    with Opened(tmp_path) as opened:
        (event,) = opened.of(BufferFileSetAside)
        assert (tmp_path / "damaged" / Path(event.path).name).read_bytes() == junk
        assert await opened.take_all() == without(4, 5, 6, 7)


async def test_damaged_bytes_are_kept_for_a_look(tmp_path: Path) -> None:
    await fill(tmp_path)
    flip_in_record(segments(tmp_path)[0], 1, 0)
    flip_in_record(segments(tmp_path)[0], 2, 1)
    with Opened(tmp_path) as opened:
        await opened.take_all()
    kept = list((tmp_path / "damaged").iterdir())
    assert len(kept) == 2
    assert all(b"00-" in path.read_bytes() or b"0-." in path.read_bytes() for path in kept)
    assert all(path.stat().st_mode & 0o077 == 0 for path in kept)


async def test_the_end_of_a_lost_span_is_exact_when_its_meta_is_intact(tmp_path: Path) -> None:
    await fill(tmp_path)
    flip_in_record(segments(tmp_path)[2], 0, 1)
    with Opened(tmp_path) as opened:
        (lost,) = opened.buffer.resume().lost
        assert lost == Span(file_of("a"), 3600, batch("a", 3600, size=SIZE).spans[0].after)


async def test_the_end_of_a_lost_span_has_no_anchor_when_its_meta_is_gone(tmp_path: Path) -> None:
    await fill(tmp_path)
    flip_in_record(segments(tmp_path)[2], 0, 0)
    with Opened(tmp_path) as opened:
        (lost,) = opened.buffer.resume().lost
        assert lost.after.offset == 4500
        assert lost.after.anchor_digest == b""


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
async def test_a_segment_that_may_not_be_read_is_said_not_skipped(tmp_path: Path) -> None:
    await fill(tmp_path)
    segments(tmp_path)[0].chmod(0)
    with pytest.raises(StateUnusable, match="must own"):
        Opened(tmp_path)


async def test_opening_does_not_depend_on_the_backlog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hundred segments of a megabyte each: of the oldest as much is read as is looked ahead, of the others their beginnings."""
    large = small(max_bytes=1 << 30, segment_bytes=1 << 20)
    with Opened(tmp_path, large) as opened:
        for at in range(200):
            await opened.buffer.append([batch("a", at * SIZE, size=SIZE)])
            await opened.buffer._log.roll()
    for path in segments(tmp_path)[:-2]:
        os.truncate(path, 1 << 20)
    read = 0
    real = os.pread

    def counted(fd: int, length: int, offset: int) -> bytes:
        nonlocal read
        data = real(fd, length, offset)
        read += len(data)
        return data

    monkeypatch.setattr("os.pread", counted)
    with Opened(tmp_path, large) as opened:
        assert 0 < read < 80 << 20
        assert opened.buffer.statistics().waiting_entries == 200
        assert opened.buffer.statistics().bytes > 190 << 20
        assert await opened.take_all() == [("a", at * SIZE) for at in range(200)]
