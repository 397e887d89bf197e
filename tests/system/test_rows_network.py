"""Rows T97 to T104: no answer, names that cannot be resolved, TLS, connections that come and go."""

import asyncio
import datetime as dt
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import small_disk
import trustme
from agent_process import AgentProcess
from oracle import append, numbered
from proxy import Proxy
from test_rows_loki import PLAIN, WAIT_S, Launch, health, until_arrived, until_said

from agent.demo.faults import FaultPlan, NeverRead, SlowReply
from agent.demo.loki import LokiStandIn

# --- no answer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [SlowReply(0.2), NeverRead()], ids=["a byte at a time", "never reads"])
async def test_t97_whoever_does_not_answer_in_time_is_hung_up_on(
    tmp_path: Path, loki: LokiStandIn, launch: Launch, fault: SlowReply | NeverRead
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 2000)  # more than the socket's buffers take
    append(log, lines)
    loki.faults = FaultPlan.script([fault, fault])
    agent = launch(loki.url, str(log), redact=PLAIN, loki='timeout = "1s"')
    await agent.start()
    await until_arrived(agent, loki, {str(log): lines})
    assert "no complete reply within 1 s" in agent.errors()


@pytest.mark.skipif(bool(small_disk.why_not()), reason=small_disk.why_not())
async def test_t98_a_name_that_is_unknown_then_known_then_elsewhere_is_followed(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    """With a hosts file of its own, in a mount namespace: the resolver is the real one."""
    log, hosts, nowhere = tmp_path / "app.log", tmp_path / "hosts", tmp_path / "resolv.conf"
    lines = numbered("line", 300)
    append(log, lines[:100])
    hosts.write_text("127.0.0.1 localhost\n")
    nowhere.write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    mount = f'mount --bind {hosts} /etc/hosts && mount --bind {nowhere} /etc/resolv.conf && exec "$@"'
    port = int(loki.url.rpartition(":")[2])
    async with Proxy(port, host="127.0.0.2", own_port=port) as elsewhere:
        agent = launch(f"http://loki.test:{port}", str(log), redact=PLAIN)
        await agent.start(under=["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh"])
        await until_said(agent, "loki.test")
        asked = time.monotonic()
        seen = await agent.metrics()
        assert time.monotonic() - asked < 5, "the event loop does not wait for the resolver"
        assert seen["waiting_entries"] == 100
        hosts.write_text("127.0.0.1 localhost\n127.0.0.1 loki.test\n")
        await until_arrived(agent, loki, {str(log): lines[:100]})
        assert elsewhere.connections == 0
        hosts.write_text("127.0.0.1 localhost\n127.0.0.2 loki.test\n")
        await loki.down()  # the kept connection goes; the new one is to the new address
        append(log, lines[100:200])
        await agent.until(lambda seen: seen["consecutive_failures"] > 0, WAIT_S)
        await loki.up()
        await until_arrived(agent, loki, {str(log): lines[:200]})
        async with asyncio.timeout(WAIT_S):  # an address is remembered for some seconds
            while elsewhere.connections == 0:
                await loki.down()
                await loki.up()
                append(log, lines[200:201])
                lines[:] = [*lines[:201], *lines[200:]]
                await asyncio.sleep(0.5)


async def test_t98_a_dead_address_of_two_is_passed_over(tmp_path: Path, loki: LokiStandIn, launch: Launch) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 100)
    append(log, lines)
    agent = launch(loki.url.replace("127.0.0.1", "localhost"), str(log), redact=PLAIN)  # nobody listens on ::1
    await agent.start()
    await until_arrived(agent, loki, {str(log): lines})


# --- TLS -----------------------------------------------------------------------------------------------------------


def server_side(authority: trustme.CA, name: str, expires: dt.datetime | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name, not_after=expires).configure_cert(context)
    return context


@asynccontextmanager
async def behind_tls(loki: LokiStandIn, context: ssl.SSLContext) -> AsyncIterator[Proxy]:
    async with Proxy(int(loki.url.rpartition(":")[2]), tls=context) as proxy:
        yield proxy


async def test_t99_a_wrong_certificate_holds_and_a_right_one_or_a_new_authority_lets_go(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    log, trusted = tmp_path / "app.log", tmp_path / "ca.pem"
    lines = numbered("line", 400)
    first, second = trustme.CA(), trustme.CA()
    first.cert_pem.write_to_path(str(trusted))
    yesterday = dt.datetime.now(dt.UTC) - dt.timedelta(days=1)
    expired = server_side(first, "localhost", yesterday)
    async with behind_tls(loki, expired) as proxy:
        append(log, lines[:100])
        agent = launch(
            f"https://localhost:{proxy.port}", str(log), redact=PLAIN, **{"loki.tls": f'ca_file = "{trusted}"'}
        )
        await agent.start()
        sent = 100
        for wrong in ("expired", "Hostname mismatch"):
            await agent.until(lambda seen: seen["delivery_held"] == 1, WAIT_S)
            await until_said(agent, wrong)
            assert await health(agent) == "degraded"
            assert loki.accepted == sent - 100
            proxy.tls = server_side(first, "localhost")
            await until_arrived(agent, loki, {str(log): lines[:sent]})
            proxy.tls = server_side(first, "elsewhere.test")
            append(log, lines[sent : sent + 100])
            sent += 100
            await loki.down()  # and with it the connection whose certificate was right
            await agent.until(lambda seen: seen["consecutive_failures"] > 0, WAIT_S)
            await loki.up()
        proxy.tls = server_side(second, "localhost")
        await until_said(agent, "unable to get local issuer certificate")
        assert loki.accepted == sent - 100
        second.cert_pem.write_to_path(str(trusted))
        await until_arrived(agent, loki, {str(log): lines[:sent]})


async def test_t99_a_handshake_that_stalls_is_given_up(tmp_path: Path, loki: LokiStandIn, launch: Launch) -> None:
    log, trusted = tmp_path / "app.log", tmp_path / "ca.pem"
    lines = numbered("line", 100)
    append(log, lines)
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(trusted))
    async with behind_tls(loki, server_side(authority, "localhost")) as proxy:
        proxy.stalls = True
        agent = launch(
            f"https://localhost:{proxy.port}", str(log), redact=PLAIN, loki='timeout = "1s"',
            **{"loki.tls": f'ca_file = "{trusted}"'},
        )  # fmt: skip
        await agent.start()
        await until_said(agent, "no complete reply within 1 s")
        proxy.stalls = False
        await until_arrived(agent, loki, {str(log): lines})


# --- connections that come and go ----------------------------------------------------------------------------------


def open_descriptors(agent: AgentProcess) -> int:
    assert agent.process is not None
    return len(list(Path(f"/proc/{agent.process.pid}/fd").iterdir()))


async def test_t102_a_loki_that_flaps_costs_nothing_and_leaks_nothing(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 1000, size=100)
    append(log, lines[:50])
    agent = launch(loki.url, str(log), redact=PLAIN)
    await agent.start()
    await until_arrived(agent, loki, {str(log): lines[:50]})
    before = open_descriptors(agent)
    for start in range(50, 1000, 50):
        await loki.down()
        append(log, lines[start : start + 50])
        await agent.until(lambda seen: seen["consecutive_failures"] > 0, WAIT_S)
        await loki.up()
        await loki.wait_for(lambda there, end=start + 50: there.accepted >= end, WAIT_S)
    await until_arrived(agent, loki, {str(log): lines})
    async with asyncio.timeout(WAIT_S):
        while open_descriptors(agent) > before + 2:
            await asyncio.sleep(0.1)


async def test_t104_a_connection_that_went_silent_is_replaced(
    tmp_path: Path, loki: LokiStandIn, launch: Launch
) -> None:
    log = tmp_path / "app.log"
    lines = numbered("line", 200)
    append(log, lines[:100])
    async with Proxy(int(loki.url.rpartition(":")[2])) as proxy:
        agent = launch(f"http://127.0.0.1:{proxy.port}", str(log), redact=PLAIN, loki='timeout = "1s"')
        await agent.start()
        await until_arrived(agent, loki, {str(log): lines[:100]})
        connected = proxy.connections
        proxy.silence()
        append(log, lines[100:])
        await until_arrived(agent, loki, {str(log): lines})
        assert proxy.connections == connected + 1
        assert loki.repeats == 0
