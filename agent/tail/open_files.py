"""The open files of a worker, at most so many."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.tail.one_file import OneFile


class OpenFiles:
    """Each enters when it is opened. With as many as may be open, those are closed of which no descriptor is needed to read
    on: the names of some lead to them, and the longest quiet come first."""

    def __init__(self, most: int) -> None:
        self._most = self._full = most
        self._files: set[OneFile] = set()

    def __iter__(self) -> Iterator[OneFile]:
        return iter(tuple(self._files))

    @property
    def are_few(self) -> bool:
        """Whether there is room for another."""
        return len(self._files) < self._most

    def enter(self, file: OneFile) -> None:
        self._files.add(file)

    def leave(self, file: OneFile) -> None:
        self._files.discard(file)

    def make_room(self) -> None:
        if len(self._files) < self._full:
            return
        closable = [file for file in self._files if _can_be_opened_again(file)]
        closable.sort(key=lambda file: (not file.listed, file.quiet_since))
        for file in closable[: self._most // 4]:
            file.close()
        # Where none can be closed, do not look at all of them each time.
        self._full = self._most if closable else len(self._files) + self._most // 16 + 1


def _can_be_opened_again(file: OneFile) -> bool:
    """A renamed file that was not read to its end may be compressed or deleted any moment."""
    return file.path is not None and not file.deleted and file.hold is None and (file.listed or not file.has_unread)
