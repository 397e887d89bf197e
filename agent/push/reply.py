"""What Loki's answer to a push means: the table of outcomes, as one pure function.

A request holds entries of one stream, so a reply speaks for all of it (with several streams Loki 3.7 tells the fate of
the last one only: pkg/ingester/instance.go, `Push`). The texts are those of Loki 3.7 (pkg/validation/validate.go,
pkg/ingester/stream.go, pkg/distributor); they are compared without case, for older versions capitalise some.

    204 200                          Accepted
    400, reason of an entry          Partial: the other entries are stored
    400 otherwise, 422, poison 500   Unacceptable: nothing is stored, some entry is to blame
    413, 500 of the gRPC limit       TooLarge
    260 2xx 3xx 401 403 404 405 …    Misconfigured: nothing is stored until an operator acts
    429 408 5xx, no reply            TryLater
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Literal

Scope = Literal["stream", "destination"]
"""Whom a refusal concerns: this stream alone, or whoever would send anything."""

NoReply = Literal["timeout", "connect", "tls", "dns", "reset"]
"""How a request can end without a reply."""

MAX_RETRY_AFTER_S = 600.0
MAX_MESSAGE_CHARS = 300


@dataclass(frozen=True, slots=True)
class Reply:
    """body: text of at most 64 KiB, to decide by. retry_after_s: what the header said, None without one. shown: the body as it may
    be logged and shown; None where that is the same."""

    status: int
    body: str
    retry_after_s: float | None = None
    shown: str | None = field(default=None, compare=False)

    @property
    def words(self) -> str:
        return self.body if self.shown is None else self.shown


@dataclass(frozen=True, slots=True)
class Accepted:
    """Every entry is stored."""


@dataclass(frozen=True, slots=True)
class Partial:
    """Loki refused entries for good and stored the others.

    reason:         Loki's word for it, as in `loki_discarded_samples_total{reason}`.
    refused:        how many, when the reply tells.
    judged:         out of how many, when the reply tells. With fewer than were sent, the others met another refusal
                    before, which this reply hides.
    whole:          the stream itself was refused, and with it every entry.
    timestamps_ns:  times of the refused entries, when the reply lists each of them.
    mixed:          entries were refused for several reasons, `reason` being the commonest.
    """

    reason: str
    refused: int | None = None
    judged: int | None = None
    whole: bool = False
    timestamps_ns: frozenset[int] | None = None
    mixed: bool = False


@dataclass(frozen=True, slots=True)
class Unacceptable:
    """The request was refused for good and nothing of it is stored; one entry can be enough for that."""

    reason: str


@dataclass(frozen=True, slots=True)
class TooLarge:
    """Nothing is stored; in smaller pieces it would be."""

    reason: str = "request_body_too_large"


@dataclass(frozen=True, slots=True)
class Misconfigured:
    """Nothing is stored and will not be until an operator acts. `advice` says what was answered and what to check."""

    advice: str
    scope: Scope = "destination"
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class TryLater:
    """It is not known whether anything is stored; the same bytes again, later. `limited`: for a rate or stream limit."""

    scope: Scope = "destination"
    retry_after_s: float | None = None
    limited: bool = False


Verdict = Accepted | Partial | Unacceptable | TooLarge | Misconfigured | TryLater

# Loki stores the rest of the request when it refuses entries with one of these texts.
_ENTRY_REASONS = (
    ("has timestamp too old", "greater_than_max_sample_age"),
    ("has timestamp too new", "too_far_in_future"),
    ("max entry size", "line_too_long"),
    ("has structured metadata too large", "structured_metadata_too_large"),
    ("has too many structured metadata labels", "structured_metadata_too_many"),
    ("entry too far behind", "too_far_behind"),
    ("entry out of order", "out_of_order"),
)
# These concern the labels, so every entry of the stream.
_STREAM_REASONS = (
    ("error at least one label pair is required per stream", "missing_labels"),
    ("label names; limit", "max_label_names_per_series"),
    ("has label name too long", "label_name_too_long"),
    ("has label value too long", "label_value_too_long"),
    ("has duplicate label name", "duplicate_label_names"),
    ("missing required labels", "missing_enforced_labels"),
)
_INVALID_REASONS = (
    ("couldn't parse labels", "invalid_labels"),
    ("error parsing labels", "invalid_labels"),
    ("label name is empty", "invalid_metadata_name"),
    ("resulted in invalid name", "invalid_metadata_name"),
)
REASONS = (
    *dict.fromkeys(reason for _, reason in (*_ENTRY_REASONS, *_STREAM_REASONS, *_INVALID_REASONS)),
    "request_body_too_large",
    "invalid_request",
)
"""Every word that `Partial`, `Unacceptable` and `TooLarge` use as a reason."""

_POISON = ("label name is empty", "resulted in invalid name")
_TENANT = ("tenant id", "multiple org ids present", "no org id")
# A 400 that begins so comes from something in front of Loki or concerns every request alike: no entry is to blame.
_NOT_ABOUT_ENTRIES = (
    "<html",
    "<!doctype",
    "client sent an http request to an https server",
    "content-encoding",
    "mime: ",
)
_QUOTE = "error found in #"
"""After this JSON decode errors quote the body, which may hold any words."""

_TOTAL_IGNORED = re.compile(r"total ignored: (\d{1,9}) out of (\d{1,9})\b")
_GROUPED = re.compile(r"(?:^|; )(\d{1,9}) errors like: ")
_IGNORED = re.compile(
    r"entry with timestamp (\d{4})-(\d\d)-(\d\d) (\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))? \+0000 UTC ignored, reason: '"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_BLANK_CHARS = 1024
"""Of an accepted reply at most. What is longer may have been cut off before it says anything."""


def classify(status: int, body: str, retry_after_s: float | None = None, words: str | None = None) -> Verdict:
    """What to do after a reply. `body` is text of any size and origin; `words` is what may be told of it, all by default."""
    text = body.lower()
    words = body if words is None else words
    match status:
        case 204:
            return Accepted()
        case 200 if len(text) <= _BLANK_CHARS and not text.strip():
            return Accepted()
        case 200:
            # Loki's 200 is empty. With a page in it, a login or a default host answered in Loki's place.
            return Misconfigured(
                f"what answers is not Loki: {told(words)} (check loki.url)", "destination", retry_after_s
            )
        case 400 | 422:
            return _refused(status, body, text, words, retry_after_s)
        case 413:
            return TooLarge()
        case 429:
            stream = "per stream rate limit" in text or "maximum active stream limit" in text
            return TryLater("stream" if stream else "destination", retry_after_s, limited=True)
        case 408 | 425 | 499:
            return TryLater("destination", retry_after_s)
        case _ if status < 500:
            return Misconfigured(_advice(status, words), _blocked_scope(text), retry_after_s)
        case _ if any(poison in text for poison in _POISON):
            return Unacceptable("invalid_metadata_name")
        case _ if "resourceexhausted" in text or "larger than max" in text:
            return TooLarge()
        case _:
            return TryLater("destination", retry_after_s)


def classify_no_reply(kind: NoReply, message: str) -> Verdict:
    """What to do when there was no reply. A certificate does not mend itself; everything else may."""
    if kind == "tls":
        return Misconfigured(f"no TLS connection with Loki: {told(message)} (check loki.url and loki.tls)")
    return TryLater("destination")


def _refused(status: int, body: str, text: str, words: str, retry_after_s: float | None) -> Verdict:
    """A 400 or 422."""
    text = text.partition(_QUOTE)[0].lstrip()
    if text.startswith(_TENANT):
        return Misconfigured(
            f"Loki answers {status}: {told(words)} (check loki.tenant_id)", "destination", retry_after_s
        )
    if "feature is disallowed" in text:
        return Misconfigured(
            "Loki refuses structured metadata: set limits_config.allow_structured_metadata in Loki, "
            "or metadata.fields = [] here for lines still to be read",
            "stream",
            retry_after_s,
        )
    # Without stream sharding one reply can list entries over the rate limit beside others; those are not refused for good.
    if "per stream rate limit" in text:
        return TryLater("stream", retry_after_s, limited=True)
    if text.startswith(_NOT_ABOUT_ENTRIES):
        return Misconfigured(f"{status} from something in front of Loki: {told(words)} (check loki.url)")
    if "request body too large" in text:  # JSON bodies, Loki 3.7
        return TooLarge()
    for known, reason in _INVALID_REASONS:
        if known in text:
            return Unacceptable(reason)
    return _partial(body, text) or Unacceptable("invalid_request")


def _partial(body: str, text: str) -> Partial | None:
    """None when the text has no reason that Loki gives for single entries or for a stream."""
    for words, reason in _STREAM_REASONS:
        if words in text:
            return Partial(reason, whole=True)
    found = [(text.count(words), reason) for words, reason in _ENTRY_REASONS if words in text]
    if not found:
        return None
    reason, mixed = max(found)[1], len(found) > 1
    ignored = _TOTAL_IGNORED.findall(body)
    if ignored:  # an ingester's words, one group for each shard of the stream
        refused, judged = (sum(map(int, counts)) for counts in zip(*ignored, strict=True))
        listed = _listed(body)
        every = listed if len(listed) == refused and not mixed else None
        return Partial(reason, refused, judged, timestamps_ns=every, mixed=mixed)
    grouped = _GROUPED.findall(body)  # a distributor's
    return Partial(reason, sum(map(int, grouped)) if grouped else None, mixed=mixed)


def _listed(body: str) -> frozenset[int]:
    """Times, in ns, of the entries an ingester names (Go's `Time.String`, at most ten of them)."""
    stamps = set()
    for year, month, day, hour, minute, second, fraction in _IGNORED.findall(body):
        try:
            when = datetime(int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=UTC)
        except ValueError:
            continue
        seconds = (when - _EPOCH) // timedelta(seconds=1)
        stamps.add(seconds * 1_000_000_000 + int(fraction.ljust(9, "0") or 0))
    return frozenset(stamps)


def _blocked_scope(text: str) -> Scope:
    """A block by policy concerns the streams that the policy selects; everything else concerns all."""
    return "stream" if "ingestion blocked" in text and "(policy:" in text else "destination"


_CHECK = {
    401: "check loki.basic_auth, loki.bearer_token and loki.tenant_id",
    403: "check the rights of loki.basic_auth or loki.bearer_token",
    404: "check loki.url",
    405: "check loki.url",
    407: "check the proxy in front of Loki",
}


def _advice(status: int, words: str) -> str:
    said = told(words)
    answer = f"Loki answers {status}{': ' + said if said else ''}"
    if status < 300:
        return f"{answer} (nothing is stored; check limits_config.block_ingestion_until in Loki)"
    if status < 400:
        return f"Loki answers {status}, a redirect, which is not followed (write the final address into loki.url)"
    return f"{answer} ({_CHECK.get(status, 'check loki.url and what stands in front of Loki')})"


def told(body: str) -> str:
    """Loki's words fit for a message: one line, bounded, without the piece of the body that JSON errors quote."""
    words = " ".join(body.partition(_QUOTE)[0].split())
    return words if len(words) <= MAX_MESSAGE_CHARS else words[: MAX_MESSAGE_CHARS - 1] + "…"


def parse_retry_after(value: str | None, now_epoch_s: float) -> float | None:
    """Seconds to wait, from `Retry-After` (RFC 9110 §10.2.3: seconds or a date). None when absent or not understood.

    Bounded to 0..600 s: a proxy's mistake must not stop delivery for a day.
    """
    if value is None:
        return None
    value = value.strip()
    try:
        seconds = float(value)
    except ValueError:
        try:
            when = parsedate_to_datetime(value)
            seconds = when.replace(tzinfo=when.tzinfo or UTC).timestamp() - now_epoch_s
        except (ValueError, TypeError, IndexError, OverflowError):
            return None
    if math.isnan(seconds):
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_S)
