"""Text that is not UTF-8."""

import pytest

from agent.tail.encoding import units_for
from agent.tail.framing import frame


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
