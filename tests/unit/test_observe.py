"""agent.observe: events, metrics, reports, health, the HTTP server."""

import io
from dataclasses import dataclass

import aiohttp
import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from agent.observe import health
from agent.observe.events import ChunkRead, EmptyLines, LinesDropped, RedactionOff
from agent.observe.health import Facts
from agent.observe.metrics import Gauge, Metrics, declared_events
from agent.observe.report import Reporter
from agent.observe.server import CannotListen, Server, page, split_address

FINE = Facts(collect_age_s=0.1, collect_waits=False, first_scan_done=True, stopping=False, held=None)


@pytest.mark.parametrize("kind", list(declared_events()), ids=lambda kind: kind.__name__)
def test_every_event_is_declared_completely(kind: type) -> None:
    names = set(kind.__struct_fields__)
    assert kind.__doc__
    assert kind.level is None or kind.text
    assert set(kind.by) <= names
    assert set(kind.once_per) <= names
    assert kind.amount is None or kind.amount in names
    sample = kind(**dict.fromkeys(names, 1))
    kind.text.format(**{name: getattr(sample, name) for name in names})


def test_events_that_feed_one_counter_agree_on_its_labels() -> None:
    by: dict[str, tuple[str, ...]] = {}
    for kind in declared_events():
        if kind.counter is not None:
            assert by.setdefault(kind.counter, kind.by) == kind.by


def test_counters_come_from_events_and_gauges_from_the_parts() -> None:
    metrics = Metrics(lambda: [Gauge("files", "Files.", {("idle",): 3.0}, ("state",))])
    metrics.observe(ChunkRead("app", 7, 700))
    metrics.observe(LinesDropped("/a", "too_old", 2))
    metrics.observe(EmptyLines(5))
    samples = {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }
    assert samples[("greenstack_agent_read_lines_total", (("source", "app"),))] == 7
    assert samples[("greenstack_agent_dropped_entries_total", (("reason", "too_old"),))] == 2
    assert samples[("greenstack_agent_files", (("state", "idle"),))] == 3
    assert metrics.total("dropped_entries") == 7
    assert any(name == "process_resident_memory_bytes" for name, _ in samples)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def reporter(level: str = "info", **options: bool) -> tuple[Reporter, io.StringIO, Clock]:
    out, clock = io.StringIO(), Clock()
    return Reporter(level, out, clock=clock, wall=lambda: 0.0, **options), out, clock  # type: ignore[arg-type]


def test_repeats_are_held_back_and_counted() -> None:
    report, out, clock = reporter()
    for _ in range(5):
        report.observe(LinesDropped("/a", "x", 1))
    report.observe(LinesDropped("/b", "x", 1))
    clock.now = 11
    report.observe(LinesDropped("/a", "x", 1))
    lines = out.getvalue().splitlines()
    assert len(lines) == 3
    assert lines[2].endswith("1 lines of /a dropped: x (4 more like it were held back)")


def test_levels_below_the_asked_one_are_silent() -> None:
    report, out, _ = reporter("error")
    report.observe(LinesDropped("/a", "x", 1))
    report.observe(RedactionOff())
    assert len(out.getvalue().splitlines()) == 1


def test_a_hostile_path_cannot_forge_a_line() -> None:
    report, out, _ = reporter()
    report.observe(LinesDropped("/a\n<3>forged \x1b[31m", "x", 1))
    assert len(out.getvalue().splitlines()) == 1
    assert "\x1b" not in out.getvalue()


def test_json_reports_are_json() -> None:
    report, out, _ = reporter(as_json=True)
    report.observe(LinesDropped("/a", "x", 1))
    assert orjson.loads(out.getvalue())["event"] == "LinesDropped"


@pytest.mark.parametrize(
    ("facts", "alive", "status"),
    [
        (FINE, True, "healthy"),
        (Facts(999, False, True, False, None), False, "stuck"),
        (Facts(999, True, True, False, None), True, "degraded"),
        (Facts(0, False, True, False, "Loki answers 401"), True, "degraded"),
        (Facts(999, False, True, True, None), True, "healthy"),
    ],
)
def test_health_is_judged_from_facts(facts: Facts, alive: bool, status: str) -> None:
    assert (health.alive(facts), health.status(facts)) == (alive, status)


@pytest.mark.parametrize(
    ("listen", "address"), [("127.0.0.1:9480", ("127.0.0.1", 9480)), (":1", (None, 1)), ("[::1]:2", ("::1", 2))]
)
def test_addresses_are_split(listen: str, address: tuple[str | None, int]) -> None:
    assert split_address(listen) == address


@dataclass
class World:
    facts: Facts = FINE


async def test_the_server_answers_on_every_path() -> None:
    world = World()
    server = Server(Metrics(list), lambda: world.facts, lambda: {"lines": {"read": 5}})
    async with server.listening("127.0.0.1:0") as port, aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:

        async def get(path: str) -> tuple[int, dict]:
            async with http.get(path) as reply:
                return reply.status, orjson.loads(await reply.read())

        assert (await get("/health"))[1]["status"] == "healthy"
        assert (await get("/health/live")) == (200, {"alive": True})
        status, body = await get("/health/ready")
        assert (status, body["ready"], set(body["checks"].values())) == (200, True, {True})
        assert (await get("/api/status")) == (200, {"lines": {"read": 5}})
        async with http.get("/metrics") as reply:
            assert "greenstack_agent_build_info" in await reply.text()
        async with http.get("/") as reply:
            assert "GreenStack log agent" in await reply.text()
        world.facts = Facts(999, False, False, False, None)
        assert (await get("/health/live"))[0] == 503
        assert (await get("/health/ready"))[0] == 503


async def test_a_taken_address_is_a_clear_error() -> None:
    server = Server(Metrics(list), lambda: FINE, dict)
    async with server.listening("127.0.0.1:0") as port:
        with pytest.raises(CannotListen, match=r"server\.listen"):
            async with server.listening(f"127.0.0.1:{port}"):
                raise AssertionError("listening twice")


def test_the_status_page_escapes_what_it_shows() -> None:
    assert "<script>" not in page({"files": [{"path": "<script>alert(1)</script>"}]})
