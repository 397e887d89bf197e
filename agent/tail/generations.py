"""All files that are followed, and in which order those of one path are read.

Under one path files come one after the other: rotation renames one and makes the next, or copies it and empties it. These
generations enter the same stream, oldest first: a generation is admitted when all before it are at their end and have
been quiet for a while, for a writer may hold on to a renamed file. Once admitted it stays so, and both are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import takewhile

from agent.config import Source
from agent.model import FileId, Origin
from agent.tail.discovery import Found, Sources
from agent.tail.identity import Key
from agent.tail.memory import Memory
from agent.tail.one_file import OneFile
from agent.tail.open_files import OpenFiles
from agent.tail.past import Past
from agent.tail.relatives import Relative


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds.

    quiet_s:         a file that has not changed for so long is done with for now; its successor may begin.
    copy_quiet_s:    so long a new file that may be a copy in the making is left alone.
    copy_wait_s:     so long a copy waits for its original to be truncated, before it counts as a file of its own.
    successor_cap_s: after so long a successor begins at a moment in which all before it are at their end, quiet or not,
                     or cannot be read.
    idle_close_s:    a descriptor is closed after so long without growth.
    join_s:          so long a line waits for its other parts, or an event that keeps growing for its end.
    nameless_s:      a quiet file whose name cannot be found any more is let go after so long.
    stalled_s:       a file system that has not answered for so long is told of, and not waited for.
    forget_s:        a deleted file is forgotten so long after it was read; by then its lines are in the buffer.
    """

    quiet_s: float = 2.0
    copy_quiet_s: float = 1.0
    copy_wait_s: float = 10.0
    successor_cap_s: float = 30.0
    idle_close_s: float = 60.0
    join_s: float = 30.0
    nameless_s: float = 600.0
    stalled_s: float = 5.0
    forget_s: float = 120.0


class Generations:
    """files:  the present content of each inode.
    chains: those found under one path, oldest first.
    roots:  of each source, the real directories its files may lie in.
    past:   generations of these paths that were let go.
    """

    def __init__(
        self,
        timing: Timing,
        memory: Memory,
        wall_ns: Callable[[], int],
        wanted: Sources,
        open_files: OpenFiles,
        *,
        archives: bool,
    ) -> None:
        self.files: dict[Key, OneFile] = {}
        self.chains: dict[str, list[OneFile]] = {}
        self._by_name: dict[str, set[str]] = {}
        self.roots: dict[str, tuple[str, ...]] = {}
        self.past = Past()
        self.timing = timing
        self._memory = memory
        self._wall_ns = wall_ns
        self._wanted = wanted
        self._archives = archives
        self.open_files = open_files

    def new(
        self, file_id: FileId | None, origin: Origin, source: Source, seen: Found | Relative, now: float
    ) -> OneFile:
        """A file not yet among the generations; without an id it is one nothing was known of. When it was last written
        says since when it has been quiet."""
        file = self._make(file_id or self._memory.next_id(seen.key), origin, source, seen.path, now)
        file.notice(seen.size, seen.mtime_ns, now)
        file.quiet_since = now - max(0.0, (self._wall_ns() - seen.mtime_ns) / 1e9)
        return file

    def anew(self, file: OneFile, origin: Origin, path: str, now: float) -> OneFile:
        """The inode of a file with other content. It is as it was last seen: it may have lost its name since, but not its age."""
        again = self._make(self._memory.next_id(file.key), origin, file.source, path, now)
        again.listed, again.is_link = file.listed, file.is_link
        again.follow(file)
        again.notice(file.size, file.mtime_ns, now)
        return again

    def _make(self, file_id: FileId, origin: Origin, source: Source, path: str, now: float) -> OneFile:
        return OneFile(
            file_id,
            origin,
            source,
            path,
            now,
            archives=self._archives,
            roots_of=self.roots_of,
            open_files=self.open_files,
            wall_ns=self._wall_ns,
        )

    def roots_of(self, path: str, source: Source) -> tuple[str, ...]:
        """Where a file must lie that is opened under this path: below the roots of the source that wants the path, for it may have
        been moved there since it was found, or else of the one under which it was found."""
        wanting = self._wanted.of(path)
        return (self.roots.get(wanting.name, ()) if wanting is not None else ()) or self.roots.get(source.name, ())

    def named(self, name: str) -> Iterable[str]:
        """The paths of chains that end in this name, in whatever directory."""
        return tuple(self._by_name.get(name, ()))

    def drop_hold(self, key: Key) -> None:
        """Of a new file that turned out to be a generation of another path: it enters again as that."""
        if (held := self.files.get(key)) is not None:
            self.remove(held)

    def append(self, file: OneFile) -> None:
        before = self.files.get(file.key)
        assert before is None or before.is_let_go, "an inode holds one content at a time"
        path = file.origin.path
        if path not in self.chains:
            self.chains[path] = []
            self._by_name.setdefault(os.path.basename(path), set()).add(path)
        self.chains[path].append(file)
        self._enter(file)

    def replace(self, old: OneFile, new: list[OneFile]) -> None:
        chain = self.chains[old.origin.path]
        at = chain.index(old)
        chain[at : at + 1] = new
        if self.files.get(old.key) is old:
            del self.files[old.key]
        old.done = True
        old.close()
        if all(file.id != old.id for file in new) and (old.deleted or any(file.key == old.key for file in new)):
            self._memory.is_over(old.id)
        for file in new:
            self._enter(file)

    def remove(self, file: OneFile) -> None:
        path = file.origin.path
        self.past.add(file.position(), is_read=bool(file.offset) and not file.unread_bytes)
        self.replace(file, [])
        if not self.chains[path]:
            del self.chains[path]
            name = os.path.basename(path)
            self._by_name[name].discard(path)
            if not self._by_name[name]:
                del self._by_name[name]

    def move_to_end(self, file: OneFile) -> None:
        chain = self.chains[file.origin.path]
        chain.remove(file)
        chain.append(file)

    def put_before_younger(self, found: OneFile, now: float) -> None:
        """Before generations of which nothing was read and that were found before it, though they were written after it."""
        chain = self.chains[found.origin.path]
        earlier = chain[: chain.index(found)]
        younger = [file for file in earlier if not file.offset and file.mtime_ns > found.mtime_ns]
        for file in younger:
            chain.remove(file)
            file.admitted, file.waiting_since = False, now
        at = chain.index(found) + 1
        chain[at:at] = younger

    def sort_by_age(self, path: str) -> None:
        """By when they were last written, the file that has the name now last."""
        self.chains.get(path, []).sort(key=lambda file: (file.path == path, file.mtime_ns))

    def _enter(self, file: OneFile) -> None:
        self.files[file.key] = file
        self._memory.in_use(file.id)

    def successor(self, file: OneFile) -> OneFile | None:
        """The next generation that holds something, or may yet: a renamed one that is empty stays so."""
        chain = self.chains[file.origin.path]
        for later in chain[chain.index(file) + 1 :]:
            if not (later.is_renamed and later.is_empty):
                return later
        return None

    def admit(self, file: OneFile, now: float) -> bool:
        """Admit it, if it is its turn. True when it is admitted now."""
        if file.admitted or file.hold is not None:
            return False
        for earlier in self._before(file):
            if not earlier.admitted or not self._lets_pass(earlier, file, now):
                return False
        file.admitted, file.admitted_at = True, now
        return True

    def _before(self, file: OneFile) -> Iterator[OneFile]:
        for earlier in self.chains[file.origin.path]:
            if earlier is file:
                return
            if not (earlier.ignored or earlier.done or earlier.hold):
                yield earlier

    def _lets_pass(self, earlier: OneFile, file: OneFile, now: float) -> bool:
        has_waited = now - file.waiting_since >= self.timing.successor_cap_s
        if earlier.error:
            return has_waited
        if earlier.has_unread:
            return False
        if earlier.deleted:
            return not earlier.has_rest or earlier.open_end.lines
        return has_waited or now - earlier.quiet_since >= self.timing.quiet_s

    def owes_rest(self, file: OneFile, now: float) -> bool:
        """Whether its unterminated last line has to be taken as it is, because nobody will end it."""
        quiet_s = self.timing.quiet_s
        if self.may_go_on(file, now):
            return False
        if not file.admitted or file.has_unread or not file.has_rest or now - file.quiet_since < quiet_s:
            return False
        if file.damaged and now - file.quiet_since < self.timing.copy_wait_s:
            return False  # it may be in the making
        if file.deleted or file.is_at_end_of_archive:
            return True
        successor = self.successor(file) if file.is_renamed else None
        return successor is not None and successor.admitted and now - successor.admitted_at >= quiet_s

    def may_go_on(self, file: OneFile, now: float) -> bool:
        """Whether what is open at its end may go on in the next generation."""
        successor = self.successor(file)
        waits = file.open_end.lines and not file.open_end.has_waited(now, self.timing.join_s)
        return waits and successor is not None and successor.offset == 0 and not (successor.done or successor.ignored)

    def owes_open_end(self, file: OneFile, now: float) -> bool:
        """Whether lines that wait for more of their kind have to be taken as they are."""
        if not file.admitted or file.has_unread or not file.open_end.lines:
            return False
        multiline = file.source.multiline
        if multiline is not None and file.open_end.is_silent(now, multiline.timeout):
            successor = self.successor(file)
            return successor is None or successor.size == 0 or not self.may_go_on(file, now)
        return file.open_end.has_waited(now, self.timing.join_s)

    def before(self, file: OneFile) -> list[OneFile]:
        """Earlier generations whose open ends may go on in a file of which nothing was read, oldest first."""
        return [*takewhile(lambda earlier: not earlier.has_unread, self._with_open_ends(file))][::-1]

    def changed_before(self, file: OneFile) -> list[OneFile]:
        """Those of them that have to be read first, oldest first: they may have grown, or only lost their name."""
        changed = [earlier for earlier in self._with_open_ends(file) if earlier.has_unread]
        return [earlier for earlier in changed[::-1] if not (earlier.error or earlier.unseen_since_ns)]

    def _with_open_ends(self, file: OneFile) -> Iterator[OneFile]:
        if file.offset or file.is_lost:
            return
        chain = self.chains[file.origin.path]
        for earlier in reversed(chain[: chain.index(file)]):
            if earlier.done or earlier.ignored or earlier.is_empty:
                continue
            if not earlier.open_end.lines:
                return
            yield earlier
            if earlier.offset:
                return

    def is_over(self, file: OneFile, now: float) -> bool:
        """Whether it can be let go: deleted or nameless, and read to its end."""
        if file.hold is not None or not file.admitted or file.has_unread:
            return False
        if file.deleted:
            return not file.has_rest and now - file.quiet_since >= self.timing.quiet_s
        return file.path is None and now - file.quiet_since >= self.timing.nameless_s
