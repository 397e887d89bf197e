from __future__ import annotations

from test_buffer_samples import file_of, span

from agent.buffer.memory import Memory
from agent.buffer.meta import HeldClock, Tally, decode_head
from agent.model import StreamClock

CLOCK = StreamClock(1, 2)


def test_the_last_span_of_a_file_counts() -> None:
    memory = Memory()
    memory.apply([span("a", 0, 5), span("a", 5, 9), span("b", 0, 3)], [])
    assert {file: position.offset for file, position in memory.positions.items()} == {file_of("a"): 9, file_of("b"): 3}


def test_a_clock_goes_with_the_file_that_fed_its_stream_last() -> None:
    memory = Memory()
    memory.apply([span("a", 0, 5)], [("{x}", CLOCK), ("{y}", CLOCK)])
    memory.apply([span("b", 0, 5)], [("{y}", CLOCK)])
    memory.forget([file_of("a")])
    assert memory.clocks.keys() == {"{x}", "{y}"}
    memory.forget_now()
    assert memory.clocks == {"{y}": HeldClock(CLOCK, file_of("b"))}
    assert memory.positions.keys() == {file_of("b")}


def test_a_file_is_forgotten_once_and_may_come_again() -> None:
    memory = Memory()
    memory.forget([file_of("a")])
    memory.forget_now()
    memory.apply([span("a", 0, 5)], [("{x}", CLOCK)])
    memory.forget_now()
    assert memory.positions.keys() == {file_of("a")}


def test_the_head_holds_everything() -> None:
    memory = Memory()
    memory.apply([span("a", 0, 5)], [("{x}", CLOCK)])
    memory.apply([], [("{z}", CLOCK)])
    (payload,) = memory.head(Tally()).payload
    assert decode_head(payload) == (memory.positions, memory.clocks)
    assert memory.resume((), is_first=False).clocks == {"{x}": CLOCK, "{z}": CLOCK}
    assert decode_head(b"\xc1") is None
