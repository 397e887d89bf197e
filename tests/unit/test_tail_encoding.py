"""Text that is not UTF-8."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.config import Source
from agent.tail.encoding import units_for, valid
from agent.tail.framing import frame
from agent.tail.lines import Lines


@pytest.mark.parametrize("name", ["latin-1", "cp1252", "shift-jis", "utf-16-le", "utf-16-be", "utf-32-le", "utf-8"])
def test_lines_become_utf8(name: str) -> None:
    text = "日本\r\nline\n" if name not in ("latin-1", "cp1252") else "grün\r\nline\n"
    units, mark = units_for(name, b"")
    (piece,) = frame(text.encode(name), 100, units=units)
    assert piece.data.decode() == text.replace("\r", "")
    assert mark == 0


@pytest.mark.parametrize(
    ("head", "mark", "width"),
    [(b"\xef\xbb\xbf{", 3, 1), (b"\xff\xfea\0", 2, 2), (b"\xfe\xff\0a", 2, 2), (b"\xff\xfe\0\0", 4, 4), (b"ab", 0, 1)],
)
def test_a_byte_order_mark_wins_over_the_configuration(head: bytes, mark: int, width: int) -> None:
    units, length = units_for("latin-1", head)
    assert (length, units.width) == (mark, width)


def test_a_surrogate_pair_is_not_cut() -> None:
    units, _ = units_for("utf-16-le", b"")
    pieces = frame("ab😀😀\n".encode("utf-16-le"), 6, units=units)
    assert [piece.data.decode() for piece in pieces] == ["ab\n", "😀\n", "😀\n"]


def test_what_cannot_be_decoded_is_marked() -> None:
    units, _ = units_for("shift-jis", b"")
    (piece,) = frame(b"a\x81\n", 100, units=units)
    assert "�" in piece.data.decode()


ENCODINGS = {
    "utf-8": "aä€😀\r\x85\u2028",
    "latin-1": "aäÿ\r\x85\x0b",
    "cp1252": "aä€™\r",
    "shift-jis": "aソ表日ｱ\r",
    "euc-jp": "a日本ｱ\r",
    "gb18030": "a中😀\r",
    "big5": "a中功\r",
    "koi8-r": "aяЖ\r",
    "utf-16-le": "aä€😀\r\u0a0a\u0a00\u0d0a\u000b",
    "utf-16-be": "aä€😀\r\u0a0a\u0a00\u0d0a\u000b",
    "utf-32-be": "aä€😀\r\u0a0a\U00010a0a",
}


@pytest.mark.parametrize("name", ENCODINGS)
@given(data=st.data())
def test_t12_any_way_of_cutting_the_bytes_gives_the_same_lines_and_offsets_between_characters(
    name: str, data: st.DataObject
) -> None:
    texts = data.draw(st.lists(st.text(alphabet=ENCODINGS[name], max_size=20), max_size=10))
    content = "".join(text + "\n" for text in texts).encode(name)
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=6))
    offset, seen = 0, b""
    for cut in [*sorted(cuts), len(content)]:
        lines = Lines(Source(encoding=name, format="text"), "/a.log")  # as after a restart: nothing is remembered
        lines.begins_with(content[:4])
        for piece in lines.pieces(content[offset:cut], 0, 0, final=False):
            offset += piece.length
            seen += piece.data
            assert content[:offset].decode(name).endswith("\n")
        assert lines.replaced == 0
    assert offset == len(content)
    assert seen.decode() == "".join(text.removesuffix("\r") + "\n" for text in texts)


@pytest.mark.parametrize(
    ("name", "character"), [("latin-1", "ä"), ("cp1252", "€"), ("shift-jis", "日"), ("utf-16-le", "€")]
)
def test_t12_a_line_that_grows_in_utf_8_stays_below_the_limit(name: str, character: str) -> None:
    lines = Lines(Source(encoding=name, format="text", max_line_bytes="1KiB"), "/a.log")
    lines.begins_with(b"")
    pieces = lines.pieces((character * 3000 + "\n").encode(name), 0, 0, final=False)
    assert all(len(piece.data) <= 1025 for piece in pieces)
    assert b"".join(piece.data[:-1] for piece in pieces).decode().count(character) == 3000
    assert [piece.first_part for piece in pieces] == list(range(1, len(pieces) + 1))


def test_t12_a_mark_that_arrives_in_two_writes_is_still_one() -> None:
    lines = Lines(Source(), "/a.log")
    lines.begins_with(b"\xff")
    assert (lines.units.width, lines.mark_length) == (1, 0)
    lines.begins_with(b"\xff\xfea\0")
    assert (lines.units.width, lines.mark_length) == (2, 2)


def test_t13_bad_bytes_are_replaced_and_counted() -> None:
    lines = Lines(Source(), "/a.log")
    (piece,) = lines.pieces(b"gr\xfcn \xe2\x82\nok \xef\xbf\xbd\n", 0, 0, final=False)
    assert piece.data.decode() == "gr�n �\nok �\n"
    assert (piece.length, lines.replaced) == (len(b"gr\xfcn \xe2\x82\nok \xef\xbf\xbd\n"), 2)


def test_t11_garbage_does_not_grow_over_the_limit() -> None:
    garbage = bytes(range(128, 256)) * 8
    assert valid(garbage + b"\n", 1024) == (b"?" * 1024 + b"\n", len(garbage))
    assert valid(b"\xff" * 10 + b"\n", 1024)[0] == ("�" * 10 + "\n").encode()


@given(st.binary(max_size=300), st.integers(10, 400))
def test_t11_whatever_the_bytes_are_what_leaves_is_utf_8_of_as_many_lines(data: bytes, limit: int) -> None:
    text, replaced = valid(data, max(limit, *map(len, data.split(b"\n"))))
    assert text.decode().count("\n") == data.count(b"\n")
    assert (replaced == 0) == (text == data)


def test_t12_what_a_container_says_in_another_encoding_becomes_utf8() -> None:
    lines = Lines(Source(encoding="latin-1", format="cri"), "/a.log")
    lines.begins_with(b"2026")
    (piece,) = lines.pieces("2026-01-02T03:04:05Z stdout F grün\n".encode("latin-1"), 0, 0, final=False)
    assert piece.data.decode() == "grün\n"
