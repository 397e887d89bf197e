"""agent.patterns: compiled patterns are kept whole, private and for one kind of processor only."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.observe.events import Event, PatternsNotKept
from agent.patterns import FILE_NAME, PatternFile, processor_facts


def pattern_file(directory: Path, events: list[Event] | None = None, processor: str = "this one") -> PatternFile:
    return PatternFile(directory, (events if events is not None else []).append, processor)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    assert pattern_file(tmp_path).load("a") is None
    pattern_file(tmp_path).save("a", b"compiled")
    assert pattern_file(tmp_path).load("a") == b"compiled"
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_only_the_agent_may_read_or_write_it(tmp_path: Path) -> None:
    pattern_file(tmp_path).save("a", b"compiled")
    assert (tmp_path / FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_for_other_patterns_or_another_processor_there_is_none(tmp_path: Path) -> None:
    pattern_file(tmp_path).save("a", b"compiled")
    assert pattern_file(tmp_path).load("b") is None
    assert pattern_file(tmp_path, processor="an older one").load("a") is None


def test_it_is_replaced_as_a_whole(tmp_path: Path) -> None:
    (tmp_path / f"{FILE_NAME}.new").write_bytes(b"left by a start that was interrupted")
    pattern_file(tmp_path).save("a", b"compiled")
    pattern_file(tmp_path).save("b", b"compiled anew")
    assert pattern_file(tmp_path).load("a") is None
    assert pattern_file(tmp_path).load("b") == b"compiled anew"


@pytest.mark.parametrize("place", [0, 12, 30, 42, -1])
def test_one_changed_byte_anywhere_makes_it_none(tmp_path: Path, place: int) -> None:
    pattern_file(tmp_path).save("a", b"compiled")
    path = tmp_path / FILE_NAME
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    assert pattern_file(tmp_path).load("a") is None


@pytest.mark.parametrize("length", [0, 1, 41, 42, 49])
def test_a_part_of_it_is_none(tmp_path: Path, length: int) -> None:
    pattern_file(tmp_path).save("a", b"compiled")
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:length])
    assert pattern_file(tmp_path).load("a") is None


def test_when_it_cannot_be_kept_that_is_told(tmp_path: Path) -> None:
    events: list[Event] = []
    (tmp_path / FILE_NAME).mkdir()
    pattern_file(tmp_path, events).save("a", b"compiled")
    assert [type(event) for event in events] == [PatternsNotKept]
    assert pattern_file(tmp_path).load("a") is None


def test_processors_are_told_apart_by_what_does_not_change_while_they_run() -> None:
    assert processor_facts() == processor_facts()
    assert "MHz" not in processor_facts()
