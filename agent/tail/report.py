"""What is told of the files that are followed: for metrics in sum, for a status page one by one."""

from __future__ import annotations

import errno
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent.tail.one_file import OneFile

STATES = ("active", "idle", "draining", "unreadable", "ignored")


@dataclass(frozen=True, slots=True)
class FileStatus:
    """For a status page. `offset` and `size` in bytes; `error` is the name of the last errno, or empty."""

    path: str
    file: str
    size: int
    offset: int
    state: str
    error: str


@dataclass(frozen=True, slots=True)
class Report:
    """What is followed at a moment. The fields are those of `TailStatistics`."""

    ready: bool
    files_by_state: Mapping[str, int]
    unread_bytes: int
    readable_bytes: int
    held_bytes: int
    open_files: int


NOTHING_YET = Report(False, dict.fromkeys(STATES, 0), 0, 0, 0, 0)


def report_on(files: Iterable[OneFile]) -> Report:
    counts = dict.fromkeys(STATES, 0)
    unread_bytes = readable_bytes = held_bytes = open_files = 0
    for file in files:
        if file.is_at_rest:
            counts["idle"] += 1
            continue
        counts[state_of(file)] += 1
        if unread := file.unread_bytes:
            unread_bytes += unread
            readable_bytes += unread if file.admitted and not file.error else 0
        if file.is_open:
            open_files += 1
            held_bytes += file.disk_bytes if file.deleted else 0
    return Report(True, counts, unread_bytes, readable_bytes, held_bytes, open_files)


def status_of(file: OneFile) -> FileStatus:
    error = errno.errorcode.get(file.error, str(file.error)) if file.error else ""
    name = f"{file.id.device}:{file.id.inode}:{file.id.incarnation}"
    return FileStatus(file.path or file.origin.path, name, file.size, file.offset, state_of(file), error)


def state_of(file: OneFile) -> str:
    if file.error:
        return "unreadable"
    if file.ignored:
        return "ignored"
    if file.deleted or file.is_renamed:
        return "draining"
    return "active" if file.is_open or file.has_unread else "idle"
