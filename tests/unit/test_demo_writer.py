"""The GreenStack-like writer: as a story, and as the process that writes it."""

import json
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from agent.demo.planted import planted_secrets
from agent.demo.story import Story
from agent.demo.writer import Pace, Writer, setup_logging

STANDARD = {"timestamp", "level", "message", "logger", "function", "line", "app", "version", "environment"}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "app.log"


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    yield root
    for handler in set(root.handlers) - set(handlers):
        handler.close()
    root.setLevel(level)
    root.handlers[:] = handlers


def run(path: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "agent.demo.writer", "--path", str(path), "--rate", "0", *arguments]
    subprocess.run(command, check=True, env={"ENVIRONMENT": "production"}, timeout=60)


def untimed(text: str) -> list[dict[str, object]]:
    return [{k: v for k, v in json.loads(line).items() if k != "timestamp"} for line in text.splitlines()]


def test_the_process_writes_lines_as_greenstack_does(path: Path) -> None:
    run(path, "--count", "2000", "--seed", "7", "--worker", "3")
    lines = path.read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [(record["worker"], record["seq"]) for record in records] == [(3, n) for n in range(2000)]
    assert all(record.keys() >= STANDARD for record in records)
    assert all(isinstance(record["timestamp"], float) for record in records)
    assert {record["environment"] for record in records} == {"production"}
    assert {record["level"] for record in records} == {"DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"}
    assert sum(record["level"] == "INFO" for record in records) > 800
    assert any(": NaN" in line for line in lines)
    assert any("Traceback (most recent call last)" in record.get("exc_info", "") for record in records)
    assert any("trace_id" in record for record in records)
    assert any("\\u" in line for line in lines)


def test_every_planted_secret_is_written_where_it_may_be_found(path: Path) -> None:
    run(path, "--count", "5000", "--seed", "7")
    text = path.read_text()
    assert [secret for secret in planted_secrets(7) if secret not in text] == []


def test_the_same_seed_tells_the_same_story_to_each_worker(path: Path, tmp_path: Path) -> None:
    other, third = tmp_path / "other.log", tmp_path / "third.log"
    run(path, "--count", "300", "--seed", "5")
    run(other, "--count", "300", "--seed", "5")
    run(third, "--count", "300", "--seed", "5", "--worker", "1")
    assert str(untimed(path.read_text())) == str(untimed(other.read_text()))
    assert str(untimed(path.read_text())) != str(untimed(third.read_text()))


def test_it_appends_to_what_is_there(path: Path) -> None:
    path.write_text("before\n")
    run(path, "--count", "1")
    assert path.read_text().startswith("before\n{")


def test_sigterm_ends_it_after_a_whole_line(path: Path) -> None:
    command = [sys.executable, "-m", "agent.demo.writer", "--path", str(path), "--rate", "0"]
    with subprocess.Popen(command) as process:
        while not path.exists() or path.stat().st_size < 10_000:
            assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0
    text = path.read_text()
    assert text.endswith("}\n")
    assert [record["seq"] for record in untimed(text)] == list(range(text.count("\n")))


def test_while_the_pause_file_exists_nothing_is_written(path: Path, tmp_path: Path) -> None:
    pause, mark = tmp_path / "pause", tmp_path / "pause.2.paused"
    command = [sys.executable, "-m", "agent.demo.writer", "--path", str(path), "--rate", "0", "--worker", "2"]
    with subprocess.Popen([*command, "--pause-file", str(pause)]) as process:
        while not path.exists() or not path.stat().st_size:
            assert process.poll() is None
        pause.touch()
        while not mark.exists():
            assert process.poll() is None
        written = path.read_bytes()
        path.write_bytes(b"")  # what copytruncate does
        pause.unlink()
        while not path.stat().st_size:
            assert process.poll() is None
        process.terminate()
        assert process.wait(timeout=30) == 0
    assert not mark.exists()
    sequence = [record["seq"] for record in untimed((written + path.read_bytes()).decode())]
    assert sequence == list(range(len(sequence)))


def test_without_reopen_a_renamed_file_is_written_on(path: Path, root_logger: logging.Logger) -> None:
    _log_around_a_rename(path, root_logger, reopen=False)
    assert (path.with_suffix(".1").read_text().count("\n"), path.exists()) == (2, False)


def test_with_reopen_a_renamed_file_is_left(path: Path, root_logger: logging.Logger) -> None:
    _log_around_a_rename(path, root_logger, reopen=True)
    assert (path.with_suffix(".1").read_text().count("\n"), path.read_text().count("\n")) == (1, 1)


def _log_around_a_rename(path: Path, root: logging.Logger, *, reopen: bool) -> None:
    handler = setup_logging(path, reopen)
    root.warning("one")
    path.rename(path.with_suffix(".1"))
    root.warning("two")
    handler.close()


def test_the_pace_is_kept_from_the_first_line_and_a_pause_is_not_made_up_for() -> None:
    now = 10.0
    pace = Pace(4, lambda: now)
    assert [pace.delay_s(line) for line in (0, 1, 4)] == [0, 0.25, 1]
    now = 11.0
    assert pace.delay_s(4) == 0
    pace.shift(3)
    assert pace.delay_s(4) == 3
    assert Pace(0, lambda: now).delay_s(10**6) == 0


def test_a_stopped_writer_writes_nothing_more(path: Path, root_logger: logging.Logger) -> None:
    setup_logging(path)
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) > 3

    writer = Writer(0, Pace(0.001, lambda: 0.0), wait, lambda: 0.0)
    assert writer.run(Story(1)) == 1
    assert waits == [0, 0.2, 0.2, 0.2]
    assert path.read_text().count("\n") == 1


def test_a_writer_told_to_stop_while_paused_stops(path: Path, root_logger: logging.Logger, tmp_path: Path) -> None:
    setup_logging(path)
    pause = tmp_path / "pause"
    pause.touch()
    told = threading.Event()
    told.set()
    assert Writer(0, Pace(0, lambda: 0.0), lambda _: told.is_set(), lambda: 0.0, pause).run(Story(1)) == 0
    assert list(tmp_path.glob("*.paused")) == []


def test_secrets_are_many_all_different_and_of_their_seed() -> None:
    assert len(set(planted_secrets(1))) == len(planted_secrets(1)) == 16
    assert planted_secrets(1) == planted_secrets(1)
    assert not set(planted_secrets(1)) & set(planted_secrets(2))
    assert all(len(secret) >= 12 for secret in planted_secrets(1))


def test_no_happening_uses_a_field_that_logging_forbids() -> None:
    forbidden = set(vars(logging.makeLogRecord({}))) | {"message", "asctime"}
    assert not any(forbidden & happening.extra.keys() for happening in islice(Story(3), 2000))
