"""A place to push to that costs little: counts requests, and entries of a sample, and answers 204.

    python bench/sink.py PORT

GET /count gives {"requests", "entries", "bytes"}; entries are counted by decoding every body when the run is over
(GET /count waits for it), so that the count is exact and costs the measured time nothing.
"""

from __future__ import annotations

import socket
import sys
import time

import orjson
from aiohttp import web

from agent import wire


class Sink:
    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.requests = self.entries = self.bytes = 0

    async def push(self, request: web.Request) -> web.Response:
        self.bodies.append(await request.read())
        self.requests += 1
        return web.Response(status=204)

    async def count(self, _: web.Request) -> web.Response:
        for body in self.bodies:
            self.bytes += len(body)
            self.entries += len(wire.decode(wire.PROTOBUF, body).lines)
        self.bodies.clear()
        return web.Response(
            body=orjson.dumps({"requests": self.requests, "entries": self.entries, "bytes": self.bytes}),
            content_type="application/json",
        )

    async def done(self, _: web.Request) -> web.Response:
        return web.json_response({"requests": self.requests})


def until_listening(port: int) -> None:
    """Waits for a sink that was started just now."""
    for _ in range(1000):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise SystemExit(f"nothing listens on port {port}")


def main() -> None:
    sink = Sink()
    app = web.Application(client_max_size=64 * 1024 * 1024)
    app.router.add_post("/loki/api/v1/push", sink.push)
    app.router.add_get("/count", sink.count)
    app.router.add_get("/done", sink.done)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None, access_log=None)


if __name__ == "__main__":
    main()
