"""The buffer against a list: whatever is appended, delivered, acknowledged, refused by the disk or cut off by a crash."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import tempfile
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent import config
from agent.buffer.disk import DiskBuffer
from agent.buffer.segment import Storage
from agent.model import Batch, Body, FileId, Origin, Position, Record, Span, StreamClock
from agent.observe.events import Event

GROUPS = ("a", "b", "c")


@dataclass
class Disk:
    """Passes writes on, remembers what is durable, and fails when told to.

    failures: how many of the next writes and syncs fail, and after how many good ones.
    """

    durable: dict[int, int] = field(default_factory=dict)
    good_calls: int = 0
    failures: int = 0

    def _fails(self) -> bool:
        if self.failures and self.good_calls == 0:
            self.failures -= 1
            return True
        self.good_calls = max(0, self.good_calls - 1)
        return False

    def write(self, fd: int, data: memoryview, offset: int) -> int:
        if self._fails():
            os.pwrite(fd, data[: len(data) // 2], offset)
            raise OSError(errno.ENOSPC, "no space")
        return os.pwrite(fd, data[:700], offset)

    def sync(self, fd: int) -> None:
        if self._fails():
            raise OSError(errno.EIO, "lost")
        facts = os.fstat(fd)
        self.durable[facts.st_ino] = facts.st_size

    def note_everything_durable(self, directory: Path) -> None:
        for path in directory.glob("*.segment"):
            facts = path.stat()
            self.durable[facts.st_ino] = facts.st_size


@dataclass
class Appended:
    batch: Batch
    sequence: int
    acked: bool = False


class BufferMachine(RuleBasedStateMachine):
    @initialize(index_records=st.sampled_from([3, 1000]))
    def begin(self, index_records: int) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="buffer-"))
        self.loop = asyncio.new_event_loop()
        self.settings = config.Buffer.model_construct(
            max_bytes=1 << 30, segment_bytes=4096, min_free_bytes=0, when_full="block"
        )
        self.index_records = index_records
        self.disk = Disk()
        self.events: list[Event] = []
        self.log: list[Appended] = []
        self.positions: dict[FileId, Position] = {}
        self.clocks: dict[str, StreamClock] = {}
        self.in_flight: dict[str, Record] = {}
        self.sequence = 1
        self.start = 0
        self._open()

    def _open(self) -> None:
        storage = Storage(write=self.disk.write, sync=self.disk.sync)
        self.disk.failures = 0
        self.buffer = DiskBuffer.open(
            self.directory,
            self.settings,
            self.events.append,
            storage=storage,
            pause_s=0.001,
            index_records=self.index_records,
        )
        self._until_the_thread_rests()
        self.disk.note_everything_durable(self.directory)
        self.unsent = self.buffer.unsent()
        self.in_flight.clear()

    def _until_the_thread_rests(self) -> None:
        self.buffer._log.in_background(lambda: None).result()

    def run(self, waiting):
        return self.loop.run_until_complete(asyncio.wait_for(waiting, 20))

    # --- rules ----------------------------------------------------------------------------------------------------

    def _batch(self, group: str, size: int, entries: int) -> Batch:
        file = FileId(1, GROUPS.index(group), 0)
        known = self.positions.get(file)
        start = known.offset if known else 0
        after = Position(start + size + 1, 4, b"p" * 16, b"a" * 16, 0, Origin("s", f"/log/{group}"))
        bodies = ()
        if entries:
            number = self.sequence
            labels = f'{{group="{group}"}}'
            clock = StreamClock(number, number + 1)
            bodies = (Body(labels, os.urandom(size), "protobuf", entries, size, number, number + 1, clock),)
            self.clocks[labels] = clock
        self.positions[file] = after
        self.sequence += 1
        return Batch(group, (Span(file, start, after),), bodies)

    @rule(
        what=st.lists(
            st.tuples(st.sampled_from(GROUPS), st.sampled_from([0, 10, 900, 5000]), st.integers(0, 3)),
            min_size=1,
            max_size=4,
        ),
        good_calls=st.integers(0, 4),
        failures=st.sampled_from([0, 0, 0, 1, 2, 5]),
    )
    def append(self, what, good_calls: int, failures: int) -> None:
        self.disk.good_calls, self.disk.failures = good_calls, failures
        first = self.sequence
        batches = [self._batch(*each) for each in what]
        self.run(self.buffer.append(batches))
        self.log += [Appended(batch, first + at) for at, batch in enumerate(batches)]
        self.disk.failures = 0

    def _waiting(self) -> list[Appended]:
        return [each for each in self.log[self.start :] if each.batch.bodies and not each.acked]

    def _next(self) -> Appended | None:
        reachable = self._waiting()[: self.index_records]
        return next((each for each in reachable if each.batch.group not in self.in_flight), None)

    @precondition(lambda self: self._next() is not None)
    @rule()
    def deliver(self) -> None:
        expected = self._next()
        assert expected is not None
        record = self.run(anext(self.unsent))
        assert (record.sequence, record.group) == (expected.sequence, expected.batch.group)
        assert self.buffer.read(record) == expected.batch.bodies
        self.in_flight[record.group] = record

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data())
    def acknowledge(self, data) -> None:
        group = data.draw(st.sampled_from(sorted(self.in_flight)))
        record = self.in_flight.pop(group)
        self.buffer.ack(record)
        next(each for each in self.log if each.sequence == record.sequence).acked = True
        self.buffer.ack(record)

    @rule(
        kind=st.sampled_from(["stop", "torn", "power", "power and NULs"]),
        lost=st.sampled_from([(), ("settled",), ("settled", "cursor")]),
        tail=st.binary(min_size=1, max_size=50),
    )
    def crash(self, kind: str, lost: tuple[str, ...], tail: bytes) -> None:
        prefix = next((at for at, each in enumerate(self.log) if each.batch.bodies and not each.acked), len(self.log))
        self.loop.run_until_complete(self.unsent.aclose())
        self.buffer.close()
        newest = max(self.directory.glob("*.segment"))
        if kind == "torn":
            with newest.open("ab") as file:
                file.write(b"\xf5GSR" + tail)
        if kind.startswith("power"):
            for path in self.directory.glob("*.segment"):
                facts = path.stat()
                os.truncate(path, self.disk.durable.get(facts.st_ino, 0))
                if kind == "power and NULs" and path == newest:
                    os.truncate(path, path.stat().st_size + 777)
        lost = self._lose(lost)
        self._open()
        recovered = self.buffer.statistics().recovered_entries
        # What was acknowledged behind a gap, or before a lost cursor, is delivered again, which is allowed. Never less.
        starts = range(prefix + 1) if "cursor" in lost else [prefix]
        if lost:
            for each in self.log[prefix:]:
                each.acked = False
        entries = {
            at: sum(each.batch.entries for each in self.log[at:] if at < prefix or not each.acked) for at in starts
        }
        assert recovered in entries.values()
        self.start = max(at for at in starts if entries[at] == recovered)
        if self.start < prefix:
            for each in self.log[self.start :]:
                each.acked = False
        resume = self.buffer.resume()
        assert resume.positions == self.positions
        assert resume.clocks == self.clocks
        assert resume.lost == ()

    def _lose(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """Deletes hints; not when one speaks of a segment that is gone: then it was synced before and is no hint any more."""
        numbers = [int(path.stem) for path in sorted(self.directory.glob("*.segment"))]
        if any(number + 1 != later for number, later in pairwise(numbers)):
            return ()
        for name in names:
            (self.directory / name).unlink()
        return names

    # --- always ---------------------------------------------------------------------------------------------------

    @invariant()
    def what_waits_is_exact(self) -> None:
        facts = self.buffer.statistics()
        waiting = self._waiting()
        assert facts.waiting_entries == sum(each.batch.entries for each in waiting)
        assert facts.waiting_records == len(waiting)
        gone = facts.delivered_entries + facts.dropped_entries + facts.damaged_entries
        assert facts.recovered_entries + facts.appended_entries - gone == facts.waiting_entries
        assert facts.dropped_entries == facts.damaged_entries == 0

    @invariant()
    def size_is_that_of_the_files(self) -> None:
        self._until_the_thread_rests()
        files = list(self.directory.glob("*.segment"))
        facts = self.buffer.statistics()
        assert facts.segments == len(files)
        assert facts.bytes == sum(path.stat().st_size for path in files)

    def _acknowledge_all(self) -> None:
        for record in self.in_flight.values():
            self.buffer.ack(record)
            next(each for each in self.log if each.sequence == record.sequence).acked = True
        self.in_flight.clear()

    def teardown(self) -> None:
        if not hasattr(self, "buffer"):
            return
        try:
            self._acknowledge_all()
            while self._next() is not None:
                self.deliver()
                self._acknowledge_all()
            assert self.buffer.statistics().waiting_entries == 0
        finally:
            self.loop.run_until_complete(self.unsent.aclose())
            self.buffer.close()
            self.loop.run_until_complete(self.loop.shutdown_default_executor())
            self.loop.close()
            shutil.rmtree(self.directory)


TestBufferModel = BufferMachine.TestCase
TestBufferModel.settings = settings(max_examples=60, stateful_step_count=40, suppress_health_check=list(HealthCheck))
