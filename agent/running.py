"""The verbs that run an agent: the daemon, and `ship` with its progress."""

from __future__ import annotations

import asyncio
import glob
import hashlib
import importlib
import os
import shutil
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from agent.app import App, Ended
from agent.buffer.disk import StateUnusable
from agent.config import Config, Source
from agent.failures import OK, PROBLEMS, UNREACHABLE
from agent.observe.events import AgentStarted, AgentStopped, Event
from agent.observe.report import Reporter
from agent.systemd import Notifier

Result = TypeVar("Result")


def run_loop(main: Coroutine[Any, Any, Result]) -> Result:
    """Runs to the end, on uvloop where there is a wheel of it: it halves what a request costs."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory


def reporter(settings: Config) -> Reporter:
    journald = "JOURNAL_STREAM" in os.environ
    return Reporter(settings.agent.log_level, sys.stderr, journald=journald)


def run_daemon(settings: Config) -> int:
    """Ships until SIGTERM or SIGINT. Raises what `App.run` raises."""

    async def main() -> Ended:
        app = App(settings, reporter(settings).observe, notifier=Notifier())
        app.stop_on_signals()
        return await app.run()

    run_loop(main())
    return OK


# --- ship ----------------------------------------------------------------------------------------------------------


def ship(settings: Config, paths: Sequence[Path], *, patience_s: float) -> int:
    """Delivers the files from start to end; 0 when Loki has every line, 1 when some were refused, 69 without Loki.

    Its state lies beside the daemon's, named by the set of files: interrupted, the same command goes on where it was;
    finished, nothing is left of it.
    """
    files = [path.resolve() for path in paths]
    state = Path(settings.agent.state_dir) / "ship" / _name_of(files)
    try:
        state.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise StateUnusable(
            f"cannot create {state}: {error.strerror}; give the agent a directory in agent.state_dir"
        ) from error
    template = settings.source[0]
    source = template.model_copy(
        update={"include": tuple(glob.escape(str(path)) for path in files), "exclude": (), "start_at": "beginning"}
    )
    ended, reached = run_loop(_shipped(settings, source, state, sum(path.stat().st_size for path in files), patience_s))
    return _conclude(ended, reached, state)


def _name_of(files: Sequence[Path]) -> str:
    return hashlib.blake2b("\0".join(sorted(map(str, files))).encode(), digest_size=8).hexdigest()


async def _shipped(
    settings: Config, source: Source, state: Path, total_bytes: int, patience_s: float
) -> tuple[Ended, bool]:
    """(how it ended, whether Loki was there at the end)."""
    said = reporter(settings)

    def report(event: Event) -> None:
        if not isinstance(event, (AgentStarted, AgentStopped)):
            said.observe(event)

    app = App(settings, report, state_dir=state, sources=[source], once=True)
    app.stop_on_signals()
    watching = asyncio.ensure_future(_watch(app, total_bytes, patience_s))
    try:
        ended = await app.run()
    finally:
        watching.cancel()
    return ended, ended.waiting == 0


async def _watch(app: App, total_bytes: int, patience_s: float) -> None:
    """Shows progress on a terminal, and stops the app when nothing was delivered for too long."""
    from rich.progress import (  # noqa: PLC0415 - a tenth of the daemon's start, which shows no progress
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    loop = asyncio.get_running_loop()
    columns = (TextColumn("shipping"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, disable=not sys.stderr.isatty(), transient=True) as progress:
        bar = progress.add_task("shipping", total=total_bytes)
        delivered, since = -1.0, loop.time()
        while True:
            await asyncio.sleep(0.2)
            now_delivered = app.metrics.total("delivered_entries") + app.metrics.total("dropped_entries")
            if now_delivered != delivered:
                delivered, since = now_delivered, loop.time()
            elif loop.time() - since > patience_s:
                app.stop("no success within the patience")
                app.stop()
            progress.update(bar, completed=total_bytes - app.unread_bytes())


def _conclude(ended: Ended, reached: bool, state: Path) -> int:
    if not reached:
        print(
            f"{ended.delivered} entries delivered, {ended.waiting} wait in {state}; the same command goes on from there",
            file=sys.stderr,
        )
        return UNREACHABLE
    letters = state / "dead-letters"
    refused = letters.is_dir() and any(letters.iterdir())
    print(
        f"{ended.delivered} entries delivered" + (f"; some refused, see {letters}" if refused else ""), file=sys.stderr
    )
    if ended.damaged_archives:
        print(f"{ended.damaged_archives} archives could not be read to their end: lines are missing", file=sys.stderr)
    if ended.unread_files:
        print("not every file could be read, see above: its lines are missing", file=sys.stderr)
    if refused or ended.damaged_archives or ended.unread_files:
        return PROBLEMS
    shutil.rmtree(state)
    return OK
