"""What the stand-in says and how it hangs up: replies, resets, JSON lines, and what it remembers of a request."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from aiohttp import web

from agent.demo.labels import BadLabels, label_set
from agent.demo.store import StoredEntry
from agent.wire import Push

_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: close sends RST
_ENTRIES_PER_WRITE = 1000


@dataclass(frozen=True, slots=True)
class RequestSeen:
    """One request, as it came and as it was answered. `status` 0: no answer. `digest`: blake2b-128 of the body."""

    method: str
    path: str
    headers: Mapping[str, str]
    body_bytes: int
    digest: str
    labels: tuple[str, ...]
    entries: int
    status: int
    fault: str
    at_ns: int


def journal_blocks(entries: Sequence[StoredEntry]) -> Iterator[bytes]:
    """`journal_line` of all, some hundred KiB at a time."""
    for start in range(0, len(entries), _ENTRIES_PER_WRITE):
        yield "".join(journal_line(entry) for entry in entries[start : start + _ENTRIES_PER_WRITE]).encode()


def journal_line(entry: StoredEntry) -> str:
    """One entry as a JSON line. Bytes that are not UTF-8 are lone surrogates (`surrogateescape`) in `line` and metadata."""
    fields = {
        "labels": entry.labels,
        "timestamp_ns": str(entry.timestamp_ns),
        "line": entry.line.decode("utf-8", "surrogateescape"),
        "metadata": {
            n.decode("utf-8", "surrogateescape"): v.decode("utf-8", "surrogateescape") for n, v in entry.metadata
        },
    }
    return json.dumps(fields) + "\n"


def text_reply(status: int, text: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """An error as Go's `http.Error` writes it."""
    return web.Response(
        status=status, text=f"{text}\n", headers={"X-Content-Type-Options": "nosniff", **(headers or {})}
    )


def reset(transport: asyncio.BaseTransport | None) -> None:
    """Close with RST instead of FIN, now."""
    if not isinstance(transport, asyncio.Transport) or transport.is_closing():
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
    transport.abort()


def first_labels(pushes: Sequence[Push]) -> Mapping[str, str]:
    """Labels of the first stream; none when they cannot be read, which the ingest will say."""
    try:
        return dict(label_set(pushes[0].labels).pairs) if pushes else {}
    except BadLabels:
        return {}


def first_part(push: Push, share: float) -> Push:
    count = int(len(push.lines) * share)
    return replace(
        push,
        timestamps_ns=push.timestamps_ns[:count],
        lines=push.lines[:count],
        metadata=push.metadata[:count],
    )
