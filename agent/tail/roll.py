"""The roll of files: who is new, who was renamed, copied, emptied, or is gone.

A scan compares what is in the directories with what is followed. Names only say where to look; inode and content say
which file it is. Whatever cannot be looked at stays as it was.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Sequence

from agent.config import Source
from agent.model import FileId, Origin, Position, Resume
from agent.observe.events import (
    Emit,
    FileForgotten,
    FileUnreadable,
    PathRefused,
    RotationFound,
)
from agent.tail.copies import Copies
from agent.tail.discovery import Found, Key, Listing, NotTheFile, list_files
from agent.tail.generations import Generations, Timing, latest_positions
from agent.tail.identity import Verdict
from agent.tail.kubernetes import labels_of
from agent.tail.one_file import Hold, OneFile
from agent.tail.relatives import (
    Relative,
    is_compressed,
    is_copy_of_position,
    is_rotated_name,
    names_of,
    relatives,
)

_MOST_FORGOTTEN = 10_000


class Roll:
    """Belongs to the worker thread."""

    def __init__(
        self,
        sources: Sequence[Source],
        resume: Resume,
        emit: Emit,
        *,
        timing: Timing,
        wall_ns: Callable[[], int],
        once: bool,
    ) -> None:
        self._sources = {source.name: source for source in sources}
        self._all_sources = tuple(sources)
        self._resume = resume
        self._emit = emit
        self._timing = timing
        self._wall_ns = wall_ns
        self._once = once
        self._recalled = latest_positions(resume)
        self._forgotten: dict[Key, tuple[FileId, Position]] = {}
        self._is_first_start = not self._recalled
        self._is_first_scan = True
        incarnations = {key: file.incarnation for key, (file, _) in self._recalled.items()}
        self.generations = Generations(timing, incarnations, wall_ns, archives=once)
        self.copies = Copies(self.generations, emit, self._cannot_see, self.forget, wall_ns, once=once)
        self._refused: set[tuple[str, str]] = set()
        self._unseen: set[tuple[str, int]] = set()

    def scan(self, now: float) -> Listing:
        listing = list_files(self._all_sources)
        self._report(listing)
        routes: dict[Key, list[Found]] = {}
        for found in listing.found:
            routes.setdefault(found.key, []).append(found)
        files = self.generations.files
        present = {key: _route(files.get(key), found) for key, found in routes.items()}
        for file in list(files.values()):
            seen = present.get(file.key)
            if seen is not None:
                self._seen_again(file, seen, now)
            elif not file.done:
                file.listed = False
                self._missing(file, now)
        self._recall(present, now)
        fresh = [found for key, found in present.items() if key not in files]
        fresh.sort(key=lambda found: (found.path not in self.generations.chains, len(found.path), found.path))
        for found in fresh:
            self._enrol(found, now)
        self._is_first_scan = False
        return listing

    def _report(self, listing: Listing) -> None:
        for refused in listing.refused:
            if (refused.path, refused.reason) not in self._refused:
                self._refused.add((refused.path, refused.reason))
                self._emit(PathRefused(refused.source.name, refused.path, refused.reason))
        for unseen in listing.unseen:
            self._cannot_see(unseen.source.name, unseen.path, unseen.error)

    def _cannot_see(self, source: str, path: str, error: OSError) -> None:
        code = error.errno or 0
        if (path, code) not in self._unseen:
            self._unseen.add((path, code))
            self._emit(FileUnreadable(source, path, errno.errorcode.get(code, str(code)), os.strerror(code)))

    # --- known files ------------------------------------------------------------------------------------------------

    def _seen_again(self, file: OneFile, found: Found, now: float) -> None:
        if file.path != found.path and not self._renamed(file, found.path, now):
            return
        file.listed, file.is_link = True, found.is_link
        if not file.done:
            file.notice(found.size, found.mtime_ns, now)

    def _renamed(self, file: OneFile, path: str, now: float) -> bool:
        """Its inode has another name. Unless it is held open it may be gone, and another file got its inode: then it is
        forgotten, and the other one is new. True when it is the file."""
        file.path = path
        if not file.is_open and self._open(file, now) is not Verdict.SAME:
            file.deleted = True
            self.forget(file, "deleted")
            return False
        self._emit(RotationFound(file.source.name, file.origin.path, path))
        return True

    def _missing(self, file: OneFile, now: float) -> None:
        """No glob shows it: it was renamed, moved away or deleted, or cannot be seen just now."""
        try:
            if file.is_open:
                file.look(now)
                if file.deleted:
                    return
            path = self._find_name(file)
        except OSError as error:
            if file.failed(error.errno or 0, now):
                self._cannot_see(file.source.name, file.path or file.origin.path, error)
            return
        if path is None and not file.is_open:
            self.forget(file, "deleted")
        elif path is None:
            file.path = None
        elif path != file.path:
            self._renamed(file, path, now)

    def _find_name(self, file: OneFile) -> str | None:
        if file.path is not None:
            try:
                seen = os.stat(file.path)
                if (seen.st_dev, seen.st_ino) == file.key:
                    return file.path
            except FileNotFoundError:
                pass
        directories = {os.path.dirname(path) for path in (file.path, file.origin.path) if path is not None}
        for directory in directories:
            if kin := names_of(directory, {file.key}, {file.key[1]}).get(file.key):
                return kin.path
        return None

    def forget(self, file: OneFile, reason: str) -> None:
        """Let it go. Where reading got to is still remembered: a mount may come back."""
        self._emit(FileForgotten(file.source.name, file.origin.path, reason, file.offset, file.unread_bytes))
        if file.offset and not file.deleted:
            self._remember(file.key, file.id, file.position())
        self.generations.remove(file)

    def _remember(self, key: Key, file_id: FileId, position: Position) -> None:
        self._forgotten[key] = (file_id, position)
        if len(self._forgotten) > _MOST_FORGOTTEN:
            del self._forgotten[next(iter(self._forgotten))]

    # --- files of an earlier run ------------------------------------------------------------------------------------

    def _recall(self, present: dict[Key, Found], now: float) -> None:
        """Find the files whose positions are remembered: under a glob, or renamed, in the directory they were in."""
        for key in self._forgotten.keys() & present.keys():
            self._take_up(self._forgotten.pop(key), present[key], present[key], now)
        if not self._recalled:
            return
        self.copies.known_keys = self._recalled.keys()
        where, unsure = self._whereabouts(present)
        origins = {known.origin.path: known.origin for key, (_, known) in self._recalled.items() if key not in unsure}
        # A renamed file comes before the present one even when its writer has not let go of it.
        gone = {key: known for key, known in self._recalled.items() if key not in where and key not in unsure}
        for kin in sorted(where.values(), key=lambda kin: (kin.path in origins, kin.mtime_ns)):
            if kin.key not in self.generations.files:
                known = self._recalled[kin.key]
                if not self._take_up(known, kin, present.get(kin.key), now):
                    del self._recalled[kin.key]  # another file got the inode, perhaps a copy of one of these
                    gone[kin.key] = known
        for key, known in gone.items():
            if not self._take_up_copy(key, known, now) and key in self._recalled:
                self._remember(key, *known)
        self._recalled = {key: known for key, known in self._recalled.items() if key in unsure}
        self.copies.known_keys = self._recalled.keys()
        if not self._once:
            for origin in origins.values():
                self._between(origin, now)

    def _whereabouts(self, present: dict[Key, Found]) -> tuple[dict[Key, Found | Relative], set[Key]]:
        """Where the recalled files are, and those of which nothing can be said now."""
        where: dict[Key, Found | Relative] = {key: found for key, found in present.items() if key in self._recalled}
        unsure: set[Key] = set()
        elsewhere: dict[str, set[Key]] = {}
        for key, (_, known) in self._recalled.items():
            if key not in present and not self._once:
                elsewhere.setdefault(os.path.dirname(known.origin.path), set()).add(key)
        for directory, keys in elsewhere.items():
            try:
                where |= names_of(directory, keys, {key[1] for key in keys})
            except OSError as error:
                unsure |= keys
                self._cannot_see("", directory, error)
        return where, unsure

    def _take_up(self, known: tuple[FileId, Position], kin: Found | Relative, found: Found | None, now: float) -> bool:
        """Go on with a file of which a position is known, if it is still that file. Otherwise, under a glob, it is new."""
        file_id, position = known
        source = found.source if found is not None else self._sources.get(position.origin.source)
        if source is None:
            return False
        file = self.generations.new(file_id, position.origin, source, kin, now)
        file.listed, file.is_link = found is not None, found is not None and found.is_link
        file.resume_at(position)
        verdict = self._open(file, now)
        if verdict is Verdict.SAME:
            self.generations.append(file)
            for span in self._resume.lost if file.is_open else ():
                if span.file == file_id:
                    file.lose(span)
            return True
        if verdict is not None and self._is_first_scan and kin.path == position.origin.path:
            self.generations.append(file)
            self.copies.start_over(file, verdict, now)
            return True
        return False

    def _take_up_copy(self, key: Key, known: tuple[FileId, Position], now: float) -> bool:
        """Go on with a file that was copied and emptied, and then renamed or deleted, while nobody looked."""
        file_id, position = known
        source = self._sources.get(position.origin.source)
        if source is None or self._once:
            return False
        emptied = self.generations.new(file_id, position.origin, source, Relative(position.origin.path, key, 0, 0), now)
        emptied.resume_at(position)
        copy = self.copies.find_copy(emptied, now)
        if copy is None:
            return False
        self.generations.append(copy)
        self.generations.sort_by_age(position.origin.path)
        return True

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

    def _between(self, origin: Origin, now: float) -> None:
        """Generations that came and were rotated away while nobody looked: beside a path whose known files are all
        renamed, emptied or gone, unknown files with rotated names that are younger than the youngest known one."""
        path, source = origin.path, self._sources.get(origin.source)
        chain = self.generations.chains.get(path, [])
        if source is None or any(file.path == path and file.offset for file in chain):
            return
        youngest_ns = max((file.mtime_ns for file in chain if file.path != path), default=0)
        try:
            kin = relatives(path)
        except OSError as error:
            self._cannot_see("", path, error)
            return
        current = [file for file in chain if file.path == path]
        for missed in kin:
            if missed.mtime_ns >= youngest_ns and self._is_unknown_generation(missed, path, chain):
                self.generations.drop_hold(missed.key)
                generation = self.generations.new(None, origin, source, missed, now)
                self.generations.append(generation)
                self.copies.remember(generation, now)
        for file in current:  # comes after them
            self.generations.move_to_end(file)

    def _is_unknown_generation(self, kin: Relative, path: str, chain: Iterable[OneFile]) -> bool:
        known = self.generations.files.get(kin.key)
        if (known is not None and known.hold is None) or kin.key in self._recalled or kin.size == 0:
            return False
        if not is_rotated_name(os.path.basename(kin.path), os.path.basename(path)):
            return False
        try:
            return not is_compressed(kin.path, kin.key) and not any(
                file.offset and is_copy_of_position(kin, file.position()) for file in chain
            )
        except OSError as error:
            self._cannot_see("", kin.path, error)
            return False

    # --- new files --------------------------------------------------------------------------------------------------

    def _enrol(self, found: Found, now: float) -> None:
        generations = self.generations
        if found.key in generations.files:  # taken meanwhile, as a generation of another path
            return
        if found.path in generations.chains and not self._is_first_scan and not self._once:
            self._between(generations.chains[found.path][-1].origin, now)
        labels = {**labels_of(found.path), **found.source.labels}
        origin = Origin(found.source.name, found.path, tuple(labels.items()))
        file = generations.new(None, origin, found.source, found, now)
        file.listed, file.is_link = True, found.is_link
        generations.append(file)
        if not self._once and len(generations.chains[found.path]) > 1:
            self.copies.remember(file, now)
        if not self._once and any(self.copies.originals(found.path)):
            file.hold = Hold(now + self._timing.copy_wait_s)
        self._begin(file, now)

    def _begin(self, file: OneFile, now: float) -> None:
        try:
            if self._is_first_start and self._is_first_scan and not self._once and file.source.start_at == "end":
                file.begin_at_end(now)
                if not file.ignored:
                    self.copies.notes.append(file.note(self._wall_ns()))
            elif not self._is_first_scan and file.size:
                file.open()  # so that it can be read even if it is deleted before its turn
        except OSError as error:
            if file.failed(error.errno or 0, now):
                self._cannot_see(file.source.name, file.path or file.origin.path, error)
        except NotTheFile:
            self.generations.remove(file)


def _route(file: OneFile | None, routes: list[Found]) -> Found:
    """One of the paths that lead to a file: the one it has, the one it was found under, or the first."""
    for path in (file.path, file.origin.path) if file is not None else ():
        for found in routes:
            if found.path == path:
                return found
    return routes[0]
