"""Files that were emptied, and the copies a truncating rotation made of them before.

Such a rotation copies app.log to app.log.1 and then truncates app.log. What had not been read by then is in the copy, at
the same offset. The copy is seen as a new file before its original is emptied, so new files whose names extend a followed
one's are held back until it is plain what they are.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator

from agent.model import Chunk, Origin, Position
from agent.observe.events import CopyFound, Emit, FileTruncated
from agent.tail.discovery import NotTheFile
from agent.tail.generations import Generations
from agent.tail.identity import Verdict
from agent.tail.one_file import OneFile
from agent.tail.relatives import (
    Relative,
    is_copy_of_file,
    is_copy_of_position,
    is_rotated_name,
    possible_bases,
    relatives,
)


class Copies:
    """notes:   chunks without lines; each carries the position of a copy, or of a generation whose turn is yet to come, so that a restart
             does not take it for a new file, or for one older than what is known.
    known_keys: of files whose positions are remembered and that are yet to be found; they are no new copies.
    """

    def __init__(
        self,
        generations: Generations,
        emit: Emit,
        cannot_see: Callable[[str, str, OSError], None],
        forget: Callable[[OneFile, str], None],
        wall_ns: Callable[[], int],
        *,
        once: bool,
    ) -> None:
        self._generations = generations
        self._emit = emit
        self._cannot_see = cannot_see
        self._forget = forget
        self._wall_ns = wall_ns
        self._once = once
        self.notes: list[Chunk] = []
        self.known_keys: Collection[tuple[int, int]] = ()

    def originals(self, path: str) -> Iterator[OneFile]:
        """Files that the one at `path` may be a copy of, by its name."""
        directory, name = os.path.split(path)
        for base in possible_bases(name):
            for file in self._generations.chains.get(os.path.join(directory, base), ()):
                if not file.is_renamed and not file.deleted:
                    yield file

    def consider_held(self, file: OneFile, now: float) -> None:
        """Release a held file once it is plain that it is no copy; a copy is adopted when its original is emptied."""
        assert file.hold is not None
        if not file.deleted and file.path is not None and now < file.hold.until:
            is_quiet = now - file.quiet_since >= self._generations.timing.copy_quiet_s
            if not is_quiet or self._is_some_copy(file, now):
                return
        file.hold = None

    def _is_some_copy(self, held: OneFile, now: float) -> bool:
        assert held.path is not None
        copy = Relative(held.path, held.key, held.size, held.mtime_ns)
        try:
            for original in list(self.originals(held.path)):
                if original.open() is not Verdict.SAME:
                    self.start_over(original, Verdict.DIFFERS_BEFORE_OFFSET, now)
                    return held.hold is not None
                if original.fd is not None and is_copy_of_file(copy, original.fd):
                    return True
        except (OSError, NotTheFile):
            return True  # cannot tell now; the hold has an end
        return False

    # --- emptied files ----------------------------------------------------------------------------------------------

    def start_over(self, file: OneFile, verdict: Verdict, now: float) -> None:
        """It holds other content than was read. What was not read may be in a copy; what it holds now comes after."""
        self._emit(FileTruncated(file.source.name, file.path or file.origin.path, file.offset, verdict.value))
        if file.is_renamed and not file.listed:
            self._forget(file, "overwritten")
            return
        generations = self._generations
        path, origin = file.path or file.origin.path, file.origin
        if file.is_renamed and file.path is not None:  # a glob shows it under its new name, and its old content is gone
            origin = Origin(origin.source, path, origin.labels)
        copy = None if self._once or origin != file.origin else self.find_copy(file, now)
        again = OneFile(generations.next_id(file.key), origin, file.source, path, now, archives=self._once)
        again.listed, again.is_link = file.listed, file.is_link
        again.admitted = file.admitted and copy is None
        if copy is not None:
            copy.admitted, copy.admitted_at = file.admitted, now
        if again.origin == file.origin:
            generations.replace(file, [again] if copy is None else [copy, again])
        else:
            generations.remove(file)
            generations.append(again)
        if copy is not None:
            self.remember(again, now)
        try:
            again.look(now)
        except OSError as error:
            again.failed(error.errno or 0, now)

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
        """The copy that holds what was read of an emptied file, taken up where reading it ended; None when there is none."""
        known = file.position() if file.is_known_by_content else None
        try:
            kin = relatives(file.origin.path)
            for candidate in reversed(kin):
                if self._is_copy(candidate, file, known):
                    return self._adopt(candidate, file, known, now)
        except OSError as error:
            self._cannot_see(file.source.name, file.origin.path, error)
        except NotTheFile:
            return None  # renamed under our hands; it will be a file of its own
        return None

    def _is_copy(self, candidate: Relative, file: OneFile, known: Position | None) -> bool:
        if candidate.key == file.key or candidate.key in self.known_keys or self._is_followed(candidate):
            return False
        if known is not None:
            return candidate.size >= known.offset and is_copy_of_position(candidate, known)
        # Nothing was read, so there is no content to compare: the youngest of the names rotation gives has to do.
        return 0 < file.size_before <= candidate.size and is_rotated_name(
            os.path.basename(candidate.path), os.path.basename(file.origin.path)
        )

    def _is_followed(self, candidate: Relative) -> bool:
        """Whether it is known already. A file that is not held open may be gone and have left its inode to the copy."""
        followed = self._generations.files.get(candidate.key)
        if followed is None or followed.hold is not None:
            return False
        if followed.is_open or followed.offset == 0:
            return True
        followed.path = candidate.path
        if followed.open() is Verdict.SAME:
            return True
        followed.deleted = True
        self._forget(followed, "deleted")
        return False

    def _adopt(self, found: Relative, file: OneFile, known: Position | None, now: float) -> OneFile:
        tracked = self._generations.files.get(found.key)
        listed = tracked is not None and tracked.listed
        self._generations.drop_hold(found.key)
        copy = self._generations.new(None, file.origin, file.source, found, now)
        copy.listed = listed
        if known is not None:
            copy.resume_at(known)
        if copy.open() is Verdict.SAME:
            self.notes.append(copy.note(self._wall_ns()))
        self._emit(CopyFound(file.source.name, file.origin.path, found.path, copy.offset))
        return copy
