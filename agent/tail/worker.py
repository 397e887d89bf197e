"""What the tailer does in its thread: scan, look, decide, read. One call is one turn, bounded in bytes.

Nothing here waits for anything but the disk. Events are collected and handed over with the chunks.
"""

from __future__ import annotations

import errno
import os
import resource
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from agent.config import Agent, Source
from agent.model import Chunk, Span
from agent.observe.events import (
    ArchiveDamaged,
    ArchiveNotRead,
    CharactersReplaced,
    Event,
    FileEventsMissed,
    FileUnreadable,
)
from agent.tail.directories import Directories, have_changed
from agent.tail.discovery import NotTheFile
from agent.tail.generations import Timing
from agent.tail.identity import Verdict
from agent.tail.memory import Memory
from agent.tail.mounts import Area
from agent.tail.one_file import OneFile
from agent.tail.open_files import OpenFiles
from agent.tail.reader import QUANTUM_BYTES, ContentChanged
from agent.tail.report import NOTHING_YET, FileStatus, Report, report_on, state_of, status_of
from agent.tail.roll import Roll
from agent.tail.watch import Watched

TURN_BYTES = 4 * QUANTUM_BYTES
LONG_TURN_BYTES = 3 * TURN_BYTES
"""How much is read in one turn, over all files: each turn costs a hand-over between threads and a write to the disk. The long one
while `_FEW_FILES` at most have something to read, for each file takes memory of its own."""
_FEW_FILES = LONG_TURN_BYTES // QUANTUM_BYTES

_MOST_NOTES = 2_000
"""In one turn, and nothing is read before the last of them is handed over. A start may find tens of thousands of new files, whose notes
would hold up the event loop for seconds."""

_SHORTEST_SCAN_PAUSE_S = 0.05
_SHORTEST_REPORT_PAUSE_S = 0.25
_MISSED_AFTER_NS = 2 * 10**9
_DISTRUST_S = 60.0
_FEWEST_OPEN, _SPARE_DESCRIPTORS = 4, 16


@dataclass(frozen=True, slots=True)
class Ask:
    """What is wanted of a turn.

    paths:   files that changed, as far as hinted.  names_changed: so did what is in a directory.
    watched: hints can be relied on between scans.
    read:    not only look.
    area:    what of the tree to look at; None when it is unmounted.
    """

    paths: Iterable[str]
    names_changed: bool
    watched: bool
    read: bool
    area: Area | None


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of one turn. `more`: there is more to read at once. `finished`: with `once` or unmounted, everything is
    read that could be. `trusts_events`: no change went by without a hint lately. `rest_s`: for so long, without a hint, there is
    nothing to do."""

    chunks: list[Chunk]
    events: list[Event]
    directories: Watched
    report: Report
    more: bool
    finished: bool
    trusts_events: bool
    rest_s: float


def _most_open() -> int:
    """How many files: of the descriptors that this process may have, most, but with what it has already and a few to spare
    for listing directories, for the buffer and for connections."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    try:
        used = len(os.listdir("/proc/self/fd"))
    except OSError:  # there is none left even for that
        used = limit
    return max(_FEWEST_OPEN, min(limit * 7 // 10, limit - used - _SPARE_DESCRIPTORS))


def rest_after_scan_s(took_s: float, interval_s: float, *, events_tell: bool) -> float:
    """With very many names, long enough to stay below 5 % of a core, or 1 % where events tell of changes; a fifth of that as long as
    it makes the pause no longer than twice the interval."""
    if not events_tell:
        return max(interval_s, 20 * took_s)
    return max(interval_s, 100 * took_s, min(500 * took_s, 2 * interval_s))


class Worker:
    """Belongs to one thread after it was made."""

    def __init__(
        self,
        sources: Sequence[Source],
        settings: Agent,
        area: Area,
        memory: Memory,
        timing: Timing,
        wall_ns: Callable[[], int],
        clock: Callable[[], float],
        *,
        once: bool,
        chunk_bytes: int = TURN_BYTES,
    ) -> None:
        self._events: list[Event] = []
        self._chunk_bytes = max(QUANTUM_BYTES, chunk_bytes)
        self._memory = memory
        self._open_files = OpenFiles(_most_open())
        self._roll = Roll(
            sources,
            area,
            memory,
            self._events.append,
            timing=timing,
            wall_ns=wall_ns,
            open_files=self._open_files,
            once=once,
        )
        self._generations = self._roll.generations
        self._copies = self._roll.copies
        self._settings = settings
        self._timing = timing
        self._wall_ns = wall_ns
        self._clock = clock
        self._once = once
        self._directories = Directories(area)
        self._watched: Watched = frozenset()
        self._ready: deque[OneFile] = deque()
        self._restless: dict[OneFile, None] = {}
        self._by_path: dict[str, OneFile] = {}
        self._next_scan = self._earliest_scan = self._next_look = self._next_report = 0.0
        self._scan_wanted = True
        self._report = NOTHING_YET
        self._is_reported = False
        self._watched_scans = 0
        self._distrusted_until = 0.0

    def turn(self, ask: Ask) -> Turn:
        now = self._clock()
        self._is_reported &= not (ask.paths or self._restless)
        self._roll.relatives.forget()
        self._scan_wanted |= ask.names_changed
        is_due = now >= self._next_scan or (self._scan_wanted and now >= self._earliest_scan)
        if ask.area is not None and is_due:
            self._roll.area = ask.area
            self._scan(ask, now)
        if ask.area is not None:
            self._look(ask.paths, ask.watched and now >= self._distrusted_until, now)
        for span in self._memory.take_lost(self._generations.files):
            self._read_again(span, now)
        chunks = self._settle(now, ask.read)
        if ask.read and len(self._copies.notes) > _MOST_NOTES and not chunks:
            chunks, self._copies.notes = self._copies.notes[:_MOST_NOTES], self._copies.notes[_MOST_NOTES:]
        elif ask.read:
            chunks += self._read(now)
            chunks, self._copies.notes = self._copies.notes + chunks, []
        else:
            self._keep_open(list(self._ready), now)
        finished = self._is_finished(ask)
        self._is_reported &= not chunks
        if finished or (now >= self._next_report and not self._is_reported):
            self._make_report()
        events = self._events.copy()
        self._events.clear()
        trusts_events = now >= self._distrusted_until
        rest_s = self._rest_s() if ask.watched and trusts_events else 0.0
        more = bool(self._ready or (ask.read and self._copies.notes))
        return Turn(chunks, events, self._watched, self._report, more, finished, trusts_events, rest_s)

    def _rest_s(self) -> float:
        """While hints can be relied on, and there is no file about which time decides."""
        if self._once or self._restless or self._ready or self._scan_wanted:
            return 0.0
        until = self._next_scan if self._is_reported else min(self._next_scan, self._next_report)
        return max(0.0, until - self._clock())

    def _is_finished(self, ask: Ask) -> bool:
        files = self._generations.files.values()
        if self._once:
            return all(file.done for file in files)
        if ask.area is not None or any(file.is_open and file.has_unread for file in files):
            return False
        self._roll.park()
        return True

    def close(self) -> None:
        for file in self._generations.files.values():
            file.close()

    # --- looking ----------------------------------------------------------------------------------------------------

    def _scan(self, ask: Ask, now: float) -> None:
        self._scan_wanted = self._is_reported = False
        self._directories = self._roll.scan(now).directories
        self._watched = self._directories.with_keys()
        took_s = self._clock() - now
        interval_s = self._settings.scan_interval
        rest_s = rest_after_scan_s(took_s, interval_s, events_tell=ask.watched and now >= self._distrusted_until)
        self._next_scan = float("inf") if self._once else now + rest_s
        self._earliest_scan = now + max(_SHORTEST_SCAN_PAUSE_S, (4 if ask.watched else 20) * took_s)
        self._find_missed(ask, now)
        files = self._generations.files.values()
        self._by_path = {file.path: file for file in files if file.path is not None}
        self._find_restless()
        for file in list(files):
            if file.shrank and not file.done:
                self._roll.start_over(file, Verdict.SHORTER, now)
            elif not file.is_at_rest:
                self._queue(file)
        self._close_idle(now)
        self._release(now)
        self._memory.expire(now, self._wall_ns())

    def _find_missed(self, ask: Ask, now: float) -> None:
        """Changes of a while ago that nothing hinted at: the events cannot be relied on, so look for a while."""
        self._watched_scans = self._watched_scans + 1 if ask.watched else 0
        changed, self._roll.changed = self._roll.changed, []
        if self._watched_scans <= 1 or now < self._distrusted_until:
            return
        hinted, latest_ns = set(ask.paths), self._wall_ns() - _MISSED_AFTER_NS
        missed = [
            file
            for file in changed
            if file.mtime_ns < latest_ns and file.path not in hinted and file not in self._restless
        ]
        if missed:
            self._distrusted_until = now + _DISTRUST_S
            self._events.append(FileEventsMissed(len(missed), _DISTRUST_S))

    def _release(self, now: float) -> None:
        """Deleted files keep their disk space while they are open. Beyond the limit, let go of the one deleted first."""
        held = [file for file in self._open_files if file.deleted]
        excess = sum(file.disk_bytes for file in held) - self._settings.max_held_bytes
        for file in sorted(held, key=lambda file: file.deleted_since):
            if excess <= 0:
                return
            excess -= file.disk_bytes
            self._roll.forget(file, "released", now)

    def _find_restless(self) -> None:
        """Files about which time decides, or of which no hint comes."""
        self._restless = dict.fromkeys(filter(self._is_restless, self._generations.files.values()))

    def _is_restless(self, file: OneFile) -> bool:
        return not file.done and bool(
            not file.admitted
            or not file.listed
            or file.is_link
            or file.error
            or file.hold
            or file.open_end.lines
            or self._once
        )

    def _look(self, paths: Iterable[str], watched: bool, now: float) -> None:
        if now >= self._next_look:
            if not (watched or self._once):
                self._scan_wanted = self._scan_wanted or have_changed(self._directories.changed_ns)
            for file in list(self._restless if watched or self._once else self._generations.files.values()):
                self._look_at(file, now)
            took_s = self._clock() - now  # with many files to look at, rest long enough to stay below 5 % of a core
            self._next_look = now + max(self._settings.poll_interval, 20 * took_s)
        for path in paths:
            if (hinted := self._by_path.get(path)) is not None:
                self._look_at(hinted, now)

    def _look_at(self, file: OneFile, now: float) -> None:
        if file.done or file.ignored or (now < file.next_try and file.error):
            return
        try:
            if file.path is not None or file.is_open:
                file.look(now)
            if file.error and (verdict := file.open()) is not Verdict.SAME:
                self._roll.start_over(file, verdict, now)
                return
            file.recovered()
        except (FileNotFoundError, NotTheFile):
            self._scan_wanted = True
            return
        except OSError as error:
            self._failed(file, error, now)
            return
        if file.shrank:
            self._roll.start_over(file, Verdict.SHORTER, now)
        else:
            self._scan_wanted |= bool(file.unseen_since_ns)
            self._queue(file)

    def _failed(self, file: OneFile, error: OSError, now: float) -> None:
        code = error.errno or 0
        if file.failed(code, now):
            name = errno.errorcode.get(code, str(code))
            path = file.path or file.origin.path
            self._events.append(FileUnreadable(file.source.name, path, name, error.strerror or str(error)))
        if file.path is not None:
            file.close()  # opening it again may help (ESTALE), and checks what it is
        self._restless[file] = None

    def _take_in_started_over(self) -> None:
        """Once for all that were emptied, which may be thousands: each may have brought a copy too."""
        if not self._roll.has_started_over:
            return
        self._roll.has_started_over = False
        self._by_path = {file.path: file for file in self._generations.files.values() if file.path is not None}
        self._find_restless()
        for file in self._generations.files.values():
            self._queue(file)

    # --- deciding ---------------------------------------------------------------------------------------------------

    def _settle(self, now: float, read: bool) -> list[Chunk]:
        """What time brings about: holds end, successors begin, last lines are taken as they are, files are let go."""
        chunks: list[Chunk] = []
        self._take_in_started_over()
        for file in tuple(self._restless):
            if not file.done:
                self._let_begin(file, now)
            if file.done:  # before, or it is not what it was: a copy, and followed as that
                continue
            if read and self._owes_rest(file, now):
                chunks += self._read_file(file, now, final=True)
            elif read and not file.error and self._generations.owes_open_end(file, now):
                chunks += self._read_file(file, now, close=True)
            if self._once:
                self._end_once(file)
            elif self._generations.is_over(file, now):
                self._roll.forget(file, "deleted" if file.deleted else "moved away", now)
        self._restless = dict.fromkeys(filter(self._is_restless, self._restless))
        return chunks

    def _let_begin(self, file: OneFile, now: float) -> None:
        """When its turn has come. That may be a while off; what has grown is then held open, for it may be deleted by then."""
        if file.hold is not None and not self._copies.consider_held(file, now):
            return
        if self._generations.admit(file, now):
            self._queue(file)
        elif not file.admitted and file.has_unread and self._open_files.are_few:
            self._keep_open([file], now)

    def _owes_rest(self, file: OneFile, now: float) -> bool:
        if file.ignored or file.error:
            return False
        if self._once:
            return file.admitted and not file.has_unread and file.has_rest
        return self._generations.owes_rest(file, now)

    def _end_once(self, file: OneFile) -> None:
        if file.error or file.ignored:
            if file.ignored:
                self._events.append(ArchiveNotRead(file.source.name, file.origin.path))
            file.done = True
        elif file.admitted and not file.has_unread and not file.has_rest:
            if file.damaged:
                self._events.append(ArchiveDamaged(file.source.name, file.origin.path, file.offset))
            file.done = True
            file.close()

    def _queue(self, file: OneFile) -> None:
        is_blind = file.unseen_since_ns and not self._once
        if file.admitted and file.has_unread and not (file.queued or file.hold or file.error or is_blind):
            file.queued = True
            self._ready.append(file)

    # --- reading ----------------------------------------------------------------------------------------------------

    def _read(self, now: float) -> list[Chunk]:
        """A quantum of each file that has something, in turn and again, until the turn's bytes are used up. A file that is the
        only one has them in as few pieces as batches can be made of: each piece costs something of its own."""
        chunks: list[Chunk] = []
        taken = fruitless = 0
        most = LONG_TURN_BYTES if len(self._ready) <= _FEW_FILES else TURN_BYTES
        while taken <= most - QUANTUM_BYTES and fruitless < len(self._ready):
            file = self._ready.popleft()
            file.queued = False
            if file.done or file.error or not file.admitted:
                continue
            read = self._read_file(file, now, QUANTUM_BYTES if self._ready else min(most - taken, self._chunk_bytes))
            taken += file.take_read_bytes()  # not what came of them: of what a container wrapped that may be hardly any
            chunks += read
            self._queue(file)
            fruitless = 0 if read else fruitless + file.queued  # of those that are in the queue again
        self._take_in_started_over()
        return chunks

    def _read_file(
        self, file: OneFile, now: float, most: int = QUANTUM_BYTES, *, final: bool = False, close: bool = False
    ) -> list[Chunk]:
        if file.done:  # let go while one before it was read
            return []
        changed = [] if self._once else self._generations.changed_before(file)
        chunks = [chunk for earlier in changed for chunk in self._read_file(earlier, now)]
        try:
            if not file.done and self._is_open(file, now) and not file.ignored:
                was_known = file.is_known_by_content
                before = [] if self._once else self._generations.before(file)
                with self._open_files.keeping(file, *before):
                    before, ended = self._openable(before, file, now)
                    chunks += ended
                    chunks += file.read(self._wall_ns(), most, final=final, close=close, before=before)
                if file.is_at_end_of_archive and file.damaged and not self._once and not final:
                    self._events.append(ArchiveDamaged(file.source.name, file.origin.path, file.offset))
                self._note_open_end(file, was_known, now)
                if replaced := file.take_replaced():
                    self._events.append(CharactersReplaced(file.source.name, file.path or file.origin.path, replaced))
        except ContentChanged as changed:
            self._roll.start_over(file, changed.verdict, now)
        except (FileNotFoundError, NotTheFile):
            self._scan_wanted = True
            self._gone_before_reading(file)
        except OSError as error:
            self._failed(file, error, now)
        return chunks

    def _is_open(self, file: OneFile, now: float) -> bool:
        if not file.is_open:
            verdict = file.open()
            if verdict is not Verdict.SAME:
                self._roll.start_over(file, verdict, now)
                return False
        return True

    def _read_again(self, span: Span, now: float) -> None:
        """Queue bytes that were read and then lost, if their file still has them."""
        file = self._generations.files.get((span.file.device, span.file.inode))
        if file is None:  # let go since, over the span before
            self._memory.lose([span])
            return
        if file.id != span.file or file.ignored:
            return
        try:
            if self._is_open(file, now):
                file.lose(span)
                self._queue(file)
        except (FileNotFoundError, NotTheFile):
            self._scan_wanted = True
            self._memory.lose([span])
        except OSError as error:
            self._failed(file, error, now)
            self._memory.lose([span])

    def _keep_open(self, files: Iterable[OneFile], now: float) -> None:
        """What has grown and may not be read yet is opened at least: then its lines survive its deletion."""
        for file in files:
            if (file.is_open and file.is_known_by_content) or file.error or file.done:
                continue
            try:
                if self._is_open(file, now) and file.is_open:
                    file.learn_beginning()
            except (FileNotFoundError, NotTheFile):
                self._scan_wanted = True
            except OSError as error:
                self._failed(file, error, now)

    def _openable(self, files: list[OneFile], later: OneFile, now: float) -> tuple[list[OneFile], list[Chunk]]:
        """All of them, opened; none when one cannot be, or cannot go on in the later one: it ends in the middle of a line, or is
        written in another way. Then what is whole at the end of it is taken as it is, before what follows."""
        if files:
            later.learn_format()
            if not later.has_format:
                return [], []  # nothing of it can be taken
        for file in files:
            try:
                if file.open() is not Verdict.SAME or file.ignored:
                    return [], []
                if not file.may_go_on_in(later):
                    return [], [chunk for one in files for chunk in self._read_file(one, now, close=True)]
            except (FileNotFoundError, NotTheFile):
                return [], []
            except OSError as error:
                self._failed(file, error, now)
                return [], []
        return files, []

    def _note_open_end(self, file: OneFile, was_known: bool, now: float) -> None:
        is_new = file.open_end.look(file.offset, file.seen_to, now)
        if is_new:
            self._restless[file] = None
        if file.offset == 0 and (is_new or file.is_known_by_content > was_known) and not self._once:
            self._copies.remember(file, now)  # nothing else would tell a later start of it, were it renamed by then

    def _gone_before_reading(self, file: OneFile) -> None:
        """With `once` no further scan will find it under another name."""
        if self._once:
            file.done = True

    def _close_idle(self, now: float) -> None:
        for file in self._open_files:
            is_idle = not file.has_unread and now - file.quiet_since >= self._timing.idle_close_s
            if is_idle and file.path is not None and not file.deleted and file.hold is None:
                file.close()

    # --- telling ----------------------------------------------------------------------------------------------------

    def _make_report(self) -> None:
        began = self._clock()
        self._report = report_on(self._generations.files.values())
        self._is_reported = True
        now = self._clock()
        # With very many files, rest long enough to stay below 1 % of a core.
        self._next_report = now + max(_SHORTEST_REPORT_PAUSE_S, 300 * (now - began))

    def statuses(self, most: int) -> list[FileStatus]:
        """Of each file, those first that are not just idle. May be called from another thread: it only looks."""
        files = list(self._generations.files.values())
        if len(files) > most:
            files = sorted(files, key=lambda file: state_of(file) == "idle")[:most]
        return [status_of(file) for file in files]
