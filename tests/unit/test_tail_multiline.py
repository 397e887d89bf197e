"""Lines that are one event, by example and by law."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import Multiline, Source
from agent.tail.container import unwrap_cri
from agent.tail.encoding import units_for
from agent.tail.framing import UTF8, Piece, Units
from agent.tail.multiline import BadStart, Caps, check_starts, matcher, of_plain, of_wrapped

IS_START = matcher(r"^\S")
CAPS = Caps(max_lines=100, max_bytes=4096, line_bytes=4096, timeout_ns=2_000_000_000)

TRACEBACK = """Traceback (most recent call last):
  File "app.py", line 3, in <module>
    main()

ValueError: no
"""


def events(pieces: list[Piece]) -> list[str]:
    out: list[str] = []
    for piece in pieces:
        lines = piece.data.decode().split("\n")[:-1]
        counts = piece.line_counts or (1,) * len(lines)
        assert sum(counts) == len(lines)
        assert piece.times_ns is None or len(piece.times_ns) == len(counts)
        at = 0
        for count in counts:
            out.append("\n".join(lines[at : at + count]))
            at += count
    return out


def plain(body: bytes, caps: Caps = CAPS, *, close: bool = False, units: Units = UTF8) -> list[Piece]:
    return of_plain(body, caps.line_bytes, 0, units, IS_START, caps, final=False, close=close)


def test_an_event_is_its_first_line_and_what_follows_until_the_next() -> None:
    body = b"one\n  more\n\ttabs\ntwo\nthree\n"
    pieces = plain(body)
    assert events(pieces) == ["one\n  more\n\ttabs", "two"]
    assert sum(piece.length for piece in pieces) == body.index(b"three")


def test_the_last_event_waits_until_it_is_closed() -> None:
    body = TRACEBACK.replace("\nValueError", "\n  ValueError").encode()
    assert plain(body) == []
    assert events(plain(body, close=True)) == [body.decode()[:-1]]


def test_lines_before_any_start_are_an_event_of_their_own() -> None:
    assert events(plain(b"  rest\n  of it\none\ntwo\n")) == ["  rest\n  of it", "one"]


def test_an_event_ends_at_its_most_lines_and_at_its_most_bytes() -> None:
    body = b"one\n" + b" more\n" * 10 + b"two\n"
    by_lines = plain(body, Caps(4, 4096, 4096, 0))
    assert [event.count("\n") + 1 for event in events(by_lines)] == [4, 4, 3]
    by_bytes = plain(body, Caps(100, 20, 4096, 0))
    assert all(len(event) < 20 for event in events(by_bytes))
    assert "\n".join(events(by_bytes)) == "one\n" + " more\n" * 9 + " more"


def test_a_line_that_is_too_long_ends_the_event_before_it_and_comes_in_parts() -> None:
    body = b"one\n more\n" + b"x" * 5000 + b"\n after\ntwo\n"
    pieces = plain(body)
    assert events(pieces)[0] == "one\n more"
    assert [(piece.first_part, piece.last_part) for piece in pieces] == [(0, 0), (1, 1), (2, 0), (0, 0)]
    assert events(pieces)[-1] == " after"


def test_carriage_returns_and_other_encodings_count_as_the_bytes_they_are() -> None:
    text = "één\r\n  vervolg\r\ntwee\r\n"
    for name in ("cp1252", "utf-16-le", "utf-8"):
        units, _ = units_for(name, b"")
        (piece,) = plain(text.encode(name), units=units)
        assert events([piece]) == ["één\n  vervolg"]
        assert piece.length == len("één\r\n  vervolg\r\n".encode(name))


def cri(*lines: tuple[str, int, str]) -> bytes:
    """(stream and tag, millisecond, text)"""
    return "".join(
        f"2026-01-02T03:04:{ms // 1000:02d}.{ms % 1000:03d}Z {tag} {text}\n" for tag, ms, text in lines
    ).encode()


def wrapped(raw: bytes, *, final: bool = False) -> list[Piece]:
    return of_wrapped(raw, unwrap_cri, 7, IS_START, CAPS, final=final)


def test_in_a_container_each_stream_has_its_own_events() -> None:
    raw = cri(
        ("stdout F", 0, "out"), ("stderr F", 1, "Traceback"), ("stdout F", 2, "  out more"), ("stderr F", 3, "  at"),
        ("stdout F", 4, "next"), ("stderr F", 5, "open"), ("stdout F", 6, "held"), ("stdout F", 7, "last"),
    )  # fmt: skip
    pieces = wrapped(raw)
    assert events(pieces) == ["out\n  out more", "Traceback\n  at", "next"]
    assert sum(piece.length for piece in pieces) == raw.index(b"2026-01-02T03:04:00.005")


def test_in_a_container_silence_is_told_by_its_own_times() -> None:
    raw = cri(
        ("stderr F", 0, "Traceback"), ("stderr F", 10, "  at"), ("stdout F", 1000, "out"), ("stdout F", 3000, "out")
    )
    assert events(wrapped(raw)) == ["Traceback\n  at", "out"]
    late = cri(("stderr F", 0, "Traceback"), ("stderr F", 2500, "  late"), ("stderr F", 2600, "next"))
    assert events(wrapped(late)) == ["Traceback", "  late"]


def test_in_a_container_parts_are_joined_before_they_are_looked_at() -> None:
    raw = cri(("stdout F", 0, "one"), ("stdout P", 1, "  mo"), ("stdout F", 2, "re"), ("stdout F", 3, "two"))
    assert events(wrapped(raw)) == ["one\n  more"]
    held = cri(("stdout F", 0, "one"), ("stdout P", 1, "two, perh"))
    assert wrapped(held) == []


def test_what_is_not_wrapped_stands_alone() -> None:
    raw = cri(("stdout F", 0, "one")) + b"  odd\n" + cri(("stdout F", 1, "  more"), ("stdout F", 2, "two"))
    assert sorted(events(wrapped(raw))) == ["  odd", "one\n  more"]


STREAMS = st.sampled_from(["stdout F", "stdout P", "stderr F", "stderr P"])


@given(
    st.lists(st.tuples(STREAMS, st.integers(0, 1500), st.sampled_from(["a", " b", "  c", "", "ä"])), max_size=20),
    st.lists(st.integers(0, 20), max_size=4),
)
def test_events_of_a_container_are_the_same_however_their_lines_come(
    raw: list[tuple[str, int, str]], cuts: list[int]
) -> None:
    clock, lines = 0, []
    for tag, wait, text in raw:
        clock += wait
        lines.append(cri((tag, clock, text)))
    data = b"".join(lines)

    def take(ends: list[int]) -> tuple[list[str], int]:
        offset, seen = 0, []
        for end in ends:
            for piece in wrapped(data[offset:end]):
                offset += piece.length
                seen += events([piece])
        return seen, offset

    at_once, end = take([len(data)])
    in_steps, same_end = take([*sorted(len(b"".join(lines[:cut])) for cut in cuts), len(data)])
    assert (sorted(in_steps), same_end) == (sorted(at_once), end)
    closed = wrapped(data, final=True)
    assert sum(piece.length for piece in closed) == len(data)


@given(
    st.lists(st.sampled_from(["a", " b", "", "\tc", "é", " \r"]), max_size=30),
    st.lists(st.integers(0, 100), max_size=6),
    st.sampled_from(["utf-8", "utf-16-be", "latin-1"]),
)
def test_any_way_of_cutting_the_bytes_gives_the_same_events(texts: list[str], cuts: list[int], name: str) -> None:
    data = "".join(text + "\n" for text in texts).encode(name)
    units, _ = units_for(name, b"")

    def take(ends: list[int]) -> tuple[list[str], int]:
        offset, seen = 0, []
        for end in [*ends, len(data)]:
            for piece in plain(data[offset:end], Caps(5, 4096, 4096, 0), units=units):
                offset += piece.length
                seen += events([piece])
        return seen, offset

    assert take(sorted(min(cut, len(data)) for cut in cuts)) == take([])


def test_t15_a_pattern_made_for_backtracking_costs_no_more_per_byte_on_a_long_line() -> None:
    is_start = matcher(r"^(a+)+$|(x+x+)+y")

    def cost_s(size: int) -> float:
        line = b"a" * (size // 2) + b"x" * (size // 2)
        began = time.process_time()
        for _ in range(max(1, 2_000_000 // size)):
            assert not is_start(line)
        return time.process_time() - began

    assert cost_s(1_000_000) < 20 * cost_s(1_000) + 1


@pytest.mark.parametrize("pattern", ["(?=a)b", r"(a)\1", "a*", "(", "a\\nb", ""])
def test_a_start_that_is_no_pattern_for_a_line_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="start"):
        Multiline(start=pattern)


def test_a_start_that_no_automaton_can_match_is_refused_by_name() -> None:
    for start in (r"(?>a+)b", r"a{40000}"):
        with pytest.raises(BadStart, match=r"'app'.*linear"):
            check_starts([Source(name="app", multiline=Multiline(start=start))], "hyperscan")


def test_without_an_automaton_events_are_refused_and_other_sources_are_not() -> None:
    check_starts([Source()], "re")
    with pytest.raises(BadStart, match="'app'"):
        check_starts([Source(name="app", multiline=Multiline(start="^a"))], "re")


def test_the_matcher_is_compiled_once_in_a_thread() -> None:
    assert matcher("^once") is matcher("^once")
