"""Builds every part from its section of the configuration, owns them, and stops them in order.

What the process owns, from the outside in: the state directory (buffer, dead letters, key) ⊃ the connection to Loki ⊃
the open log files ⊃ the HTTP listener ⊃ the tasks.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from agent import __version__, memory
from agent.batch.batcher import Batcher
from agent.buffer.disk import CorruptRecord, DiskBuffer, StateUnusable
from agent.config import Config, Source
from agent.keys import PseudonymKey, own_secrets, value_list
from agent.model import Chunk, Entries, Record
from agent.observe.events import (
    AgentStarted,
    AgentStopped,
    AgentStopping,
    BufferReadFailed,
    ChunkRead,
    Emit,
    Event,
    FinderChosen,
    FinderSlow,
    PseudonymKeyNotKept,
    RedactionDoubtful,
    RedactionOff,
)
from agent.observe.health import Facts, alive
from agent.observe.metrics import Gauge, Metrics
from agent.observe.server import Server
from agent.patterns import PatternFile
from agent.pipeline import collect, deliver
from agent.push.client import LokiClient
from agent.push.dead_letters import DeadLetters
from agent.push.pusher import Outcome, Pusher
from agent.systemd import Notifier
from agent.tail.all_files import Tailer
from agent.tail.kubernetes import own_logs
from agent.tail.multiline import check_starts
from agent.transform.chain import MAX_LINE_BYTES, Transform
from agent.transform.redact import Redactor
from agent.transform.redaction import catalogue
from agent.transform.redaction.engine import installed_engine

BEAT_S = 1.0
TRY_AGAIN_S = 1.0
GARBAGE_AFTER = 20_000
TRIM_EVERY_S = 60.0
SETTLES_AFTER_S = 10.0
SHORTEST_IDLE_S, LONGEST_IDLE_S = 0.02, 0.25


def settle() -> None:
    """What a start leaves behind is thrown away, and what it made stays: the collector need not look at it again."""
    gc.collect()
    memory.let_code_go()
    memory.trim()
    gc.freeze()
    # Lines are bytes and numbers, which it does not look at; lists of them are no garbage that needs haste.
    gc.set_threshold(GARBAGE_AFTER, 20, 20)
    gc.enable()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended: entries delivered, dropped (refused by Loki for good among them), and still in the buffer; compressed
    files that could not be read to their end; and times that a file could not be read at all."""

    delivered: int
    dropped: int
    waiting: int
    damaged_archives: int
    unread_files: int


class App:
    """The agent: one configuration, one state directory, one run.

    report:  receives every event besides the metrics (stderr, or a test's list).
    sources: instead of the configured ones, for `ship`.
    once:    end when every file has been read to its end and delivered.
    """

    def __init__(
        self,
        settings: Config,
        report: Emit,
        *,
        state_dir: Path | None = None,
        sources: Sequence[Source] | None = None,
        once: bool = False,
        notifier: Notifier | None = None,
    ) -> None:
        self.settings = settings
        self.metrics = Metrics(self._gauges)
        self.port = 0
        self._report = report
        self._state_dir = state_dir or Path(settings.agent.state_dir)
        own = own_logs(os.environ)
        self._sources = tuple(
            source.model_copy(update={"exclude": (*source.exclude, *own)}) if own else source
            for source in (sources if sources is not None else settings.source)
        )
        self._once = once
        self._notifier = notifier or Notifier({})
        self._stop = asyncio.Event()
        self._happened = asyncio.Event()
        self._grace: asyncio.Timeout | None = None
        self._patience_s: float | None = None
        self._waits_for_key = False
        self._last_turn = time.monotonic()

    # --- life -----------------------------------------------------------------------------------------------------

    async def run(self) -> Ended:
        """Runs until `stop`, or with `once` until everything is delivered.

        Raises buffer.StateHeld and buffer.StateUnusable when the state directory cannot be had, server.CannotListen,
        secret.SecretMissing and redact.BadRule; everything else is a bug and ends the process.
        """
        with DiskBuffer.open(self._state_dir / "buffer", self.settings.buffer, self.emit) as self.buffer:
            resume = self.buffer.resume()
            key = PseudonymKey(Path(self.settings.agent.state_dir), self.settings.redact.hash_key)
            transform = self._build_transform(key)
            self.batcher = Batcher(self.settings.batch, self.settings.loki.encoding, resume.clocks)
            self.tailer = Tailer(
                self._sources,
                self.settings.agent,
                resume,
                self.emit,
                once=self._once,
                forget=self.buffer.forget,
                # A chunk is in one batch: with metadata and what each entry adds on the wire it has to fit.
                chunk_bytes=self.settings.batch.max_bytes * 4 // 5,
            )
            self.dead_letters = DeadLetters(self._state_dir / "dead-letters", self.emit)
            async with LokiClient(self.settings.loki) as client:
                self.pusher = Pusher(
                    self.settings.loki,
                    client,
                    self.dead_letters,
                    self.emit,
                    load=self.buffer.read,
                    at_hand=self.buffer.at_hand,
                    note=self.buffer.note_progress,
                )
                async with self.tailer, self._listening() as self.port:
                    await self._work(transform, key)
            ended = self._ended()
        self.emit(AgentStopped(ended.waiting))
        return ended

    def _build_transform(self, key: PseudonymKey) -> Transform:
        redact = self.settings.redact
        if not redact.enabled:
            self.emit(RedactionOff())
        redactor = Redactor.build(
            redact,
            pseudonym_key=key.value,
            own_secrets=own_secrets(self.settings.loki, os.environ),
            values=value_list(redact.values_file),
            store=PatternFile(Path(self.settings.agent.state_dir), self.emit),
        )
        self.emit(FinderChosen(redactor.engine))
        if redactor.engine in ("re2", "re"):
            self.emit(FinderSlow(redactor.engine))
        for warning in redactor.warnings:
            self.emit(RedactionDoubtful(warning))
        check_starts(self._sources, redactor.engine if redact.enabled else installed_engine())
        return Transform(
            self.settings.parse,
            self.settings.labels,
            self.settings.metadata,
            redactor,
            host=self.settings.labels.host or socket.gethostname(),
            text_only=frozenset(source.name for source in self._sources if source.format == "text"),
            max_line_bytes=max(MAX_LINE_BYTES, *(source.max_line_bytes for source in self._sources)),
        )

    @asynccontextmanager
    async def _listening(self) -> AsyncIterator[int]:
        """The HTTP listener; `ship` has none, for the daemon's may be there."""
        if self._once:
            yield 0
            return
        async with Server(self.metrics, self.facts, self.status).listening(self.settings.server.listen) as port:
            yield port

    async def _work(self, transform: Transform, key: PseudonymKey) -> None:
        self.emit(AgentStarted(__version__, len(self._sources), str(self._state_dir), self.settings.loki.url))
        for source in self._sources:  # so that a counter of 0 is told as 0
            self.emit(ChunkRead(source.name, 0, 0))
        async with asyncio.TaskGroup() as tasks:
            collecting = tasks.create_task(self._collect(transform, key), name="collect")
            delivering = tasks.create_task(deliver(self.buffer, self._push, self.emit), name="deliver")
            beating = tasks.create_task(self._beat(), name="heartbeat")
            stopping = tasks.create_task(self._stop.wait(), name="stop")
            await asyncio.wait((collecting, stopping), return_when=asyncio.FIRST_COMPLETED)
            self.tailer.stop()
            await self._wind_down(collecting)
            for task in (collecting, delivering, beating, stopping):
                task.cancel()

    async def _collect(self, transform: Transform, key: PseudonymKey) -> None:
        await self._until_kept(key)

        def turn(chunks: Sequence[Chunk]) -> Iterator[Entries]:
            if chunks:
                self._last_turn = time.monotonic()
            return transform.turn(chunks)

        # Often enough for the promise of `max_wait`, and no oftener: each look costs an idle agent a wake-up.
        idle_s = min(LONGEST_IDLE_S, max(SHORTEST_IDLE_S, self.settings.batch.max_wait / 4))
        await collect(self.tailer, turn, self.batcher, self.buffer, self.emit, time.monotonic, idle_s)

    async def _until_kept(self, key: PseudonymKey) -> None:
        """Until what the pseudonyms are made with outlives this process, or it is to stop."""
        while not self._stop.is_set():
            try:
                await asyncio.to_thread(key.keep)
            except FileExistsError:
                raise StateUnusable("another agent has made the pseudonym key meanwhile; start again") from None
            except OSError as error:
                self._waits_for_key = True
                self.emit(PseudonymKeyNotKept(self.settings.agent.state_dir, error.strerror or str(error)))
                await asyncio.sleep(TRY_AGAIN_S)
            else:
                self._waits_for_key = False
                return

    async def _push(self, record: Record) -> Outcome:
        """What the pusher says; a record that the disk gave back damaged is set aside, and its lines counted there."""
        while True:
            try:
                return await self.pusher(record)
            except CorruptRecord as error:
                self.buffer.set_aside(record, error.spans)
                return Outcome(0, 0, 0)
            except OSError as error:  # no descriptor left, a disk that does not read: neither is the record's fault
                self.emit(BufferReadFailed(str(self._state_dir), error.strerror or str(error)))
                await asyncio.sleep(TRY_AGAIN_S)

    async def _wind_down(self, collecting: asyncio.Task[None]) -> None:
        """Seals what is read and delivers it, within the grace; with `once`, however long it takes until `stop`."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience_s) as self._grace:
                await collecting
                while self.buffer.statistics().waiting_entries:
                    self._happened.clear()
                    await self._happened.wait()
        self._grace = None

    async def _beat(self) -> None:
        """Tells systemd that the loop turns, and READY once the first scan is done; has what was lost on disk read again;
        gives back the memory that a backlog took."""
        said_ready = settled = False
        began_s = trimmed_s = time.monotonic()
        while True:
            # Not before: looking for garbage takes longer than sending the first lines.
            delivered = said_ready and not sum(self._waiting().values())
            if not settled and (delivered or time.monotonic() - began_s > SETTLES_AFTER_S):
                if self.settings.redact.enabled:
                    # No descriptor just now, or no file: the line that needs one of them loads it, or a stub takes its place.
                    with contextlib.suppress(OSError, ImportError):
                        catalogue.load_late()
                settle()
                settled = True
            facts = self.facts()
            if not said_ready and facts.first_scan_done:
                self._notifier.ready("shipping")
                said_ready = True
            if self._notifier.watchdog_s is not None and alive(facts):
                self._notifier.watchdog()
            if lost := self.buffer.take_lost():
                self.tailer.read_again(lost)
            waiting = self.buffer.statistics().waiting_entries
            self._notifier.status(facts.held or f"shipping; {waiting} entries wait")
            if not waiting and time.monotonic() - trimmed_s >= TRIM_EVERY_S:
                memory.trim()
                trimmed_s = time.monotonic()
            await asyncio.sleep(BEAT_S if said_ready and settled else 0.05)

    def stop(self, reason: str = "request") -> None:
        """Stops reading and delivers within the grace; called again, without it. To be called on the loop."""
        if self._stop.is_set():
            self._patience_s = 0.0
        else:
            self._patience_s = grace_s = self.settings.agent.shutdown_grace
            self.emit(AgentStopping(reason, grace_s))
            self._notifier.stopping(grace_s + 5)
            self._stop.set()
        # There is one only while the rest is delivered, and one that has run out cannot be changed.
        if self._grace is not None and not self._grace.expired():
            self._grace.reschedule(asyncio.get_running_loop().time() + self._patience_s)

    def stop_on_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, number.name)

    def unread_bytes(self) -> int:
        """Bytes in known files that are not read yet; 0 before the first look."""
        return self.tailer.statistics().unread_bytes

    # --- what is seen ----------------------------------------------------------------------------------------------

    def emit(self, event: Event) -> None:
        self.metrics.observe(event)
        self._report(event)
        self._happened.set()

    def facts(self) -> Facts:
        buffer = self.buffer.statistics()
        return Facts(
            collect_age_s=time.monotonic() - self._last_turn if self.tailer.statistics().readable_bytes else 0.0,
            collect_waits=buffer.full or self._waits_for_key,
            first_scan_done=self.tailer.statistics().ready,
            stopping=self._stop.is_set(),
            held=self.pusher.statistics().held,
        )

    def _ended(self) -> Ended:
        return Ended(
            delivered=int(self.metrics.total("delivered_entries")),
            dropped=int(self.metrics.total("dropped_entries")),
            waiting=self.buffer.statistics().waiting_entries,
            damaged_archives=int(self.metrics.total("damaged_archives")),
            unread_files=int(self.metrics.total("archives_not_read") + self.metrics.total("file_errors")),
        )

    def imbalance(self) -> int:
        """read + recovered − delivered − dropped − waiting, in entries: 0 at any moment."""
        total = self.metrics.total
        read = total("read_lines") + self.buffer.statistics().recovered_entries
        gone = total("delivered_entries") + total("dropped_entries")
        return int(read - gone - sum(self._waiting().values()))

    def _waiting(self) -> dict[str, int]:
        buffer = self.buffer.statistics()
        return {
            "batch": self.batcher.waiting + self.batcher.sealed_entries - buffer.appended_entries,
            "buffer": buffer.waiting_entries,
        }

    def _gauges(self) -> Iterable[Gauge]:
        """Every gauge, from one look at all parts."""
        buffer, push, tail = self.buffer.statistics(), self.pusher.statistics(), self.tailer.statistics()
        facts = self.facts()

        def one(name: str, text: str, value: float) -> Gauge:
            return Gauge(name, text, {(): float(value)})

        waiting: dict[tuple[str, ...], float] = {(stage,): float(count) for stage, count in self._waiting().items()}
        files: dict[tuple[str, ...], float] = {(state,): float(count) for state, count in tail.files_by_state.items()}
        oldest_s = max(0.0, time.time() - buffer.oldest_ns / 1e9) if buffer.oldest_ns is not None else 0.0
        yield Gauge("waiting_entries", "Entries read and not yet in Loki, by where they wait.", waiting, ("stage",))
        yield one(
            "recovered_entries", "Undelivered entries found in the buffer at the start.", buffer.recovered_entries
        )
        yield one(
            "accounting_imbalance_entries", "Read + recovered - delivered - dropped - waiting; 0.", self.imbalance()
        )
        yield one("buffer_bytes", "Size of the buffer on disk.", buffer.bytes)
        yield one("buffer_limit_bytes", "Size it may have.", buffer.limit_bytes)
        yield one("buffer_segments", "Segment files of the buffer.", buffer.segments)
        yield one("buffer_records", "Records waiting for delivery.", buffer.waiting_records)
        yield one("buffer_full", "1 while reading waits for room in the buffer.", buffer.full)
        yield one(
            "buffer_oldest_entry_age_seconds", "Age of the oldest undelivered entry; 0 when there is none.", oldest_s
        )
        yield Gauge("files", "Files by state.", files, ("state",))
        yield one("unread_bytes", "Bytes in known files that are not read yet.", tail.unread_bytes)
        yield one("held_bytes", "Disk space of deleted files that are kept open until they are read.", tail.held_bytes)
        yield one("open_files", "Descriptors held on log files.", tail.open_files)
        yield one("stalled_file_systems", "File systems with log files that do not answer.", len(tail.stalled))
        yield one("watching", "1 while file events are listened for, 0 while polling.", tail.watch_mode == "watch")
        yield one("requests_in_flight", "Requests to Loki under way.", push.in_flight)
        yield one(
            "consecutive_failures", "Requests to Loki that failed since the last success.", push.consecutive_failures
        )
        yield one("delivery_held", "1 while Loki refuses everything until an operator acts.", push.held is not None)
        yield one("ready", "1 when the agent is ready.", facts.first_scan_done and not facts.stopping)

    def status(self) -> Mapping[str, Any]:
        """For the status page and `/api/status`: counts and places, never content."""
        total = self.metrics.total
        tail, push, buffer = self.tailer.statistics(), self.pusher.statistics(), self.buffer.statistics()
        return {
            "agent": {"version": __version__, "sources": len(self._sources), "state_dir": str(self._state_dir)},
            "lines": {
                "read": int(total("read_lines")),
                "recovered": buffer.recovered_entries,
                "delivered": int(total("delivered_entries")),
                "dropped": int(total("dropped_entries")),
                "waiting": sum(self._waiting().values()),
                "imbalance": self.imbalance(),
                "redactions": int(total("redactions")),
            },
            "loki": {
                "state": push.held or ("delivering" if push.consecutive_failures == 0 else "retrying"),
                "requests in flight": push.in_flight,
                "failures in a row": push.consecutive_failures,
            },
            "buffer": {
                "bytes": buffer.bytes,
                "limit": buffer.limit_bytes,
                "segments": buffer.segments,
                "full": buffer.full,
            },
            "files": [asdict(file) for file in tail.files],
        }
