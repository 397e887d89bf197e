"""What is known of generations that are over. Their archives may come to light later, and must not be read again."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from agent.model import Origin, Position

_MOST_PATHS = 1000
_MOST_ENDS = 8


@dataclass(slots=True)
class _Past:
    origin: Origin
    youngest_ns: int = 0
    ends: deque[Position] = field(default_factory=lambda: deque(maxlen=_MOST_ENDS))


class Past:
    """By the path under which they were found; of very many, those that lost a generation last."""

    def __init__(self) -> None:
        self._by_path: OrderedDict[str, _Past] = OrderedDict()

    def add(self, position: Position, *, is_read: bool) -> None:
        """Where reading ended in a generation that is let go. is_read: there was no more."""
        path = position.origin.path
        past = self._by_path.setdefault(path, _Past(position.origin))
        self._by_path.move_to_end(path)
        if len(self._by_path) > _MOST_PATHS:
            self._by_path.popitem(last=False)
        past.youngest_ns = max(past.youngest_ns, position.mtime_ns)
        if is_read:
            past.ends.append(position)

    def origin(self, path: str) -> Origin | None:
        """Where such generations were found; None when the path is not remembered."""
        past = self._by_path.get(path)
        return past.origin if past is not None else None

    def youngest_ns(self, path: str) -> int:
        """When the youngest of those of a path was last written; 0 when none is known."""
        past = self._by_path.get(path)
        return past.youngest_ns if past is not None else 0

    def ends(self, path: str) -> Iterable[Position]:
        """Where the last of those ended that were read to their end."""
        past = self._by_path.get(path)
        return past.ends if past is not None else ()
