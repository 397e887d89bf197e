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


def test_times_keep_every_digit_and_heed_the_zone() -> None:
    assert unwrap_cri(f"{T} stdout F x".encode()).time_ns == NS
    assert unwrap_cri(b"2026-01-02T05:04:05.123456789+02:00 stdout F x").time_ns == NS
    assert unwrap_cri(b"2026-01-02T03:04:05Z stdout F x").time_ns == NS - 123456789
    assert unwrap_cri(b"2026-02-30T03:04:05Z stdout F x") is None


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
