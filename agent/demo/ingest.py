"""The decisions of Loki 3.7's push path, without its network: decoded streams in, (status, text) out.

The order is Loki's: labels of every stream, then each stream and entry on its own (pkg/distributor/validator.go), then the
tenant's rate, then the ingester stream by stream (pkg/ingester/instance.go and stream.go). Two habits of Loki are kept
because clients must survive them: what is valid in a refused request is stored, and the reply speaks only for the *last*
stream of a request. Automatic stream sharding is left out: what it changes is only that repeats may show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from agent.demo.labels import NO_METADATA, BadLabels, LabelSet, Metadata, label_set, metadata_of
from agent.demo.limits import KIB, SECOND_NS, Limits
from agent.demo.store import Key, StoredEntry, Stream, Tenant
from agent.wire import Push

Reply = tuple[int, str]
ACCEPTED: Reply = (204, "")
MAX_LISTED_ERRORS = 10  # ingester.max_returned_stream_errors

_ASK = "contact your Loki administrator to see if the limit can be increased"


def rfc3339(timestamp_ns: int) -> str:
    return f"{_seconds(timestamp_ns)}Z"


def go_time(timestamp_ns: int) -> str:
    """Go's `Time.String()`: the fraction without its trailing zeros."""
    fraction = f"{timestamp_ns % SECOND_NS:09d}".rstrip("0")
    return f"{_seconds(timestamp_ns).replace('T', ' ')}{'.' if fraction else ''}{fraction} +0000 UTC"


def _seconds(timestamp_ns: int) -> str:
    """Times outside years 1 to 9999, which no valid push can hold, stop at the ends."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=timestamp_ns // SECOND_NS)
    except OverflowError:
        return "9999-12-31T23:59:59" if timestamp_ns > 0 else "0001-01-01T00:00:00"
    return moment.isoformat()[:19]


def byte_size(count: int) -> str:
    """As c2h5oh/datasize prints: the largest binary unit that divides the number."""
    for power, unit in ((3, "GB"), (2, "MB"), (1, "KB")):
        if count and count % KIB**power == 0:
            return f"{count // KIB**power}{unit}"
    return f"{count}B"


@dataclass(slots=True)
class _Valid:
    """What is left of one stream after validation, on its way to the ingester."""

    labels: LabelSet
    keys: list[Key] = field(default_factory=list)
    cost: int = 0


@dataclass(slots=True)
class _Checked:
    """A request after validation. `errors` counts equal messages, as Loki's GroupedErrors does."""

    streams: list[_Valid] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    poison: str = ""

    @property
    def lines(self) -> int:
        return sum(len(stream.keys) for stream in self.streams)

    @property
    def cost(self) -> int:
        """Bytes of lines, metadata names and values: what the rate limiter counts."""
        return sum(stream.cost for stream in self.streams)

    def refuse(self, message: str) -> None:
        self.errors[message] += 1


class Ingest:
    """All tenants of one Loki. `accepted` counts visible entries, `repeats` entries it already had."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.tenants: dict[str, Tenant] = {}
        self.accepted = 0
        self.repeats = 0
        self.discarded: Counter[str] = Counter()
        """Entries by reason, as `loki_discarded_samples_total`: the only place where some losses show."""
        self.on_entries: Callable[[str, Sequence[StoredEntry]], None] | None = None

    def tenant(self, name: str) -> Tenant:
        if name not in self.tenants:
            self.tenants[name] = Tenant(self.limits)
        return self.tenants[name]

    def push(self, user: str, pushes: Sequence[Push], now_ns: int) -> Reply:
        """Store what Loki would store of these streams and answer what it would answer."""
        try:
            labels = [label_set(push.labels) for push in pushes]
        except BadLabels as error:
            return 400, str(error)
        if not pushes:
            return 422, "error at least one valid stream is required for ingestion"
        checked = _Checked()
        for stream_labels, push in zip(labels, pushes, strict=True):
            self._check_stream(stream_labels, push, now_ns, checked)
        if checked.poison:
            return 500, checked.poison
        return self._admit(user, checked, now_ns)

    # --- distributor: labels, entries, tenant rate --------------------------------------------------------------------

    def _check_stream(self, labels: LabelSet, push: Push, now_ns: int, checked: _Checked) -> None:
        problem = self._label_problem(labels)
        if problem is not None:
            reason, message = problem
            checked.refuse(message)
            self.discarded[reason] += len(push.lines)
            return
        known = {encoded: metadata_of(encoded) if encoded else NO_METADATA for encoded in set(push.metadata)}
        metadata = [known[encoded] for encoded in push.metadata]
        valid = _Valid(labels)
        if self._all_fine(labels.text, push, known.values(), now_ns):
            pairs = [meta.pairs for meta in metadata]
            valid.keys = list(zip(push.timestamps_ns, push.lines, pairs, strict=True))
            valid.cost = sum(map(len, push.lines)) + sum(meta.sent_bytes for meta in metadata)
        else:
            self._check_entries(valid, push, metadata, now_ns, checked)
        if valid.keys:
            checked.streams.append(valid)

    def _all_fine(self, stream: str, push: Push, metadata: Iterable[Metadata], now_ns: int) -> bool:
        """Whether no entry needs a look of its own: nearly always, and four times as fast."""
        limits = self.limits
        return (
            bool(push.lines)
            and not limits.detect_level
            and now_ns - limits.oldest_ns <= min(push.timestamps_ns)
            and max(push.timestamps_ns) <= now_ns + limits.newest_ns
            and max(map(len, push.lines)) <= limits.max_line_bytes
            and not any(meta.poison or self._metadata_problem(stream, meta) for meta in metadata)
        )

    def _check_entries(
        self, valid: _Valid, push: Push, metadata: Sequence[Metadata], now_ns: int, checked: _Checked
    ) -> None:
        for timestamp_ns, line, meta in zip(push.timestamps_ns, push.lines, metadata, strict=True):
            problem = self._entry_problem(valid.labels.text, timestamp_ns, line, meta, now_ns)
            if problem is not None:
                reason, message = problem
                checked.refuse(message)
                self.discarded[reason] += 1
                continue
            checked.poison = checked.poison or meta.poison
            valid.keys.append((timestamp_ns, line, self._with_level(line, meta)))
            valid.cost += len(line) + meta.sent_bytes

    def _label_problem(self, labels: LabelSet) -> tuple[str, str] | None:
        limits = self.limits
        names = sum(name != "service_name" for name, _ in labels.pairs)
        if names > limits.max_label_names:
            text = f"entry for stream '{labels.text}' has {names} label names; limit {limits.max_label_names}"
            return "max_label_names_per_series", text
        last = ""
        for name, value in labels.pairs:
            if len(name.encode()) > limits.max_label_name_bytes:
                return "label_name_too_long", f"stream '{labels.text}' has label name too long: '{name}'"
            if len(value.encode()) > limits.max_label_value_bytes:
                return "label_value_too_long", f"stream '{labels.text}' has label value too long: '{value}'"
            if name == last:
                return "duplicate_label_names", f"stream '{labels.text}' has duplicate label name: '{name}'"
            last = name
        return None

    def _entry_problem(
        self, stream: str, timestamp_ns: int, line: bytes, meta: Metadata, now_ns: int
    ) -> tuple[str, str] | None:
        limits = self.limits
        oldest = now_ns - limits.oldest_ns
        if timestamp_ns < oldest:
            when, limit = rfc3339(timestamp_ns), rfc3339(oldest)
            text = f"entry for stream '{stream}' has timestamp too old: {when}, oldest acceptable timestamp is: {limit}"
            return "greater_than_max_sample_age", text
        if timestamp_ns > now_ns + limits.newest_ns:
            text = f"entry for stream '{stream}' has timestamp too new: {rfc3339(timestamp_ns)}"
            return "too_far_in_future", text
        if len(line) > limits.max_line_bytes:
            text = (
                f"max entry size '{limits.max_line_bytes}' bytes exceeded for stream '{stream}' "
                f"while adding an entry with length '{len(line)}' bytes"
            )
            return "line_too_long", text
        return self._metadata_problem(stream, meta)

    def _metadata_problem(self, stream: str, meta: Metadata) -> tuple[str, str] | None:
        limits = self.limits
        if meta.sent_bytes > limits.max_metadata_bytes:
            text = (
                f"stream '{stream}' has structured metadata too large: '{meta.sent_bytes}' bytes, limit: "
                f"'{limits.max_metadata_bytes}' bytes. Please see `limits_config.max_structured_metadata_size` or contact "
                "your Loki administrator to increase it."
            )
            return "structured_metadata_too_large", text
        if len(meta.pairs) > limits.max_metadata_entries:
            text = (
                f"stream '{stream}' has too many structured metadata labels: '{len(meta.pairs)}', limit: "
                f"'{limits.max_metadata_entries}'. Please see `limits_config.max_structured_metadata_entries_count` or "
                "contact your Loki administrator to increase it."
            )
            return "structured_metadata_too_many", text
        return None

    def _with_level(self, line: bytes, meta: Metadata) -> tuple[tuple[bytes, bytes], ...]:
        """Loki's level discovery, kept to its last resort: the first known word of the line, or `unknown`."""
        if not self.limits.detect_level or any(name == b"detected_level" for name, _ in meta.pairs):
            return meta.pairs
        lower = line.lower()
        found = [(at, word) for word in _LEVEL_WORDS if (at := lower.find(word)) >= 0]
        level = _LEVEL_WORDS[min(found)[1]] if found else b"unknown"
        return tuple(sorted([*meta.pairs, (b"detected_level", level)]))

    def _admit(self, user: str, checked: _Checked, now_ns: int) -> Reply:
        limits = self.limits
        tenant = self.tenant(user)
        if not tenant.bucket.take(checked.cost, now_ns):
            self.discarded["rate_limited"] += checked.lines
            return 429, (
                f"ingestion rate limit exceeded for user {user} (limit: {limits.tenant_rate} bytes/sec) while attempting to "
                f"ingest '{checked.lines}' lines totaling '{checked.cost}' bytes, reduce log volume or {_ASK}"
            )
        size = checked.cost + checked.lines * limits.ingest_overhead_bytes
        if size > limits.max_ingester_message_bytes:
            return 500, (
                "rpc error: code = ResourceExhausted desc = grpc: received message larger than max "
                f"({size} vs. {limits.max_ingester_message_bytes})"
            )
        reply = ACCEPTED
        for stream in checked.streams:
            reply = self._ingest_stream(user, tenant, stream, now_ns)  # the last one speaks for all, as in Loki
        if reply == ACCEPTED and checked.errors:
            return 400, "; ".join(f"{count} errors like: {text}" for text, count in checked.errors.items())
        return reply

    # --- ingester: one stream after the other -------------------------------------------------------------------------

    def _ingest_stream(self, user: str, tenant: Tenant, valid: _Valid, now_ns: int) -> Reply:
        text = valid.labels.text
        stream = tenant.streams.get(text)
        if stream is None:
            if 0 < self.limits.max_streams <= len(tenant.streams):
                self.discarded["stream_limit"] += len(valid.keys)
                return 429, (
                    f"maximum active stream limit exceeded when trying to create stream {text}, reduce the number of active "
                    f"streams (reduce labels or reduce label values), or {_ASK}, user: '{user}'"
                )
            stream = tenant.streams[text] = Stream(text, valid.labels.pairs, self.limits)
        before = stream.highest_ns, stream.last
        keys, behind = self._in_window(stream, valid.keys)
        limited = self.limits.stream_rate is not None
        if limited and not stream.bucket.take(sum(map(_entry_bytes, keys)), now_ns):
            stream.highest_ns, stream.last = before
            self.discarded["per_stream_rate_limit"] += len(keys)
            return self._ignored(429, user, text, [(key, self._too_fast(text, key)) for key in keys], len(valid.keys))
        self._keep(stream, keys, len(valid.keys) - len(behind))
        if behind:
            self.discarded["too_far_behind"] += len(behind)
            return self._ignored(400, user, text, behind, len(valid.keys))
        return ACCEPTED

    def _in_window(self, stream: Stream, keys: list[Key]) -> tuple[list[Key], list[tuple[Key, str]]]:
        """Entries to append, and those older than the stream's newest by more than an hour, with the reason."""
        window = self.limits.out_of_order_ns
        good: list[Key] = []
        behind: list[tuple[Key, str]] = []
        for key in keys:
            if key == stream.last:
                continue
            highest = stream.highest_ns
            if highest is not None and key[0] < highest - window:
                cutoff = rfc3339(highest - window)
                why = f"entry timestamp is: {rfc3339(key[0])}, oldest acceptable timestamp is: {cutoff}"
                behind.append((key, f"entry too far behind, {why}"))
                continue
            if highest is None or key[0] > highest:
                stream.highest_ns = key[0]
            stream.last = key
            good.append(key)
        return good, behind

    def _too_fast(self, text: str, key: Key) -> str:
        return (
            f"Per stream rate limit exceeded (limit: {byte_size(self.limits.stream_rate or 0)}/sec) while attempting to ingest "
            f"for stream '{text}' totaling {byte_size(_entry_bytes(key))}, consider splitting a stream via additional labels "
            f"or {_ASK}"
        )

    def _ignored(self, status: int, user: str, text: str, failed: list[tuple[Key, str]], total: int) -> Reply:
        listed = "".join(
            f"entry with timestamp {go_time(key[0])} ignored, reason: '{why}',\n"
            for key, why in failed[:MAX_LISTED_ERRORS]
        )
        return status, f"{listed}user '{user}', total ignored: {len(failed)} out of {total} for stream: {text}"

    def _keep(self, stream: Stream, keys: list[Key], received: int) -> None:
        fresh = stream.add(keys)
        self.accepted += len(fresh)
        self.repeats += received - len(fresh)
        if fresh and self.on_entries is not None:
            self.on_entries(stream.labels, [StoredEntry(stream.labels, *key) for key in fresh])


def _entry_bytes(key: Key) -> int:
    return len(key[1]) + sum(len(name) + len(value) for name, value in key[2])


_LEVEL_WORDS = {
    b"trace": b"trace",
    b"debug": b"debug",
    b"info": b"info",
    b"warn": b"warn",
    b"error": b"error",
    b"critical": b"critical",
    b"fatal": b"fatal",
}
