"""Generations that came and were rotated away while nobody looked."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from agent.config import Source
from agent.model import Origin, Position
from agent.tail.copies import Copies
from agent.tail.discovery import NotTheFile, Sources, open_regular
from agent.tail.generations import Generations
from agent.tail.identity import GZIP_MAGIC
from agent.tail.likeness import (
    is_archive_beside,
    is_archive_of,
    is_archive_of_unread,
    is_copy_of,
    is_copy_of_file,
    is_copy_of_position,
    is_shorter_copy,
    opened,
)
from agent.tail.memory import Memory
from agent.tail.names import is_rotated_name, may_be_a_sibling, nearer_bases
from agent.tail.one_file import OneFile
from agent.tail.open_files import WANT_OF_ROOM, is_want_of_room
from agent.tail.relatives import Relative, Relatives, regular_at


def known_until_ns(positions: Iterable[Position]) -> int:
    """When the youngest was last written of generations before which nothing unknown can lie: of those that were read.

    Where nothing was read of any, that is the oldest: content may have come to it afterwards, and been compressed.
    """
    read: list[int] = []
    unread: list[int] = []
    for position in positions:
        (read if position.offset else unread).append(position.mtime_ns)
    return max(read) if read else min(unread, default=0)


@dataclass(frozen=True, slots=True)
class _Known:
    """What a missed generation is not: files that are followed, those of them that have the name now, where others ended, and what
    has the name now though it is not followed yet."""

    files: tuple[OneFile, ...]
    current: tuple[OneFile, ...]
    ends: tuple[Position, ...]
    present: Relative | None


class Missed:
    """Belongs to the worker thread."""

    def __init__(
        self,
        sources: Sources,
        memory: Memory,
        generations: Generations,
        copies: Copies,
        relatives: Relatives,
        cannot_see: Callable[[str, str, OSError], None],
    ) -> None:
        self._sources = sources
        self._memory = memory
        self._generations = generations
        self._copies = copies
        self._relatives = relatives
        self._cannot_see = cannot_see
        self._postponed: list[tuple[Origin, int]] = []

    def before(self, path: str, now: float) -> None:
        """Look for them before a new file under a path that is followed, or was."""
        known = self._memory.of_path(path)
        origins = [file.origin for file in self._generations.chains.get(path, [])]
        origins += [position.origin for position in known]
        origin = origins[-1] if origins else self._generations.past.origin(path)
        source = self._sources.of(path) if origin is not None else None
        if origin is not None and source is not None and self._relatives.may_have(source, path):
            self.between(origin, known_until_ns(known), now)

    def between(self, origin: Origin, youngest_ns: int, now: float, emptied: Position | None = None) -> None:
        """Take up, beside a path whose known files are all renamed, emptied or gone, unknown files with rotated names
        that are younger than the youngest known one.

        youngest_ns: when the youngest of those that are gone was last written; 0 when none is.  emptied: what the present
        file held before.
        """
        path, source = origin.path, self._sources.of(origin.path)
        chain = self._generations.chains.get(path, [])
        current = [file for file in chain if file.path == path and not file.deleted]
        if source is None or any(file.offset for file in current):
            return
        # As far as they were read: their writers may have gone on after those that were missed.
        followed = [file.position() for file in chain if file not in current]
        read_ns = known_until_ns(position for position in followed if position.offset)
        youngest_ns = max(youngest_ns, self._generations.past.youngest_ns(path), read_ns) or known_until_ns(followed)
        if not youngest_ns:
            return  # nothing is known that would tell them from archives of before
        try:
            missed = self._unknown(path, source, youngest_ns, emptied, current)
        except OSError as error:
            self._cannot_see("", path, error)
            if is_want_of_room(error):  # the next scan asks again, and until then the present file is not read
                self._postponed += [] if current else [(origin, youngest_ns)]
                for file in current:
                    file.unseen_since_ns = youngest_ns
            return
        for generation in missed:
            self._adopt(generation, origin, source, now)
        for file in current:
            if missed:  # it comes after them, though its turn had come while it was empty
                file.admitted, file.waiting_since = False, now
            self._generations.move_to_end(file)

    def again(self, now: float) -> None:
        """Look for those that could not be looked for when they should have been."""
        postponed, self._postponed = self._postponed, []
        for origin, youngest_ns in postponed:
            self.between(origin, youngest_ns, now)

    def _unknown(
        self, path: str, source: Source, youngest_ns: int, emptied: Position | None, current: list[OneFile]
    ) -> list[Relative]:
        everything = self._relatives.of(source, path)
        present = None if current or not everything else regular_at(path)  # not followed yet
        kin = [one for one in everything if not _is_older(one, youngest_ns)]
        known = self._known(path, kin, emptied, current, present)
        by_path = {one.path: one for one in everything}
        plain = {one.path: by_path.get(one.path.removesuffix(".gz")) for one in kin if one.path.endswith(".gz")}
        return [one for one in kin if self._is_unknown_generation(one, plain.get(one.path), path, source, known)]

    def _known(
        self,
        path: str,
        kin: list[Relative],
        emptied: Position | None,
        current: list[OneFile],
        present: Relative | None,
    ) -> _Known:
        chains = self._generations.chains
        # With a glob such as app.log*, what is app.log.1.gz by now may have been found as app.log.1.
        paths = dict.fromkeys([path, *(one.path.removesuffix(".gz") for one in kin)])
        files = tuple(file for path in paths for file in chains.get(path, ()))
        ends = [file.position() for file in files if file.is_known_by_content]
        ends += [end for path in paths for end in self._generations.past.ends(path)]
        ends += [emptied] if emptied is not None else []
        return _Known(files, tuple(current), tuple(end for end in ends if end.offset), present)

    def knows(self, path: str) -> bool:
        """Whether a file is, or was, followed under this path."""
        generations = self._generations
        return (
            path in generations.chains or generations.past.origin(path) is not None or bool(self._memory.of_path(path))
        )

    def _adopt(self, missed: Relative, origin: Origin, source: Source, now: float) -> None:
        generations = self._generations
        known = generations.files.get(missed.key)
        listed = known is not None and known.listed
        generations.drop_hold(missed.key)
        generation = generations.new(None, origin, source, missed, now)
        generation.listed = listed
        generation.allow_archive()
        generations.append(generation)
        generations.put_before_younger(generation, now)
        self._copies.remember(generation, now)

    def _is_unknown_generation(
        self, kin: Relative, plain: Relative | None, path: str, source: Source, known: _Known
    ) -> bool:
        name, base = os.path.basename(kin.path), os.path.basename(kin.log)
        if not is_rotated_name(name, base) or kin.size == 0:
            return False
        if may_be_a_sibling(name, base) and self._sources.of(kin.path) is not None:
            return False  # such as worker-2.log beside worker.log: a file of its own
        if any(self.knows(os.path.join(os.path.dirname(kin.log), nearer)) for nearer in nearer_bases(name, base)):
            return False
        try:
            if self._is_known(kin, known):
                return False
            if not _is_gzip(kin):
                return not any(_holds_known(kin, known))
            if plain is not None and is_archive_beside(kin, plain):
                return False
            remembered = [position for position in self._memory.of_path(path) if position.offset]
            is_remembered = any(is_archive_of(kin, position) for position in remembered)
            return source.compressed == "auto" and not is_remembered and not any(_archives_known(kin, known))
        except OSError as error:
            if is_want_of_room(error):
                raise
            self._cannot_see("", kin.path, error)
        except NotTheFile:
            pass
        return False

    def _is_known(self, kin: Relative, known: _Known) -> bool:
        """Whether it is followed, or remembered under another name that no source includes any more: it may be wanted again.

        Raises OSError and NotTheFile.
        """
        if any(file.key == kin.key for file in known.current):
            return True  # another name of the same file: it was not rotated away
        followed = self._generations.files.get(kin.key)
        is_followed = followed is not None and not (followed.hold or followed.ignored or followed.error in WANT_OF_ROOM)
        if is_followed or kin.key in self._copies.pending:
            return True
        remembered = self._memory.of_key(kin.key)
        return remembered is not None and remembered.offset > 0 and is_copy_of_position(kin, remembered)


def _is_older(kin: Relative, than_ns: int) -> bool:
    """Some tools keep whole seconds of the time when they compress."""
    return kin.mtime_ns < than_ns and (kin.mtime_ns % 10**9 > 0 or kin.mtime_ns // 10**9 < than_ns // 10**9)


def _holds_known(kin: Relative, known: _Known) -> Iterator[bool]:
    yield known.present is not None and _is_copy_of_present(kin, known.present)
    yield from (is_copy_of_position(kin, end) for end in known.ends)
    yield from (_is_some_copy(kin, file) for file in known.files if file.key != kin.key)


def _is_copy_of_present(kin: Relative, present: Relative) -> bool:
    """Not where that cannot be told: in doubt a repeat."""
    try:
        return kin.size <= present.size and is_copy_of(kin, present)
    except PermissionError:
        return False


def _archives_known(kin: Relative, known: _Known) -> Iterator[bool]:
    yield from (is_archive_of(kin, end) for end in known.ends)
    yield from (is_archive_of_unread(kin, file) for file in known.files if file.key != kin.key)


def _is_some_copy(kin: Relative, file: OneFile) -> bool:
    """Whether it holds the beginning of a file, be that read or not."""
    if (fd := opened(file)) is not None:
        return is_copy_of_file(kin, fd)
    return bool(file.offset) and is_shorter_copy(kin, file.position(), file.anchors)


def _is_gzip(kin: Relative) -> bool:
    fd, _ = open_regular(kin.path, kin.key)
    try:
        return os.pread(fd, 2, 0) == GZIP_MAGIC
    finally:
        os.close(fd)
