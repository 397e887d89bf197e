"""An application that logs as GreenStack does: python-json-logger, a FileHandler, several workers on one file.

    python -m agent.demo.writer --path app.log --rate 200 --count 5000 --seed 7 --worker 1

Every line carries `worker` and `seq` (from 0, without gaps), so a reader can tell what is missing. The same seed and worker
tell the same story; only times differ. While the `--pause-file` exists, nothing is written and `FILE.<worker>.paused`
says so: whoever truncates the log can wait for that.
"""

from __future__ import annotations

import argparse
import logging
import logging.handlers
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pythonjsonlogger import json as jsonlogger

from agent.demo.planted import planted_secrets
from agent.demo.story import Happening, Story

__all__ = ["Pace", "Writer", "main", "planted_secrets", "setup_logging"]

_PAUSE_CHECK_S = 0.02
_LONGEST_WAIT_S = 0.2  # so that a signal is seen soon at low rates


class CustomJsonFormatter(jsonlogger.JsonFormatter):
    """The formatter of GreenStack's `src/logging_config.py`, field by field."""

    def add_fields(self, log_record: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        super().add_fields(log_record, record, message_dict)
        log_record["timestamp"] = record.created
        log_record["level"] = record.levelname
        log_record["logger"] = record.name
        log_record["function"] = record.funcName
        log_record["line"] = record.lineno
        log_record["app"] = "greenstack"
        log_record["version"] = "2.0.0"
        log_record["environment"] = os.getenv("ENVIRONMENT", "development")


def setup_logging(path: Path, reopen: bool = False) -> logging.Handler:
    """Everything from DEBUG goes to the file, as in production. The caller closes the handler.

    `reopen` follows a renamed file to its successor; without it Python goes on writing to the renamed one.
    """
    handler = (logging.handlers.WatchedFileHandler if reopen else logging.FileHandler)(path, encoding="utf-8")
    handler.setFormatter(CustomJsonFormatter())
    root = logging.getLogger()
    root.setLevel(logging.DEBUG)
    root.addHandler(handler)
    return handler


class Pace:
    """When the next line is due: `rate` lines a second from the first, 0 for as fast as it goes."""

    def __init__(self, rate: float, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._start = clock()

    def delay_s(self, line: int) -> float:
        return max(0.0, self._start + line / self._rate - self._clock()) if self._rate else 0.0

    def shift(self, seconds: float) -> None:
        """A pause is not to be made up for."""
        self._start += seconds


@dataclass(slots=True)
class Writer:
    """Logs happenings one after the other until it is told to stop; `wait` returns true when it is."""

    worker: int
    pace: Pace
    wait: Callable[[float], bool]
    clock: Callable[[], float]
    pause_file: Path | None = None

    def run(self, happenings: Iterable[Happening]) -> int:
        """How many lines were written."""
        written = 0
        for seq, happening in enumerate(happenings):
            if self._stopped_before(seq):
                break
            self._log(happening, seq)
            written = seq + 1
        return written

    def _stopped_before(self, seq: int) -> bool:
        if self.pause_file is not None and self.pause_file.exists() and self._paused(self.pause_file):
            return True
        while (delay := self.pace.delay_s(seq)) > 0:
            if self.wait(min(delay, _LONGEST_WAIT_S)):
                return True
        return self.wait(0)

    def _paused(self, pause_file: Path) -> bool:
        """Waits while the file exists; true when told to stop meanwhile."""
        since = self.clock()
        mark = pause_file.with_name(f"{pause_file.name}.{self.worker}.paused")
        mark.touch()
        try:
            while pause_file.exists():
                if self.wait(_PAUSE_CHECK_S):
                    return True
        finally:
            mark.unlink(missing_ok=True)
        self.pace.shift(self.clock() - since)
        return False

    def _log(self, happening: Happening, seq: int) -> None:
        logger = logging.getLogger(happening.logger)
        extra = {**happening.extra, "worker": self.worker, "seq": seq}
        if happening.error is None:
            logger.log(happening.level, happening.message, extra=extra)
            return
        try:
            _fail(happening.error)
        except type(happening.error):
            logger.log(happening.level, happening.message, extra=extra, exc_info=True)


def _fail(error: Exception) -> None:
    """A frame of its own makes the traceback look like one."""
    raise error


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m agent.demo.writer", description=str(__doc__).split("\n", 1)[0])
    parser.add_argument("--path", type=Path, required=True)
    parser.add_argument("--rate", type=float, default=100.0, help="lines a second, 0 for as fast as it goes")
    parser.add_argument("--count", type=int, help="lines; without it, until SIGTERM")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--worker", type=int, default=0)
    parser.add_argument("--reopen", action="store_true", help="follow rename rotation (WatchedFileHandler)")
    parser.add_argument("--pause-file", type=Path, help="while it exists, write nothing")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    options = _arguments(arguments)
    stopped = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopped.set())

    def wait(seconds: float) -> bool:
        return stopped.wait(seconds) if seconds else stopped.is_set()

    handler = setup_logging(options.path, options.reopen)
    pace = Pace(options.rate, time.monotonic)
    writer = Writer(options.worker, pace, wait, time.monotonic, options.pause_file)
    writer.run(islice(Story(options.seed, options.worker), options.count))
    logging.getLogger().removeHandler(handler)
    handler.close()


if __name__ == "__main__":
    main()
