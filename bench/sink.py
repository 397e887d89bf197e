"""A place to push to that costs little, in a process of its own.

    python bench/sink.py PORT [--at-once]

Answers 204 and keeps the bodies; GET /count decodes them and gives {"requests", "entries", "bytes"}, GET /latency the time
from each entry's timestamp to its acceptance. So both are exact and cost the measured time nothing. With --at-once entries
are counted as they come and no body is kept, for what would not fit into memory.
"""

from __future__ import annotations

import gzip
import socket
import sys
import time

import cramjam
import orjson
from aiohttp import web

from agent import wire


class Sink:
    """at_once: count now, keep nothing."""

    def __init__(self, at_once: bool) -> None:
        self.at_once = at_once
        self.bodies: list[tuple[int, str, bytes]] = []
        self.last_s = 0.0
        self.requests = self.entries = self.bytes = 0

    async def push(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.requests += 1
        self.last_s = time.time()
        if self.at_once:
            self.bytes += len(body)
            self.entries += count_entries(bytes(cramjam.snappy.decompress_raw(body)))
        else:
            self.bodies.append((time.time_ns(), request.content_type, body))
        return web.Response(status=204)

    async def count(self, _: web.Request) -> web.Response:
        self.entries += sum(len(push.lines) for _, push in self._decoded())
        self.bytes += sum(len(body) for _, _, body in self.bodies)
        self.bodies.clear()
        answer = {"requests": self.requests, "entries": self.entries, "bytes": self.bytes}
        return web.Response(body=orjson.dumps(answer), content_type="application/json")

    async def latency(self, _: web.Request) -> web.Response:
        """Milliseconds from an entry's timestamp to its acceptance, for each; the bodies stay."""
        found = sorted((at - ns) / 1e6 for at, push in self._decoded() for ns in push.timestamps_ns)
        return web.Response(body=orjson.dumps(found), content_type="application/json")

    def _decoded(self) -> list[tuple[int, wire.Push]]:
        return [(at, push) for at, kind, body in self.bodies for push in decoded(kind, body)]

    async def done(self, _: web.Request) -> web.Response:
        """last_s: when the last request had come, in seconds of the epoch."""
        return web.json_response({"requests": self.requests, "last_s": self.last_s})


def decoded(kind: str, body: bytes) -> list[wire.Push]:
    """The streams of a body as any shipper writes it: snappy protobuf, or JSON with gzip or without."""
    if kind == "application/x-protobuf":
        return wire.decode_protobuf(bytes(cramjam.snappy.decompress_raw(body)))
    text = gzip.decompress(body) if body[:2] == b"\x1f\x8b" else body
    pushes = []
    for stream in orjson.loads(text)["streams"]:
        values = stream["values"]
        lines = [line.encode() for _, line, *_ in values]
        pushes.append(wire.Push("", [int(ns) for ns, *_ in values], lines, [b""] * len(lines)))
    return pushes


def count_entries(body: bytes) -> int:
    """Entries of an uncompressed body of one stream, by its lengths alone."""
    _, at = _varint(body, 1)
    count = 0
    while at < len(body):
        count += body[at] == 0x12
        size, at = _varint(body, at + 1)
        at += size
    return count


def _varint(body: bytes, at: int) -> tuple[int, int]:
    number = shift = 0
    while True:
        byte = body[at]
        at += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, at
        shift += 7


def until_listening(port: int) -> None:
    """Waits for a sink that was started just now."""
    for _ in range(1500):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port}")


def main() -> None:
    sink = Sink("--at-once" in sys.argv)
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/loki/api/v1/push", sink.push)
    app.router.add_get("/count", sink.count)
    app.router.add_get("/latency", sink.latency)
    app.router.add_get("/done", sink.done)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
