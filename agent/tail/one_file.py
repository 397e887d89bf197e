"""One file that is followed: what it looked like when last seen, and its reader.

Belongs to one thread. Nothing here decides about other files; `generations` says when this one may be read.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from agent.config import Source
from agent.model import Chunk, FileId, Origin, Position, Span
from agent.tail.content import HEAD_OF_KIND_BYTES, Content, Kind, kind_of
from agent.tail.descriptor import generation_of
from agent.tail.discovery import is_regular, open_regular
from agent.tail.identity import Key, Verdict
from agent.tail.open_end import OpenEnd
from agent.tail.open_files import WANT_OF_ROOM, OpenFiles, is_want_of_room
from agent.tail.reader import Reader

_NOTHING_COMPARED: Mapping[tuple[object, ...], bool] = {}


@dataclass(frozen=True, slots=True)
class Hold:
    """A new file that may be the copy of another one waits until that is known, at the latest until `until` (clock).

    copy_of: the key of another with which it was compared while that had all its content, and of which it holds the beginning.
    compared: its size and when it had been written last, as it was compared then.
    """

    until: float
    copy_of: Key | None = None
    compared: tuple[int, int] = (0, 0)


class OneFile:
    """size_before:  its size before it shrank.
    unseen_since_ns: when it had last been written before it shrank, or before it was empty, or as large as now, and then
                  changed: lines may have come and been rotated away meanwhile, which is to be looked into before it is read.
                  0 otherwise.
    shrank:       it is shorter than what was read of it, or nothing was read and some of that is gone.
    path:         its present name, as far as known; None when it has none that we know.
    listed:       the last scan found it under a glob.
    quiet_since:  clock; when it was last seen to change.
    admitted:     it may be read: those before it under its path are at their end. `admitted_at`: since when (clock).
    waiting_since: clock; since when it has waited for that.
    deleted_since: clock; since when no name leads to it.  disk_bytes: what it occupies.
    error:        errno of the last try to look at or read it, 0 when that went well; next try at `next_try` (clock).
    done:         nothing more of it will be read.
    compared:     whether files were its archive, as both looked then.
    """

    __slots__ = (
        "_archives",
        "_begins_at",
        "_changed_ns",
        "_kind",
        "_open_files",
        "_reader",
        "_roots_of",
        "_touched",
        "_tries",
        "admitted",
        "admitted_at",
        "compared",
        "deleted",
        "deleted_since",
        "disk_bytes",
        "done",
        "error",
        "hold",
        "id",
        "is_link",
        "key",
        "listed",
        "next_try",
        "origin",
        "path",
        "queued",
        "quiet_since",
        "shrank",
        "size",
        "size_before",
        "source",
        "unseen_since_ns",
        "waiting_since",
    )

    def __init__(
        self,
        file: FileId,
        origin: Origin,
        source: Source,
        path: str,
        now: float,
        *,
        archives: bool,
        roots_of: Callable[[str, Source], tuple[str, ...]],
        open_files: OpenFiles,
        wall_ns: Callable[[], int],
    ) -> None:
        self.id = file
        self.key: Key = (file.device, file.inode)
        self.origin = origin
        self.source = source
        self.path: str | None = path
        self.size = self.size_before = self.unseen_since_ns = self._changed_ns = self._begins_at = 0
        self.listed = self.is_link = self.deleted = self.done = False
        self.admitted = self.queued = False
        self.deleted_since, self.disk_bytes = 0.0, 0
        self.quiet_since = self.waiting_since = self.admitted_at = now
        self.hold: Hold | None = None
        self.compared: Mapping[tuple[object, ...], bool] = _NOTHING_COMPARED
        self.error, self.next_try, self._tries = 0, 0.0, 0
        self._archives = archives
        self._roots_of = roots_of
        self._open_files = open_files
        self._kind: Kind | None = None
        self._touched = self.shrank = False
        self._reader = Reader(file, origin, source, wall_ns)

    # --- what is known ----------------------------------------------------------------------------------------------

    @property
    def is_open(self) -> bool:
        return self._reader.content is not None

    @property
    def fd(self) -> int | None:
        """The descriptor, while it is open."""
        content = self._reader.content
        return content.fd if content is not None else None

    @property
    def offset(self) -> int:
        """The next line begins here."""
        return self._reader.place.offset

    @property
    def seen_to(self) -> int:
        """Up to here bytes were read, and those after the offset hold no whole line."""
        return self._reader.seen_to

    @property
    def mtime_ns(self) -> int:
        return self._reader.place.mtime_ns

    @property
    def anchors(self) -> Sequence[tuple[int, bytes]]:
        """Some places before the offset, each with the digest of the bytes before it."""
        return self._reader.place.anchors

    @property
    def beginning(self) -> bytes:
        """Of a file of which nothing was read, as far as it was looked at."""
        return self._reader.place.beginning

    @property
    def open_end(self) -> OpenEnd:
        return self._reader.open_end

    @property
    def is_archive(self) -> bool:
        """Whether offsets are those of its decompressed content."""
        return self._kind is Kind.ARCHIVE

    @property
    def ignored(self) -> bool:
        return self._kind is Kind.IGNORED

    @property
    def damaged(self) -> bool:
        content = self._reader.content
        return content is not None and content.is_damaged

    @property
    def has_unread(self) -> bool:
        """Whether reading would find something, or has to find out."""
        if self.ignored or self.done:
            return False
        if self.is_archive:
            return not self._reader.at_end or self.is_lost
        return self.size > self._reader.seen_to or self._touched or self.is_lost

    @property
    def is_at_rest(self) -> bool:
        """Closed, under its own name, read to its end: nothing is to be done about it, and of it only that it is there is to be
        told. True of almost all files at every scan, so asked at once."""
        reader = self._reader
        return (
            reader.content is None
            and self.size <= reader.place.offset
            and self.path == self.origin.path
            and not (self._touched or self.error or self.deleted or reader.lost)
            and self._kind is Kind.TEXT
        )

    @property
    def is_lost(self) -> bool:
        """Whether something is to be read again."""
        return bool(self._reader.lost)

    @property
    def unread_bytes(self) -> int:
        if self.ignored or self.done or self.is_at_end_of_archive:
            return 0
        return self.size if self.is_archive else max(0, self.size - self.offset)

    @property
    def has_rest(self) -> bool:
        """Whether an unterminated line is left at the end."""
        if self.is_archive:
            return self._reader.at_end and self.seen_to > self._reader.begins_at
        return self.size > self._reader.begins_at

    @property
    def is_let_go(self) -> bool:
        """It was found to be deleted when it was closed: whatever has its inode is another."""
        return self.deleted and not self.is_open

    @property
    def is_renamed(self) -> bool:
        return self.path != self.origin.path

    @property
    def is_at_end_of_archive(self) -> bool:
        return self.is_archive and self._reader.at_end

    @property
    def is_empty(self) -> bool:
        return self.seen_to == 0 and (self.size == 0 or self.is_at_end_of_archive)

    @property
    def is_known_by_content(self) -> bool:
        """Whether there is something to recognise it, or a copy of it, by."""
        return self._reader.place.is_known

    def position(self) -> Position:
        return self._reader.position()

    def follow(self, emptied: OneFile) -> None:
        """This is the same file with what was written into it since."""
        self._reader.lines.follow(emptied._reader.lines)

    def resume_at(self, position: Position, *, is_copy: bool = False) -> None:
        """Before opening: where an earlier run got to. Opening then checks that it is the same file, or a copy of it."""
        if is_copy:
            position = replace(position, generation=0)
        if position.offset or position.prefix_length:
            self.allow_archive()
        self._reader.place.resume_at(position)
        self._reader.seen_to = position.offset

    def allow_archive(self) -> None:
        """It may turn out to be compressed: it is a generation that nobody read."""
        self._archives = self._archives or self.source.compressed == "auto"

    def note(self, read_ns: int) -> Chunk:
        """A chunk without lines: it carries the position, so that a restart knows this file.

        Open, a file of which nothing was read yet is remembered by its first bytes: without them whatever has its inode
        later would pass for it.
        """
        if not self.is_known_by_content and (content := self._reader.content) is not None:
            self._reader.place.learn_beginning(content)
        return self._reader.note(read_ns)

    def learn_beginning(self) -> None:
        """Of a file that waits for its turn, and may be copied and emptied, or compressed, before. Needs it open."""
        content = self._reader.content
        if self.size and not self.is_known_by_content and content is not None:
            self._reader.place.learn_beginning(content)

    # --- looking ----------------------------------------------------------------------------------------------------

    def notice(self, size: int, mtime_ns: int, now: float, changed_ns: int = 0, *, by_name: bool = True) -> bool:
        """Take in what a stat has shown; `changed_ns` is its ctime, where there was one. by_name: the stat was of its path, not
        of its descriptor, which tells no rename. True when that is news."""
        reader = self._reader
        if self.is_archive:  # its sizes are those of its content
            return self._notice_archive(now, changed_ns)
        if (by_name and not self.is_renamed) or not reader.place.named_ns:
            reader.place.named_ns = mtime_ns
        is_changed = changed_ns > self._changed_ns > 0
        self._changed_ns = changed_ns or self._changed_ns
        if size == self.size and mtime_ns == self.mtime_ns:
            # Renamed, for example. Or it was overwritten, and the time put back: that leaves its trace here.
            self._touched |= is_changed and self.is_known_by_content
            return False
        self.quiet_since = now
        if self.ignored:
            self._kind = None  # overwritten in place, perhaps with what is to be read
        if size <= reader.seen_to and self.is_known_by_content:
            self._touched = True  # changed without growing: perhaps overwritten in place
        if size < self.offset or (size < self.size and self.offset == 0):
            self.shrank, self.size_before = True, self.size
            self.unseen_since_ns = self.unseen_since_ns or self.mtime_ns
        elif reader.seen_to == 0 and self.size in (0, size):
            self.unseen_since_ns = self.unseen_since_ns or self.mtime_ns
        self.size, reader.place.mtime_ns = size, mtime_ns
        reader.seen_to = max(self.offset, min(reader.seen_to, size))
        return True

    def _notice_archive(self, now: float, changed_ns: int) -> bool:
        """It is complete when it is found, mostly. One that is moved here from another file system grows."""
        is_changed, self._changed_ns = changed_ns > self._changed_ns > 0, changed_ns or self._changed_ns
        if is_changed and self.damaged:
            self._reader.go_on()
            self.quiet_since = now
        return is_changed

    def look(self, now: float) -> None:
        """Stat it. Raises OSError; ENOENT too when its name now belongs to another file."""
        if (fd := self.fd) is not None:
            seen = os.fstat(fd)
            self._take_in(seen, now)
        else:
            seen = os.stat(self.path or "")
            if not is_regular(seen, self.key):
                raise FileNotFoundError(errno.ENOENT, "another file has this name now", self.path)
        self.notice(seen.st_size, seen.st_mtime_ns, now, seen.st_ctime_ns, by_name=fd is None)

    def _take_in(self, seen: os.stat_result, now: float) -> None:
        if seen.st_nlink == 0 and not self.deleted:
            self.deleted_since = now
        self.deleted, self.disk_bytes = seen.st_nlink == 0, seen.st_blocks * 512

    def failed(self, code: int, now: float) -> bool:
        """Remember that it could not be read. True when that is news. Tries come ever rarer, up to every 5 s."""
        is_news = code != self.error
        self._tries = self._tries + 1 if self.error else 1
        self.error = code
        is_soon = code in WANT_OF_ROOM  # others are read and closed meanwhile
        self.next_try = now + (0.1 if is_soon else min(5.0, 0.1 * 2.0 ** min(self._tries, 10)))
        return is_news

    def recovered(self) -> None:
        self.error, self._tries = 0, 0

    # --- opening ----------------------------------------------------------------------------------------------------

    def open(self) -> Verdict:
        """Open it, unless it is open, and check that it is the file the position speaks of.

        Raises OSError, and NotTheFile when its name now belongs to another file. It stays open only with `SAME`.
        """
        if self.is_open:
            return Verdict.SAME
        if self.path is None:
            raise FileNotFoundError(errno.ENOENT, "its name is not known", self.origin.path)
        fd, seen = self._open_path(self.path)
        content = self._reader.content = Content(fd)
        self._open_files.enter(self)
        verdict = Verdict.DIFFERS_BEFORE_OFFSET
        try:
            self._take_in(seen, self.quiet_since)
            kind = kind_of(content.read(0, HEAD_OF_KIND_BYTES), archives=self._archives)
            if self._kind not in (None, kind):
                verdict = self._reader.place.judge(content, seen.st_size)
                verdict = Verdict.BEGINS_OTHERWISE if verdict is Verdict.SAME else verdict
            else:
                self._begin_as(kind)
                verdict = self._reader.resume(seen.st_size)
        finally:
            if verdict is not Verdict.SAME or self.ignored:
                self.close()
        if self._begins_at and self._reader.content is not None:
            self._reader.begin_at(min(self._begins_at, seen.st_size), self.source.max_line_bytes)
            self._begins_at = 0
        return verdict

    def _begin_as(self, kind: Kind | None) -> None:
        self._kind = kind
        if not self.ignored:
            self._reader.begin(is_archive=self.is_archive)

    def is_its_inode(self, verdict: Verdict | None) -> bool:
        """Whether, by what opening has shown (None: that it has no such name), its inode was not used again. Its content may
        be other: emptied, or overwritten."""
        if verdict is Verdict.SAME:
            return True
        return verdict not in (None, Verdict.INODE_USED_AGAIN) and bool(self.position().generation)

    def _open_path(self, path: str) -> tuple[int, os.stat_result]:
        self._open_files.make_room()
        roots = self._roots_of(path, self.source)
        try:
            return open_regular(path, self.key, roots)
        except OSError as error:
            if not is_want_of_room(error) or not self._open_files.close_some():
                raise
        return open_regular(path, self.key, roots)

    def close(self) -> None:
        if (content := self._reader.content) is not None:
            self._reader.content = None
            self._open_files.leave(self)
            content.close()

    def learn_generation(self) -> None:
        """Which use of its inode it is, without opening it for good. Raises as `open` does."""
        assert self.path is not None
        fd, _ = open_regular(self.path, self.key)
        try:
            self._reader.place.learn_generation(generation_of(fd))
        finally:
            os.close(fd)

    def begin_at_end(self) -> None:
        """Skip what is there now, up to the last newline, as soon as it can be opened. Tries to open it."""
        self._begins_at = self.size
        self.open()

    def move_to_end_of_copy(self, size: int, now: float) -> None:
        """All that this copy holds was read from its original. Opens it, unless it turns out to be none."""
        if self.open() is not Verdict.SAME or self.ignored:
            return
        self.notice(size, self.mtime_ns, now)
        self._reader.move_to(size)

    # --- reading ----------------------------------------------------------------------------------------------------

    def read(
        self, read_ns: int, most: int, *, final: bool = False, close: bool = False, before: Sequence[OneFile] = ()
    ) -> list[Chunk]:
        """As `Reader.read` does, or what was lost once more. `before`: earlier generations."""
        reader = self._reader
        self._begin()
        if self.ignored:
            self.close()
            return []
        if reader.lost:
            return reader.read_lost(read_ns)
        reader.check_beginning()
        self._touched = self.shrank = False
        earlier = [file._reader for file in before]  # noqa: SLF001 - of its own kind
        chunks = reader.read(read_ns, most, final=final, close=close, before=earlier)
        if reader.at_end:
            self.size = max(self.size, reader.seen_to)
        return chunks

    def _begin(self) -> None:
        """Once more, if it was empty when it was opened."""
        if self._kind is None and (content := self._reader.content) is not None:
            self._begin_as(kind_of(content.read(0, HEAD_OF_KIND_BYTES), archives=self._archives))

    def learn_format(self) -> None:
        """Of a file of which nothing was read, as far as its first line tells. Needs it open."""
        self._begin()
        if not self.ignored:
            self._reader.learn_format()

    @property
    def has_format(self) -> bool:
        """Whether its first line has told its format."""
        return self._reader.lines.format is not None

    def may_go_on_in(self, later: OneFile) -> bool:
        """Whether its open lines may, by how both are written and by what this one ends in. Needs both open."""
        reader = self._reader
        return reader.lines.ends_whole(reader.open_lines()) and later._reader.lines.go_on_from(reader.lines)

    def take_replaced(self) -> int:
        """How many characters of what was read since the last call were none."""
        return self._reader.take_replaced()

    def take_read_bytes(self) -> int:
        """How many bytes were read since the last call, whatever became of them."""
        return self._reader.take_read_bytes()

    def lose(self, span: Span) -> None:
        """Have a span read again that was read and then lost, if this file still has it. Needs it open."""
        self._reader.lose(span)
