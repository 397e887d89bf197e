"""What an open descriptor tells of its inode."""

import os
from pathlib import Path

import pytest

from agent.tail.descriptor import data_from, generation_of


def made(directory: Path) -> int:
    """A generation number of a new file that is gone again, when the clock of its file system has moved on since."""
    path = directory / "generation"
    fd = os.open(path, os.O_CREAT | os.O_RDWR)
    try:
        begun_ns = os.fstat(fd).st_mtime_ns
        while os.fstat(fd).st_mtime_ns == begun_ns:
            os.utime(fd)
        return generation_of(fd)
    finally:
        os.close(fd)
        path.unlink()


@pytest.mark.parametrize("directory", [None, Path("/dev/shm")], ids=["here", "tmpfs"])
def test_each_use_of_an_inode_has_a_number_of_its_own(tmp_path: Path, directory: Path | None) -> None:
    if directory is not None and not os.access(directory, os.W_OK):
        pytest.skip("no tmpfs is there to be written to")
    numbers = [made(directory or tmp_path) for _ in range(3)]
    if 0 in numbers:
        pytest.skip("neither generations nor times of birth are known here")
    assert len(set(numbers)) == 3


def test_the_number_stays_whatever_happens_to_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_text("one")
    with path.open("rb") as file:
        before = generation_of(file.fileno())
    path.write_text("other")
    path.rename(tmp_path / "b.log")
    with (tmp_path / "b.log").open("rb") as file:
        assert generation_of(file.fileno()) == before


def test_the_next_content_is_behind_the_hole(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.seek(1 << 20)
        file.write(b"end")
    with path.open("rb") as file:
        at = data_from(file.fileno(), 0)
        assert 0 < at <= 1 << 20
        assert data_from(file.fileno(), (1 << 20) + 10) == (1 << 20) + 10
