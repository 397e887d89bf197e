from __future__ import annotations

import asyncio
import errno
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from test_buffer_samples import FailingDisk, Opened, batch, file_of, flip, segments, small, until

from agent.buffer.at_hand import AtHand
from agent.buffer.disk import CorruptRecord, DiskBuffer, StateGone, StateHeld, StateUnusable
from agent.buffer.segment import Storage
from agent.observe.events import (
    BufferDamaged,
    BufferDropped,
    BufferFull,
    BufferHasRoom,
    BufferReadFailed,
    BufferRecovered,
    BufferWriteFailed,
)


async def test_what_is_appended_can_be_read_and_is_gone_when_acknowledged(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        buffer = opened.buffer
        made = batch("a", 0, entries=3, bodies=2)
        await buffer.append([made])
        record = await opened.take()
        assert (record.sequence, record.group, record.entries, record.line_bytes) == (1, "a", 6, 200)
        assert buffer.read(record) == made.bodies
        facts = buffer.statistics()
        assert (facts.waiting_entries, facts.waiting_records, facts.oldest_ns) == (6, 1, 5)
        buffer.ack(record)
        facts = buffer.statistics()
        assert (facts.waiting_entries, facts.waiting_records, facts.oldest_ns) == (0, 0, None)
        assert (facts.appended_entries, facts.delivered_entries) == (6, 6)


async def test_what_was_just_appended_is_at_hand_once(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        made = [batch("a", 0, entries=3, bodies=2), batch("b", 0, bodies=0), batch("c", 0)]
        await opened.buffer.append(made)
        records = [await opened.take(), await opened.take()]
        assert [opened.buffer.at_hand(record) for record in records] == [made[0].bodies, made[2].bodies]
        assert [opened.buffer.at_hand(record) for record in records] == [None, None]
        assert [opened.buffer.read(record) for record in records] == [made[0].bodies, made[2].bodies]


async def test_what_an_earlier_run_appended_is_not_at_hand(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        await opened.buffer.append([batch("a", 0)])
    with Opened(tmp_path) as opened:
        assert opened.buffer.at_hand(await opened.take()) is None


async def test_what_is_not_durable_yet_is_not_at_hand(tmp_path: Path) -> None:
    disk = FailingDisk(error=errno.EIO)
    held: list[int] = []
    buffers: list[DiskBuffer] = []

    def sync(fd: int) -> None:
        held.extend(len(buffer._at_hand) for buffer in buffers)
        disk.sync(fd)

    storage = Storage(disk.write, sync, disk.sync_directory, lambda _: disk.free)
    with Opened(tmp_path, storage=storage) as opened:
        buffers.append(opened.buffer)
        disk.failing = {disk.calls + 2}  # the first sync
        await opened.buffer.append([batch("a", 0)])
        assert opened.of(BufferWriteFailed)
        assert len(held) >= 2
        assert not any(held)
        record = await opened.take()
        assert opened.buffer.at_hand(record) == opened.buffer.read(record)


async def delivered(opened: Opened) -> None:
    """A first record, so that deliveries are under way."""
    await opened.buffer.append([batch("a", 0)])
    record = await opened.take()
    opened.buffer.at_hand(record)
    opened.buffer.ack(record)


async def test_many_batches_at_once_pass_no_limit_that_each_of_them_keeps(tmp_path: Path) -> None:
    with Opened(tmp_path, small(max_bytes=40_000, segment_bytes=8192, when_full="drop_oldest")) as opened:
        sizes: list[int] = []
        extend = opened.buffer._outbox.extend
        opened.buffer._outbox.extend = lambda *given: (sizes.append(opened.buffer.statistics().bytes), extend(*given))  # type: ignore[method-assign,assignment,func-returns-value]
        await opened.buffer.append([batch("a", 3_000 * n, size=3_000) for n in range(40)])
        assert max(sizes) <= 40_000
        facts = opened.buffer.statistics()
        assert facts.dropped_entries + facts.waiting_entries == 40


LARGE = [batch(name, 0, size=200_000) for name in "bcd"]
"""More than half of what is kept at hand."""


async def test_while_records_are_delivered_those_at_hand_are_sent_before_more_are_read(tmp_path: Path) -> None:
    with Opened(tmp_path, small(max_bytes=1 << 24), moment_s=60) as opened:
        await delivered(opened)
        appending = asyncio.ensure_future(opened.buffer.append(LARGE))
        await until(lambda: opened.buffer.statistics().waiting_entries == 3)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not appending.done()
        assert opened.buffer.at_hand(await opened.take()) == LARGE[0].bodies
        await asyncio.wait_for(appending, 5)
        assert opened.buffer.at_hand(await opened.take()) == LARGE[1].bodies


async def test_while_nothing_is_delivered_nobody_waits_for_that(tmp_path: Path) -> None:
    with Opened(tmp_path, small(max_bytes=1 << 24), moment_s=60) as opened:
        await asyncio.wait_for(opened.buffer.append(LARGE), 5)
        await asyncio.wait_for(opened.buffer.append([batch("e", 0, size=200_000)]), 5)


async def test_what_is_not_sent_in_a_moment_is_left_to_the_disk(tmp_path: Path) -> None:
    with Opened(tmp_path, small(max_bytes=1 << 24), moment_s=0.001) as opened:
        await delivered(opened)
        await asyncio.wait_for(opened.buffer.append(LARGE), 5)
        record = await opened.take()
        assert opened.buffer.at_hand(record) is None
        assert opened.buffer.read(record) == LARGE[0].bodies


async def test_whoever_no_longer_waits_for_it_has_appended_all_the_same(tmp_path: Path) -> None:
    with Opened(tmp_path, small(max_bytes=1 << 24), moment_s=60) as opened:
        await delivered(opened)
        appending = asyncio.ensure_future(opened.buffer.append(LARGE))
        await until(lambda: opened.buffer.statistics().waiting_entries == 3)
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
        await asyncio.wait_for(opened.buffer.append([]), 5)
        assert [opened.buffer.read(await opened.take()) for _ in LARGE] == [made.bodies for made in LARGE]


def test_of_what_is_at_hand_the_oldest_goes_first() -> None:
    bodies = [batch("a", n).bodies for n in range(4)]
    size = sum(len(body.payload) for body in bodies[0])
    at_hand = AtHand(2 * (size + 1024 * len(bodies[0])))
    for sequence, made in enumerate(bodies, 1):
        at_hand.keep(sequence, made)
    assert [at_hand.take(sequence) for sequence in range(1, 5)] == [None, None, *bodies[2:]]
    at_hand.keep(9, (*bodies[0], *bodies[1], *bodies[2]))
    assert at_hand.take(9) is None


def test_small_records_at_hand_are_bounded_with_what_they_take_in_memory() -> None:
    at_hand = AtHand(1024 * 1024)
    for sequence in range(5_000):
        at_hand.keep(sequence, batch("a", sequence).bodies)
    assert sum(at_hand.take(sequence) is not None for sequence in range(5_000)) < 1024


async def test_one_write_and_one_sync_for_a_whole_list(tmp_path: Path) -> None:
    disk = FailingDisk()
    with Opened(tmp_path, storage=disk.storage) as opened:
        before = disk.calls
        await opened.buffer.append([batch("a", 0), batch("a", 100), batch("b", 0)])
        assert disk.calls == before + 2
        await opened.buffer.append([])
        assert disk.calls == before + 2


async def test_a_record_is_not_seen_before_it_is_durable(tmp_path: Path) -> None:
    syncing, go_on = threading.Event(), threading.Event()

    def sync(fd: int) -> None:
        syncing.set()
        assert go_on.wait(5)

    go_on.set()
    with Opened(tmp_path, storage=Storage(sync=sync)) as opened:
        go_on.clear()
        syncing.clear()
        appending = asyncio.ensure_future(opened.buffer.append([batch()]))
        await until(syncing.is_set)
        assert opened.buffer.statistics().appended_entries == 0
        assert opened.buffer._outbox._backlog.take() is None
        assert not appending.done()
        go_on.set()
        await appending
        assert opened.buffer.statistics().appended_entries == 1
        assert (await opened.take()).sequence == 1


async def test_a_cancelled_append_whose_bytes_got_durable_counts(tmp_path: Path) -> None:
    syncing, go_on = threading.Event(), threading.Event()

    def sync(fd: int) -> None:
        syncing.set()
        assert go_on.wait(5)

    go_on.set()
    with Opened(tmp_path, storage=Storage(sync=sync)) as opened:
        go_on.clear()
        syncing.clear()
        appending = asyncio.ensure_future(opened.buffer.append([batch()]))
        await until(syncing.is_set)
        appending.cancel()
        await asyncio.sleep(0)
        appending.cancel()
        await asyncio.sleep(0)
        assert not appending.done()
        go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await appending
        assert opened.buffer.statistics().waiting_entries == 1
        await opened.buffer.append([batch("a", 100)])
        assert opened.buffer.statistics().waiting_entries == 2


async def test_groups_do_not_wait_for_each_other(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        await opened.buffer.append([batch("a", 0), batch("a", 100), batch("b", 0)])
        first, second = await opened.take(), await opened.take()
        assert (first.group, second.group) == ("a", "b")
        opened.buffer.ack(second)
        opened.buffer.ack(first)
        assert (await opened.take()).sequence == 2


async def test_whoever_waits_for_a_record_gets_the_next_one(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        taking = asyncio.ensure_future(opened.take())
        await asyncio.sleep(0)
        await opened.buffer.append([batch()])
        assert (await taking).sequence == 1
        taking = asyncio.ensure_future(opened.take())
        await opened.buffer.append([batch("a", 100)])
        assert not taking.done()
        opened.buffer.ack(opened.buffer._outbox._backlog.first.record)
        assert (await taking).sequence == 2


async def test_delivery_ends_when_the_buffer_is_closed(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        unsent = opened.buffer.unsent()
        ending = asyncio.ensure_future(anext(unsent, None))
        await asyncio.sleep(0)
    assert await ending is None


async def test_a_batch_without_bodies_moves_positions_and_is_not_delivered(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        await opened.buffer.append([batch("a", 0, bodies=0), batch("b", 0)])
        record = await opened.take()
        assert (record.group, record.sequence) == ("b", 2)
        opened.buffer.ack(record)
        await opened.buffer.append([batch("a", 100, bodies=0)])
        assert opened.buffer.statistics().waiting_records == 0
    with Opened(tmp_path) as opened:
        assert opened.buffer.resume().positions[file_of("a")].offset == 200
        assert opened.buffer.statistics().waiting_records == 0


async def test_positions_and_clocks_come_back(tmp_path: Path) -> None:
    made = batch("a", 0, bodies=2)
    with Opened(tmp_path) as opened:
        assert opened.buffer.resume().positions == {}
        await opened.buffer.append([made])
    for _ in range(2):
        with Opened(tmp_path) as opened:
            resume = opened.buffer.resume()
            assert resume.positions == {file_of("a"): made.spans[0].after}
            assert resume.clocks == {body.labels: body.clock for body in made.bodies}


async def test_a_forgotten_file_takes_its_clocks_along(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        await opened.buffer.append([batch("a"), batch("b")])
        opened.buffer.forget([file_of("a"), file_of("z")])
        await opened.buffer.append([batch("b", 100)])
        assert opened.buffer.resume().positions.keys() == {file_of("b")}
        await opened.buffer._log.roll()
        await opened.take_all()
    with Opened(tmp_path) as opened:
        assert opened.buffer.resume().positions.keys() == {file_of("b")}
        assert opened.buffer.resume().clocks.keys() == {'{g="b0"}'}


async def test_a_file_forgotten_and_read_again_is_known(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        opened.buffer.forget([file_of("a")])
        await opened.buffer.append([batch("a")])
        assert opened.buffer.resume().positions.keys() == {file_of("a")}


async def test_acknowledged_segments_are_deleted(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        for at in range(20):
            await opened.buffer.append([batch("a", at * 1000, size=1000)])
        assert opened.buffer.statistics().segments > 5
        await opened.take_all()
        assert opened.buffer.statistics().segments == 1
    assert len(segments(tmp_path)) == 1
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}


async def test_a_record_bigger_than_a_segment_gets_its_own(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        for at, size in ((0, 100), (100, 50_000), (50_100, 100)):
            await opened.buffer.append([batch("a", at, size=size)])
        assert opened.buffer.statistics().segments == 3
        assert await opened.take_all() == [("a", 0), ("a", 100), ("a", 50_100)]


async def test_heads_bigger_than_a_segment_do_not_make_each_record_a_segment(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        await opened.buffer.append([batch(chr(at), 0) for at in range(40, 140)])
        for at in range(10):
            await opened.buffer.append([batch("a", 100 + at * 100)])
        assert opened.buffer.statistics().segments <= 3


async def test_memory_is_bounded_and_everything_is_found(tmp_path: Path) -> None:
    with Opened(tmp_path, index_records=5) as opened:
        for at in range(30):
            await opened.buffer.append([batch("ab"[at % 2], at // 2 * 500, size=500)])
            assert len(opened.buffer._outbox._backlog) <= 5
        assert opened.buffer.statistics().waiting_records == 30
        assert sorted(await opened.take_all()) == sorted(("ab"[at % 2], at // 2 * 500) for at in range(30))


async def test_a_blocked_group_does_not_hide_others_behind_it(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        await opened.buffer.append([batch("a", at * 500, size=500) for at in range(200)])
        await opened.buffer.append([batch("b", 0)])
    with Opened(tmp_path) as opened:
        assert len(opened.buffer._outbox._backlog) == 64
        assert [(await opened.take()).group for _ in range(2)] == ["a", "b"]


# --- damage --------------------------------------------------------------------------------------------------------


async def test_a_record_that_got_damaged_is_set_aside_and_its_group_goes_on(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        await opened.buffer.append([batch("a", 0, entries=2), batch("a", 100)])
        record = await opened.take()
        flip(segments(tmp_path)[0], record.offset + record.length - 1)
        with pytest.raises(CorruptRecord, match=r"segment at \d+"):
            opened.buffer.read(record)
        opened.buffer.set_aside(record)
        opened.buffer.set_aside(record)
        facts = opened.buffer.statistics()
        assert (facts.damaged_entries, facts.waiting_entries) == (2, 1)
        assert [(event.entries, event.reason) for event in opened.of(BufferDamaged)] == [(2, "damaged")]
        assert (await opened.take()).sequence == 2
    (kept,) = (tmp_path / "damaged").iterdir()
    assert kept.stat().st_size == record.length


async def test_of_a_segment_deleted_while_it_waits_its_neighbours_tell_what_it_held(tmp_path: Path) -> None:
    with Opened(tmp_path, small(segment_bytes=5000), index_records=1) as opened:
        for at in range(12):
            await opened.buffer.append([batch("ab"[at % 2], at // 2 * 900, size=900)])
        segments(tmp_path)[1].unlink()
        seen = await opened.take_all()
        assert len(seen) == 8
        lost = [(chr(each.file.inode), each.start, each.after.offset) for each in opened.buffer.take_lost()]
        assert lost == [("a", 1800, 3600), ("b", 1800, 3600)]
        assert opened.buffer.statistics().damaged_entries == 4


async def test_of_a_deleted_segment_whose_records_are_known_its_neighbours_tell_what_it_held(tmp_path: Path) -> None:
    with Opened(tmp_path, small(segment_bytes=5000)) as opened:
        for at in range(12):
            await opened.buffer.append([batch("ab"[at % 2], at // 2 * 900, size=900)])
        segments(tmp_path)[1].unlink()
        assert len(await opened.take_all()) == 8
        lost = sorted((chr(each.file.inode), each.start, each.after.offset) for each in opened.buffer.take_lost())
        assert lost == [("a", 1800, 2700), ("a", 2700, 3600), ("b", 1800, 2700), ("b", 2700, 3600)]


async def test_of_the_end_of_the_log_what_is_known_in_memory_tells(tmp_path: Path) -> None:
    with Opened(tmp_path, index_records=1) as opened:
        for at in range(3):
            await opened.buffer.append([batch("a", at * 100)])
        (path,) = segments(tmp_path)
        os.truncate(path, path.stat().st_size - 10)
        assert len(await opened.take_all()) == 2
        (lost,) = opened.buffer.take_lost()
        assert (lost.start, lost.after) == (200, batch("a", 200).spans[0].after)


async def test_a_segment_deleted_by_someone_else_is_damage(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        await opened.buffer.append([batch("a", 0)])
        record = await opened.take()
        segments(tmp_path)[0].unlink()
        with pytest.raises(CorruptRecord, match="is gone"):
            opened.buffer.read(record)


async def test_a_buffer_deleted_while_it_is_open_is_the_end_of_it(tmp_path: Path) -> None:
    directory = tmp_path / "buffer"
    with Opened(directory) as opened:
        await opened.buffer.append([batch("a", 0)])
        record = await opened.take()
        shutil.rmtree(directory)
        with pytest.raises(StateGone, match="was deleted while"):
            await opened.buffer.append([batch("a", 100)])
        with pytest.raises(StateGone, match="start it again"):
            opened.buffer.read(record)
        assert opened.buffer.statistics().damaged_entries == 0


async def test_looking_ahead_into_a_deleted_buffer_is_no_damage(tmp_path: Path) -> None:
    directory = tmp_path / "buffer"
    with Opened(directory, index_records=1) as opened:
        await opened.buffer.append([batch("a", 0), batch("a", 100)])
        opened.buffer.ack(await opened.take())
        shutil.rmtree(directory)
        with pytest.raises(StateGone):
            await opened.take()
        assert not opened.of(BufferDamaged)


async def test_looking_ahead_is_tried_again_when_files_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Opened(tmp_path, index_records=1) as opened:
        await opened.buffer.append([batch("a", 0), batch("a", 100)])
        real, failures = os.open, [OSError(errno.EMFILE, "too many open files")]

        def failing(path, *rest):
            if failures and str(path).endswith(".segment"):
                raise failures.pop()
            return real(path, *rest)

        monkeypatch.setattr("os.open", failing)
        assert await opened.take_all() == [("a", 0), ("a", 100)]
        assert len(opened.of(BufferReadFailed)) == 1


# --- a disk that refuses -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT])
@pytest.mark.parametrize("failures", [1, 2, 3, 4])
async def test_any_failing_write_or_sync_is_tried_again_until_it_works(
    tmp_path: Path, error: int, failures: int
) -> None:
    """Each call of a run that writes several segments fails once, and the ones after it too."""
    number = 0
    while True:
        number += 1
        directory = tmp_path / str(number)
        disk = FailingDisk(failing=set(range(number, number + failures)), error=error)
        expected = []
        with Opened(directory, storage=disk.storage) as opened:
            for at in range(6):
                await opened.buffer.append([batch("a", at * 2000, size=1500), batch("a", at * 2000 + 1500, size=500)])
                expected += [("a", at * 2000), ("a", at * 2000 + 1500)]
                assert opened.buffer.statistics().waiting_entries == len(expected)
                assert not opened.buffer.statistics().full
            failed = opened.of(BufferWriteFailed)
            assert len(failed) == len(opened.of(BufferHasRoom))
            assert opened.buffer.statistics().bytes == sum(path.stat().st_size for path in segments(directory))
        with Opened(directory) as opened:
            assert opened.buffer.resume().positions[file_of("a")].offset == 12_000
            assert await opened.take_all() == expected
        if disk.calls < number:
            assert not failed
            return


async def test_a_failed_write_shows_nothing_and_says_so_once(tmp_path: Path) -> None:
    disk = FailingDisk()
    with Opened(tmp_path, storage=disk.storage) as opened:
        await opened.buffer.append([batch("a", 0)])
        disk.failing = set(range(disk.calls + 1, disk.calls + 10_000))
        appending = asyncio.ensure_future(opened.buffer.append([batch("a", 100)]))
        await until(lambda: disk.calls > 12)
        facts = opened.buffer.statistics()
        assert (facts.appended_entries, facts.waiting_entries, facts.full) == (1, 1, True)
        assert len(opened.of(BufferWriteFailed)) == 1
        appending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await appending
        disk.failing = set()
        await opened.buffer.append([batch("a", 100)])
        assert await opened.take_all() == [("a", 0), ("a", 100)]


async def test_behind_a_failed_sync_a_new_segment_is_begun(tmp_path: Path) -> None:
    disk = FailingDisk()
    with Opened(tmp_path, storage=disk.storage) as opened:
        await opened.buffer.append([batch("a", 0)])
        disk.failing = {disk.calls + 2}
        await opened.buffer.append([batch("a", 100)])
        assert opened.buffer.statistics().segments == 2
        assert await opened.take_all() == [("a", 0), ("a", 100)]


async def test_what_a_failed_sync_left_in_the_old_segment_is_not_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cutting fails too, so that the old segment ends with a record that was written again behind it."""
    disk = FailingDisk()
    with Opened(tmp_path, storage=disk.storage) as opened:
        await opened.buffer.append([batch("a", 0)])
        disk.failing = {disk.calls + 2}
        with monkeypatch.context() as patched:
            patched.setattr("os.ftruncate", _refuse)
            await opened.buffer.append([batch("a", 100)])
        await opened.buffer.append([batch("a", 200)])
    assert segments(tmp_path)[0].read_bytes().count(b"a100-") == 1
    assert segments(tmp_path)[1].read_bytes().count(b"a100-") == 1
    with Opened(tmp_path) as opened:
        assert opened.buffer.statistics().waiting_entries == 3
        assert await opened.take_all() == [("a", 0), ("a", 100), ("a", 200)]


def _refuse(*_: object) -> None:
    raise OSError(errno.EIO, "refused")


async def test_a_disk_full_of_delivered_records_frees_itself(tmp_path: Path) -> None:
    """Nothing waits, and the segment in use is what fills the disk: it goes for a new one."""
    disk = FailingDisk()
    with Opened(tmp_path, storage=disk.storage) as opened:
        await opened.buffer.append([batch("a", 0, size=2000)])
        await opened.take_all()
        disk.failing = {disk.calls + 1}
        await opened.buffer.append([batch("a", 2000, size=500)])
        assert opened.buffer.statistics().segments == 1
        assert opened.buffer.statistics().bytes < 2000


async def test_the_buffer_opens_on_a_full_disk_and_delivers(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        await opened.buffer.append([batch("a", 0)])
    disk = FailingDisk(failing=set(range(1, 20)))
    with Opened(tmp_path, storage=disk.storage) as opened:
        assert opened.buffer.statistics().full
        assert await opened.take_all() == [("a", 0)]
        await opened.buffer.append([batch("a", 100)])
        assert await opened.take_all() == [("a", 100)]
        assert opened.buffer.statistics().segments == 1
        assert disk.calls > 20


async def test_the_very_first_opening_on_a_full_disk_waits_in_append(tmp_path: Path) -> None:
    disk = FailingDisk(failing=set(range(1, 4)))
    with Opened(tmp_path, storage=disk.storage) as opened:
        assert opened.buffer.statistics().segments == 0
        assert opened.buffer.resume().positions == {}
        await opened.buffer.append([batch("a", 0)])
        assert await opened.take_all() == [("a", 0)]


async def test_an_error_that_does_not_pass_ends_the_process_loudly(tmp_path: Path) -> None:
    disk = FailingDisk(error=errno.EBADF)
    with Opened(tmp_path, storage=disk.storage) as opened:
        disk.failing = {disk.calls + 1}
        with pytest.raises(OSError, match="Bad file descriptor"):
            await opened.buffer.append([batch("a", 0)])
    with pytest.raises(StateUnusable, match="cannot write"):
        Opened(tmp_path, storage=FailingDisk(failing={1}, error=errno.EBADF).storage)
    with Opened(tmp_path):
        pass


# --- full ----------------------------------------------------------------------------------------------------------


async def test_a_full_buffer_waits_for_deliveries(tmp_path: Path) -> None:
    with Opened(tmp_path, small(max_bytes=10_000)) as opened:
        appended = 0

        async def fill() -> None:
            nonlocal appended
            for at in range(30):
                await opened.buffer.append([batch("a", at * 1000, size=1000)])
                appended += 1
                assert opened.buffer.statistics().bytes <= 10_000

        filling = asyncio.ensure_future(fill())
        await until(lambda: opened.buffer.statistics().full)
        assert len(opened.of(BufferFull)) == 1
        assert 5 < appended < 10
        seen = []
        while len(seen) < 30:
            record = await opened.take()
            seen.append(record.sequence)
            opened.buffer.ack(record)
        await filling
        assert seen == list(range(1, 31))
        assert not opened.buffer.statistics().full
        assert len(opened.of(BufferFull)) == len(opened.of(BufferHasRoom)) >= 1


async def stuck(opened: Opened, count: int, *, beside: int = 0) -> None:
    """One record that nobody takes, and as many others, each delivered at once."""
    await opened.buffer.append([batch("a", 0, entries=3)])
    assert (await opened.take()).group == "a"
    for at in range(beside, beside + count):
        await asyncio.wait_for(opened.buffer.append([batch("b", at * 1000, size=1000, entries=2)]), 5)
        opened.buffer.ack(await opened.take())


async def test_a_stuck_record_does_not_fill_the_buffer_for_the_others(tmp_path: Path) -> None:
    with Opened(tmp_path, small(max_bytes=30_000), pause_s=3600) as opened:
        await stuck(opened, 100)
        facts = opened.buffer.statistics()
        assert facts.bytes < 15_000
        assert facts.segments <= 3
        assert (facts.waiting_entries, facts.delivered_entries, facts.full) == (3, 200, False)
    assert len(segments(tmp_path)) <= 3
    with Opened(tmp_path, small(max_bytes=30_000)) as opened:
        facts = opened.buffer.statistics()
        assert (facts.recovered_entries, facts.waiting_entries, facts.waiting_records) == (3, 3, 1)
        assert await opened.take_all() == [("a", 0)]
        assert opened.buffer.take_lost() == ()
        assert opened.buffer.resume().positions[file_of("b")].offset == 100_000
        assert not opened.of(BufferDamaged)
        assert opened.buffer.statistics().waiting_entries == 0


async def test_what_is_settled_around_what_is_not_goes_over_several_starts(tmp_path: Path) -> None:
    for start in range(4):
        with Opened(tmp_path, small(max_bytes=30_000), pause_s=3600) as opened:
            assert opened.buffer.statistics().waiting_entries == 3 * start
            await opened.buffer.append([batch("acdefg"[start], 0, entries=3)])
            taken = [(await opened.take()).group for _ in range(start + 1)]
            assert taken == list("acdefg"[: start + 1])
            for at in range(start * 30, start * 30 + 30):
                await asyncio.wait_for(opened.buffer.append([batch("b", at * 1000, size=1000)]), 5)
                opened.buffer.ack(await opened.take())
            assert opened.buffer.statistics().bytes < 25_000
    with Opened(tmp_path) as opened:
        assert sorted(await opened.take_all()) == [("a", 0), ("c", 0), ("d", 0), ("e", 0)]
        assert not opened.of(BufferDamaged)


async def test_without_the_note_of_what_was_settled_what_is_gone_counts_as_damage_and_is_read_again(
    tmp_path: Path,
) -> None:
    with Opened(tmp_path, small(max_bytes=30_000), pause_s=3600) as opened:
        await stuck(opened, 60)
    (tmp_path / "settled").unlink()
    with Opened(tmp_path) as opened:
        assert ("a", 0) in await opened.take_all()
        facts = opened.buffer.statistics()
        assert facts.recovered_entries == facts.delivered_entries + facts.damaged_entries
        lost = opened.buffer.take_lost()
        assert {each.file for each in lost} == {file_of("b")}
        assert sum(each.after.offset - each.start for each in lost) == 500 * facts.damaged_entries


async def test_one_delivered_segment_that_fills_the_buffer_makes_way(tmp_path: Path) -> None:
    with Opened(tmp_path, small(max_bytes=5000, segment_bytes=5000)) as opened:
        for at in range(4):
            await opened.buffer.append([batch("a", at * 3000, size=3000)])
            await opened.take_all()
        assert not opened.of(BufferFull)
        assert opened.buffer.statistics().segments == 1


async def test_a_batch_bigger_than_the_buffer_passes_alone(tmp_path: Path) -> None:
    with Opened(tmp_path, small(max_bytes=5000)) as opened:
        await opened.buffer.append([batch("a", 0, size=20_000)])
        appending = asyncio.ensure_future(opened.buffer.append([batch("a", 20_000, size=20_000)]))
        await until(lambda: opened.buffer.statistics().full)
        assert await opened.take_all() == [("a", 0)]
        await appending
        assert await opened.take_all() == [("a", 20_000)]


async def test_a_lowered_limit_deletes_nothing(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        for at in range(20):
            await opened.buffer.append([batch("a", at * 1000, size=1000)])
    with Opened(tmp_path, small(max_bytes=5000)) as opened:
        appending = asyncio.ensure_future(opened.buffer.append([batch("a", 20_000, size=1000)]))
        await until(lambda: opened.buffer.statistics().full)
        assert len(await opened.take_all()) >= 20
        await appending


async def test_space_that_must_stay_free_stops_appending(tmp_path: Path) -> None:
    disk = FailingDisk(free=1 << 30)
    with Opened(tmp_path, small(min_free_bytes=1 << 20), storage=disk.storage) as opened:
        await opened.buffer.append([batch("a", 0)])
        disk.free = 1000
        appending = asyncio.ensure_future(opened.buffer.append([batch("a", 100, size=5000)]))
        await until(lambda: opened.buffer.statistics().full)
        assert [event.free_bytes for event in opened.of(BufferFull)] == [1000]
        assert await opened.take_all() == [("a", 0)]
        await asyncio.wait((appending,), timeout=0.01)
        assert not appending.done()
        disk.free = 1 << 30
        await appending
        assert await opened.take_all() == [("a", 100)]


async def test_free_space_is_not_asked_for_at_every_append(tmp_path: Path) -> None:
    asked, now = [], [0.0]
    storage = Storage(free_bytes=lambda path: asked.append(path) or 1 << 40)
    settings = small(min_free_bytes=1, segment_bytes=1 << 20)
    with Opened(tmp_path, settings, storage=storage, pause_s=1.0, monotonic=lambda: now[0]) as opened:
        for at in range(10):
            await opened.buffer.append([batch("a", at * 100)])
        assert len(asked) == 1
        now[0] = 1.0
        await opened.buffer.append([batch("a", 1000)])
        assert len(asked) == 2


async def test_what_is_written_between_two_looks_counts_against_the_reserve(tmp_path: Path) -> None:
    def used() -> int:
        return sum(each.stat().st_size for each in segments(tmp_path))

    storage = Storage(free_bytes=lambda _: 100_000 - used())
    settings = small(min_free_bytes=50_000, segment_bytes=1 << 20)
    with Opened(tmp_path, settings, storage=storage, pause_s=3600, monotonic=lambda: 0.0) as opened:
        for at in range(4):
            await opened.buffer.append([batch("a", at * 10_000, size=10_000)])
        appending = asyncio.ensure_future(opened.buffer.append([batch("a", 40_000, size=10_000)]))
        await until(lambda: opened.buffer.statistics().full)
        assert 100_000 - used() >= 50_000
        assert [event.free_bytes for event in opened.of(BufferFull)] == [100_000 - used()]
        assert await opened.take_all() == [("a", at * 10_000) for at in range(4)]
        await appending
        assert 100_000 - used() >= 50_000


async def test_near_the_reserve_others_who_give_space_back_are_seen_at_once(tmp_path: Path) -> None:
    disk = FailingDisk(free=20_000)
    settings = small(min_free_bytes=10_000, segment_bytes=1 << 20)
    with Opened(tmp_path, settings, storage=disk.storage, pause_s=3600, monotonic=lambda: 0.0) as opened:
        await opened.buffer.append([batch("a", 0, size=9000)])
        disk.free = 1 << 30
        await asyncio.wait_for(opened.buffer.append([batch("a", 9000, size=9000)]), 5)
        assert not opened.of(BufferFull)


async def test_drop_oldest_gives_up_whole_segments_and_counts(tmp_path: Path) -> None:
    with Opened(tmp_path, small(max_bytes=10_000, when_full="drop_oldest")) as opened:
        for at in range(30):
            await opened.buffer.append([batch("a", at * 1000, size=1000, entries=2)])
            assert opened.buffer.statistics().bytes <= 10_000
        facts = opened.buffer.statistics()
        assert facts.dropped_entries == sum(event.entries for event in opened.of(BufferDropped)) > 0
        assert facts.waiting_entries + facts.dropped_entries == 60
        assert {event.reason for event in opened.of(BufferDropped)} == {"buffer_full"}
        assert not opened.of(BufferFull)
        seen = await opened.take_all()
        assert seen == [("a", at * 1000) for at in range(30 - len(seen), 30)]
        assert len(seen) * 2 == facts.waiting_entries


async def test_what_is_delivered_while_room_is_made_need_not_be_dropped(tmp_path: Path) -> None:
    entered, released = threading.Event(), threading.Event()
    released.set()

    def sync_directory(_directory: Path) -> None:
        entered.set()
        released.wait(5)

    storage = Storage(os.pwrite, os.fdatasync, sync_directory, lambda _: 1 << 40)
    with Opened(tmp_path, small(max_bytes=10_000, when_full="drop_oldest"), storage=storage) as opened:
        await opened.buffer.append([batch("a", 0, size=6000)])
        record = await opened.take()
        entered.clear()
        released.clear()
        appending = asyncio.create_task(opened.buffer.append([batch("a", 6000, size=6000)]))
        await until(entered.is_set)  # a segment is begun, so that the only one there is can be given up
        opened.buffer.ack(record)
        released.set()
        await asyncio.wait_for(appending, 5)
        assert not opened.of(BufferDropped)
        assert await opened.take_all() == [("a", 6000)]


async def test_drop_oldest_counts_what_is_not_in_memory(tmp_path: Path) -> None:
    settings = small(max_bytes=10_000, when_full="drop_oldest")
    with Opened(tmp_path, settings, index_records=2) as opened:
        for at in range(30):
            await opened.buffer.append([batch("a", at * 1000, size=1000, entries=2)])
            facts = opened.buffer.statistics()
            assert facts.waiting_entries + facts.dropped_entries == 2 * (at + 1)
        seen = await opened.take_all()
        assert seen == [("a", at * 1000) for at in range(30 - len(seen), 30)]


async def test_a_dropped_record_in_flight_may_still_be_acknowledged(tmp_path: Path) -> None:
    with Opened(tmp_path, small(max_bytes=10_000, when_full="drop_oldest")) as opened:
        await opened.buffer.append([batch("a", 0, size=1000), batch("b", 0, size=1000), batch("c", 0, size=1000)])
        delivered, given_up = await opened.take(), await opened.take()
        for at in range(30):
            await opened.buffer.append([batch("d", at * 1000, size=1000)])
        facts = opened.buffer.statistics()
        assert facts.waiting_entries + facts.dropped_entries == 33
        opened.buffer.ack(delivered)
        opened.buffer.ack(delivered)
        assert opened.buffer.statistics().delivered_entries == 1
        assert opened.buffer.statistics().dropped_entries == facts.dropped_entries
        with pytest.raises(CorruptRecord, match="given up"):
            opened.buffer.read(given_up)
        opened.buffer.set_aside(given_up)
        after = opened.buffer.statistics()
        assert (after.damaged_entries, after.dropped_entries) == (0, facts.dropped_entries + 1)
        await opened.take_all()
        assert opened.buffer.statistics().waiting_entries == 0


async def test_drop_oldest_after_a_restart_is_not_undone_by_the_cursor(tmp_path: Path) -> None:
    settings = small(max_bytes=10_000, when_full="drop_oldest")
    with Opened(tmp_path, settings) as opened:
        for at in range(20):
            await opened.buffer.append([batch("a", at * 1000, size=1000)])
        waiting = opened.buffer.statistics().waiting_entries
    with Opened(tmp_path, settings) as opened:
        assert opened.buffer.statistics().recovered_entries == waiting
        assert len(opened.of(BufferRecovered)) == 1
        assert len(await opened.take_all()) == waiting


async def test_drop_oldest_frees_the_disk_when_that_is_what_is_short(tmp_path: Path) -> None:
    disk = FailingDisk()
    storage = Storage(free_bytes=lambda path: 20_000 - sum(each.stat().st_size for each in segments(path)))
    settings = small(min_free_bytes=10_000, when_full="drop_oldest")
    with Opened(tmp_path, settings, storage=storage) as opened:
        for at in range(30):
            await opened.buffer.append([batch("a", at * 1000, size=1000)])
        assert opened.buffer.statistics().bytes < 15_000
        assert 5 < opened.buffer.statistics().waiting_entries < 15
    assert disk.calls == 0


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EDQUOT])
async def test_drop_oldest_makes_room_when_the_disk_is_full_and_no_reserve_is_kept(tmp_path: Path, error: int) -> None:
    disk = FailingDisk(error=error)
    storage = Storage(write=lambda *call: disk.write_within(tmp_path, 20_000, *call))
    with Opened(tmp_path, small(when_full="drop_oldest"), storage=storage, pause_s=3600) as opened:
        for at in range(60):
            await asyncio.wait_for(opened.buffer.append([batch("a", at * 1000, size=1000)]), 5)
        facts = opened.buffer.statistics()
        assert facts.waiting_entries + facts.dropped_entries == 60
        assert 5 < facts.waiting_entries < 25
        seen = await opened.take_all()
        assert seen == [("a", at * 1000) for at in range(60 - len(seen), 60)]


async def test_a_full_disk_that_blocks_drops_nothing(tmp_path: Path) -> None:
    disk = FailingDisk()
    storage = Storage(write=lambda *call: disk.write_within(tmp_path, 20_000, *call))
    with Opened(tmp_path, storage=storage) as opened:

        async def fill() -> None:
            for at in range(60):
                await opened.buffer.append([batch("a", at * 1000, size=1000)])

        filling = asyncio.ensure_future(fill())
        await until(lambda: opened.buffer.statistics().full)
        seen = []
        while not filling.done() or opened.buffer.statistics().waiting_records:
            seen += await opened.take_all()
            await asyncio.wait((filling,), timeout=0.001)
        assert seen == [("a", at * 1000) for at in range(60)]
        assert opened.buffer.statistics().dropped_entries == 0


# --- two at once, and many -----------------------------------------------------------------------------------------


async def test_a_second_buffer_on_one_directory_is_refused(tmp_path: Path) -> None:
    with Opened(tmp_path):
        with pytest.raises(StateHeld) as raised:
            Opened(tmp_path)
        assert raised.value.holder_pid == os.getpid()
    with Opened(tmp_path):
        pass


APPENDER = """
import asyncio, sys
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from test_buffer_samples import Opened, batch
async def main():
    with Opened(Path(sys.argv[1])) as opened:
        for at in range(100000):
            await opened.buffer.append([batch("a", at * 300, size=300)])
            print(at, flush=True)
asyncio.run(main())
"""


async def test_what_a_killed_process_was_told_is_durable_is_there(tmp_path: Path) -> None:
    command = [sys.executable, "-c", APPENDER, str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while int(process.stdout.readline()) < 40:
            pass
        process.kill()
        told = [int(line) for line in process.stdout.read().splitlines()]
    with Opened(tmp_path) as opened:
        seen = await opened.take_all()
        assert seen == [("a", at * 300) for at in range(len(seen))]
        assert len(seen) >= max(told, default=40) + 1


async def test_appends_from_many_tasks_do_not_mix(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        await asyncio.gather(
            *(opened.buffer.append([batch(chr(97 + at), 0), batch(chr(97 + at), 100)]) for at in range(20))
        )
        seen = await opened.take_all()
        assert sorted(seen) == sorted((chr(97 + at), start) for at in range(20) for start in (0, 100))


async def test_reading_in_threads_while_appending(tmp_path: Path) -> None:
    with Opened(tmp_path) as opened:
        await opened.buffer.append([batch(chr(97 + at), 0, size=3000) for at in range(20)])
        records = [await opened.take() for _ in range(20)]
        reads = [asyncio.to_thread(opened.buffer.read, record) for record in records]
        bodies, _ = await asyncio.gather(asyncio.gather(*reads), opened.buffer.append([batch("a", 3000)]))
        assert [each[0].payload[:3].decode() for each in bodies] == [f"{record.group}0-" for record in records]
