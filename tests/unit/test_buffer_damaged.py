from __future__ import annotations

from pathlib import Path

import pytest

from agent.buffer import damaged
from agent.buffer.damaged import Damaged


def test_a_part_of_a_file_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    source = tmp_path / "1.segment"
    source.write_bytes(b"0123456789")
    Damaged(tmp_path).keep_bytes(source, 2, 3)
    Damaged(tmp_path).keep_bytes(source, 2, 0)
    (kept,) = (tmp_path / "damaged").iterdir()
    assert kept.read_bytes() == b"234"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700


def test_a_whole_file_is_moved(tmp_path: Path) -> None:
    source = tmp_path / "1.segment"
    source.write_bytes(b"0123456789")
    assert Damaged(tmp_path).keep_file(source)
    assert not source.exists()
    assert (tmp_path / "damaged" / "1.segment").read_bytes() == b"0123456789"


def test_what_is_beyond_the_bound_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(damaged, "MAX_BYTES", 15)
    for number in (1, 2):
        (tmp_path / f"{number}.segment").write_bytes(b"0123456789")
        assert Damaged(tmp_path).keep_file(tmp_path / f"{number}.segment")
    (tmp_path / "3.segment").write_bytes(b"0123456789")
    Damaged(tmp_path).keep_bytes(tmp_path / "3.segment", 0, 6)
    assert [path.name for path in (tmp_path / "damaged").iterdir()] == ["1.segment"]
    assert not (tmp_path / "2.segment").exists()


def test_what_cannot_be_kept_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "damaged").write_text("not a directory")
    source = tmp_path / "1.segment"
    source.write_bytes(b"0123456789")
    Damaged(tmp_path).keep_bytes(source, 0, 5)
    Damaged(tmp_path).keep_bytes(tmp_path / "gone", 0, 5)
    assert not Damaged(tmp_path).keep_file(source)
