"""The roll of files: who is new, who was renamed, copied, emptied, or is gone.

A scan compares what is in the directories with what is followed. Names only say where to look; inode and content say
which file it is. Whatever cannot be looked at stays as it was.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence

from agent.config import Source
from agent.model import Origin
from agent.observe.events import (
    BytesAbandoned,
    Emit,
    FileForgotten,
    FileUnreadable,
    PathRefused,
    RotationFound,
    SuccessorInvisible,
)
from agent.tail.copies import Copies
from agent.tail.discovery import Found, Listing, NotTheFile, Sources, is_regular, list_files
from agent.tail.generations import Generations, Timing
from agent.tail.identity import Key, Verdict
from agent.tail.kubernetes import labels_of
from agent.tail.memory import Memory
from agent.tail.missed import Missed
from agent.tail.mounts import Area
from agent.tail.one_file import Hold, OneFile
from agent.tail.open_files import OpenFiles, is_want_of_room
from agent.tail.recall import Recall
from agent.tail.relatives import Relatives

Looks = tuple[int, ...]
_MOST_UNSEEN, _MOST_ROOTS = 10_000, 64


class Roll:
    """Belongs to the worker thread. `changed`: files that the last scan saw to have changed."""

    def __init__(
        self,
        sources: Sequence[Source],
        area: Area,
        memory: Memory,
        emit: Emit,
        *,
        timing: Timing,
        wall_ns: Callable[[], int],
        open_files: OpenFiles,
        once: bool,
    ) -> None:
        self.area = area
        self._sources = tuple(sources)
        self._memory = memory
        self._emit = emit
        self._timing = timing
        self._wall_ns = wall_ns
        self._once = once
        self._is_first_scan = True
        self._is_first_start = memory.is_first_start and not once
        wanted = Sources(sources)
        self.generations = Generations(timing, memory, wall_ns, wanted, open_files, archives=once)
        self.changed: list[OneFile] = []
        self._rotated: set[str] = set()
        self._vacant: dict[str, Looks] = {}
        self.relatives = relatives = Relatives()
        self.copies = copies = Copies(
            wanted,
            self.generations,
            relatives,
            emit,
            self._cannot_see,
            self._gone,
            self.start_over,
            wall_ns,
            once=once,
        )
        self._missed = Missed(wanted, memory, self.generations, copies, relatives, self._cannot_see)
        self._recall = Recall(
            wanted,
            memory,
            self.generations,
            copies,
            self._missed,
            relatives,
            self._open,
            self._cannot_see,
            once=once,
        )
        self.has_started_over = False
        self._refused: set[tuple[str, str]] = set()
        self._mounted_alone: set[str] = set()
        self._unseen: set[tuple[str, int]] = set()

    def scan(self, now: float) -> Listing:
        listing = list_files(self._sources, self.area)
        roots = self.generations.roots
        for source, directories in listing.roots.items():  # the last alias of a pod may be gone before its log was read
            roots[source] = tuple(dict.fromkeys((*directories, *roots.get(source, ()))))[:_MOST_ROOTS]
        self._report(listing)
        files = self.generations.files
        present = self._present(listing)
        for file in list(files.values()):
            seen = present.get(file.key)
            if files.get(file.key) is not file:
                continue  # it was found to be gone, in search of a copy of another
            if seen is not None:
                self._seen_again(file, seen, now)
            elif file.path is not None and not self.area.holds(file.path):
                self._hidden(file)
            elif not file.done:
                file.listed = False
                self._missing(file, now)
        returned = self._recall.scan(present, self.area, now)
        fresh = [found for key, found in present.items() if key not in files]
        fresh.sort(key=lambda found: (found.path not in self.generations.chains, len(found.path), found.path))
        for found in fresh:
            self._enrol(found, now)
        for path in self._rotated:  # perhaps more than once since the last scan
            self._missed.before(path, now)
        self._missed.again(now)
        self._look_for_vacant(now)
        self._vacant |= {path: _looks(path) for path in (*self._rotated, *returned) if self._is_vacant(path)}
        self._rotated.clear()
        self._look_for_unseen(now)
        self._is_first_scan = False
        return listing

    def _present(self, listing: Listing) -> dict[Key, Found]:
        """What was found, each file by one of the paths that lead to it."""
        present: dict[Key, Found] = {}
        routes: dict[Key, list[Found]] = {}
        for found in listing.found:
            if found.target:
                self.relatives.leads_to(found.path, found.target)
            if found.key in present:
                routes.setdefault(found.key, [present[found.key]]).append(found)
            else:
                present[found.key] = found
        files = self.generations.files
        return present | {key: _route(files.get(key), found) for key, found in routes.items()}

    def _is_vacant(self, path: str) -> bool:
        """Whether rotation has left nothing under a path: what is written there next may be rotated before it is seen."""
        chain = self.generations.chains.get(path, ())
        return self._missed.knows(path) and all(file.path != path or file.deleted for file in chain)

    def _look_for_vacant(self, now: float) -> None:
        """Generations that came and went under paths that are vacant, wherever something changed in the directory."""
        for path, before in list(self._vacant.items()):
            if not self._is_vacant(path):
                del self._vacant[path]
            elif (looks := _looks(path)) != before:
                self._vacant[path] = looks
                self._missed.before(path, now)

    def _look_for_unseen(self, now: float) -> None:
        """Generations that came and went while a file looked empty."""
        for file in [file for file in self.generations.files.values() if file.unseen_since_ns]:
            since_ns, file.unseen_since_ns = file.unseen_since_ns, 0
            if not (self._once or file.is_renamed) and self.relatives.may_have(file.source, file.origin.path):
                self._missed.between(file.origin, since_ns, now)

    def _report(self, listing: Listing) -> None:
        for refused in listing.refused:
            if (refused.path, refused.reason) not in self._refused:
                self._emit(PathRefused(refused.source.name, refused.path, refused.reason))
        self._refused = {(refused.path, refused.reason) for refused in listing.refused}
        alone = {mount for mount in self.area.mounts if os.path.isfile(mount)} - self._mounted_alone
        for found in listing.found if alone else ():
            if found.path in alone:
                self._mounted_alone.add(found.path)
                self._emit(SuccessorInvisible(found.source.name, found.path))
        for unseen in listing.unseen:
            self._cannot_see(unseen.source.name, unseen.path, unseen.error)

    def _cannot_see(self, source: str, path: str, error: OSError) -> None:
        code = error.errno or 0
        if (path, code) not in self._unseen:
            if len(self._unseen) >= _MOST_UNSEEN:
                self._unseen.clear()  # and told once more
            self._unseen.add((path, code))
            self._emit(FileUnreadable(source, path, errno.errorcode.get(code, str(code)), os.strerror(code)))

    # --- known files ------------------------------------------------------------------------------------------------

    def _seen_again(self, file: OneFile, found: Found, now: float) -> None:
        if file.path != found.path and not self._renamed(file, found.path, now):
            return
        file.listed, file.is_link = True, found.is_link
        file.next_try = now  # it can be seen again: no need to wait
        if not file.done and file.notice(found.size, found.mtime_ns, now, found.changed_ns):
            self.changed.append(file)

    def _renamed(self, file: OneFile, path: str, now: float) -> bool:
        """Its inode has another name. Unless it is held open it may be gone, and another file got its inode: then it is
        forgotten, and the other one is new. True when it is the file, though perhaps emptied before it was renamed."""
        file.path = path
        if not file.is_open and not file.is_its_inode(self._open(file, now)):
            file.path, file.deleted = None, True
            self._gone(file, now)
            return False
        self._rotated.add(file.origin.path)
        self._emit(RotationFound(file.source.name, file.origin.path, path))
        return True

    def _missing(self, file: OneFile, now: float) -> None:
        """No glob shows it: it was renamed, moved away or deleted, or cannot be seen just now."""
        if file.is_open:
            if not self._look(file, now):
                return
            if file.deleted:
                if file.path is not None:
                    self._rotated.add(file.origin.path)
                file.path = None  # who has its name now is another
                return
        try:
            path = self._find_name(file)
        except OSError as error:
            self._cannot_see(file.source.name, file.path or file.origin.path, error)
            if not file.is_open:  # else it can be read whatever its name is
                file.failed(error.errno or 0, now)
            return
        if path is None and not file.is_open:
            self._gone(file, now)
        elif path is not None and path != file.path and self._renamed(file, path, now):
            self._look(file, now)  # what was written before has to be read before its successor

    def _look(self, file: OneFile, now: float) -> bool:
        """False when it cannot be seen."""
        try:
            file.look(now)
        except OSError as error:
            if file.failed(error.errno or 0, now):
                self._cannot_see(file.source.name, file.path or file.origin.path, error)
            return False
        return True

    def _gone(self, file: OneFile, now: float) -> None:
        """No name is left that leads to it, or to what was read of it. Perhaps it was copied and emptied, or compressed."""
        self._rotated.add(file.origin.path)
        try:
            heir = self._find_heir(file, now)
        except OSError as error:
            self._cannot_see(file.source.name, file.origin.path, error)
            if is_want_of_room(error):
                file.failed(error.errno or 0, now)
                return  # the next scan asks again
            heir = None  # what cannot be read now is looked for again at the next start
        if file.done:
            return
        if heir is None:
            self.forget(file, "deleted", now)
        else:
            heir.admitted, heir.admitted_at = file.admitted, now
            self.generations.replace(file, [heir])
            self._memory.is_over(file.id)

    def _find_heir(self, file: OneFile, now: float) -> OneFile | None:
        if self._once or not file.is_known_by_content or file.is_archive:
            return None
        try:
            return self.copies.find_copy(file, now)
        except NotTheFile:
            return None  # renamed under our hands

    def start_over(self, file: OneFile, verdict: Verdict, now: float) -> None:
        """It was emptied or overwritten, perhaps more than once since it was looked at."""
        if not file.is_open and verdict is Verdict.SHORTER:  # so its size says; perhaps it is another file
            opened = self._open(file, now)
            verdict = verdict if opened in (None, Verdict.SAME) else opened
        before = file.position()
        known = before if file.is_known_by_content else None
        since_ns = before.mtime_ns if known is not None else file.unseen_since_ns or before.mtime_ns
        self.copies.start_over(file, verdict, now)
        self.has_started_over = True
        if since_ns and not self._once:
            self._missed.between(file.origin, since_ns, now, known)
            again = self.generations.files.get(file.key)
            if again is not None and again is not file:
                self.copies.remember(again, now)  # a start would look for what it held before, and find it once more

    def _find_name(self, file: OneFile) -> str | None:
        """Raises OSError when a directory cannot be listed. Then the name it had is no longer taken for its own."""
        directories = dict.fromkeys(self.relatives.places(file.source, file.origin.path))
        unseen: OSError | None = None
        if file.path is not None:
            try:
                seen = os.stat(file.path)
                if is_regular(seen, file.key):
                    return file.path
            except FileNotFoundError:
                pass
            except OSError as error:  # perhaps only the name is: it may have become a link to itself
                unseen = error
            directories[os.path.dirname(file.path)] = None
            file.path = file.path if unseen is not None else None
        kin = self.relatives.with_keys(directories, {file.key}, {file.key[1]}).get(file.key)
        if kin is None and unseen is not None:
            raise unseen
        return None if kin is None else kin.path

    def forget(self, file: OneFile, reason: str, now: float) -> None:
        """Let it go. Where reading got to is still remembered unless it is deleted: a mount may come back."""
        self._emit(FileForgotten(file.source.name, file.origin.path, reason, file.offset, file.unread_bytes))
        if file.unread_bytes:
            self._emit(BytesAbandoned(file.source.name, file.origin.path, reason, file.offset, file.unread_bytes))
        if file.is_known_by_content and not file.deleted:
            self._recall.remember(file.key, (file.id, file.position()), now)
        self.generations.remove(file)

    def _hidden(self, file: OneFile) -> None:
        """Something was mounted over its directory, or its directory turned out to be mounted: another area's by now."""
        file.listed = False
        if not (file.is_open and file.has_unread and file.admitted):
            if file.is_known_by_content:
                self._memory.remember(file.key, (file.id, file.position()), None)
            self.generations.remove(file)

    def park(self) -> None:
        """Of a file system that is gone: close everything and remember how far it was read."""
        for file in list(self.generations.files.values()):
            if file.is_known_by_content and not file.deleted:
                self._memory.remember(file.key, (file.id, file.position()), None)
            self.generations.remove(file)

    def _open(self, file: OneFile, now: float) -> Verdict | None:
        """None: its name belongs to another file by now. What cannot be opened is not doubted; opening checks again."""
        try:
            return file.open()
        except OSError as error:
            if file.failed(error.errno or 0, now):
                self._cannot_see(file.source.name, file.path or file.origin.path, error)
            return Verdict.SAME
        except NotTheFile:
            return None

    # --- new files --------------------------------------------------------------------------------------------------

    def _enrol(self, found: Found, now: float) -> None:
        generations = self.generations
        if found.key in generations.files:  # taken meanwhile, as a generation of another path
            return
        if not self._is_first_scan and not self._once:
            self._missed.before(found.path, now)
            if found.key in generations.files:  # renamed since the scan, and found as a generation of this path
                return
        labels = {**labels_of(found.path), **found.source.labels}
        origin = Origin(found.source.name, found.path, tuple(labels.items()))
        file = generations.new(None, origin, found.source, found, now)
        file.listed, file.is_link = True, found.is_link
        generations.append(file)
        if not self._once and len(generations.chains[found.path]) > 1:
            for one in generations.chains[found.path]:  # of those before it, with what they hold by now
                if one is file or not (one.offset or one.done or one.ignored):
                    self.copies.remember(one, now)
        if not self._once and any(self.copies.originals(found.path, found.source)):
            file.hold = Hold(now + self._timing.copy_wait_s)
        self._begin(file, now)

    def _begin(self, file: OneFile, now: float) -> None:
        try:
            if self._is_first_start and self._is_first_scan and file.source.start_at == "end":
                file.begin_at_end()
                if not file.ignored:
                    self.copies.notes.append(file.note(self._wall_ns()))
            elif not file.size and not self._once:
                file.learn_generation()  # nothing else tells it from whatever has its inode next
                if file is self.generations.chains[file.origin.path][0]:
                    self.copies.notes.append(file.note(self._wall_ns()))  # or nothing says that its path is followed
            elif not self._is_first_scan:
                file.open()  # so that it can be read even if it is deleted before its turn
        except OSError as error:
            if file.failed(error.errno or 0, now):
                self._cannot_see(file.source.name, file.path or file.origin.path, error)
        except NotTheFile:
            self.generations.remove(file)


def _looks(path: str) -> Looks:
    """What a stat of the directory shows; nothing when it cannot be seen."""
    try:
        seen = os.stat(os.path.dirname(path))
    except OSError:
        return ()
    return (seen.st_dev, seen.st_ino, seen.st_mtime_ns, seen.st_ctime_ns)


def _route(file: OneFile | None, routes: list[Found]) -> Found:
    """One of the paths that lead to a file: the one it has, the one it was found under, or the first."""
    for path in (file.path, file.origin.path) if file is not None else ():
        for found in routes:
            if found.path == path:
                return found
    return routes[0]
