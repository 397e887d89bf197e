"""The configuration: one frozen class per TOML table, in the order lines flow.

Defaults and documentation live here and nowhere else: `config.example.toml` and the JSON Schema are checked against
these classes. Sizes are written `"1MiB"`, durations `"1s"`; inside they are bytes (int) and seconds (float), and their
names say so where the table's key does not. A secret is a reference (`{ file | env | credential = … }`), never text.

What a table can tell about itself is checked by its types; `conflicts` finds what only shows between tables.
"""

from __future__ import annotations

import codecs
import datetime as dt
import ipaddress
import re
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from agent.globs import path_pattern

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_SIZE_UNITS = {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": KIB, "MIB": MIB, "GIB": GIB, "TIB": 1024 * GIB}
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", re.ASCII)

MAX_LABELS = 15
"""Loki's `max_label_names_per_series`; `service_name` does not count there."""
MAX_LABEL_VALUE_BYTES = 2048
"""Loki's `max_label_value_length`."""
OWN_LABELS = frozenset({"filename", "host"})
"""Labels that come by themselves on every stream."""
KUBERNETES_LABELS = frozenset({"container", "namespace", "pod"})
"""Labels that come by themselves on streams of a pod's log."""
OWN_METADATA = frozenset(
    {"clipped_bytes", "detected_level", "line_id", "original_timestamp", "part", "redaction_rules"}
)
"""Structured metadata the agent writes itself."""

_LABEL_NAME = r"^[A-Za-z_][A-Za-z0-9_]*$"
_HEADER_NAME = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]+$"
_OWN_HEADERS = {
    "content-encoding": "the agent sets it",
    "content-length": "the agent sets it",
    "content-type": "the agent sets it",
    "host": "the agent sets it",
    "transfer-encoding": "the agent sets it",
    "x-scope-orgid": "use tenant_id",
}
_SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
_WIDE_ENCODINGS = frozenset({"utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"})


def parse_size(value: object) -> object:
    """`"1MiB"` → 1048576. Integers are bytes already; anything else is left for pydantic to refuse."""
    if not isinstance(value, str):
        return value
    match = _QUANTITY.fullmatch(value)
    unit = _SIZE_UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise ValueError('write a size as a number and a unit, such as "512KiB", "1MiB" or "2GiB"')
    return int(float(match[1]) * unit)


def parse_duration(value: object) -> object:
    """`"200ms"` → 0.2. Numbers are refused: a bare 5 could be seconds or milliseconds."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        raise ValueError(f'a duration needs a unit, such as "{value}s" or "{value}ms"')  # noqa: TRY004 - pydantic's way
    match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    unit = _DURATION_UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError('write a duration as a number and a unit, such as "200ms", "1s", "5m", "2h" or "7d"')
    return float(match[1]) * unit


def format_size(size: int) -> str:
    """1048576 → `"1MiB"`: the largest unit that loses nothing."""
    for unit, name in ((1024 * GIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")):
        if size and size % unit == 0:
            return f"{size // unit}{name}"
    return f"{size}B"


def format_duration(seconds: float) -> str:
    """0.2 → `"200ms"`: the largest unit that loses nothing."""
    for unit, name in ((86400, "d"), (3600, "h"), (60, "m"), (1, "s")):
        if seconds and seconds % unit == 0:
            return f"{int(seconds // unit)}{name}"
    return f"{seconds * 1000:.12g}ms" if seconds else "0s"


def check_glob(glob: str) -> str:
    """A pattern that can match: the ones refused here match nothing, and silence is the worst answer."""
    if "\0" in glob:
        raise ValueError("a path cannot hold a NUL byte")
    if not glob.startswith("/"):
        hint = f"/{glob.removeprefix('./')}" if "/" in glob else f"/var/log/**/{glob or '*.log'}"
        raise ValueError(f'"{glob}" is not an absolute path (did you mean "{hint}"?)')
    if glob.endswith("/"):
        raise ValueError(f'"{glob}" names a directory; its files are "{glob}*"')
    names = glob.split("/")
    if ".." in names:
        raise ValueError(f'"{glob}": write the path without ".."')
    if any("**" in name and name != "**" for name in names):
        raise ValueError(f'"{glob}": ** stands alone between slashes, such as "/var/log/**/*.log"')
    if re.search(r"\{[^}/]*,[^}/]*\}", glob):
        raise ValueError(f'"{glob}": braces are not expanded; list two patterns instead')
    if any(not _brackets_balance(name) for name in names):
        raise ValueError(f'"{glob}": unbalanced bracket; a literal [ is written [[]')
    try:
        path_pattern(glob)
    except re.error as error:
        raise ValueError(f'"{glob}": {error.msg}; write it from low to high') from None
    return glob


def _brackets_balance(name: str) -> bool:
    """Whether each `[` opens a set that is closed in the same name; as in fnmatch, a `]` that comes first is in the set."""
    rest = re.sub(r"\[!?\][^\]]*\]|\[!?[^\]!][^\]]*\]", "", name)
    return "[" not in rest and "]" not in rest


def check_label_name(name: str) -> str:
    if not re.fullmatch(_LABEL_NAME, name, re.ASCII) or name.endswith("\n"):
        raise ValueError(f'"{name}" is no label name: use letters, digits and _, not beginning with a digit')
    if name.startswith("__"):
        raise ValueError(f'"{name}": label names beginning with __ are reserved by Loki')
    return name


def check_label_value(value: str) -> str:
    if not value:
        raise ValueError("an empty value is no label; leave the name out")
    return _check_label_length(value)


def _check_label_length(value: str) -> str:
    if len(value.encode()) > MAX_LABEL_VALUE_BYTES:
        raise ValueError(
            f"Loki takes label values up to {MAX_LABEL_VALUE_BYTES} bytes; this one has {len(value.encode())}"
        )
    return value


def check_encoding(name: str) -> str:
    """A text encoding whose lines can be found: newline is the byte 0x0A, or a whole unit of UTF-16 or UTF-32."""
    try:
        newline = "\n".encode(name)
        known = codecs.lookup(name).name
        b"\xff\xff\xff\xff".decode(name, "replace")  # what is not text must be replaceable; idna, for one, refuses
    except (LookupError, ValueError):
        raise ValueError(
            f'"{name}" is no text encoding; usual ones are "utf-8", "latin-1", "cp1252", "utf-16"'
        ) from None
    if newline != b"\n" and known not in _WIDE_ENCODINGS:
        raise ValueError(f'"{name}" has no newline byte, so its lines cannot be told apart')
    return name


def check_regex(pattern: str) -> str:
    """A regular expression the matcher can take as well: linear time leaves look-around and back-references out."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python warns of sets such as [[:alpha:]], which the matcher knows
        try:
            compiled = re.compile(pattern)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"not a regular expression: {error}") from None
    plain = re.sub(r"\\[^1-9]|\[\^?\]?(?:\\.|[^\]\\])*\]", "", pattern, flags=re.DOTALL)
    if re.search(r"\(\?(?:=|!|<=|<!)", plain):
        raise ValueError("look-around is not supported; a group named `secret` marks what is to be replaced")
    if re.search(r"\\[1-9]|\(\?P=|\(\?\(", plain):
        raise ValueError("back-references are not supported")
    if compiled.search(""):
        raise ValueError("matches the empty text, so it would match everywhere")
    return pattern


def check_start(pattern: str) -> str:
    """A regular expression for one line, matched by an automaton."""
    check_regex(pattern)
    if "\n" in pattern or re.search(r"(?<!\\)(?:\\\\)*\\n", pattern):
        raise ValueError("is looked for in one line, so it cannot hold a line break")
    return pattern


def check_file_path(path: str) -> str:
    if not path.startswith("/") or "\0" in path:
        raise ValueError(f'"{path}" is not an absolute path')
    return path


def check_olddir(path: str) -> str:
    if not path or "\0" in path or ".." in path.split("/"):
        raise ValueError(f'"{path}" is no directory; write "/var/log/old", or "old" for one beside the files')
    return path.rstrip("/") or "/"


def check_header_name(name: str) -> str:
    if not re.fullmatch(_HEADER_NAME, name) or name.endswith("\n"):
        raise ValueError("no header name: use letters, digits and -")
    if name.lower() in _OWN_HEADERS:
        raise ValueError(f"{name} cannot be set here: {_OWN_HEADERS[name.lower()]}")
    return name


def check_header_value(value: str) -> str:
    if re.search(r"[\x00-\x08\x0a-\x1f\x7f]", value):
        raise ValueError("a header value has no line breaks or control characters")
    return value


def check_url(url: str) -> str:
    """An http(s) address without a password in it. The message never repeats the URL: it may hold one."""
    if re.search(r"[\s\x00-\x1f\x7f]", url):
        raise ValueError("a URL has no spaces or control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ValueError(f"not a URL: {str(error)[:80]}") from None
    if "@" in parts.netloc:
        raise ValueError("no user name or password in the URL; use basic_auth")
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == 0:
        raise ValueError('write a URL such as "http://127.0.0.1:3100" or "https://loki.example.com"')
    if parts.query or parts.fragment:
        raise ValueError("a base URL has no ?query and no #fragment")
    check_host_name(parts.hostname)
    return url


def check_host_name(name: str) -> str:
    """What DNS and certificates can hold."""
    bare = name.rstrip(".")
    try:
        bare.encode("idna")
    except UnicodeError:
        bare = ""
    if not bare or bare.startswith(".") or re.search(r"[\s\x00-\x1f\x7f]", bare):
        raise ValueError("no name of a host: its parts between dots have 1 to 63 characters")
    return name


def check_listen(listen: str) -> str:
    host, _, port = listen.rpartition(":")
    if int(port) > 65535:
        raise ValueError(f"port {port} does not exist; ports go from 0 to 65535")
    if host.startswith("["):
        try:
            ipaddress.IPv6Address(host[1:-1])
        except ValueError:
            raise ValueError(f"{host} is no IPv6 address") from None
    return listen


def _schema(kind: str, pattern: str) -> dict[str, Any]:
    return {"type": kind, "pattern": pattern}


# Strict: a TOML "no" in quotes is text, and text is true.
Switch = Annotated[bool, Strict()]
Count = Annotated[int, Strict()]
_SIZE_SCHEMA = {
    "anyOf": [
        _schema("string", r"^\s*\d+(\.\d+)?\s*([Bb]|[Kk][Bb]|[Mm][Bb]|[Gg][Bb]|[KkMmGgTt][Ii][Bb])\s*$"),
        {"type": "integer", "minimum": 0},
    ]
}
Size = Annotated[int, Strict(), BeforeValidator(parse_size), WithJsonSchema(_SIZE_SCHEMA)]
_DURATION_SCHEMA = _schema("string", r"^\s*\d+(\.\d+)?\s*([Mm][Ss]|[SsMmHhDd])\s*$")
Duration = Annotated[float, BeforeValidator(parse_duration), WithJsonSchema(_DURATION_SCHEMA)]
Glob = Annotated[str, AfterValidator(check_glob)]
LabelName = Annotated[str, AfterValidator(check_label_name), WithJsonSchema(_schema("string", _LABEL_NAME))]
LabelValue = Annotated[str, AfterValidator(check_label_value)]
FieldName = Annotated[str, Field(min_length=1)]
Regex = Annotated[str, AfterValidator(check_regex)]
HeaderName = Annotated[str, AfterValidator(check_header_name), WithJsonSchema(_schema("string", _HEADER_NAME))]
HeaderValue = Annotated[str, AfterValidator(check_header_value)]
FilePath = Annotated[str, AfterValidator(check_file_path)]


class Table(BaseModel):
    """What all tables share: nothing unknown passes, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Secret(Table):
    """Where a secret is to be found. Exactly one of the three."""

    file: FilePath | None = None
    """Absolute path of a file that holds the secret; white space around it is removed. Read again when it changes."""
    env: str | None = Field(None, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")
    """Name of an environment variable."""
    credential: str | None = Field(None, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=255)
    """Name of a systemd credential (`LoadCredential=`)."""

    @model_validator(mode="before")
    @classmethod
    def _no_plain_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(  # noqa: TRY004 - pydantic's way
                'a secret is never written into the configuration: use { file = "…" }, { env = "…" } or { credential = "…" }'
            )
        return value

    @model_validator(mode="after")
    def _exactly_one(self) -> Secret:
        if sum(place is not None for place in (self.file, self.env, self.credential)) != 1:
            raise ValueError("name exactly one of file, env, credential")
        return self


class Agent(Table):
    """[agent]: the process itself."""

    state_dir: Annotated[str, AfterValidator(check_file_path)] = Field("/var/lib/greenstack-agent", min_length=1)
    """Buffer, dead letters, keys. One running agent each."""
    shutdown_grace: Duration = Field(15.0, ge=0, le=3600)
    """How long a stop may go on delivering before the rest stays in the buffer."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Of the agent's own messages, on stderr."""
    watch: Literal["auto", "poll"] = "auto"
    """`auto` listens for file events and scans as well; `poll` only scans (network file systems)."""
    scan_interval: Duration = Field(5.0, ge=0.05, le=3600)
    """How often directories are listed; the truth when an event is missed."""
    poll_interval: Duration = Field(0.25, ge=0.01, le=60)
    """How often known files are looked at when there are no events."""
    max_held_bytes: Size = Field(4 * GIB, ge=0)
    """Disk space that deleted files may keep until they are read, on each file system; beyond it the one deleted first
    is let go, and what was unread of it is counted."""


class Multiline(Table):
    """`multiline` of a source: lines that are one event, such as a traceback."""

    start: Annotated[str, AfterValidator(check_start)] = Field(min_length=1)
    """Regular expression found in the first line of an event and in no other. No look-around, no backreference."""
    timeout: Duration = Field(2.0, ge=0.1, le=30)
    """An event to which nothing was added for so long is complete."""
    max_lines: Count = Field(500, ge=2, le=100_000)
    """More lines than that are another event."""
    max_bytes: Size = Field(256 * KIB, ge=1 * KIB, le=16 * MIB)
    """More bytes than that are another event; never more than max_line_bytes."""


class Source(Table):
    """[[source]]: a set of files that are read alike."""

    name: str = Field("greenstack", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Used in metrics and messages."""
    include: tuple[Glob, ...] = Field(("/var/log/greenstack/*.log",), min_length=1)
    """Globs (`*`, `?`, `[…]`, `**`) of absolute paths."""
    exclude: tuple[Glob, ...] = ()
    """Globs of absolute paths not to read although they are included."""
    format: Literal["auto", "json", "text", "cri", "docker"] = "auto"
    """`auto` decides by the content of each file."""
    start_at: Literal["beginning", "end"] = "beginning"
    """Where to begin with files already there at the very first start; later files always from the beginning."""
    max_line_bytes: Size = Field(256 * KIB, ge=1 * KIB, le=16 * MIB)
    """A longer line is sent in numbered parts. Loki refuses lines over 256KiB by default."""
    encoding: Annotated[str, AfterValidator(check_encoding)] = "utf-8"
    """Of the files' text; a byte-order mark wins over it. Everything is sent as UTF-8."""
    multiline: Multiline | None = None
    """Puts lines together that are one event."""
    olddir: Annotated[str, AfterValidator(check_olddir)] | None = None
    """Directory into which rotation moves the files: absolute, or relative to the directory of each file."""
    compressed: Literal["auto", "skip"] = "auto"
    """Rotated files that were compressed: `auto` reads what of them was not read before, `skip` leaves them alone."""
    labels: dict[LabelName, LabelValue] = {}
    """Added to the stream labels of these files."""


class Parse(Table):
    """[parse]: where a line says when and how grave."""

    timestamp_fields: tuple[FieldName, ...] = ("timestamp", "time", "ts", "@timestamp")
    """JSON fields looked at in this order: epoch seconds, ms, µs, ns (by magnitude) or ISO 8601 text."""
    level_fields: tuple[FieldName, ...] = ("level", "levelname", "severity", "lvl")
    """JSON fields looked at in this order for the level."""
    out_of_range: Literal["clamp", "send"] = "clamp"
    """A time older than max_age or newer than max_future: `clamp` it to the time of the line beside it (or of reading,
    when there is none) and keep the original as metadata `original_timestamp`, or `send` it and let Loki decide (what it
    refuses becomes a dead letter)."""
    max_age: Duration = Field(168 * 3600.0, gt=0)
    """Loki's `reject_old_samples_max_age`."""
    max_future: Duration = Field(600.0, gt=0)
    """Loki's `creation_grace_period`."""


class RedactRule(Table):
    """[[redact.rule]]: a rule of the operator's own."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    """Name in metrics and in the mask."""
    pattern: Regex = Field(min_length=1)
    """Regular expression; a group named `secret`, if there is one, is what is replaced. No look-around, no backreference."""
    replacement: str | None = None
    """Instead of the mask `[REDACTED:<id>]`."""
    keywords: tuple[FieldName, ...] = ()
    """Literals of which one must be in the line; speeds a broad pattern up."""
    within: Count = Field(0, ge=0, le=1000)
    """How many characters before the match a keyword must stand; 0 means anywhere in the line."""
    check: Literal["none", "luhn", "iban", "digit", "mixed"] = "none"
    """What a match must be besides: a Luhn or IBAN number, something with a digit, with digits and both cases."""
    action: Literal["mask", "partial", "pseudonym", "drop_line", "tag_only"] = "mask"
    """As in `redact.actions`."""
    enforce: Switch = True
    """false: count and tag what the rule finds, and change nothing. For trying a new rule out."""
    must_match: tuple[str, ...] = ()
    """Texts in which the rule must find something; tried at start."""
    must_not_match: tuple[str, ...] = ()
    """Texts in which it must not; tried at start."""


class RedactExempt(Table):
    """[[redact.exempt]]: what a rule leaves alone. All that is given must hold."""

    rule: str = ""
    """Id or group of rules; empty means every rule."""
    path: str = ""
    """JSON path of the value, such as "device.key"; list positions are left out."""
    value: Regex = ""
    """Regular expression of the whole value."""
    until: dt.date | None = None
    """Last day on which this holds."""

    @model_validator(mode="after")
    def _says_something(self) -> RedactExempt:
        if not (self.path or self.value):
            raise ValueError("give `path` or `value`; to switch a rule off, use `redact.disable`")
        return self


class Redact(Table):
    """[redact]: secrets and personal data out, before anything is written or sent."""

    enabled: Switch = True
    """Turning it off is loud: a warning and a metric."""
    presets: tuple[Literal["secrets", "pii"], ...] = ("secrets", "pii")
    """Rule sets that come with the agent."""
    keys: tuple[FieldName, ...] = ()
    """More names whose values are secret, wherever they appear as a key."""
    enable: tuple[FieldName, ...] = ()
    """Ids of rules that are off by default: phone, ip-address, national-id, person, geo, high-entropy."""
    disable: tuple[FieldName, ...] = ()
    """Ids of rules not to use."""
    actions: dict[FieldName, Literal["mask", "partial", "pseudonym", "drop_line", "tag_only", "off"]] = {}
    """Action by rule id or group; an id goes before its group."""
    allow: tuple[Regex, ...] = ()
    """Regular expressions of values that are never secret; matched against the whole value."""
    mode: Literal["mask", "hash"] = "mask"
    """`mask` writes the rule's name; `hash` a keyed pseudonym, the same for the same value."""
    hash_key: Secret | None = None
    """Key of the pseudonyms; without one, made once and kept in the state directory."""
    values_file: str = ""
    """File of exact values that must not leave, one a line: for what has leaked already."""
    tag: Switch = False
    """Adds the structured metadata `redaction_rules` to changed lines; tag_only rules always do."""
    exempt: tuple[RedactExempt, ...] = ()
    """What rules leave alone, each a table `[[redact.exempt]]`."""
    rule: tuple[RedactRule, ...] = ()
    """Rules of your own, each a table `[[redact.rule]]`."""


class Labels(Table):
    """[labels]: what names a stream."""

    static: dict[LabelName, LabelValue] = {
        "service_name": "greenstack",
        "job": "greenstack-agent",
        "environment": "production",
    }
    """On every stream. `host` and `filename` (on Kubernetes namespace, pod, container) come by themselves."""
    host: Annotated[str, AfterValidator(_check_label_length)] = ""
    """Value of the label `host`; empty means the host's name."""
    from_fields: dict[LabelName, FieldName] = {}
    """Label name = JSON field. Every value is one more stream."""
    max_streams: Count = Field(1000, ge=1, le=100_000)
    """Streams one agent may make; further values of from_fields labels become `other`."""


class Metadata(Table):
    """[metadata]: searchable beside the line, no stream of its own."""

    fields: tuple[FieldName, ...] = Field(("request_id", "trace_id", "span_id"), max_length=24)
    """JSON fields sent as structured metadata, each up to 2048 bytes of it: Loki takes 64 KiB for a line."""


class Batch(Table):
    """[batch]: when entries are sealed into one push."""

    max_bytes: Size = Field(1 * MIB, ge=4 * KIB, le=3 * MIB)
    """Before compression. Loki's gRPC limit makes more than 3MiB unsafe."""
    max_entries: Count = Field(10_000, ge=1, le=1_000_000)
    """Lines of one push."""
    max_wait: Duration = Field(1.0, ge=0.01, le=60)
    """How long a line waits for company."""


class Buffer(Table):
    """[buffer]: what is read and not yet accepted by Loki, on disk."""

    max_bytes: Size = Field(4 * GIB, ge=1 * MIB)
    """All segments together."""
    when_full: Literal["block", "drop_oldest"] = "block"
    """`block` stops reading (the files keep the rest); `drop_oldest` gives up the oldest records, counted."""
    segment_bytes: Size = Field(16 * MIB, ge=64 * KIB, le=1 * GIB)
    """One file of the buffer. Space comes back a segment at a time."""
    min_free_bytes: Size = Field(256 * MIB, ge=0)
    """Of the file system: below it the buffer counts as full."""

    @model_validator(mode="after")
    def _two_segments(self) -> Buffer:
        if self.max_bytes < 2 * self.segment_bytes:
            raise ValueError(
                f"max_bytes ({format_size(self.max_bytes)}) must hold at least two segments "
                f"(segment_bytes = {format_size(self.segment_bytes)})"
            )
        return self


class BasicAuth(Table):
    """basic_auth: who we are to the proxy in front of Loki."""

    username: str = Field(min_length=1, pattern=r"^[^:\x00-\x1f\x7f]+$")
    """A colon would end it (RFC 7617)."""
    password: Secret
    """Where the password is to be found."""


class Tls(Table):
    """[loki.tls]"""

    ca_file: FilePath | None = None
    """PEM file of the authorities to trust instead of the system's."""
    cert_file: FilePath | None = None
    """PEM file of our own certificate."""
    key_file: FilePath | None = None
    """PEM file of its key."""
    server_name: Annotated[str, AfterValidator(check_host_name)] | None = None
    """Name the server's certificate must carry, when it is not the URL's."""

    @model_validator(mode="after")
    def _certificate_and_key(self) -> Tls:
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file is of no use without cert_file")
        if self.cert_file is not None and self.key_file is None:
            raise ValueError("cert_file needs its key: set key_file (the same path when one file holds both)")
        return self


class Retry(Table):
    """[loki.retry]: exponential with full jitter, without a limit of attempts."""

    first_delay: Duration = Field(0.5, gt=0, le=60)
    """Upper bound of the first pause."""
    max_delay: Duration = Field(30.0, gt=0, le=3600)
    """Upper bound of every pause; Loki's own `Retry-After` may ask for a longer one."""

    @model_validator(mode="after")
    def _grows(self) -> Retry:
        if self.first_delay > self.max_delay:
            first, last = format_duration(self.first_delay), format_duration(self.max_delay)
            raise ValueError(f"first_delay ({first}) is longer than max_delay ({last})")
        return self


class Loki(Table):
    """[loki]: where lines go."""

    url: Annotated[str, AfterValidator(check_url)] = "http://127.0.0.1:3100"
    """Base address; `/loki/api/v1/push` is added unless the URL already has a path ending in `/push`."""
    tenant_id: str | None = Field(None, max_length=150, pattern=r"^[A-Za-z0-9!_.*'()-]+$")
    """Sent as X-Scope-OrgID."""
    basic_auth: BasicAuth | None = None
    """User name and password."""
    bearer_token: Secret | None = None
    """Sent as `Authorization: Bearer …`; excludes basic_auth."""
    headers: dict[HeaderName, HeaderValue | Secret] = {}
    """More request headers; a secret one is a reference."""
    tls: Tls = Tls()
    """Certificates, where the system's are not enough."""
    timeout: Duration = Field(15.0, ge=1, le=300)
    """Of one request, from connecting to the last byte of the reply."""
    max_in_flight: Count = Field(4, ge=1, le=64)
    """Requests at one time; never two of one stream."""
    encoding: Literal["protobuf", "json"] = "protobuf"
    """Of the push body: protobuf with snappy, or JSON with gzip."""
    max_stream_rate: Size = Field(0, ge=0)
    """Bytes per second of one stream while catching up; 0 is no limit. Loki shards streams above about 1.5MB/s, and then
    a re-send is no longer invisible."""
    retry: Retry = Retry()
    """How long to wait after a failed request."""

    @field_validator("tenant_id")
    @classmethod
    def _no_path(cls, tenant: str | None) -> str | None:
        if tenant in {".", ".."}:
            raise ValueError(f'"{tenant}" is no tenant name')
        return tenant

    @model_validator(mode="after")
    def _one_kind_of_auth(self) -> Loki:
        if self.basic_auth is not None and self.bearer_token is not None:
            raise ValueError("basic_auth and bearer_token exclude each other")
        authorization = any(name.lower() == "authorization" for name in self.headers)
        if authorization and (self.basic_auth is not None or self.bearer_token is not None):
            raise ValueError("a header Authorization and basic_auth or bearer_token exclude each other")
        return self


class Server(Table):
    """[server]: metrics, health and the status page."""

    listen: str = Field("127.0.0.1:9480", pattern=r"^(?:\[[0-9A-Fa-f:.]+\]|[^:\[\]/\s]*):[0-9]{1,5}$")
    """`host:port`; port 0 takes a free one, an empty host listens everywhere."""

    @field_validator("listen")
    @classmethod
    def _exists(cls, listen: str) -> str:
        return check_listen(listen)


class Config(Table):
    """The whole file."""

    agent: Agent = Agent()
    source: tuple[Source, ...] = Field((Source(),), min_length=1)
    parse: Parse = Parse()
    redact: Redact = Redact()
    labels: Labels = Labels()
    metadata: Metadata = Metadata()
    batch: Batch = Batch()
    buffer: Buffer = Buffer()
    loki: Loki = Loki()
    server: Server = Server()


@dataclass(frozen=True, slots=True)
class Conflict:
    """What is wrong between options that are each right.

    at:       path of the option that the message is about, such as ("source", 1, "name").
    because:  paths of the others it depends on. If one of these is wrong itself, the conflict may be none.
    """

    at: tuple[str | int, ...]
    message: str
    because: tuple[tuple[str | int, ...], ...] = ()


def conflicts(settings: Config) -> Iterator[Conflict]:
    """All that no table can see alone."""
    yield from _repeated(
        [("source", index, "name") for index, _ in enumerate(settings.source)], [s.name for s in settings.source]
    )
    rules = settings.redact.rule
    yield from _repeated(
        [("redact", "rule", index, "id") for index, _ in enumerate(rules)], [rule.id for rule in rules]
    )
    yield from _own_labels_set(settings)
    yield from _fields_as_labels(settings)
    yield from _too_many_labels(settings)
    yield from _metadata_names(settings.metadata)
    yield from _fields_as_time(settings)
    yield from _plain_secrets(settings.loki)


def _repeated(paths: list[tuple[str | int, ...]], names: list[str]) -> Iterator[Conflict]:
    first: dict[str, tuple[str | int, ...]] = {}
    for path, name in zip(paths, names, strict=True):
        if name in first:
            yield Conflict(path, f'"{name}" is used twice; each needs a name of its own', (first[name],))
        first.setdefault(name, path)


def _of_pods(source: Source) -> bool:
    """Whether the source's streams are certain to get the labels of a pod."""
    return source.format == "cri" or any(
        glob.startswith(("/var/log/pods/", "/var/log/containers/")) for glob in source.include
    )


def _own_labels_set(settings: Config) -> Iterator[Conflict]:
    """Labels that come by themselves and are set by the operator as well."""
    places: list[tuple[tuple[str | int, ...], Mapping[str, str]]] = [
        (("labels", "static"), settings.labels.static),
        (("labels", "from_fields"), settings.labels.from_fields),
        *((("source", index, "labels"), source.labels) for index, source in enumerate(settings.source)),
    ]
    pods = any(_of_pods(source) for source in settings.source)
    for place, names in places:
        mine = OWN_LABELS | (KUBERNETES_LABELS if pods else frozenset())
        for name in names:
            if name in mine:
                hint = "; set labels.host instead" if name == "host" else ""
                yield Conflict(
                    (*place, name),
                    f'the label "{name}" comes by itself{hint}',
                    (("source",),) if name in KUBERNETES_LABELS else (),
                )


def _fields_as_labels(settings: Config) -> Iterator[Conflict]:
    labels = settings.labels
    for name, field in labels.from_fields.items():
        at = ("labels", "from_fields", name)
        if name in labels.static:
            yield Conflict(at, f'"{name}" is a static label too', (("labels", "static", name),))
        for index, source in enumerate(settings.source):
            if name in source.labels:
                yield Conflict(
                    at, f'"{name}" is a label of source "{source.name}" too', (("source", index, "labels", name),)
                )
        if field in settings.metadata.fields:
            message = f'"{field}" is sent as metadata; as a label, each of its values would be a stream'
            yield Conflict(at, message, (("metadata", "fields"),))


def _too_many_labels(settings: Config) -> Iterator[Conflict]:
    for index, source in enumerate(settings.source):
        names = OWN_LABELS | (KUBERNETES_LABELS if _of_pods(source) else frozenset())
        names = names.union(settings.labels.static, settings.labels.from_fields, source.labels) - {"service_name"}
        if len(names) > MAX_LABELS:
            at: tuple[str | int, ...] = ("source", index, "labels") if source.labels else ("labels",)
            message = f'streams of source "{source.name}" would have {len(names)} labels; Loki takes {MAX_LABELS} ({", ".join(sorted(names))})'
            yield Conflict(at, message, (("labels",), ("source",)))


def _metadata_names(metadata: Metadata) -> Iterator[Conflict]:
    """Loki makes names of letters, digits and single `_`; two fields must not become one, nor one become nothing."""
    seen: dict[str, str] = {}
    for index, field in enumerate(metadata.fields):
        name = re.sub(r"[^A-Za-z0-9]+", "_", field)
        at = ("metadata", "fields", index)
        if not name.strip("_"):
            yield Conflict(at, f'"{field}" has no letter or digit, so Loki has no name for it')
        elif name in OWN_METADATA:
            yield Conflict(at, f'"{field}" is written by the agent itself')
        elif name in seen:
            yield Conflict(at, f'"{field}" and "{seen[name]}" would both be sent as "{name}"')
        seen.setdefault(name, field)


def _fields_as_time(settings: Config) -> Iterator[Conflict]:
    """A field is read as the line's time or as what it says, not as both."""
    times = settings.parse.timestamp_fields
    at: tuple[str | int, ...] = ("parse", "timestamp_fields")
    for index, name in enumerate(times):
        if name in times[:index]:
            yield Conflict((*at, index), f'"{name}" stands there twice; leave one out')
    others: list[tuple[tuple[str | int, ...], str]] = [
        *((("parse", "level_fields", index), name) for index, name in enumerate(settings.parse.level_fields)),
        *((("metadata", "fields", index), name) for index, name in enumerate(settings.metadata.fields)),
        *((("labels", "from_fields", label), name) for label, name in settings.labels.from_fields.items()),
    ]
    for place, name in others:
        if name in times:
            message = f'"{name}" is read as the time of a line; leave it out here, or out of parse.timestamp_fields'
            yield Conflict(place, message, (at,))


def _plain_secrets(loki: Loki) -> Iterator[Conflict]:
    for name, value in loki.headers.items():
        if isinstance(value, str) and name.lower() in _SECRET_HEADERS:
            message = f'{name} is a secret: use {{ file = "…" }}, {{ env = "…" }} or {{ credential = "…" }}'
            yield Conflict(("loki", "headers", name), message)
