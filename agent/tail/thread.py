"""A thread that may hang for ever without holding up whoever waits for something else, nor the end of the process."""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Thread:
    """Does one piece of work after the other. Executors are no use here: the interpreter waits for their threads."""

    def __init__(self, name: str) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def call(self, work: Callable[[], T]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = self._loop.create_future()

        def do() -> None:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 - whoever awaits the future is told
                self._tell(future.set_exception, future, error)
            else:
                self._tell(future.set_result, future, result)

        self._work.put(do)
        return future

    def end(self) -> None:
        """After what was asked for."""
        self._work.put(None)

    def _tell(self, settle: Callable[[Any], None], future: asyncio.Future[Any], value: object) -> None:
        def unless_cancelled() -> None:
            if not future.done():
                settle(value)

        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self._loop.call_soon_threadsafe(unless_cancelled)

    def _run(self) -> None:
        while (work := self._work.get()) is not None:
            work()
