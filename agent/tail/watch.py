"""Hints that something changed in a directory. Only hints: the periodic scan is the truth."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from watchfiles import Change, awatch

from agent.observe.events import Emit, WatcherFailed, WatchMode
from agent.tail.discovery import Key

Directories = frozenset[tuple[str, Key]]

_DEBOUNCE_MS = 50
_STEP_MS = 10
_WAKE_MS = 1000
_RETRY_S = 60.0


class Watcher:
    """One watch over a set of directories, begun anew when the set changes.

    `on_change(path, name_changed)` is called on the event loop. When the system gives no events `is_working` is false,
    and it is tried again now and then.
    """

    def __init__(self, on_change: Callable[[str, bool], None], emit: Emit) -> None:
        self._on_change = on_change
        self._emit = emit
        self._directories: Directories = frozenset()
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()
        self.is_working = False
        self._retry_at = 0.0

    async def watch(self, directories: Directories) -> None:
        """From now on watch these."""
        loop = asyncio.get_running_loop()
        if directories == self._directories and (self._task is None or not self._task.done()):
            return
        if directories == self._directories and loop.time() < self._retry_at:
            return
        await self.close()
        self._directories = directories
        if directories:
            self._stop = asyncio.Event()
            paths = sorted(path for path, _ in directories)
            self._task = loop.create_task(self._run(paths), name="watch")
            # By then the watch is set up: what changed between the scan and now is found by another scan.
            loop.call_soon(self._on_change, "", True)

    async def close(self) -> None:
        self._stop.set()
        if self._task is not None:
            task, self._task = self._task, None
            await task

    async def _run(self, paths: list[str]) -> None:
        # RuntimeError is what the library makes of errors of the notification system it has no name for.
        try:
            changes = awatch(
                *paths,
                watch_filter=None,
                debounce=_DEBOUNCE_MS,
                step=_STEP_MS,
                stop_event=self._stop,
                rust_timeout=_WAKE_MS,
                yield_on_timeout=True,
                recursive=False,
                force_polling=False,
            )
            self.is_working = True
            self._emit(WatchMode("watch", len(paths)))
            async for batch in changes:
                for change, path in batch:
                    self._on_change(path, change is not Change.modified)
        except FileNotFoundError:
            self._retry_at = 0.0  # a directory went away since the scan; the next scan gives other directories
        except (OSError, RuntimeError) as error:
            self._retry_at = asyncio.get_running_loop().time() + _RETRY_S
            self._emit(WatcherFailed(f"{type(error).__name__}: {error}"))
            self._emit(WatchMode("poll", len(paths)))
        finally:
            self.is_working = False
