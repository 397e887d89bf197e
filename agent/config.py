"""The configuration: one frozen class per TOML table, in the order lines flow.

Defaults and documentation live here and nowhere else: `config.example.toml` and the JSON Schema are checked against
these classes. Sizes are written `"1MiB"`, durations `"1s"`; inside they are bytes (int) and seconds (float), and their
names say so where the table's key does not. A secret is a reference (`{ file | env | credential = … }`), never text.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB

_SIZE_UNITS = {"B": 1, "KB": 1000, "MB": 1000**2, "GB": 1000**3, "KIB": KIB, "MIB": MIB, "GIB": GIB, "TIB": 1024 * GIB}
_DURATION_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_QUANTITY = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*")


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
        raise ValueError(f'a duration needs a unit, such as "{value}s" or "{value}ms"')
    if not isinstance(value, str):
        return value
    match = _QUANTITY.fullmatch(value)
    unit = _DURATION_UNITS.get(match[2].lower()) if match else None
    if match is None or unit is None:
        raise ValueError('write a duration as a number and a unit, such as "200ms", "1s", "5m", "2h" or "7d"')
    return float(match[1]) * unit


Size = Annotated[int, BeforeValidator(parse_size)]
Duration = Annotated[float, BeforeValidator(parse_duration)]


class Table(BaseModel):
    """What all tables share: nothing unknown passes, nothing changes after reading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Secret(Table):
    """Where a secret is to be found. Exactly one of the three."""

    file: str | None = None
    """Path of a file that holds the secret; white space around it is removed. Read again when it changes."""
    env: str | None = None
    """Name of an environment variable."""
    credential: str | None = None
    """Name of a systemd credential (`LoadCredential=`)."""

    @model_validator(mode="before")
    @classmethod
    def _no_plain_text(cls, value: Any) -> Any:
        if isinstance(value, str):
            raise ValueError(
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

    state_dir: str = "/var/lib/greenstack-agent"
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


class Source(Table):
    """[[source]]: a set of files that are read alike."""

    name: str = Field("greenstack", pattern=r"^[A-Za-z0-9_-]{1,64}$")
    """Used in metrics and messages."""
    include: tuple[str, ...] = Field(("/var/log/greenstack/*.log",), min_length=1)
    """Globs (`*`, `?`, `[…]`, `**`) of absolute paths."""
    exclude: tuple[str, ...] = ()
    """Globs of paths not to read although they are included."""
    format: Literal["auto", "json", "text", "cri", "docker"] = "auto"
    """`auto` decides by the content of each file."""
    start_at: Literal["beginning", "end"] = "beginning"
    """Where to begin with files already there at the very first start; later files always from the beginning."""
    max_line_bytes: Size = Field(256 * KIB, ge=1 * KIB, le=16 * MIB)
    """A longer line is sent in numbered parts. Loki refuses lines over 256KiB by default."""
    encoding: str = "utf-8"
    """Of the files' text; a byte-order mark wins over it. Everything is sent as UTF-8."""
    labels: dict[str, str] = {}
    """Added to the stream labels of these files."""


class Parse(Table):
    """[parse]: where a line says when and how grave."""

    timestamp_fields: tuple[str, ...] = ("timestamp", "time", "ts", "@timestamp")
    """JSON fields looked at in this order: epoch seconds, ms, µs, ns (by magnitude) or ISO 8601 text."""
    level_fields: tuple[str, ...] = ("level", "levelname", "severity", "lvl")
    """JSON fields looked at in this order for the level."""
    out_of_range: Literal["clamp", "send"] = "clamp"
    """A time older than max_age or newer than max_future: `clamp` it to the time of reading and keep the original as
    metadata `original_timestamp`, or `send` it and let Loki decide (what it refuses becomes a dead letter)."""
    max_age: Duration = Field(168 * 3600.0, gt=0)
    """Loki's `reject_old_samples_max_age`."""
    max_future: Duration = Field(600.0, gt=0)
    """Loki's `creation_grace_period`."""


class RedactRule(Table):
    """[[redact.rule]]: a rule of the operator's own."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    """Name in metrics and in the mask."""
    pattern: str = Field(min_length=1)
    """Regular expression; a group named `secret`, if there is one, is what is replaced. No look-around, no backreference."""
    replacement: str | None = None
    """Instead of the mask `[REDACTED:<id>]`."""
    keywords: tuple[str, ...] = ()
    """Literals of which one must be in the line; speeds a broad pattern up."""


class Redact(Table):
    """[redact]: secrets and personal data out, before anything is written or sent."""

    enabled: bool = True
    """Turning it off is loud: a warning and a metric."""
    presets: tuple[Literal["secrets", "pii"], ...] = ("secrets", "pii")
    """Rule sets that come with the agent."""
    keys: tuple[str, ...] = ()
    """More names whose values are secret, wherever they appear as a key."""
    disable: tuple[str, ...] = ()
    """Ids of rules not to use."""
    allow: tuple[str, ...] = ()
    """Regular expressions of values that are never secret; matched against the whole value."""
    mode: Literal["mask", "hash"] = "mask"
    """`mask` writes the rule's name; `hash` a keyed pseudonym, the same for the same value."""
    hash_key: Secret | None = None
    """Key of the pseudonyms; without one, made once and kept in the state directory."""
    rule: tuple[RedactRule, ...] = ()


class Labels(Table):
    """[labels]: what names a stream."""

    static: dict[str, str] = {"service_name": "greenstack", "job": "greenstack-agent", "environment": "production"}
    """On every stream. `host` and `filename` (on Kubernetes namespace, pod, container) come by themselves."""
    host: str = ""
    """Value of the label `host`; empty means the host's name."""
    from_fields: dict[str, str] = {}
    """Label name = JSON field. Every value is one more stream."""
    max_streams: int = Field(1000, ge=1, le=100_000)
    """Streams one agent may make; further values of from_fields labels become `other`."""


class Metadata(Table):
    """[metadata]: searchable beside the line, no stream of its own."""

    fields: tuple[str, ...] = ("request_id", "trace_id", "span_id")
    """JSON fields sent as structured metadata."""


class Batch(Table):
    """[batch]: when entries are sealed into one push."""

    max_bytes: Size = Field(1 * MIB, ge=4 * KIB, le=3 * MIB)
    """Before compression. Loki's gRPC limit makes more than 3MiB unsafe."""
    max_entries: int = Field(10_000, ge=1, le=1_000_000)
    max_wait: Duration = Field(1.0, ge=0.01, le=60)
    """How long a line waits for company."""


class Buffer(Table):
    """[buffer]: what is read and not yet accepted by Loki, on disk."""

    max_bytes: Size = Field(4 * GIB, ge=1 * MIB)
    """All segments together."""
    when_full: Literal["block", "drop_oldest"] = "block"
    """`block` stops reading (the files keep the rest); `drop_oldest` gives up the oldest records, counted."""
    segment_bytes: Size = Field(16 * MIB, ge=64 * KIB, le=1 * GIB)
    min_free_bytes: Size = Field(256 * MIB, ge=0)
    """Of the file system: below it the buffer counts as full."""

    @model_validator(mode="after")
    def _two_segments(self) -> Buffer:
        if self.max_bytes < 2 * self.segment_bytes:
            raise ValueError(f"max_bytes ({self.max_bytes}) must hold at least two segments of {self.segment_bytes} bytes")
        return self


class BasicAuth(Table):
    username: str
    password: Secret


class Tls(Table):
    """[loki.tls]"""

    ca_file: str | None = None
    """PEM file of the authorities to trust instead of the system's."""
    cert_file: str | None = None
    """PEM file of our own certificate."""
    key_file: str | None = None
    """PEM file of its key."""
    server_name: str | None = None
    """Name the server's certificate must carry, when it is not the URL's."""


class Retry(Table):
    """[loki.retry]: exponential with full jitter, without a limit of attempts."""

    first_delay: Duration = Field(0.5, gt=0, le=60)
    max_delay: Duration = Field(30.0, gt=0, le=3600)


class Loki(Table):
    """[loki]: where lines go."""

    url: str = "http://127.0.0.1:3100"
    """Base address; `/loki/api/v1/push` is added unless the URL already has a path ending in `/push`."""
    tenant_id: str | None = Field(None, max_length=150, pattern=r"^[A-Za-z0-9!_.*'()-]+$")
    """Sent as X-Scope-OrgID."""
    basic_auth: BasicAuth | None = None
    bearer_token: Secret | None = None
    headers: dict[str, str | Secret] = {}
    """More request headers."""
    tls: Tls = Tls()
    timeout: Duration = Field(15.0, ge=1, le=300)
    """Of one request, from connecting to the last byte of the reply."""
    max_in_flight: int = Field(4, ge=1, le=64)
    """Requests at one time; never two of one stream."""
    encoding: Literal["protobuf", "json"] = "protobuf"
    """Of the push body: protobuf with snappy, or JSON with gzip."""
    max_stream_rate: Size = Field(0, ge=0)
    """Bytes per second of one stream while catching up; 0 is no limit. Loki shards streams above about 1.5MB/s, and then
    a re-send is no longer invisible."""
    retry: Retry = Retry()

    @model_validator(mode="after")
    def _one_kind_of_auth(self) -> Loki:
        if self.basic_auth is not None and self.bearer_token is not None:
            raise ValueError("basic_auth and bearer_token exclude each other")
        return self


class Server(Table):
    """[server]: metrics, health and the status page."""

    listen: str = Field("127.0.0.1:9480", pattern=r"^(?:\[[0-9A-Fa-f:.]+\]|[^:\[\]/\s]*):\d{1,5}$")
    """`host:port`; port 0 takes a free one, an empty host listens everywhere."""


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
