"""Files that were known before: of an earlier run, or gone for a while. Where they are now."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable

from agent.config import Source
from agent.model import Origin, Position
from agent.tail.copies import Copies
from agent.tail.discovery import Found, NotTheFile, Sources, is_regular
from agent.tail.generations import Generations
from agent.tail.identity import Key, Verdict
from agent.tail.kubernetes import written_ns
from agent.tail.memory import Known, Memory
from agent.tail.missed import Missed, known_until_ns
from agent.tail.mounts import Area
from agent.tail.names import extends
from agent.tail.one_file import OneFile
from agent.tail.open_files import is_want_of_room
from agent.tail.relatives import Relative, Relatives


class Recall:
    """Belongs to the worker thread.

    `_pending`: positions whose files are still to be found, for something could not be looked at.
    """

    def __init__(
        self,
        sources: Sources,
        memory: Memory,
        generations: Generations,
        copies: Copies,
        missed: Missed,
        relatives: Relatives,
        open_file: Callable[[OneFile, float], Verdict | None],
        cannot_see: Callable[[str, str, OSError], None],
        *,
        once: bool,
    ) -> None:
        self._sources = sources
        self._memory = memory
        self._generations = generations
        self._copies = copies
        self._missed = missed
        self._relatives = relatives
        self._open = open_file
        self._cannot_see = cannot_see
        self._once = once
        self._pending: dict[Key, Known] = {}
        self._is_first_scan = True

    def scan(self, present: dict[Key, Found], area: Area, now: float) -> list[str]:
        """Take up every file that is remembered and can be found: under a glob, or renamed, copied or compressed. Gives the
        paths under which those of an earlier run were followed."""
        if self._is_first_scan:
            self._pending = self._memory.claim(area)
            self._put_back_unwanted(present, now)
        if self._memory:
            self._take_up_returned(present, now)
        missed = self._take_up_pending(present, now) if self._pending else []
        if self._memory and not self._once:
            self._take_up_moved(present, now)
        for origin, youngest_ns in missed:
            self._missed.between(origin, youngest_ns, now)
        self._is_first_scan = False
        return [origin.path for origin, _ in missed]

    def _put_back_unwanted(self, present: dict[Key, Found], now: float) -> None:
        """Of paths that no source includes any more, whatever their files are called today. They may be wanted again."""
        for key, known in list(self._pending.items()):
            if key not in present and self._sources.of(known[1].origin.path) is None:
                del self._pending[key]
                self.remember(key, known, now)

    def _take_up_returned(self, present: dict[Key, Found], now: float) -> None:
        known = self._memory.take(key for key in present if key not in self._generations.files)
        for key, (file, position) in known.items():
            try:
                if not self._take_up((file, position), present[key], present[key], now):
                    self._end((file, position))
            except OSError as error:
                self._cannot_see("", present[key].path, error)
                self.remember(key, (file, position), now)

    def _end(self, known: Known) -> None:
        """Another file has its inode. Its path was followed all the same."""
        self._memory.is_over(known[0])
        self._generations.past.add(known[1], is_read=False)

    def _take_up_moved(self, present: dict[Key, Found], now: float) -> None:
        """Files whose device has another number now, as it may after a reboot or a new mount: same inode, same content."""
        by_inode = {key[1]: found for key, found in present.items() if key not in self._generations.files}
        for key, (file, position) in self._memory.take_moved(by_inode).items() if by_inode else ():
            found = by_inode[key[1]]
            has_name = found.path == position.origin.path or extends(found.path, position.origin.path)
            if position.offset and has_name:
                new_id = self._memory.next_id(found.key)
                if self._take_up((new_id, position), found, found, now, is_known_inode=False):
                    self._memory.is_over(file)
                    continue
            self.remember(key, (file, position), now)

    def _take_up_pending(self, present: dict[Key, Found], now: float) -> list[tuple[Origin, int]]:
        """Gives where generations may have been missed, each with when the youngest that is known was last written."""
        known = self._pending
        where, unsure = self._whereabouts(present)
        origins = _by_origin(position for key, (_, position) in known.items() if key not in unsure)
        # A renamed file comes before the present one even when its writer has not let go of it.
        gone = {key: one for key, one in known.items() if key not in where and key not in unsure}
        # What is not where it was may have left its inode to the copy or archive of another.
        here = self._copies.pending = {key: one for key, one in known.items() if key not in gone}
        paths = {origin.path for origin in origins}
        for kin in sorted(where.values(), key=lambda kin: (kin.path in paths, kin.mtime_ns)):
            if kin.key not in self._generations.files:
                one = known[kin.key]
                try:
                    is_it = self._take_up(one, kin, present.get(kin.key), now)
                except OSError as error:
                    self._cannot_see("", kin.path, error)
                    unsure.add(kin.key)
                    continue
                if not is_it:
                    del known[kin.key], here[kin.key]  # another file got the inode, perhaps a copy of one of these
                    gone[kin.key] = one
        for key, one in sorted(gone.items(), key=lambda item: item[1][1].mtime_ns):
            try:
                is_found = self._take_up_elsewhere(key, one, now)
            except OSError as error:  # for want of descriptors
                self._cannot_see("", one[1].origin.path, error)
                known[key] = one
                unsure.add(key)
                continue
            if not is_found:
                if key in known:
                    self.remember(key, one, now)
                else:
                    self._end(one)
        self._pending = {key: one for key, one in known.items() if key in unsure}
        self._copies.pending = self._pending
        if self._once:
            return []
        return [(origin, known_until_ns(positions)) for origin, positions in origins.items()]

    def remember(self, key: Key, known: Known, now: float) -> None:
        """Since now it is absent, if a directory in which it would be is on the device that the file was on, and another file or
        none has its name; else it only cannot be seen, or is not wanted."""
        self._memory.remember(key, known, now if self._is_absent(key, known[1].origin.path) else None)

    def _is_absent(self, key: Key, path: str) -> bool:
        source = self._sources.of(path)
        places = (os.path.dirname(path),) if source is None else self._relatives.places(source, path)
        try:
            if not any(device == key[0] for device in map(_device, places)):
                return False
            seen = os.stat(path)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        return not is_regular(seen, key)

    def _whereabouts(self, present: dict[Key, Found]) -> tuple[dict[Key, Found | Relative], set[Key]]:
        """Where the pending files are, and those of which nothing can be said now."""
        where: dict[Key, Found | Relative] = {key: found for key, found in present.items() if key in self._pending}
        unsure: set[Key] = set()
        elsewhere: dict[str, set[Key]] = {}
        for key, (_, known) in self._pending.items():
            if key not in present and not self._once:
                source = self._sources.of(known.origin.path)
                for place in self._relatives.places(source, known.origin.path) if source else ():
                    elsewhere.setdefault(place, set()).add(key)
        for directory, keys in elsewhere.items():
            try:
                where |= self._relatives.with_keys([directory], keys, {key[1] for key in keys})
            except OSError as error:
                unsure |= keys
                self._cannot_see("", directory, error)
        ages = written_ns({kin.path: kin.mtime_ns for kin in where.values()})
        where = {key: kin._replace(mtime_ns=ages[kin.path]) for key, kin in where.items()}
        return where, unsure - where.keys()

    def _take_up(
        self, known: Known, kin: Found | Relative, found: Found | None, now: float, *, is_known_inode: bool = True
    ) -> bool:
        """Go on with a file of which a position is known, if it is still that file. Otherwise, under a glob, it is new.

        Raises OSError for want of descriptors.
        """
        file_id, position = known
        source = self._sources.of(position.origin.path) or (found.source if found is not None else None)
        if source is None:
            return False
        file = self._generations.new(file_id, position.origin, source, kin, now)
        file.listed, file.is_link = found is not None, found is not None and found.is_link
        file.resume_at(position)
        verdict = self._open(file, now)
        if verdict is Verdict.SAME:
            self._generations.append(file)
            if not is_known_inode:
                self._copies.remember(file, now)
            for span in self._memory.lost if file.is_open else ():
                if span.file == file_id:
                    file.lose(span)
            return True
        is_emptied = verdict is not None and verdict is not Verdict.INODE_USED_AGAIN
        if is_emptied and is_known_inode and self._is_first_scan and kin.path == position.origin.path:
            if self._take_up_archive(known, source, now):  # its inode was free then, and is used again
                file.close()
                return True
            self._generations.append(file)
            self._copies.start_over(file, verdict or Verdict.SHORTER, now)
            return True
        file.close()
        return False

    def _take_up_elsewhere(self, key: Key, known: Known, now: float) -> bool:
        """Go on with a file that was copied and emptied, or compressed, while nobody looked."""
        file_id, position = known
        source = self._sources.of(position.origin.path)
        if source is None or self._once:
            return False
        emptied = self._generations.new(
            file_id, position.origin, source, Relative(position.origin.path, key, 0, 0), now
        )
        emptied.resume_at(position)
        found = self._copies.find_copy(emptied, now) if self._relatives.may_have(source, position.origin.path) else None
        if found is None:
            return self._take_up_archive(known, source, now)
        self._memory.is_over(file_id)
        self._generations.append(found)
        self._generations.sort_by_age(position.origin.path)
        return True

    def _take_up_archive(self, known: Known, source: Source, now: float) -> bool:
        file_id, position = known
        found = None
        try:
            found = self._copies.find_archive(position, source, now)
        except OSError as error:
            if is_want_of_room(error):
                raise
            self._cannot_see(source.name, position.origin.path, error)
        except NotTheFile:
            pass
        if found is None:
            return False
        self._memory.is_over(file_id)
        self._generations.append(found)
        self._generations.sort_by_age(position.origin.path)
        return True


def _by_origin(positions: Iterable[Position]) -> dict[Origin, list[Position]]:
    """Of one path they may be told with labels of different times: the last are those of now."""
    by_path: dict[str, list[Position]] = {}
    for position in positions:
        by_path.setdefault(position.origin.path, []).append(position)
    return {some[-1].origin: some for some in by_path.values()}


def _device(directory: str) -> int | None:
    """Raises OSError when that cannot be seen."""
    try:
        return os.stat(directory).st_dev
    except FileNotFoundError:
        return None
