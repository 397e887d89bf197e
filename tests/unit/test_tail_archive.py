"""Gzip files read as if they were plain."""

import gzip
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from agent.tail.archive import GzipReader

TEXT = os.urandom(300_000).hex().encode()


@contextmanager
def reading(path: Path, data: bytes) -> Iterator[GzipReader]:
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        yield GzipReader(fd)
    finally:
        os.close(fd)


def read_all(reader: GzipReader, step: int = 50_000) -> bytes:
    data = b""
    while piece := reader.read(len(data), step):
        data += piece
    return data


@pytest.mark.parametrize("padding", [b"", b"\0" * 512])
def test_members_that_follow_one_another_are_one_text(tmp_path: Path, padding: bytes) -> None:
    data = gzip.compress(TEXT) + padding + b"".join(gzip.compress(b"%d" % n) for n in range(9)) + padding
    with reading(tmp_path / "a.gz", data) as reader:
        assert read_all(reader) == TEXT + b"012345678"
        assert reader.ends_at(len(TEXT) + 9)
        assert not reader.damaged


def test_reading_may_begin_anywhere_and_go_back(tmp_path: Path) -> None:
    with reading(tmp_path / "a.gz", gzip.compress(TEXT)) as reader:
        for offset in (400_000, 0, 599_000, 100, 5000):
            assert reader.read(offset, 1000) == TEXT[offset : offset + 1000]


def test_bytes_before_the_last_read_are_still_there(tmp_path: Path) -> None:
    with reading(tmp_path / "a.gz", gzip.compress(TEXT)) as reader:
        reader.read(0, 100_000)
        assert reader.read(100_000 - 256, 1000) == TEXT[100_000 - 256 :][:1000]


def test_a_torn_archive_gives_what_it_has(tmp_path: Path) -> None:
    with reading(tmp_path / "a.gz", gzip.compress(TEXT)[:-1000]) as reader:
        assert TEXT.startswith(read_all(reader))
        assert reader.damaged


def test_garbage_after_the_last_member_is_damage(tmp_path: Path) -> None:
    with reading(tmp_path / "a.gz", gzip.compress(TEXT) + b"garbage") as reader:
        assert read_all(reader) == TEXT
        assert reader.damaged


def test_memory_stays_bounded_however_much_is_inside(tmp_path: Path) -> None:
    with reading(tmp_path / "a.gz", gzip.compress(b"\n" * 50_000_000)) as reader:
        assert len(reader.read(49_000_000, 1000)) == 1000
        assert len(reader._window) < 1_000_000


@pytest.fixture
def read_bytes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Of each read from the disk."""
    sizes: list[int] = []
    pread = os.pread

    def counted(fd: int, size: int, offset: int) -> bytes:
        data = pread(fd, size, offset)
        sizes.append(len(data))
        return data

    monkeypatch.setattr(os, "pread", counted)
    return sizes


def test_padding_that_is_a_hole_is_sought_over(tmp_path: Path, read_bytes: list[int]) -> None:
    with reading(tmp_path / "a.gz", gzip.compress(b"before")) as reader:
        os.truncate(tmp_path / "a.gz", 4 * 10**9)
        with (tmp_path / "a.gz").open("ab") as file:
            file.write(gzip.compress(b"behind"))
        assert read_all(reader) == b"beforebehind"
        assert not reader.damaged
    assert sum(read_bytes) < 1_000_000


@pytest.mark.parametrize(
    "nothing",
    [
        gzip.compress(b"") * 500_000,
        gzip.compress(b"", 0)[:10] + b"\0\0\0\xff\xff" * 2_000_000,
        gzip.compress(b"")[:3] + b"\x10" + b"\0" * 6 + b"a comment" * 1_000_000,
        b"\0" * 10_000_000,
    ],
)
def test_what_goes_on_and_on_and_gives_nothing_is_damage(tmp_path: Path, nothing: bytes, read_bytes: list[int]) -> None:
    with reading(tmp_path / "a.gz", gzip.compress(b"before") + nothing) as reader:
        assert read_all(reader) == b"before"
        assert reader.damaged
    assert sum(read_bytes) < 5_000_000


def test_a_hundred_thousand_members_of_a_short_line_each_are_read(tmp_path: Path) -> None:
    member = gzip.compress(b"a line of thirty characters...\n")
    with reading(tmp_path / "a.gz", member * 100_000) as reader:
        assert len(read_all(reader)) == 3_100_000
        assert not reader.damaged


def test_as_much_padding_as_text_may_stand_between_members(tmp_path: Path) -> None:
    with reading(tmp_path / "a.gz", (gzip.compress(TEXT[:10_000]) + b"\0" * 10_000) * 1000) as reader:
        assert len(read_all(reader)) == 10_000_000
        assert not reader.damaged
