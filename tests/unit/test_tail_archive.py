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
