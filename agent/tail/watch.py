"""Hints that something changed in a directory. Only hints: the periodic scan is the truth."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable

from watchfiles._rust_notify import RustNotify

from agent.observe.events import Emit, WatcherFailed, WatchMode
from agent.tail.identity import Key

Watched = frozenset[tuple[str, Key]]

_DEBOUNCE_MS = 50
_WAKE_MS = 1000
_STEPS_MS = ((30, 250), (3, 100), (0, 25))
"""How often the library looks whether there is something: after so many calls, of a second each, without anything."""
_RETRY_S = 60.0
_MODIFIED = 2


def step_ms(silent: int) -> int:
    """A look costs 0.1 ms of CPU: forty a second would be more than all else that an idle agent does."""
    return next(step for least, step in _STEPS_MS if silent >= least)


class Watcher:
    """One watch over a set of directories, begun anew when the set changes. To be used on the event loop.

    `on_change(path, name_changed)` is called on the loop. Even setting up a watch waits for the file system, so all of it is
    done in a thread, and nobody waits for that thread. When the system gives no events `is_working` is false, and it is
    tried again now and then.
    """

    def __init__(self, on_change: Callable[[str, bool], None], emit: Emit) -> None:
        self._on_change = on_change
        self._emit = emit
        self._directories: Watched = frozenset()
        self._stop = threading.Event()
        self._runs = False
        self._retry_at = 0.0
        self.is_working = False

    def watch(self, directories: Watched) -> None:
        """From now on watch these."""
        loop = asyncio.get_running_loop()
        is_same = directories is self._directories or directories == self._directories
        if is_same and (self._runs or loop.time() < self._retry_at):
            return
        self.close()
        self._directories = directories
        if directories:
            self._runs = True
            stop = self._stop = threading.Event()
            paths = sorted(path for path, _ in directories)
            threading.Thread(target=self._run, args=(paths, stop, loop), name="watch", daemon=True).start()

    def close(self) -> None:
        self._stop.set()
        self._runs = self.is_working = False

    # --- in the thread ----------------------------------------------------------------------------------------------

    def _run(self, paths: list[str], stop: threading.Event, loop: asyncio.AbstractEventLoop) -> None:
        def tell(what: Callable[..., None], *arguments: object) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody listens any more
                loop.call_soon_threadsafe(what, stop, *arguments)

        # RuntimeError is what the library makes of errors of the notification system it has no name for.
        try:
            with RustNotify(paths, False, False, 300, False, False) as notify:
                tell(self._begun, len(paths))
                silent = 0
                while not stop.is_set():
                    changes = notify.watch(_DEBOUNCE_MS, step_ms(silent), _WAKE_MS, stop)
                    silent += 1
                    if isinstance(changes, set):
                        tell(self._heard, changes)
                        silent = 0
        except FileNotFoundError:
            tell(self._vanished)  # a directory went away since the scan; the next scan gives other directories
        except UnicodeError:
            named = next((path for path in paths if not _is_utf_8(path)), "")
            tell(self._failed, f"the name {named!r} is no UTF-8", "rename or exclude that directory", len(paths))
        except (OSError, RuntimeError) as error:
            tell(self._failed, f"{type(error).__name__}: {error}", "see fs.inotify.max_user_watches", len(paths))

    # --- on the loop ------------------------------------------------------------------------------------------------

    def _begun(self, stop: threading.Event, directories: int) -> None:
        if not stop.is_set():
            self.is_working = True
            self._emit(WatchMode("watch", directories))
            self._on_change("", True)  # what changed between the scan and now is found by another scan

    def _heard(self, stop: threading.Event, changes: set[tuple[int, str]]) -> None:
        if not stop.is_set():
            for change, path in changes:
                self._on_change(path, change != _MODIFIED)

    def _vanished(self, stop: threading.Event) -> None:
        if not stop.is_set():
            self._runs, self.is_working, self._retry_at = False, False, 0.0

    def _failed(self, stop: threading.Event, error: str, remedy: str, directories: int) -> None:
        if not stop.is_set():
            self._runs, self.is_working = False, False
            self._retry_at = asyncio.get_running_loop().time() + _RETRY_S
            self._emit(WatcherFailed(error, remedy))
            self._emit(WatchMode("poll", directories))


def _is_utf_8(path: str) -> bool:
    try:
        path.encode()
    except UnicodeError:
        return False
    return True
