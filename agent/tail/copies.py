"""Files that were emptied, and the copies a truncating rotation made of them before.

Such a rotation copies app.log to app.log.1 and then truncates app.log. What had not been read by then is in the copy, at
the same offset. The copy is seen as a new file before its original is emptied, so new files whose names extend a followed
one's are held back until it is plain what they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

from agent.config import Source
from agent.model import Chunk, Origin, Position
from agent.observe.events import CopyFound, Emit, FileTruncated
from agent.tail.discovery import NotTheFile, Sources
from agent.tail.generations import Generations
from agent.tail.identity import Key, Verdict
from agent.tail.likeness import (
    begins_as,
    holds,
    is_archive_of,
    is_archive_of_file,
    is_archive_of_unread,
    is_beginning,
    is_beginning_of,
    is_compressed,
    is_copy_of_file,
    is_copy_of_position,
    is_shorter_copy,
    opened,
    verdict_on,
)
from agent.tail.memory import Known
from agent.tail.names import is_rotated_name, may_be_a_sibling, possible_bases
from agent.tail.one_file import Hold, OneFile
from agent.tail.open_files import is_want_of_room
from agent.tail.relatives import Relative, Relatives


def _holds_all(file: OneFile, fd: int, size: int) -> bool:
    """Whether a followed generation has all the content of a file whose name is gone."""
    if file.is_archive:
        if file.path is None or (file.offset and not holds(fd, file.position())):
            return False
        return is_archive_of_file(Relative(file.path, file.key, file.size, file.mtime_ns), fd)
    if not file.offset or not holds(fd, file.position()):
        return False
    return size <= file.offset or ((original := opened(file)) is not None and is_beginning_of(fd, size, original))


def _rotated_from(path: str) -> str | None:
    """The path of the log that one with this name was rotated from, if it is such a name: as a glob like app.log* shows it."""
    directory, name = os.path.split(path)
    bases = (base for base in possible_bases(name) if is_rotated_name(name, base) and not may_be_a_sibling(name, base))
    base = next(bases, None)
    return None if base is None else os.path.join(directory, base)


def _looked_at(file: OneFile, now: float) -> Verdict:
    """Whether an open file still holds what was read of it. Of an archive only that it did not shrink."""
    file.look(now)
    if file.shrank:
        return Verdict.SHORTER
    return Verdict.SAME if file.fd is None or file.is_archive else verdict_on(file.fd, file.position())


class Copies:
    """notes:   chunks without lines; each carries the position of a copy, or of a generation whose turn is yet to come, so that a restart
             does not take it for a new file, or for one older than what is known.
    pending: files whose positions are remembered and that are yet to be found. They are no new copies, but where nothing was
             read of them content tells.
    """

    def __init__(
        self,
        sources: Sources,
        generations: Generations,
        relatives: Relatives,
        emit: Emit,
        cannot_see: Callable[[str, str, OSError], None],
        gone: Callable[[OneFile, float], None],
        overwritten: Callable[[OneFile, Verdict, float], None],
        wall_ns: Callable[[], int],
        *,
        once: bool,
    ) -> None:
        self._sources = sources
        self._generations = generations
        self._relatives = relatives
        self._emit = emit
        self._cannot_see = cannot_see
        self._gone = gone
        self._overwritten = overwritten
        self._wall_ns = wall_ns
        self._once = once
        self.notes: list[Chunk] = []
        self.pending: Mapping[Key, Known] = {}

    def originals(self, path: str, source: Source) -> Iterator[OneFile]:
        """Files that the one at `path` may be a copy of, by its name."""
        directory, name = os.path.split(path)
        chains = self._generations.chains
        here = os.path.join(directory, "")
        for base in possible_bases(name):
            chain = chains.get(here + base)
            if chain is not None and not may_be_a_sibling(name, base):
                yield from (file for file in chain if not file.is_renamed)
        if source.olddir is None:
            return
        above = directory.removesuffix("/" + source.olddir) or "/"
        if directory not in (source.olddir, os.path.join(above, source.olddir)):
            return
        for base in (name, *possible_bases(name)):
            for origin in self._generations.named(base):
                if source.olddir.startswith("/") or os.path.dirname(origin) == above:
                    yield from (file for file in chains[origin] if not file.is_renamed)

    def consider_held(self, file: OneFile, now: float) -> bool:
        """Release a held file once it is plain that it is no copy; a copy is adopted when its original is emptied.

        False when that has just happened: it is followed as another file now.
        """
        assert file.hold is not None
        # A copy in the making may take long; the wait begins when it is made.
        until = max(file.hold.until, file.quiet_since + self._generations.timing.copy_wait_s)
        if file.deleted and file.fd is not None:
            try:
                followed, ends = self._may_hold_the_same(file)
                size = os.fstat(file.fd).st_size
                is_read = any(end.offset == size and holds(file.fd, end) for end in ends)
                if is_read or any(_holds_all(one, file.fd, size) for one in followed):
                    self._generations.remove(file)  # compressed or removed: what is unread of it is read elsewhere
                    return False
                # When that is read, it shows whether it was emptied, and what became of this copy.
                may_be_copy = any(holds(file.fd, one.position()) for one in followed if one.is_known_by_content)
            except OSError:
                may_be_copy = True  # cannot tell now
            if now < until and may_be_copy:
                return True
        elif not file.deleted and file.path is not None and now < until:
            is_quiet = now - file.quiet_since >= self._generations.timing.copy_quiet_s
            # Compared also while it grows: reading may be ahead of copying, and its original emptied any moment.
            if self._is_some_copy(file, now) or not is_quiet:
                return not file.done
        file.hold = None
        return True

    def _may_hold_the_same(self, held: OneFile) -> tuple[list[OneFile], list[Position]]:
        """Of what a file whose name is gone may have been a copy of: generations that are followed, and where such as are over,
        by being emptied for one, were read to their end."""
        generations = self._generations
        chains = {original.origin.path for original in self.originals(held.origin.path, held.source)}
        followed = [file for path in chains for file in generations.chains[path] if file is not held]
        return followed, [end for path in chains for end in generations.past.ends(path)]

    def _is_some_copy(self, held: OneFile, now: float) -> bool:
        assert held.path is not None
        copy = Relative(held.path, held.key, held.size, held.mtime_ns)
        try:
            for original in list(self.originals(held.path, held.source)):
                verdict = original.open()
                if verdict is Verdict.SAME and original.fd is not None and is_copy_of_file(copy, original.fd):
                    if held.hold is not None:
                        held.hold = replace(held.hold, copy_of=original.key, compared=(copy.size, copy.mtime_ns))
                    return True
                if verdict is Verdict.SAME:
                    verdict = _looked_at(original, now)
                if verdict is not Verdict.SAME:
                    # Emptied since, and perhaps more than once: then what is held may be what it held in between.
                    self._overwritten(original, verdict, now)
                    return held.hold is not None
                if original.offset and is_copy_of_position(copy, original.position()):
                    return True  # and the original was emptied and has grown, which reading it will show
        except (OSError, NotTheFile):
            return True  # cannot tell now; the hold has an end
        return False

    # --- emptied files ----------------------------------------------------------------------------------------------

    def start_over(self, file: OneFile, verdict: Verdict, now: float) -> None:
        """It holds other content than was read. What was not read may be in a copy; what it holds now comes after.

        Where it cannot be told for want of descriptors, nothing changes, and the next look shows the same.
        """
        try:
            copy = None if self._once else self.find_copy(file, now)
        except OSError as error:
            self._cannot_see(file.source.name, file.origin.path, error)
            file.failed(error.errno or 0, now)
            return
        if file.done:
            return
        self._emit(FileTruncated(file.source.name, file.path or file.origin.path, file.offset, verdict.value))
        if (
            copy is None and file.offset
        ):  # its archive may come to light; a file that was deleted when it was closed was at its end
            was_at_end = verdict is Verdict.INODE_USED_AGAIN or file.offset >= file.size_before > 0
            self._generations.past.add(file.position(), is_read=was_at_end)
        if file.is_renamed and not file.listed:  # overwritten by the next copy, or emptied and still written to
            again = self._generations.anew(file, file.origin, file.path or file.origin.path, now)
            again.hold = Hold(now + self._generations.timing.copy_wait_s)
            self._generations.replace(file, [again] if copy is None else [copy, again])
        else:
            again = self._begin_anew(file, copy, now)
        self._look(again, now)
        if copy is not None and again.hold is None:
            self.remember(again, now)

    def _begin_anew(self, file: OneFile, copy: OneFile | None, now: float) -> OneFile:
        """The file with what it holds now, after its copy."""
        generations = self._generations
        path, origin = file.path or file.origin.path, file.origin
        if file.is_renamed and file.path is not None:  # a glob shows it under its new name, and its old content is gone
            origin = Origin(origin.source, path, origin.labels)
        again = generations.anew(file, origin, path, now)
        again.admitted = file.admitted and copy is None
        if copy is not None:
            copy.admitted, copy.admitted_at = file.admitted, now
        if again.origin == file.origin:
            generations.replace(file, [again] if copy is None else [copy, again])
            if copy is not None:
                generations.put_before_younger(copy, now)
            return again
        if copy is None:
            generations.remove(file)
        else:
            generations.replace(file, [copy])
        generations.append(again)
        return again

    @staticmethod
    def _look(file: OneFile, now: float) -> None:
        try:
            file.look(now)
        except OSError as error:
            file.failed(error.errno or 0, now)

    def remember(self, file: OneFile, now: float) -> None:
        """Note a file whose turn may be a while off.

        After a kill until then a younger one, of which something was read, would make it look older than what is known.
        """
        try:
            file.open()
        except OSError as error:
            if file.failed(error.errno or 0, now):
                self._cannot_see(file.source.name, file.path or file.origin.path, error)
        except NotTheFile:
            return
        if not file.ignored:
            self.notes.append(file.note(self._wall_ns()))

    def find_copy(self, file: OneFile, now: float) -> OneFile | None:
        """The copy that holds what was read of an emptied file, taken up where reading it ended; None when there is none.

        The search may meet an inode that a closed file had, and let that one go. It may be this one: then it is done.
        Raises OSError for want of descriptors.
        """
        known = file.position() if file.is_known_by_content else None
        kin = self._kin(file.source, file.origin.path, is_known=known is not None)
        for candidate in reversed(kin):
            with self._seeing(file.source, candidate):
                offset = self._copied_up_to(candidate, file, known, now)
                if file.done:
                    return None
                if offset is not None:
                    return self._adopt(candidate, file, known, offset, now)
        return None if known is None else self._archive_among(kin, known, file.source, now)

    def _kin(self, source: Source, path: str, *, is_known: bool) -> list[Relative]:
        """is_known: content can tell. Then what app.log.1 became may be app.log.2.gz, as rotation goes on."""
        try:
            kin = self._relatives.of(source, path)
            base = _rotated_from(path) if is_known else None
            if base is None:
                return kin
            more = (one for one in self._relatives.of(source, base) if one.path != path)
            return sorted({one.path: one for one in (*kin, *more)}.values(), key=lambda one: one.mtime_ns)
        except OSError as error:
            if is_want_of_room(error):
                raise
            self._cannot_see(source.name, path, error)
            return []

    @contextmanager
    def _seeing(self, source: Source, candidate: Relative) -> Iterator[None]:
        """One that cannot be looked into is none; others may be. Raises OSError for want of descriptors."""
        try:
            yield
        except OSError as error:
            if is_want_of_room(error):
                raise
            self._cannot_see(source.name, candidate.path, error)
        except NotTheFile:
            pass  # renamed under our hands; it will be a file of its own

    def _copied_up_to(self, candidate: Relative, file: OneFile, known: Position | None, now: float) -> int | None:
        """Where to go on in a candidate; None when it is no copy. One that was made before reading got to where it is
        now ends before that, and has nothing to read."""
        pending = self.pending.get(candidate.key)
        is_known_else = pending is not None and (pending[1].offset > 0 or known is None or not known.offset)
        is_taken = not file.is_let_go if candidate.key == file.key else self._is_followed(candidate, now)
        if is_taken or is_known_else:
            return None
        names = os.path.basename(candidate.path), os.path.basename(candidate.log)
        if may_be_a_sibling(*names) and self._sources.of(candidate.path) is not None:
            return None
        if known is None:
            # Nothing was read, so there is no content to compare: the youngest of the names rotation gives has to do.
            has_name = is_rotated_name(*names)
            tracked = self._generations.files.get(candidate.key)
            is_fresh = tracked is None or tracked.hold is not None
            is_big_enough = is_fresh and 0 < file.size_before <= candidate.size
            return 0 if has_name and is_big_enough and not is_compressed(candidate.path, candidate.key) else None
        if candidate.size < len(file.beginning):  # more was written between copying and emptying
            return 0 if is_beginning(candidate, file.beginning) else None
        if candidate.size >= known.offset:
            return known.offset if is_copy_of_position(candidate, known) else None
        was_compared = self._was_compared(candidate, file, known)
        return candidate.size if was_compared or is_shorter_copy(candidate, known, file.anchors) else None

    def _was_compared(self, candidate: Relative, file: OneFile, known: Position) -> bool:
        """Whether it was seen to hold the beginning of a file that is emptied by now, and is as it was then, or has only grown."""
        tracked = self._generations.files.get(candidate.key)
        hold = tracked.hold if tracked is not None else None
        if hold is None or hold.copy_of != file.key:
            return False
        if (candidate.size, candidate.mtime_ns) == hold.compared:
            return True
        return candidate.size > hold.compared[0] and begins_as(candidate, known)

    def _is_followed(self, candidate: Relative, now: float) -> bool:
        """Whether it is known already. A file that is not held open may be gone and have left its inode to the copy."""
        followed = self._generations.files.get(candidate.key)
        if followed is None or followed.hold is not None or (followed.offset == 0 and not followed.ignored):
            return False  # nothing was read of it, so its content tells what it is
        if followed.is_open or followed.is_let_go:
            return followed.is_open
        had, followed.path = followed.path, candidate.path
        has_its_name = followed.listed and had == candidate.path
        verdict = followed.open()
        if followed.is_its_inode(verdict) or (has_its_name and verdict is not Verdict.INODE_USED_AGAIN):
            followed.path = had  # the scan tells of another name; and if it was emptied itself, a look at it does
            return True
        followed.path, followed.deleted = None, True
        self._gone(followed, now)
        return False

    def _adopt(self, found: Relative, file: OneFile, known: Position | None, offset: int, now: float) -> OneFile:
        tracked = self._generations.files.get(found.key)
        listed = tracked is not None and tracked.listed
        if tracked is not None and not tracked.is_let_go:
            self._generations.drop_hold(found.key)
        copy = self._generations.new(None, file.origin, file.source, found, now)
        copy.listed = listed
        if known is not None and offset < known.offset:
            copy.move_to_end_of_copy(found.size, now)
        elif known is not None and found.size >= known.prefix_length:
            copy.resume_at(known, is_copy=True)
        if copy.open() is Verdict.SAME and not copy.ignored:
            self.notes.append(copy.note(self._wall_ns()))
        self._emit(CopyFound(file.source.name, file.origin.path, found.path, copy.offset))
        return copy

    # --- compressed files -------------------------------------------------------------------------------------------

    def find_archive(self, known: Position, source: Source, now: float) -> OneFile | None:
        """What a file that is gone became when it was compressed, taken up where reading it ended."""
        path = known.origin.path
        paths = filter(None, (path, _rotated_from(path)))
        if not self._may_be_in_archive(known, source) or not any(
            self._relatives.may_have_archive(source, one) for one in paths
        ):
            return None
        return self._archive_among(self._kin(source, path, is_known=True), known, source, now)

    def _may_be_in_archive(self, known: Position, source: Source) -> bool:
        return not self._once and source.compressed != "skip" and bool(known.prefix_length)

    def _archive_among(self, kin: list[Relative], known: Position, source: Source, now: float) -> OneFile | None:
        by_path = {one.path: one for one in kin}
        for candidate in reversed(kin) if self._may_be_in_archive(known, source) else ():
            plain = by_path.get(candidate.path.removesuffix(".gz"))
            with self._seeing(source, candidate):
                if self._is_archive_of(candidate, plain, known):
                    return self._adopt_archive(candidate, known, source, now)
        return None

    def _is_archive_of(self, candidate: Relative, plain: Relative | None, known: Position) -> bool:
        """Whether it is the archive in which reading goes on. plain: what has its name without the `.gz`, if there is such."""
        followed = self._generations.files.get(candidate.key)
        is_followed = followed is not None and not (followed.ignored or followed.is_let_go)
        if is_followed or candidate.key in self.pending:
            return False
        # Compressing keeps the time of the last write, in whole seconds at least.
        if candidate.mtime_ns // 10**9 < known.mtime_ns // 10**9:
            return False
        if plain is not None and plain is not candidate and is_copy_of_position(plain, known):
            return False  # it is being compressed, and is still there to be read
        return (
            is_archive_of(candidate, known)
            and not self._is_archive_of_waiting(candidate, known.origin.path)
            and not self._was_read(candidate, known)
        )

    def _was_read(self, archive: Relative, known: Position) -> bool:
        """Whether it is of a generation that was read further."""
        path = known.origin.path
        read = (file.position() for file in self._generations.chains.get(path, ()) if file.offset)
        ends = (*self._generations.past.ends(path), *read)
        return any(end.offset > known.offset and is_archive_of(archive, end) for end in ends)

    def _is_archive_of_waiting(self, archive: Relative, path: str) -> bool:
        """Whether it is what a generation became, or is becoming, that waits for its turn, held open."""
        waiting = (file for file in self._generations.chains.get(path, ()) if file.is_open)
        return any(is_archive_of_unread(archive, file) for file in waiting)

    def _adopt_archive(self, found: Relative, known: Position, source: Source, now: float) -> OneFile | None:
        followed = self._generations.files.get(found.key)
        listed = followed is not None and followed.listed
        if followed is not None and followed.ignored:
            self._generations.remove(followed)
        archive = self._generations.new(None, known.origin, source, found, now)
        archive.listed = listed
        archive.resume_at(known, is_copy=True)
        if archive.open() is not Verdict.SAME:
            return None
        self.notes.append(archive.note(self._wall_ns()))
        self._emit(CopyFound(source.name, known.origin.path, found.path, archive.offset))
        return archive
