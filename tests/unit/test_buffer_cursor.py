from __future__ import annotations

from pathlib import Path

from agent.buffer.cursor import Cursor, Hint, decode, decode_slot, encode_slot
from agent.buffer.meta import Tally
from agent.buffer.segment import Mark, Place


def mark(number: int) -> Mark:
    return Mark(Place(number, 32), Tally(number, number * 10, number))


def opened(directory: Path) -> Hint | None:
    cursor = Cursor(directory)
    cursor.close()
    return cursor.hint


def written(directory: Path, *numbers: int) -> None:
    cursor = Cursor(directory)
    for number in numbers:
        cursor.write(mark(number), tag=9)
    cursor.close()


def test_the_last_mark_is_found_again(tmp_path: Path) -> None:
    assert opened(tmp_path) is None
    written(tmp_path, 1, 2, 3)
    hint = opened(tmp_path)
    assert hint is not None
    assert (hint.mark, hint.tag) == (mark(3), 9)
    written(tmp_path, 4)
    hint = opened(tmp_path)
    assert hint is not None
    assert hint.mark == mark(4)


def test_a_torn_write_leaves_the_mark_before(tmp_path: Path) -> None:
    written(tmp_path, 1, 2, 3)
    data = bytearray((tmp_path / "cursor").read_bytes())
    for at in range(512, 512 + 60):
        damaged = bytearray(data)
        damaged[at] ^= 1
        hint = decode(bytes(damaged))
        assert hint is not None
        assert hint.mark == mark(2)


def test_a_damaged_slot_never_passes() -> None:
    data = encode_slot(Hint(4, 9, mark(7)))
    assert decode_slot(data) == Hint(4, 9, mark(7))
    for at in range(len(data)):
        assert decode_slot(data[:at] + bytes([data[at] ^ 8]) + data[at + 1 :]) is None
        assert decode_slot(data[:at]) is None


def test_the_file_is_for_its_owner_alone_and_stays_small(tmp_path: Path) -> None:
    written(tmp_path, *range(1, 50))
    facts = (tmp_path / "cursor").stat()
    assert facts.st_mode & 0o777 == 0o600
    assert facts.st_size < 1024
