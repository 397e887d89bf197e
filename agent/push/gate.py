"""Who may send now: a few at a time, and while Loki is out of reach one at a time.

    open     every request goes, at most `limit` at once.
    closed   after a failure that concerns everybody. All wait in line; the first of them waits for the delay of the
             failure and goes alone, as a probe. Its failure closes the gate again for longer, the next in line is the next probe.

Any request that gets an answer opens the gate for all. The line is first come, first served, so a record that fails
alone (an answer 500 for this one body only) goes to its end and does not keep the others out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable


class Gate:
    """limit: requests at one time.  sleep, clock: seconds."""

    def __init__(self, limit: int, *, sleep: Callable[[float], Awaitable[None]], clock: Callable[[], float]) -> None:
        self._slots = asyncio.Semaphore(limit)
        self._probe = asyncio.Lock()
        self._opened = asyncio.Event()
        self._opened.set()
        self._sleep = sleep
        self._clock = clock
        self._not_before = 0.0
        self.failures = 0
        """Failed rounds since the last success; 0 while the gate is open."""
        self.closed_at_s = 0.0
        """When the gate was closed, on `clock`."""
        self.in_flight = 0

    def turn(self) -> Turn:
        """Use as `async with`: waits until a request may go, and holds its place among the `limit` while it does. Gives whether it is a
        probe.

        Never held while its owner sleeps: leave it first.
        """
        return Turn(self)

    def succeeded(self) -> None:
        """Loki answered a request."""
        self.failures = 0
        self._opened.set()

    def failed(self, delay_s: Callable[[int], float], *, probe: bool) -> float:
        """A request failed for a reason that concerns everybody. Returns how long its owner should wait, in seconds.

        delay_s: of the number of failed rounds. Requests that were under way when the gate was closed count as one round,
        or four at once would wait as long as four in a row.
        """
        if not self._opened.is_set() and not probe:
            return delay_s(self.failures)
        if self._opened.is_set():
            self.closed_at_s = self._clock()
        self.failures += 1
        delay = delay_s(self.failures)
        self._not_before = self._clock() + delay
        self._opened.clear()
        return delay

    async def _enter(self) -> bool:
        while True:
            if self._opened.is_set():
                await self._slots.acquire()
                if self._opened.is_set():
                    self.in_flight += 1
                    return False
                self._slots.release()  # it was closed while this one stood in line for a place
            elif await self._enter_as_probe():
                return True

    async def _enter_as_probe(self) -> bool:
        """False when the gate has opened meanwhile."""
        await self._probe.acquire()
        try:
            await self._until_due()
            if not self._opened.is_set():
                await self._slots.acquire()
                self.in_flight += 1
                return True
        except BaseException:
            self._probe.release()
            raise
        self._probe.release()
        return False

    def _leave(self, *, probe: bool) -> None:
        self.in_flight -= 1
        self._slots.release()
        if probe:
            self._probe.release()

    async def _until_due(self) -> None:
        """Returns when the delay is over or the gate opens, whichever is first."""
        delay = self._not_before - self._clock()
        if delay <= 0 or self._opened.is_set():
            return
        waits = [asyncio.ensure_future(self._sleep(delay)), asyncio.ensure_future(self._opened.wait())]
        try:
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)


class Turn:
    """A place among those who may send. Not a generator: that would take a tenth of what a request does."""

    __slots__ = ("_gate", "_is_probe")

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._is_probe = False

    async def __aenter__(self) -> bool:
        self._is_probe = await self._gate._enter()  # noqa: SLF001 - its other half
        return self._is_probe

    async def __aexit__(self, *_: object) -> None:
        self._gate._leave(probe=self._is_probe)  # noqa: SLF001
