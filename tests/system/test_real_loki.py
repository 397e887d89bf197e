"""The promise against a running Loki, at the address in LOKI_URL: what its log queries show is what was written."""

import asyncio
import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import aiohttp
import pytest
from agent_process import AgentProcess

LOKI_URL = os.environ.get("LOKI_URL", "")
PAGE = 5000

pytestmark = pytest.mark.real_loki


async def log_query(host: str, begin_ns: int, end_ns: int) -> list[tuple[int, str]]:
    """Every (timestamp, line) of a host in time order, by pages of disjoint windows."""
    found: list[tuple[int, str]] = []
    headers = {"X-Loki-Response-Encoding-Flags": "categorize-labels"}
    async with aiohttp.ClientSession(LOKI_URL, headers=headers) as http:
        while True:
            query = {
                "query": f'{{host="{host}"}}',
                "start": str(begin_ns),
                "end": str(end_ns),
                "limit": str(PAGE),
                "direction": "forward",
            }
            async with http.get("/loki/api/v1/query_range", params=query) as reply:
                assert reply.status == 200, await reply.text()
                streams = (await reply.json())["data"]["result"]
            page = sorted((int(value[0]), value[1]) for stream in streams for value in stream["values"])
            found += page
            if len(page) < PAGE:
                return found
            begin_ns = page[-1][0] + 1  # times of a stream are distinct: none is cut in two


async def test_log_queries_show_each_line_once_through_kills(
    tmp_path: Path, launch: Callable[..., AgentProcess]
) -> None:
    host = f"test-{uuid.uuid4().hex}"
    log = tmp_path / "app.log"
    agent = launch(
        LOKI_URL, str(log), buffer='segment_bytes = "64KiB"\nmax_bytes = "64MiB"', batch='max_bytes = "32KiB"'
    )
    agent.config.write_text(agent.config.read_text().replace('host = "test"', f'host = "{host}"'))
    began = time.time()
    await agent.start()
    written: list[str] = []
    with log.open("w") as file:
        for burst in range(10):
            for number in range(burst * 2000, (burst + 1) * 2000):
                # Ten lines share each time, and every third is equal to its neighbour but for nothing.
                written.append(
                    f'{{"timestamp": {began + burst + (number % 2000) // 10 / 1000:.3f}, "level": "INFO", "message": "m{number // 3}"}}'
                )
                file.write(written[-1] + "\n")
            file.flush()
            if burst % 2:
                await agent.kill()
                await agent.start()
    seen = await agent.until(lambda seen: seen["unread_bytes"] == 0 and seen["waiting_entries"] == 0, 60)
    assert seen.get("dropped_entries_total", 0) == 0
    stored = await log_query(host, int(began * 1e9) - 10**9, int((began + 60) * 1e9))
    assert [line for _, line in stored] == written
    assert len({ns for ns, _ in stored}) == len(written)
    assert await agent.stop() == 0


async def test_ten_thousand_equal_lines_are_ten_thousand(tmp_path: Path, launch: Callable[..., AgentProcess]) -> None:
    host = f"test-{uuid.uuid4().hex}"
    log = tmp_path / "app.log"
    moment = int(time.time())
    log.write_text(f'{{"timestamp": {moment}.5, "message": "again"}}\n' * 10_000)
    agent = launch(LOKI_URL, str(log))
    agent.config.write_text(agent.config.read_text().replace('host = "test"', f'host = "{host}"'))
    await agent.start()
    await agent.until(lambda seen: seen.get("delivered_entries_total", 0) == 10_000)
    stored = await log_query(host, moment * 10**9, (moment + 1) * 10**9)
    assert [ns for ns, _ in stored] == [moment * 10**9 + 500_000_000 + n for n in range(10_000)]
    assert await asyncio.to_thread(log.exists)
