"""The key of the pseudonyms: whole or not at all, and the same for every start."""

import errno
import os
from pathlib import Path

import pytest

from agent import config
from agent.keys import KeyTooShort, PseudonymKey


def test_a_new_key_is_kept_for_its_owner_alone_and_found_again(tmp_path: Path) -> None:
    new = PseudonymKey(tmp_path, None)
    assert not new.is_kept
    assert not list(tmp_path.iterdir())
    new.keep()
    (kept,) = tmp_path.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    again = PseudonymKey(tmp_path, None)
    assert (again.is_kept, again.value) == (True, new.value)
    assert len(new.value) == 32


def test_each_new_key_is_another() -> None:
    assert PseudonymKey(Path("/nowhere"), None).value != PseudonymKey(Path("/nowhere"), None).value


def test_what_an_earlier_version_left_cut_short_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "pseudonym.key").write_bytes(b"")
    key = PseudonymKey(tmp_path, None)
    key.keep()
    assert PseudonymKey(tmp_path, None).value == key.value


def test_of_two_that_make_one_the_first_counts(tmp_path: Path) -> None:
    first, second = PseudonymKey(tmp_path, None), PseudonymKey(tmp_path, None)
    first.keep()
    with pytest.raises(FileExistsError):
        second.keep()
    assert PseudonymKey(tmp_path, None).value == first.value
    assert len(list(tmp_path.iterdir())) == 1


def test_a_key_that_cannot_be_written_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = PseudonymKey(tmp_path, None)

    def full(_fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr("os.fsync", full)
        with pytest.raises(OSError, match="space"):
            key.keep()
    assert not list(tmp_path.iterdir())
    key.keep()
    assert PseudonymKey(tmp_path, None).value == key.value


def test_a_configured_key_is_taken_and_a_short_one_refused(tmp_path: Path) -> None:
    secret = tmp_path / "key"
    secret.write_text("k" * 40)
    key = PseudonymKey(tmp_path, config.Secret(file=str(secret)))
    assert (key.value, key.is_kept) == (b"k" * 40, True)
    secret.write_text("short")
    with pytest.raises(KeyTooShort, match="5 bytes"):
        PseudonymKey(tmp_path, config.Secret(file=str(secret)))
