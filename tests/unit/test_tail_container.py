"""What container runtimes wrap around lines, by example."""

import pytest

from agent.tail.container import detect, join, open_bytes, unwrap_cri, unwrap_docker

T = "2026-01-02T03:04:05.123456789Z"
NS = 1767323045123456789


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (f"{T} stdout F text", "cri"),
        (f"{T} stderr P ", "cri"),
        ("2026-01-02T03:04:05+02:00 stdout F:tag text", "cri"),
        (f"{T} somewhere F text", "plain"),
        (f'{{"log":"a\\n","stream":"stdout","time":"{T}"}}', "docker"),
        ('{"log":"a","level":"info"}', "plain"),
        ('{"timestamp":1.5,"message":"m"}', "plain"),
        ("text", "plain"),
        ("", "plain"),
        ("[1]", "plain"),
        ("{", "plain"),
    ],
)
def test_the_first_line_tells_the_format(line: str, expected: str) -> None:
    assert detect(line.encode()) == expected


@pytest.mark.parametrize(
    ("time", "expected_ns"),
    [
        (T, NS),
        ("2026-01-02T05:04:05.123456789+02:00", NS),
        ("2026-01-02T03:04:05Z", NS - 123456789),
        ("2026-01-02T03:04:05.12Z", NS - 3456789),
        ("2026-01-02T03:04:05.1234567891Z", NS),
    ],
)
def test_times_keep_every_digit_and_heed_the_zone(time: str, expected_ns: int) -> None:
    assert unwrap_cri(f"{time} stdout F x\n".encode(), 7).times_ns == [expected_ns]
    assert unwrap_docker(f'{{"log":"x\\n","stream":"stdout","time":"{time}"}}\n'.encode(), 7).times_ns == [expected_ns]


def join_cri(data: bytes, limit: int = 100) -> tuple[bytes, tuple[int, ...]]:
    (piece,) = join(data, unwrap_cri, limit, 0, 7)
    assert piece.times_ns is not None
    return piece.data, piece.times_ns


@pytest.mark.parametrize(
    "odd",
    [
        "odd",
        "",
        f"{T} stdout X unknown tag",
        f"{T} stdin F unknown stream",
        "stdout F no time",
        "2026-02-30T03:04:05Z stdout F no such day",
        f"{T} stdout Fnothing",
        T,
    ],
)
def test_t110_a_malformed_line_passes_as_it_stands_and_the_next_is_understood(odd: str) -> None:
    data = f"{T} stdout F one\n{odd}\n{T} stderr F two\n".encode()
    expected = odd if odd != f"{T} stdout Fnothing" else ""
    assert join_cri(data) == (f"one\n{expected}\ntwo\n".encode(), (NS, NS if expected != odd else 7, NS))


def test_t110_a_malformed_line_leaves_an_open_one_open() -> None:
    data = f"{T} stdout P be\nodd\n{T} stdout F gun\n".encode()
    assert join_cri(data)[0] == b"odd\nbegun\n"


def test_t110_nuls_that_a_crash_of_the_node_left_are_no_text() -> None:
    data = f"{T} stdout F one\n".encode() + b"\0" * 4096 + f"{T} stdout F two\n".encode()
    assert join_cri(data) == (b"one\ntwo\n", (NS, NS))


def test_t110_carriage_returns_at_line_ends_are_removed_and_no_others() -> None:
    data = f"{T} stdout F one\r\n{T} stdout P a\r\n{T} stdout F b\r\n{T} stdout P c\r\n{T} stdout F\r\n".encode()
    assert join_cri(data)[0] == b"one\na\rb\nc\n"


def test_t111_a_broken_docker_line_passes_as_it_stands() -> None:
    good = '{{"log":"{}\\n","stream":"stdout","time":"2026-01-02T03:04:05Z"}}\n'.format
    for broken in (
        '{"log":"half',
        '{"log":1,"stream":"stdout","time":"2026-01-02T03:04:05Z"}',
        '{"log":"no time"}',
        "x",
    ):
        (piece,) = join((good("one") + broken + "\n" + good("two")).encode(), unwrap_docker, 100, 0, 7)
        assert piece.data == f"one\n{broken}\ntwo\n".encode()
        assert piece.times_ns == (NS - 123456789, 7, NS - 123456789)


def test_t111_escapes_become_text() -> None:
    log = r"gr\u00fcn \ud83d\ude00 \u0000 \"quoted\" \t tab \ud800 alone\n"
    data = f'{{"log":"{log}","stream":"stderr","time":"2026-01-02T03:04:05Z"}}\n'.encode()
    (piece,) = join(data, unwrap_docker, 100, 0, 0)
    assert piece.data.decode() == 'grün 😀 \0 "quoted" \t tab ? alone\n'


def test_t111_a_log_text_over_16_kib_comes_as_one_line() -> None:
    text = "x" * 40_000
    halves = [text[:16384], text[16384:32768], text[32768:] + "\\n"]
    data = "".join(f'{{"log":"{half}","stream":"stdout","time":"2026-01-02T03:04:05Z"}}\n' for half in halves)
    (piece,) = join(data.encode(), unwrap_docker, 256 * 1024, 0, 0)
    assert piece.data.decode() == text + "\n"


def test_the_streams_of_a_container_are_joined_apart() -> None:
    data = f"{T} stdout P out-\n{T} stderr P err-\n{T} stdout F put\n{T} stderr F or\n".encode()
    assert join_cri(data)[0] == b"out-put\nerr-or\n"


def test_a_line_whose_end_never_comes_is_marked_as_going_on() -> None:
    data = f"{T} stdout F one\n{T} stdout P two\n".encode()
    pieces = join(data, unwrap_cri, 100, 0, 0, final=True)
    assert [(piece.data, piece.first_part, piece.last_part) for piece in pieces] == [(b"one\n", 0, 0), (b"two\n", 1, 1)]
    assert sum(piece.length for piece in pieces) == len(data)


def test_a_line_that_is_not_wrapped_is_a_line() -> None:
    (piece,) = join(f"{T} stdout F one\nodd\n".encode(), unwrap_cri, 100, 0, 7)
    assert (piece.data, piece.times_ns) == (b"one\nodd\n", (NS, 7))


def test_an_open_line_holds_the_place_and_what_came_after_it() -> None:
    data = f"{T} stdout F one\n{T} stdout P two\n{T} stderr F three\n".encode()
    (piece,) = join(data, unwrap_cri, 100, 0, 0)
    assert piece.data == b"one\n"
    assert piece.length == data.index(b"\n") + 1


def test_docker_parts_are_joined_until_a_newline() -> None:
    wrap = '{{"log":"{}","stream":"stdout","time":"2026-01-02T03:04:05Z"}}\n'.format
    (piece,) = join((wrap("be") + wrap("gun\\r\\n")).encode(), unwrap_docker, 100, 0, 0)
    assert piece.data == b"begun\n"


def test_a_joined_line_over_the_limit_comes_in_numbered_parts() -> None:
    data = (f"{T} stdout P 12345\n" * 3 + f"{T} stdout F end\n{T} stdout F next\n").encode()
    pieces = join(data, unwrap_cri, 10, 0, 0)
    assert [(piece.data, piece.first_part, piece.last_part) for piece in pieces] == [
        (b"1234512345\n", 1, 1),
        (b"12345end\n", 2, 0),
        (b"next\n", 0, 0),
    ]
    assert sum(piece.length for piece in pieces) == len(data)


def test_pieces_without_text_do_not_keep_a_line_open_for_ever() -> None:
    data = f"{T} stdout P \n".encode() * 5000
    assert sum(piece.length for piece in join(data, unwrap_cri, 100, 0, 0)) > len(data) - open_bytes(100) - 100
