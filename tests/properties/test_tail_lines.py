"""What holds for every way the bytes of a file may lie and come."""

from hypothesis import given
from hypothesis import strategies as st

from agent.model import Origin, Position
from agent.tail.container import detect, join, unwrap_cri
from agent.tail.encoding import units_for
from agent.tail.framing import UTF8, Piece, Units, frame
from agent.tail.identity import Seen, Verdict, compare, fingerprint

lines = st.lists(st.text(alphabet="aä€😀 \r\t", max_size=40), max_size=12)
limits = st.integers(4, 24)


def taken(data: bytes, cuts: list[int], limit: int, *, units: Units = UTF8) -> tuple[list[tuple[bytes, int, int]], int]:
    """Read `data` as it comes in steps that end at `cuts`, as a tailer does: from the offset on, each time."""
    offset, part, seen = 0, 0, []
    for cut in [*sorted(cuts), len(data)]:
        for piece in frame(data[offset:cut], limit, part, units=units):
            offset += piece.length
            part = piece.last_part
            if piece.first_part:
                seen.append((piece.data, piece.first_part, piece.last_part))
            else:
                seen += [(line, 0, 0) for line in piece.data.splitlines(keepends=True) if line]
    return seen, offset


def split(pieces: list[tuple[bytes, int, int]]) -> list[tuple[bytes, int, int]]:
    """Lines one by one: a piece may hold several."""
    return [(line + b"\n", first, last) for data, first, last in pieces for line in data[:-1].split(b"\n")]


@given(lines, st.lists(st.integers(0, 800), max_size=8), limits)
def test_any_way_of_cutting_the_bytes_gives_the_same_lines(texts: list[str], cuts: list[int], limit: int) -> None:
    data = "\n".join(texts).encode()
    at_once, end = taken(data, [], limit)
    in_steps, same_end = taken(data, [min(cut, len(data)) for cut in cuts], limit)
    assert split(in_steps) == split(at_once)
    assert same_end == end


@given(lines, limits)
def test_whole_lines_and_joined_parts_are_the_input(texts: list[str], limit: int) -> None:
    data = "".join(text + "\n" for text in texts).encode()
    pieces = frame(data, limit)
    assert sum(piece.length for piece in pieces) == len(data)
    joined = b"".join(piece.data[:-1] if piece.last_part else piece.data for piece in pieces)
    assert joined == data.replace(b"\r\n", b"\n")


@given(lines, limits)
def test_no_line_is_longer_than_the_limit_and_no_character_is_cut(texts: list[str], limit: int) -> None:
    data = "".join(text + "\n" for text in texts).encode()
    for piece in frame(data, limit):
        assert all(len(line) <= limit for line in piece.data[:-1].split(b"\n"))
        piece.data.decode()


@given(st.binary(max_size=200), limits, st.integers(0, 3))
def test_with_the_end_in_sight_every_byte_is_taken(data: bytes, limit: int, part: int) -> None:
    pieces = frame(data, limit, part, final=True)
    assert sum(piece.length for piece in pieces) == len(data)
    assert all(piece.data.endswith(b"\n") for piece in pieces)


@given(
    st.binary(max_size=40), st.binary(max_size=200) | lines.map(lambda t: "\n".join(t).encode()), limits, st.booleans()
)
def test_what_stands_before_the_start_does_not_matter(before: bytes, data: bytes, limit: int, final: bool) -> None:
    for part in (0, 2):
        assert frame(before + data, limit, part, final=final, start=len(before)) == frame(
            data, limit, part, final=final
        )


@given(lines, st.lists(st.integers(0, 800), max_size=8), st.sampled_from(["utf-16-le", "utf-16-be", "utf-32-le"]))
def test_wide_text_is_framed_at_its_own_newlines(texts: list[str], cuts: list[int], name: str) -> None:
    texts = [text.replace("\r", "\u0a0a") for text in texts]
    data = "".join(text + "\n" for text in texts).encode(name)
    units, _ = units_for(name, b"")
    pieces, end = taken(data, [min(cut, len(data)) for cut in cuts], 40, units=units)
    assert end == len(data)
    assert b"".join(data[:-1] if last else data for data, _, last in pieces).decode() == "".join(
        t + "\n" for t in texts
    )


@given(
    st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.text("abä", max_size=12), st.booleans()), max_size=20)
)
def test_partial_container_lines_are_joined_within_their_stream(raw: list[tuple[str, str, bool]]) -> None:
    expected: list[str] = []
    unended: dict[str, str] = {}
    for stream, text, ended in raw:
        unended[stream] = unended.get(stream, "") + text
        if ended:
            expected.append(unended.pop(stream))
    data = "".join(
        f"2026-01-02T03:04:05.{number:09d}Z {stream} {'F' if ended else 'P'} {text}\n"
        for number, (stream, text, ended) in enumerate(raw)
    ).encode()
    pieces = join(data, unwrap_cri, 10_000, 0, 0)
    seen = b"".join(piece.data for piece in pieces).decode().split("\n")[:-1]
    assert seen == expected[: len(seen)]
    assert unended or (seen == expected and sum(piece.length for piece in pieces) == len(data))
    closed = join(data, unwrap_cri, 10_000, 0, 0, final=True)
    assert sum(piece.length for piece in closed) == len(data)
    assert b"".join(piece.data for piece in closed).decode().split("\n")[:-1][: len(expected)] == expected


@given(
    st.lists(st.tuples(st.sampled_from(["stdout", "stderr"]), st.text("abä", max_size=12), st.booleans()), max_size=20),
    st.integers(4, 16),
    st.lists(st.integers(0, 20), max_size=5),
)
def test_container_lines_are_the_same_however_they_come(
    raw: list[tuple[str, str, bool]], limit: int, cuts: list[int]
) -> None:
    wrapped = [
        f"2026-01-02T03:04:05Z {stream} {'F' if ended else 'P'} {text}\n".encode() for stream, text, ended in raw
    ]
    data = b"".join(wrapped)

    def take(ends: list[int]) -> list[Piece]:
        offset, part, pieces = 0, 0, []
        for end in ends:
            for piece in join(data[offset:end], unwrap_cri, limit, part, 0):
                offset += piece.length
                part = piece.last_part
                pieces.append(piece)
        return pieces

    ends = sorted(len(b"".join(wrapped[:cut])) for cut in cuts)
    at_once, in_steps = take([len(data)]), take([*ends, len(data)])
    assert b"".join(piece.data for piece in in_steps) == b"".join(piece.data for piece in at_once)
    for piece in at_once:
        assert all(len(line) <= limit for line in piece.data[:-1].split(b"\n"))
        assert piece.times_ns is not None
        assert len(piece.times_ns) == piece.data.count(b"\n")


@given(st.binary(max_size=300))
def test_no_first_line_is_too_odd_to_be_judged(line: bytes) -> None:
    assert detect(line) in ("plain", "cri", "docker")


@given(st.binary(min_size=1, max_size=600), st.binary(max_size=50), st.data())
def test_a_file_that_only_grew_is_the_same_and_one_that_lost_bytes_is_not(
    content: bytes, more: bytes, data: st.DataObject
) -> None:
    offset = data.draw(st.integers(1, len(content)))
    known = Position(
        offset,
        offset,
        fingerprint(content[:offset]),
        fingerprint(content[max(0, offset - 256) : offset]),
        0,
        Origin("", ""),
    )

    def look(now: bytes) -> Seen:
        return Seen(len(now), now[:offset], now[max(0, offset - 256) : offset])

    assert compare(known, look(content + more)) is Verdict.SAME
    assert compare(known, look(content[: offset - 1])) is Verdict.SHORTER
    changed = bytes([content[0] ^ 1]) + content[1:]
    assert compare(known, look(changed)) is Verdict.BEGINS_OTHERWISE
