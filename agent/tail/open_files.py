"""The open files of a worker, at most so many."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from agent.tail.one_file import OneFile


WANT_OF_ROOM = frozenset({errno.EMFILE, errno.ENFILE})
"""Nothing is wrong with the file: the process, or the host, has no descriptor left just now."""


def is_want_of_room(error: OSError) -> bool:
    return error.errno in WANT_OF_ROOM


class OpenFiles:
    """Each enters when it is opened. With as many as may be open, those are closed of which no descriptor is needed to read
    on: the names of some lead to them, and the longest quiet come first."""

    def __init__(self, most: int) -> None:
        self.limit(most)
        self._files: set[OneFile] = set()
        self._kept: tuple[OneFile, ...] = ()

    def limit(self, most: int) -> None:
        self._most = self._full = most
        self._ceiling = most + most // 8

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

    @contextmanager
    def keeping(self, *files: OneFile) -> Iterator[None]:
        """These are read together, and stay open meanwhile."""
        before, self._kept = self._kept, (*self._kept, *files)
        try:
            yield
        finally:
            self._kept = before

    def make_room(self) -> None:
        """Before another is opened. Raises OSError when there is none to be had: a few descriptors stay free, for the tailer lists
        directories too."""
        if len(self._files) < self._full:
            return
        if self.close_some():
            self._full = self._most
        elif len(self._files) < self._ceiling:
            # Not all of them are looked at each time when none can be closed.
            self._full = min(self._ceiling, len(self._files) + self._most // 16 + 1)
        else:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    def close_some(self) -> bool:
        """False when none can be closed."""
        closable = [file for file in self._files if _can_be_opened_again(file) and file not in self._kept]
        closable.sort(key=lambda file: (not file.listed, file.quiet_since))
        for file in closable[: self._most // 4]:
            file.close()
        return bool(closable)


def _can_be_opened_again(file: OneFile) -> bool:
    """A renamed file that was not read to its end may be compressed or deleted any moment."""
    return file.path is not None and not file.deleted and file.hold is None and (file.listed or not file.has_unread)
