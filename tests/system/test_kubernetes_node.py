"""T106, T108, T113 end to end: a node's tree, kubelet's rotations, kills in the middle of messages; and what Loki has then."""

import asyncio
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from agent_process import AgentProcess, assert_nothing_is_unaccounted
from node import Container, Node
from oracle import difference, stored
from small_disk import why_not

from agent import wire
from agent.demo.loki import LokiStandIn

UID = "0a1b2c3d-1111-2222-3333-444455556666"
HASH = "5f1d9e1b8e7d4b0a9c3f2e1d0c9b8a7f"
STEP_S = 0.002


async def said_by(
    loki: LokiStandIn, agent: AgentProcess, containers: list[Container], *, but: Container | None = None
) -> None:
    """Until Loki has everything; then it must be that, once and in order. `but`: of this one nothing more than it has."""
    expected = {str(container.log): container.said for container in containers}
    if but is not None:
        expected[str(but.log)] = stored(loki)[str(but.log)]
    try:
        await loki.wait_for(lambda _: not difference(expected, stored(loki)), timeout_s=40)
    except TimeoutError:
        raise AssertionError(difference(expected, stored(loki)) + "\n" + agent.errors()) from None


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node(tmp_path) as made:
        yield made


@pytest.mark.timeout(120)
@pytest.mark.parametrize("watch", ["auto", "poll"])
async def test_t106_t108_every_message_arrives_once_and_whole_whatever_the_kubelet_does(
    node: Node, loki: LokiStandIn, launch: Callable[..., AgentProcess], watch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = node.start("prod", "greenstack-api.v1-7d9f-x2x", "app", UID)
    quiet = node.start("prod", "greenstack-api.v1-7d9f-x2x", "side-car", UID, restarts=3)
    static = node.start("kube-system", "etcd-node-1.example.com", "etcd", HASH)
    own = node.start("agents", "greenstack-agent-x1", "agent", UID)
    for name, value in (("POD_NAME", "greenstack-agent-x1"), ("POD_NAMESPACE", "agents"), ("POD_UID", UID)):
        monkeypatch.setenv(name, value)
    both_trees = f'{node.pods}/*/*/*.log", "{node.containers}/*.log'
    agent = launch(loki.url, both_trees, agent=f'watch = "{watch}"', redact="enabled = false")
    await agent.start()
    dice = random.Random(7)
    containers = [app, quiet, static, own]
    kills, due = 0, 40
    app.step("stdout")
    app.finish()
    await loki.wait_for(lambda loki: loki.accepted > 0)  # from here on the log is known, whatever happens
    for step in range(1100):
        app.step(dice.choice(("stdout", "stderr")))
        if step % 20 == 0:
            for other in (quiet, static, own):
                other.step("stderr")
        if step >= due:  # every 100 ms to 1 s, and the one before the last is compressed each time
            due = step + dice.choice((30, 50, 75, 75, 250))
            app.rotate(keep_plain=1, keep=1000)
        if step >= kills * 350 + 330 and app.is_within_a_message:
            kills += 1
            await agent.kill()
            app.rotate(keep_plain=1, keep=1000)
            await agent.start(ready=False)
        await asyncio.sleep(STEP_S)
    for container in containers:
        container.finish()
    await agent.until_ready()
    await said_by(loki, agent, [app, quiet, static])
    for old in app.log.parent.glob("0.log.*"):
        old.unlink()
    app.step("stdout")
    app.rotate(keep_plain=1, keep=1)
    app.finish()
    await said_by(loki, agent, [app, quiet, static])
    assert kills >= 3
    assert_nothing_is_unaccounted(await agent.metrics())
    own_labels = {"service_name": "greenstack", "job": "greenstack-agent", "environment": "production", "host": "test"}
    assert {
        wire.parse_labels(entry.labels)["filename"]: wire.parse_labels(entry.labels) for entry in loki.entries()
    } == {
        str(container.log): own_labels
        | {"namespace": namespace, "pod": pod, "container": name, "filename": str(container.log)}
        for container, namespace, pod, name in (
            (app, "prod", "greenstack-api.v1-7d9f-x2x", "app"),
            (quiet, "prod", "greenstack-api.v1-7d9f-x2x", "side-car"),
            (static, "kube-system", "etcd-node-1.example.com", "etcd"),
        )
    }


@pytest.mark.parametrize("watch", ["auto", "poll"])
async def test_t112_the_api_server_is_not_asked_so_nothing_about_it_can_disturb(
    node: Node, loki: LokiStandIn, launch: Callable[..., AgentProcess], watch: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is known of a pod is in the path: `docs/decisions/0020-labels-on-kubernetes.md`."""
    asked: list[object] = []

    async def hang(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(writer.get_extra_info("peername"))
        writer.close()

    async with await asyncio.start_server(hang, "127.0.0.1", 0) as api:
        monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
        monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(api.sockets[0].getsockname()[1]))
        app = node.start("prod", "api-1", "app", UID)
        agent = launch(loki.url, f"{node.pods}/*/*/*.log", agent=f'watch = "{watch}"')
        await agent.start()
        later = node.start("prod", "api-2", "app", HASH)
        for container in (app, later):
            for _ in range(20):
                container.step("stdout")
            container.finish()
        await said_by(loki, agent, [app, later])
    assert {wire.parse_labels(entry.labels)["pod"] for entry in loki.entries()} == {"api-1", "api-2"}
    assert not asked


@pytest.mark.parametrize("watch", ["auto", "poll"])
async def test_t114_a_container_that_is_opted_out_for_a_while_goes_on_where_it_was(
    node: Node, loki: LokiStandIn, launch: Callable[..., AgentProcess], watch: str
) -> None:
    """Opting out is a line of the configuration, for the agent reads no annotations."""
    app, other = node.start("prod", "api-1", "app", UID), node.start("prod", "api-1", "side-car", UID)
    agent = launch(loki.url, f"{node.containers}/*.log", agent=f'watch = "{watch}"', redact="enabled = false")
    text = agent.config.read_text()
    opted_out = text.replace("include =", f'exclude = ["{node.containers}/api-1_prod_app-*.log"]\ninclude =', 1)
    for config in (text, opted_out, text):
        agent.config.write_text(config)
        await agent.start()
        for container in (app, other):
            for _ in range(10):
                container.step("stdout")
            container.finish()
        if config is opted_out:
            await said_by(loki, agent, [other], but=app)
            app.rotate(keep_plain=1, keep=5)
        else:
            await said_by(loki, agent, [app, other])
        assert await agent.stop() == 0


@pytest.mark.skipif(bool(why_not()), reason=why_not())
async def test_t115_a_file_that_is_mounted_alone_is_told_of_since_its_successor_cannot_be_seen(
    tmp_path: Path, loki: LokiStandIn, launch: Callable[..., AgentProcess]
) -> None:
    outside, inside = tmp_path / "outside.log", tmp_path / "logs" / "app.log"
    inside.parent.mkdir()
    inside.touch()
    outside.write_bytes(b"first\n")
    mount = f'mount --bind "{outside}" "{inside}" && exec "$@"'
    agent = launch(loki.url, f"{inside.parent}/*.log")
    await agent.start(under=["unshare", "--mount", "--propagation", "private", "sh", "-c", mount, "sh"])
    await loki.wait_for(lambda loki: stored(loki) == {str(inside): [b"first"]})
    outside.rename(tmp_path / "outside.log.1")
    outside.write_bytes(b"of the successor\n")
    with (tmp_path / "outside.log.1").open("ab") as file:
        file.write(b"second\n")
    await loki.wait_for(lambda loki: stored(loki) == {str(inside): [b"first", b"second"]})
    assert (await agent.metrics())["invisible_successors_total"] == 1
    assert f"{inside} is mounted alone" in agent.errors()
