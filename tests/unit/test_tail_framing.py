"""Bytes → whole lines, by example."""

import pytest

from agent.tail.framing import Piece, frame


def test_whole_lines_are_taken_and_the_rest_is_left() -> None:
    assert frame(b"one\ntwo\nthr", 100) == [Piece(8, b"one\ntwo\n")]


def test_nothing_is_taken_of_less_than_a_line() -> None:
    assert frame(b"", 100) == []
    assert frame(b"beginning", 100) == []


def test_a_carriage_return_before_a_newline_is_removed_and_no_other() -> None:
    assert frame(b"a\rb\r\n\r\n", 100) == [Piece(7, b"a\rb\n\n")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_of_exactly_the_limit_is_whole(end: bytes) -> None:
    assert frame(b"x" * 8 + end, 8) == [Piece(8 + len(end), b"x" * 8 + b"\n")]


def test_a_longer_line_comes_in_numbered_parts_between_whole_lines() -> None:
    assert frame(b"one\n" + b"x" * 20 + b"\ntwo\n", 8) == [
        Piece(4, b"one\n"),
        Piece(8, b"xxxxxxxx\n", 1, 1),
        Piece(8, b"xxxxxxxx\n", 2, 2),
        Piece(5, b"xxxx\n", 3, 0),
        Piece(4, b"two\n"),
    ]


def test_numbering_goes_on_where_it_was() -> None:
    assert frame(b"rest\nnext\n", 8, 4) == [Piece(5, b"rest\n", 5, 0), Piece(5, b"next\n")]


def test_a_part_ends_where_a_character_ends() -> None:
    assert [piece.data for piece in frame("aaa€€\n".encode(), 5)] == [b"aaa\n", "€\n".encode(), "€\n".encode()]


def test_bytes_that_are_not_utf8_are_cut_at_the_limit() -> None:
    assert frame(b"\x80" * 20, 8, final=True)[0] == Piece(8, b"\x80" * 8 + b"\n", 1, 1)


def test_at_the_end_a_last_line_gets_the_newline_it_never_had() -> None:
    assert frame(b"one\ntwo", 100, final=True) == [Piece(4, b"one\n"), Piece(3, b"two\n")]


def test_a_part_ends_between_members_so_that_no_secret_is_torn_from_its_name() -> None:
    line = b'{"a": "' + b"x" * 900 + b'", "password": "' + b"hunter2" * 20 + b'", "b": 1}'
    first, *_ = frame(line + b"\n", 1024)
    assert first.data == b'{"a": "' + b"x" * 900 + b'",\n'
    words = b"y" * 900 + b" then password: " + b"hunter2" * 20
    assert frame(words + b"\n", 1024)[0].data.endswith(b"y then \n")
    assert len(frame(b"z" * 3000 + b"\n", 1024)[0].data) == 1025
