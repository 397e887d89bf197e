"""What can go wrong with the buffer that its users must know."""

from __future__ import annotations

from agent.model import Span


class StateHeld(Exception):
    """Another process holds the state directory.

    holder_pid: that process, None when it could not be read.
    """

    def __init__(self, message: str, holder_pid: int | None) -> None:
        super().__init__(message)
        self.holder_pid = holder_pid


class StateUnusable(Exception):
    """The state directory cannot be created, read or written; the message says what and the remedy."""


class StateGone(StateUnusable):
    """Somebody deleted the buffer while it was open.

    What waited in it is gone, and so is the lock. The next start knows no positions, or older ones, and reads the lines
    again from the files; going on would pass over them.
    """


class FutureFormat(StateUnusable):
    """A newer version of the agent wrote the buffer. Nothing was touched."""


class CorruptRecord(Exception):
    """A record's bytes on disk are not those that were written, or are gone.

    spans: what it says it held, when that part of it is intact.
    """

    def __init__(self, message: str, spans: tuple[Span, ...] = ()) -> None:
        super().__init__(message)
        self.spans = spans
