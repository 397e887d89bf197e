"""T02, T03, T09 to T16 end to end: odd bytes of every kind, an agent that is killed meanwhile, and what Loki has then."""

import asyncio
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_process import AgentProcess, assert_nothing_is_unaccounted, rss_peak_mib
from oracle import stored

from agent import wire
from agent.demo.loki import LokiStandIn

TRACEBACK = [
    "Traceback (most recent call last):",
    '  File "app.py", line 3, in main',
    "    send('joe@example.org')",
    "ValueError: no",
]
WIDE = "u\u0a0a\u0a00\u0d0a\u000b €"
NAMES = {
    "utf-16-le": WIDE, "utf-16-be": WIDE, "utf-32-le": "u\u0a0a", "latin-1": "grün\x85", "cp1252": "5 €", "shift-jis": "表ソ日ｱ",
    "utf-8": "ä€😀",
}  # fmt: skip


def written(name: str, text: str, marked: bool) -> bytes:
    lines = "".join(f"{text} {number} {name}\r\n" for number in range(200))
    return (("\ufeff" if marked else "") + lines).encode(name)


async def test_t03_t12_any_encoding_cut_anywhere_with_kills_between_comes_as_it_was_meant(
    tmp_path: Path, loki: LokiStandIn, launch: Callable[..., AgentProcess]
) -> None:
    sources, contents = [], {}
    for name, text in NAMES.items():
        sources.append(f'[[source]]\nname = "{name}"\ninclude = ["{tmp_path}/{name}.log"]\nencoding = "{name}"\n')
        contents[f"{name}.log"] = (written(name, text, marked=False), name, text)
        if name.startswith("utf"):
            contents[f"marked-{name}.txt"] = (written(name, text, marked=True), name, text)
    agent = launch(loki.url, f"{tmp_path}/marked-*.txt", source="\n".join(sources), redact="enabled = false")
    await agent.start()
    files = {name: (tmp_path / name).open("ab", buffering=0) for name in contents}
    steps = 40
    for step in range(steps):
        for name, (content, _, _) in contents.items():
            size = len(content)
            files[name].write(content[size * step // steps : size * (step + 1) // steps])
        if step in (13, 27):
            await agent.until(lambda seen: seen.get("delivered_entries_total", 0) > 100)
            await agent.kill()
            await agent.start()
        await asyncio.sleep(0.005)
    for file in files.values():
        file.close()
    expected = {
        f"{tmp_path}/{file}": [f"{text} {number} {name}".encode() for number in range(200)]
        for file, (_, name, text) in contents.items()
    }
    await loki.wait_for(lambda loki: stored(loki) == expected)
    assert (await agent.metrics()).get("replaced_characters_total", 0) == 0


@pytest.mark.timeout(120)
async def test_t02_t09_t10_t11_t13_t14_odd_lines_pass_and_disturb_no_other(
    tmp_path: Path, loki: LokiStandIn, launch: Callable[..., AgentProcess]
) -> None:
    agent = launch(loki.url, f"{tmp_path}/*.log", redact="enabled = false")
    await agent.start()
    halves = tmp_path / "t02.log"
    halves.write_bytes(b"written ")
    (tmp_path / "t09.log").write_bytes(b"x" * 20_000_000 + b"\nafter\n")
    (tmp_path / "t10.log").write_bytes(b"y\n" * 20_000 + b"\n" * 20_000 + b"end\n")
    garbage = bytes(range(256)) * 400
    (tmp_path / "t11.log").write_bytes(garbage + b"\nend\n")
    (tmp_path / "t13.log").write_bytes(b"gr\xfcn \xc3\x28 \xf0\x9f\n")
    odd = [
        b'{"level": "info", "message": "half', b'{"a":' * 1000 + b"1" + b"}" * 1000, b'{"level":"info","level":"error"}',
        b'{"n":1e400,"message":"x"}', b'{"n":' + b"9" * 400 + b"}", rb'{"message":"\ud800 alone"}', b'{"message":NaN}',
        b"{" + b",".join(b'"k%d":%d' % (number, number) for number in range(5000)) + b"}", b"[]", b"null", b'""',
    ]  # fmt: skip
    (tmp_path / "t14.log").write_bytes(b"\n".join(odd) + b"\n")
    await loki.wait_for(lambda loki: b"end" in stored(loki).get(f"{tmp_path}/t11.log", []))
    with halves.open("ab") as file:
        file.write(b"in three ")
        file.flush()
        await agent.until(lambda seen: seen["unread_bytes"] >= len("written in three "))
        file.write("writes €\n".encode())
    await loki.wait_for(lambda loki: loki.accepted >= 20_000 + 78 + 1 + len(odd), timeout_s=60)
    await loki.wait_for(lambda loki: b"after" in stored(loki).get(f"{tmp_path}/t09.log", []))
    await loki.wait_for(lambda loki: b"end" in stored(loki).get(f"{tmp_path}/t10.log", []))
    await loki.wait_for(lambda loki: f"{tmp_path}/t02.log" in stored(loki))
    lines = stored(loki)
    assert lines[f"{tmp_path}/t02.log"] == ["written in three writes €".encode()]
    assert lines[f"{tmp_path}/t09.log"][-1] == b"after"
    assert sum(map(len, lines[f"{tmp_path}/t09.log"][:-1])) == 20_000_000
    assert lines[f"{tmp_path}/t10.log"] == [b"y"] * 20_000 + [b"end"]
    assert lines[f"{tmp_path}/t13.log"] == ["gr�n �( �".encode()]
    assert lines[f"{tmp_path}/t14.log"] == odd
    assert b"\n".join(lines[f"{tmp_path}/t11.log"]).decode().count("�") > 0
    seen = await agent.metrics()
    assert seen["replaced_characters_total"] > 100
    assert_nothing_is_unaccounted(seen)
    assert agent.process is not None
    assert rss_peak_mib(agent.process.pid) < 300


async def test_t15_t16_an_event_is_one_entry_though_the_agent_is_killed_and_stopped_within_it(
    tmp_path: Path, loki: LokiStandIn, launch: Callable[..., AgentProcess]
) -> None:
    log = tmp_path / "app.log"
    log.write_text("\n".join(["INFO begin", *TRACEBACK[:2]]) + "\n")
    start = r"^(INFO|Traceback) "
    multiline = f"multiline = {{ start = '{start}', timeout = '10s' }}\n"
    agent = launch(loki.url, str(log), source=multiline)
    await agent.start()
    await loki.wait_for(lambda loki: stored(loki) == {str(log): [b"INFO begin"]})
    await agent.kill()
    await agent.start()
    with log.open("a") as file:
        file.write(TRACEBACK[2] + "\n")
    assert await agent.stop() == 0
    with log.open("a") as file:
        file.write("\n".join([*TRACEBACK[3:], "INFO end", "INFO last"]) + "\n")
    await agent.start()
    await loki.wait_for(lambda loki: loki.accepted >= 3)
    ((first, event, last),) = stored(loki).values()
    assert (first, last) == (b"INFO begin", b"INFO end")
    assert re.sub(r"\[email:\w+\]", "joe@example.org", event.decode()) == "\n".join(TRACEBACK)
    assert b"joe@" not in event
    assert {name for entry in loki.entries() for name in wire.parse_labels(entry.labels)} >= {"filename", "host"}
    seen = await agent.metrics()
    assert seen["read_lines_total"] == 2
