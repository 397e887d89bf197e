from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from test_buffer_samples import FailingDisk, batch, flip

from agent.buffer.errors import FutureFormat
from agent.buffer.memory import Memory
from agent.buffer.meta import Tally, record_meta
from agent.buffer.record import FILE_HEADER_BYTES, draft_record, encode, encode_file_header
from agent.buffer.segment import (
    Empty,
    Foreign,
    Ruined,
    Segment,
    Storage,
    create,
    file_name,
    inspect,
    number_of,
    read_at,
    write_all,
)

TALLY = Tally(4, 30, 3)


def made(directory: Path, number: int = 1, *, records: int = 0) -> Segment:
    segment, fd = create(directory, number, 99, TALLY, Memory().head(TALLY), Storage())
    for at in range(records):
        meta = record_meta(batch("a", at), Tally(4 + at, 30 + at, 3 + at))
        data = b"".join(encode(draft_record(meta, batch("a", at)), 99))
        os.pwrite(fd, data, os.fstat(fd).st_size)
    os.close(fd)
    return segment


def test_a_new_segment_is_found_as_it_was_made(tmp_path: Path) -> None:
    segment = made(tmp_path)
    assert inspect(segment.path, 1) == segment
    assert segment.start == segment.end == segment.path.stat().st_size
    assert segment.path.stat().st_mode & 0o777 == 0o600


def test_a_new_segment_is_durable_with_its_name_before_it_is_used(tmp_path: Path) -> None:
    order = []
    storage = Storage(
        write=lambda fd, data, offset: order.append("write") or os.pwrite(fd, data, offset),
        sync=lambda fd: order.append("sync"),
        sync_directory=order.append,
    )
    _, fd = create(tmp_path, 1, 99, TALLY, Memory().head(TALLY), storage)
    os.close(fd)
    assert order == ["write", "sync", tmp_path]


@pytest.mark.parametrize("failing", [1, 2, 3])
def test_a_segment_that_could_not_be_made_is_not_there(tmp_path: Path, failing: int) -> None:
    with pytest.raises(OSError, match="space"):
        create(tmp_path, 1, 99, TALLY, Memory().head(TALLY), FailingDisk({failing}).storage)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_file_is_never_written_over(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(FileExistsError):
        made(tmp_path)


def test_names_and_numbers_go_together() -> None:
    assert number_of(file_name(7)) == 7
    assert number_of(file_name(10**15)) == 10**15
    for name in ("7.segment", "000000000007.segment.bak", "0000000000007.segment", "x.segment", "cursor"):
        assert number_of(name) is None


def test_a_damaged_file_header_is_made_up_for_by_the_frames(tmp_path: Path) -> None:
    segment = made(tmp_path)
    flip(segment.path, 0)
    assert inspect(segment.path, 1) == segment


def test_behind_a_damaged_head_the_first_record_says_where_it_stands(tmp_path: Path) -> None:
    segment = made(tmp_path, records=2)
    flip(segment.path, FILE_HEADER_BYTES)
    found = inspect(segment.path, 1)
    assert isinstance(found, Segment)
    assert (found.start, found.tally) == (FILE_HEADER_BYTES, TALLY)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", Empty),
        (bytes(10_000), Empty),
        (b"text\n" * 100, Ruined),
        (encode_file_header(1, 99), Ruined),
        (encode_file_header(2, 99), Foreign),
    ],
)
def test_what_is_no_segment_is_told_apart(tmp_path: Path, content: bytes, kind: type) -> None:
    path = tmp_path / file_name(1)
    path.write_bytes(content)
    assert isinstance(inspect(path, 1), kind)


def test_a_link_is_foreign(tmp_path: Path) -> None:
    segment = made(tmp_path)
    link = tmp_path / file_name(2)
    link.symlink_to(segment.path)
    assert isinstance(inspect(link, 2), Foreign)


def test_a_newer_version_is_refused_with_the_remedy(tmp_path: Path) -> None:
    path = tmp_path / file_name(1)
    path.write_bytes(encode_file_header(1, 99, version=9))
    with pytest.raises(FutureFormat, match="install the newer version"):
        inspect(path, 1)


def test_short_writes_are_continued_and_no_progress_is_an_error(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        write_all(Storage(write=lambda fd, data, at: os.pwrite(fd, data[:3], at)), file.fileno(), b"0123456789", 2)
        assert read_at(file.fileno(), 0, 100) == b"\0\x000123456789"
        assert read_at(file.fileno(), 4, 3) == b"234"
        with pytest.raises(OSError, match="nothing was written"):
            write_all(Storage(write=lambda *_: 0), file.fileno(), b"x", 0)


def test_what_the_disk_cannot_read_comes_as_nuls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def bad_sector(fd: int, length: int, offset: int) -> bytes:
        raise OSError(errno.EIO, "bad sector")

    monkeypatch.setattr("os.pread", bad_sector)
    assert read_at(0, 5, 9) == bytes(9)
