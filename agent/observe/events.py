"""Every noteworthy happening, declared once: its message, its level and its counter.

A part that acts (never the pure core) is handed `emit` and calls it with one of these. `report.py` writes the message to
stderr, `metrics.py` adds to the counter. An event names the place (path, offset, count, reason), never the content of a
line.

To declare one: subclass `Event`, frozen, write the message as a docstring's first line for the manual and as `text` for the
operator, and name its counter, if it counts, with the fields that become the counter's labels. Label fields hold values
out of a small fixed set, never a path or a message.

Events are the one kind of value that is no dataclass: there are so many that making the classes took a twentieth of a start.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Literal

import msgspec

Level = Literal["debug", "info", "warning", "error"]


class Event(msgspec.Struct, frozen=True):
    """level:   of the message; None counts in silence.
    text:    format of the message, over the event's fields.
    counter: name without the prefix `greenstack_agent_` and the suffix `_total`; None counts nothing.
    by:      fields that become labels of the counter.
    amount:  field to add to the counter; None adds one.
    bytes_counter, bytes_field: a second counter, without labels, and the field to add to it.
    once_per: fields whose values make two events the same for rate limiting (the class alone when empty).
    """

    level: ClassVar[Level | None] = "info"
    text: ClassVar[str] = ""
    counter: ClassVar[str | None] = None
    by: ClassVar[tuple[str, ...]] = ()
    amount: ClassVar[str | None] = None
    bytes_counter: ClassVar[str | None] = None
    bytes_field: ClassVar[str] = "size_bytes"
    once_per: ClassVar[tuple[str, ...]] = ()


Emit = Callable[[Event], None]


# --- the process ---------------------------------------------------------------------------------------------------


class AgentStarted(Event, frozen=True):
    """The agent has its configuration and its state, and begins."""

    text = "greenstack-agent {version} started: {sources} sources, state in {state_dir}, Loki at {url}"
    version: str
    sources: int
    state_dir: str
    url: str


class AgentStopping(Event, frozen=True):
    """A signal asked the agent to stop."""

    text = "stopping on {signal}: no more reading, up to {grace_s:g} s to deliver what is read"
    signal: str
    grace_s: float


class AgentStopped(Event, frozen=True):
    """The agent ends; what Loki does not have is in the buffer."""

    text = "stopped: {waiting} entries stay in the buffer for the next start"
    waiting: int


class RedactionOff(Event, frozen=True):
    """Redaction is turned off by configuration."""

    level = "error"
    text = "redaction is OFF (redact.enabled = false): lines leave this host as they are"
    counter = "redaction_off"


class PseudonymKeyNotKept(Event, frozen=True):
    """The key of the pseudonyms cannot be written. No line is read before it is: the next start would use another."""

    level = "error"
    text = "cannot keep the pseudonym key in {directory}: {error}; nothing is read before it is kept, trying again"
    counter = "pseudonym_key_errors"
    once_per = ("error",)
    directory: str
    error: str


class PatternsNotKept(Event, frozen=True):
    """The compiled redaction patterns could not be written to the state directory; each start compiles them again."""

    level = "warning"
    text = "cannot keep the compiled patterns in {path}: {error}; starting takes a second longer"
    path: str
    error: str


class FinderChosen(Event, frozen=True):
    """The engine that looks for secrets: hyperscan, re2 or re."""

    level = None
    counter = "redaction_finders"
    by = ("engine",)
    engine: str


class FinderSlow(Event, frozen=True):
    """Hyperscan does not work on this machine; another engine looks for secrets, many times slower."""

    level = "warning"
    text = "hyperscan does not work on this machine; {engine} looks for secrets instead, many times slower"
    counter = "redaction_fallbacks"
    engine: str


class RedactionDoubtful(Event, frozen=True):
    """An exemption that is too wide or over, or a value that cannot be looked for."""

    level = "warning"
    text = "redaction: {what}"
    counter = "redaction_warnings"
    what: str


# --- tail ----------------------------------------------------------------------------------------------------------


class ChunkRead(Event, frozen=True):
    """Lines were read from a file."""

    level = None
    counter = "read_lines"
    by = ("source",)
    amount = "lines"
    source: str
    lines: int
    size_bytes: int


class FileTruncated(Event, frozen=True):
    """A file holds other content than was read from it: truncated or overwritten in place. It is read from the start."""

    text = "{path} was truncated or overwritten after {offset} bytes were read ({reason}); reading it from the start"
    counter = "file_truncations"
    by = ("source",)
    once_per = ("path",)
    source: str
    path: str
    offset: int
    reason: str


class RotationFound(Event, frozen=True):
    """A file was renamed; it is read to its end under its old name's labels."""

    level = "debug"
    text = "{path} was renamed to {new_path}; reading it to its end first"
    counter = "file_rotations"
    by = ("source",)
    once_per = ("path",)
    source: str
    path: str
    new_path: str


class CopyFound(Event, frozen=True):
    """The copy that a truncating rotation made was found; what had not been read is read from it."""

    level = "debug"
    text = "{path} was copied to {copy} before it was truncated; reading the copy on from byte {offset}"
    counter = "file_copies"
    by = ("source",)
    once_per = ("path",)
    source: str
    path: str
    copy: str
    offset: int


class FileForgotten(Event, frozen=True):
    """A file is gone, and is no longer followed. `unread_bytes` were seen in it and could not be read any more."""

    level = "debug"
    text = "{path} is gone ({reason}) after {offset} bytes were read; {unread_bytes} bytes seen in it were not"
    counter = "files_forgotten"
    by = ("source", "reason")
    once_per = ("path",)
    source: str
    path: str
    reason: str
    offset: int
    unread_bytes: int


class BytesAbandoned(Event, frozen=True):
    """Bytes of a file that were never read: it was gone before, or it was let go to free the disk."""

    level = "warning"
    text = "{path} is gone ({reason}): {size_bytes} bytes after byte {offset} were not read and are lost"
    counter = "abandoned_bytes"
    by = ("source", "reason")
    amount = "size_bytes"
    once_per = ("path", "reason")
    source: str
    path: str
    reason: str
    offset: int
    size_bytes: int


class FileSystemStalled(Event, frozen=True):
    """A file system does not answer. Its files wait; all others go on."""

    level = "error"
    text = "the file system at {path} has not answered for {seconds:g} s; its files wait, all others go on"
    counter = "file_system_stalls"
    once_per = ("path",)
    path: str
    seconds: float


class FileSystemAnswers(Event, frozen=True):
    """A file system that was stalled answers again."""

    text = "the file system at {path} answers again; its files are read on"
    once_per = ("path",)
    path: str


class FileSystemGone(Event, frozen=True):
    """A file system was unmounted. How far its files were read is kept for when it comes back."""

    level = "warning"
    text = "the file system at {path} was unmounted; how far its files were read is kept"
    counter = "file_system_unmounts"
    once_per = ("path",)
    path: str


class FileEventsMissed(Event, frozen=True):
    """Files changed of which no event told: the queue overflowed, or they are written from elsewhere."""

    level = "warning"
    text = (
        "{files} files changed without a file event (queue overflow, or written from another host); looking at all files "
        "for {seconds:g} s, see fs.inotify.max_queued_events"
    )
    counter = "file_events_missed"
    amount = "files"
    files: int
    seconds: float


class FileUnreadable(Event, frozen=True):
    """A file or directory cannot be looked at just now. Its position is kept, and it is tried again."""

    level = "error"
    text = "cannot read {path}: {error}; its position is kept and it is tried again, look at permissions and limits"
    counter = "file_errors"
    by = ("source", "errno")
    once_per = ("path", "errno")
    source: str
    path: str
    errno: str
    error: str


class PathRefused(Event, frozen=True):
    """A path matches a glob and is not a file to read: a device, FIFO, directory, or a link that leads elsewhere."""

    level = "warning"
    text = "{path} is not read: {reason}"
    counter = "paths_refused"
    by = ("source", "reason")
    once_per = ("path", "reason")
    source: str
    path: str
    reason: str


class WatchMode(Event, frozen=True):
    """How growth is noticed from now on."""

    level = "debug"
    text = "noticing file changes by {mode}, in {directories} directories"
    mode: str
    directories: int


class WatcherFailed(Event, frozen=True):
    """File events are not to be had (such as: no inotify watches left); files are looked at periodically instead."""

    level = "warning"
    text = "file events failed ({error}); looking at files periodically instead, {remedy}"
    counter = "watch_fallbacks"
    error: str
    remedy: str


class ArchiveDamaged(Event, frozen=True):
    """A compressed file ends in the middle or holds garbage; what could be decompressed was read."""

    level = "warning"
    text = "{path} is a damaged archive: it was read up to byte {offset} of its content"
    counter = "damaged_archives"
    by = ("source",)
    once_per = ("path",)
    source: str
    path: str
    offset: int


class ArchiveNotRead(Event, frozen=True):
    """A file that is to be read once is compressed in a form that is not read."""

    level = "warning"
    text = "{path} was not read: it is compressed, and not by gzip; decompress it first"
    counter = "archives_not_read"
    by = ("source",)
    once_per = ("path",)
    source: str
    path: str


class SuccessorInvisible(Event, frozen=True):
    """A single file is mounted, such as a hostPath of type File; rotation outside makes another one that is not seen here."""

    level = "warning"
    text = (
        "{path} is mounted alone: the file that rotation puts in its place cannot be seen; mount its directory instead"
    )
    counter = "invisible_successors"
    by = ("source",)
    once_per = ("path",)
    source: str
    path: str


class CharactersReplaced(Event, frozen=True):
    """Bytes that are no text in UTF-8 are sent as replacement characters."""

    level = "warning"
    text = "{path}: {count} characters are no UTF-8 and were replaced; set the source's `encoding` if it has another"
    counter = "replaced_characters"
    by = ("source",)
    amount = "count"
    once_per = ("path",)
    source: str
    path: str
    count: int


# --- transform -----------------------------------------------------------------------------------------------------


class LinesParsed(Event, frozen=True):
    """How lines were understood: json, lenient (JSON but for a NaN or a lone surrogate), text."""

    level = None
    counter = "parsed_lines"
    by = ("source", "result")
    amount = "count"
    source: str
    result: str
    count: int


class LinesClipped(Event, frozen=True):
    """Marks in place of shorter secrets, or decoding, made lines longer than Loki takes; they end at its limit."""

    level = "warning"
    text = (
        "{path}: {count} lines became longer than Loki takes when they were decoded or redacted; their ends are missing"
    )
    counter = "clipped_lines"
    amount = "count"
    path: str
    count: int


class SecretsRedacted(Event, frozen=True):
    """Secrets or personal data were taken out of lines."""

    level = None
    counter = "redactions"
    by = ("source", "rule")
    amount = "count"
    source: str
    rule: str
    count: int


class SecretsSeen(Event, frozen=True):
    """Findings of rules that only count: `tag_only`, or `enforce = false`."""

    level = None
    counter = "redactions_seen"
    by = ("source", "rule")
    amount = "count"
    source: str
    rule: str
    count: int


class RedactionFailed(Event, frozen=True):
    """Lines that redaction could not judge; a stub was sent in their place."""

    level = "warning"
    text = "{count} lines of {path} could not be judged by redaction; stubs without their text are sent instead"
    counter = "redaction_failures"
    by = ("source",)
    amount = "count"
    once_per = ("path",)
    source: str
    path: str
    count: int


class ParsingFailed(Event, frozen=True):
    """Lines that met a bug of the agent's and were sent as they are, without what they say as metadata and labels."""

    level = "error"
    text = (
        "{count} lines of {path} met a bug, which is worth a report: {bug}; they are sent as they are, without metadata"
    )
    counter = "parse_failures"
    by = ("source",)
    amount = "count"
    once_per = ("path", "bug")
    source: str
    path: str
    count: int
    bug: str


class LinesDropped(Event, frozen=True):
    """Lines were given up on purpose or by policy, before delivery."""

    level = "warning"
    text = "{count} lines of {path} dropped: {reason}"
    counter = "dropped_entries"
    by = ("reason",)
    amount = "count"
    once_per = ("path", "reason")
    path: str
    reason: str
    count: int


class EmptyLines(Event, frozen=True):
    """Lines without a single byte, left out."""

    level = None
    counter = "dropped_entries"
    by = ("reason",)
    amount = "count"
    count: int
    reason: str = "empty"


# --- buffer --------------------------------------------------------------------------------------------------------


class BufferRecovered(Event, frozen=True):
    """The buffer was opened and holds what was not delivered yet."""

    text = "{entries} undelivered entries found in {directory} ({segments} segments, {size_bytes} bytes)"
    directory: str
    entries: int
    segments: int
    size_bytes: int


class BufferTailCut(Event, frozen=True):
    """The last write before a crash was not whole. It was never acknowledged, so its lines are read again."""

    level = "warning"
    text = "{path}: {size_bytes} bytes of an unfinished write cut off at {offset}; their lines are read again"
    counter = "buffer_tails_cut"
    path: str
    offset: int
    size_bytes: int


class BufferCursorLost(Event, frozen=True):
    """It is not known how far the buffer was delivered; everything in it is sent again, and Loki drops the repeats."""

    level = "warning"
    text = "{directory}: no usable cursor, so everything still in the buffer is sent again"
    counter = "buffer_cursors_lost"
    directory: str


class BufferSpansLost(Event, frozen=True):
    """Undelivered records were damaged, and which bytes of which files they held is known: these are read again."""

    level = "warning"
    text = "{spans} spans of files stood in damaged records; they are read again where the files still have them"
    counter = "buffer_spans_lost"
    amount = "spans"
    spans: int


class BufferForeignFiles(Event, frozen=True):
    """Files that are not the buffer's lie in its directory; they are left alone."""

    level = "warning"
    text = "{count} files in {directory} are not the buffer's and are left alone, {example} among them"
    directory: str
    count: int
    example: str


class BufferFileSetAside(Event, frozen=True):
    """A segment file in which nothing is intact was taken out of the buffer."""

    level = "warning"
    text = "{path} holds no intact record; moved to the directory `damaged` beside it"
    counter = "buffer_files_set_aside"
    path: str


class BufferDamaged(Event, frozen=True):
    """Undelivered records on disk were damaged or gone; their entries will not be delivered from the buffer."""

    level = "error"
    text = "{path} at {offset}: {records} records with {entries} entries are damaged and not delivered"
    counter = "dropped_entries"
    by = ("reason",)
    amount = "entries"
    path: str
    offset: int
    records: int
    entries: int
    reason: str = "damaged"


class BufferDropped(Event, frozen=True):
    """The buffer was full and `when_full` is `drop_oldest`: the oldest records were given up."""

    level = "warning"
    text = "buffer full: the oldest {records} records with {entries} entries given up, {size_bytes} bytes freed"
    counter = "dropped_entries"
    by = ("reason",)
    amount = "entries"
    bytes_counter = "buffer_dropped_bytes"
    records: int
    entries: int
    size_bytes: int
    reason: str = "buffer_full"


class BufferFull(Event, frozen=True):
    """The buffer takes nothing more until records are delivered; reading waits, and the files keep the rest."""

    level = "warning"
    text = "buffer full: {size_bytes} of {limit_bytes} bytes, {free_bytes} bytes free on disk; reading waits"
    counter = "buffer_full"
    size_bytes: int
    limit_bytes: int
    free_bytes: int


class BufferHasRoom(Event, frozen=True):
    """Reading goes on after the buffer was full or could not be written."""

    text = "the buffer takes entries again"


class BufferReadFailed(Event, frozen=True):
    """Records in the buffer cannot be looked at just now. It is tried again until it works."""

    level = "error"
    text = "cannot read the buffer in {directory}: {error}; trying again"
    counter = "buffer_read_errors"
    once_per = ("error",)
    directory: str
    error: str


class BufferWriteFailed(Event, frozen=True):
    """Writing to the buffer failed. Nothing is lost: reading waits, and the write is tried again until it works."""

    level = "error"
    text = "cannot write to {directory}: {error}; reading waits, trying again"
    counter = "buffer_write_errors"
    once_per = ("error",)
    directory: str
    error: str


# --- push ----------------------------------------------------------------------------------------------------------


class PushReplied(Event, frozen=True):
    """A request to Loki ended. `outcome` is a status code out of a known set, `other`, or how it ended without a reply."""

    level = None
    counter = "push_requests"
    by = ("outcome",)
    outcome: str
    seconds: float
    size_bytes: int


class PushAccepted(Event, frozen=True):
    """Loki stored entries. Halves sent again after a partial refusal are counted once, when their fate is known."""

    level = None
    counter = "sent_entries"
    amount = "entries"
    entries: int
    line_bytes: int


class PushFailed(Event, frozen=True):
    """A request failed in a way that passes; the same bytes go again."""

    level = "warning"
    text = "Loki did not take a request ({outcome}): {message}; again in {delay_s:.1f} s"
    counter = "push_failures"
    by = ("outcome",)
    once_per = ("outcome",)
    outcome: str
    message: str
    delay_s: float


class PushHeld(Event, frozen=True):
    """Delivery waits for an operator. Nothing is lost: what is read stays in the buffer, the rest in the files."""

    level = "error"
    text = "delivery is held: {advice}; nothing is lost, next try in {delay_s:.0f} s"
    counter = "push_held"
    by = ("outcome",)
    once_per = ("outcome",)
    outcome: str
    advice: str
    delay_s: float


class PushRecovered(Event, frozen=True):
    """Loki takes requests again after failures."""

    text = "Loki takes entries again after {failures} failed tries in {seconds:.0f} s"
    failures: int
    seconds: float


class BodySplit(Event, frozen=True):
    """A request is sent in two halves: it was too large, or some entry in it is refused."""

    level = "debug"
    text = "a request of {entries} entries is sent in halves: {reason}"
    counter = "split_requests"
    by = ("reason",)
    once_per = ("reason",)
    reason: str
    entries: int


class EntriesRefused(Event, frozen=True):
    """Loki refused entries for good; they are dead letters on disk."""

    level = "warning"
    text = "Loki refused {count} entries for good ({reason}): {message}; they are kept as dead letters"
    counter = "refused_entries"
    by = ("reason",)
    amount = "count"
    once_per = ("reason",)
    reason: str
    count: int
    message: str


class DeadLettersFull(Event, frozen=True):
    """The files of refused entries reached their bound, and the oldest file was removed."""

    level = "error"
    text = "{count} refused entries removed from {path}: it is full; see `greenstack-agent dead-letters list`"
    counter = "dead_letters_removed"
    amount = "count"
    path: str
    count: int


class EntriesDelivered(Event, frozen=True):
    """Entries that Loki has, counted when their record is acknowledged."""

    level = None
    counter = "delivered_entries"
    amount = "count"
    count: int


class EntriesGivenUp(Event, frozen=True):
    """Entries that Loki refused for good, counted when their record is acknowledged; they are dead letters."""

    level = None
    counter = "dropped_entries"
    by = ("reason",)
    amount = "count"
    count: int
    reason: str = "refused"
