"""agent.batch.batcher: entries → sealed batches."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import config, wire
from agent.batch import batcher as batcher_module
from agent.batch.batcher import REMEMBERED_STREAMS, Batcher
from agent.model import Batch, Entries, FileId, Origin, Position, Span, StreamClock, StreamEntries

ORIGIN = Origin("app", "/a.log")
FILE = FileId(1, 2)


def position(offset: int) -> Position:
    return Position(offset, 0, b"", b"", 0, ORIGIN)


def entries(
    lines: list[bytes],
    start: int = 0,
    *,
    group: str = '{a="1"}',
    labels: str | None = None,
    times: list[int] | None = None,
) -> Entries:
    end = start + sum(len(line) + 1 for line in lines)
    stream = StreamEntries(
        labels or group, times or list(range(start, start + len(lines))), list(lines), [b""] * len(lines)
    )
    streams = (stream,) if lines else ()
    return Entries(ORIGIN, Span(FILE, start, position(end)), group, len(lines), streams)


def settings(max_bytes: str = "4KiB", max_entries: int = 10_000) -> config.Batch:
    return config.Batch(max_bytes=max_bytes, max_entries=max_entries, max_wait="1s")


def pushes(batches: list[Batch]) -> list[wire.Push]:
    return [wire.decode(body.encoding, body.payload) for batch in batches for body in batch.bodies]


def test_a_batch_is_sealed_when_its_oldest_line_has_waited() -> None:
    batcher = Batcher(settings())
    assert batcher.add(entries([b"one"]), now=10.0) == []
    assert batcher.add(entries([b"two"], 4), now=10.9) == []
    assert batcher.expired(10.99) == []
    (batch,) = batcher.expired(11.0)
    assert pushes([batch])[0].lines == [b"one", b"two"]
    assert (batch.spans[0].start, batch.spans[0].after.offset) == (0, 8)
    assert batcher.expired(99.0) == []


def test_a_batch_is_sealed_before_it_would_be_too_large() -> None:
    batcher = Batcher(settings())
    assert batcher.add(entries([b"x" * 3000]), now=0) == []
    (first,) = batcher.add(entries([b"y" * 3000], 3001), now=0)
    (second,) = batcher.flush()
    assert [len(push.lines[0]) for push in pushes([first, second])] == [3000, 3000]


@pytest.mark.parametrize(("max_bytes", "count"), [("1MiB", 4000), ("64KiB", 200)])
def test_a_chunk_larger_than_a_batch_becomes_bodies_of_one_record(max_bytes: str, count: int) -> None:
    limits, lines = config.Batch(max_bytes=max_bytes), [b"z" * 1000] * count
    batches = Batcher(limits).add(entries(lines), now=0)
    assert len(batches) == 1
    bodies = batches[0].bodies
    assert len(bodies) > 3
    assert all(body.line_bytes <= limits.max_bytes for body in bodies)
    assert [line for push in pushes(batches) for line in push.lines] == lines


def test_a_body_never_spans_the_hour_after_which_loki_refuses_its_beginning() -> None:
    minute = 60 * 10**9
    batcher = Batcher(settings())
    batcher.add(entries([b"a", b"b", b"c", b"d"], times=[0, 40 * minute, 80 * minute, 20 * minute]), now=0)
    assert [push.lines for push in pushes(batcher.flush())] == [[b"a", b"b"], [b"c"], [b"d"]]


def test_lines_that_were_all_dropped_still_move_the_position() -> None:
    batcher = Batcher(settings())
    batcher.add(Entries(ORIGIN, Span(FILE, 0, position(5)), '{a="1"}', 5, ()), now=0)
    (batch,) = batcher.expired(1.0)
    assert batch.bodies == ()
    assert batch.spans[0].after.offset == 5


def test_the_streams_of_a_group_are_sealed_together() -> None:
    batcher = Batcher(settings())
    batcher.add(entries([b"a"], labels='{a="1", e="x"}'), now=0)
    batcher.add(entries([b"b"], 2, labels='{a="1", e="y"}'), now=0)
    (batch,) = batcher.flush()
    assert [push.labels for push in pushes([batch])] == ['{a="1", e="x"}', '{a="1", e="y"}']


def test_of_streams_fed_long_ago_only_the_clock_is_kept_and_no_two_lines_become_one() -> None:
    batcher = Batcher(settings())

    def fed(stream: int, times: list[int]) -> tuple[list[int], list[bytes]]:
        batcher.add(entries([b"x"] * len(times), group=f'{{a="{stream}"}}', times=times), now=0)
        (push,) = pushes(batcher.flush())
        return push.timestamps_ns, push.metadata

    for stream in range(REMEMBERED_STREAMS + 1):
        fed(stream, [5, 3, 9, 9])
    assert fed(1, [4, 9]) == ([4, 11], [b"", b""]), "every timestamp of this one is still known"
    times, metadata = fed(0, [3, 9])
    assert times == [3, 11]
    assert [meta == b"" for meta in metadata] == [False, True], "3 may be taken: the line gets an id"


def test_the_clock_of_a_stream_survives_in_its_batches() -> None:
    first = Batcher(settings())
    first.add(entries([b"a", b"a"], times=[5, 5]), now=0)
    (batch,) = first.flush()
    clock = batch.bodies[-1].clock
    assert clock == StreamClock(5, 6)
    second = Batcher(settings(), clocks={'{a="1"}': clock})
    second.add(entries([b"a"], 4, times=[5]), now=0)
    assert pushes(second.flush())[0].timestamps_ns == [7]


def test_a_line_whose_time_may_be_taken_gets_an_id() -> None:
    batcher = Batcher(settings(), clocks={'{a="1"}': StreamClock(100, 100)})
    batcher.add(entries([b"a"], 64, times=[50]), now=0)
    (push,) = pushes(batcher.flush())
    assert push.timestamps_ns == [50]
    assert wire.decode_metadata(push.metadata[0]) == [(b"line_id", b"2.0.40.0")]


def test_groups_do_not_mix() -> None:
    batcher = Batcher(settings())
    batcher.add(entries([b"a"], group='{f="1"}'), now=0)
    batcher.add(entries([b"b"], group='{f="2"}'), now=0.5)
    assert batcher.waiting == 2
    (batch,) = batcher.expired(1.2)
    assert batch.group == '{f="1"}'
    assert (batcher.waiting, batcher.sealed_entries) == (1, 1)


@given(st.lists(st.lists(st.binary(max_size=900), max_size=12), max_size=12), st.integers(1, 9))
def test_every_line_is_in_one_batch_in_order_and_spans_join(chunks: list[list[bytes]], max_entries: int) -> None:
    batcher = Batcher(settings(max_entries=max_entries))
    batches: list[Batch] = []
    start = 0
    for now, lines in enumerate(chunks):
        batches += batcher.add(entries(lines, start), now=now)
        batches += batcher.expired(now)
        start += sum(len(line) + 1 for line in lines)
    batches += batcher.flush()
    assert [line for push in pushes(batches) for line in push.lines] == [line for lines in chunks for line in lines]
    assert all(body.entries <= max_entries for batch in batches for body in batch.bodies)
    at = 0
    for batch in batches:
        assert batch.spans[0].start == at
        at = batch.spans[-1].after.offset
    assert at == start


def test_many_busy_groups_together_stay_within_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batcher_module, "OPEN_BYTES", 10_000)
    batcher = Batcher(settings())
    sealed = [
        batch for number in range(30) for batch in batcher.add(entries([b"x" * 1000], group=f'{{a="{number}"}}'), now=0)
    ]
    assert [batch.group for batch in sealed] == [f'{{a="{number}"}}' for number in range(21)], "the oldest first"
    assert batcher.waiting == 9
    assert len(batcher.flush()) == 9
    assert batcher.waiting == 0
