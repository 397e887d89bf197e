"""What was taken out of the lines stands nowhere: not in the buffer, the dead letters, the agent's log, its pages or metrics."""

from pathlib import Path

import aiohttp
import pytest
from agent_process import AgentProcess
from oracle import append, stored
from test_rows_loki import WAIT_S, Launch, RefusesWholeBodies, letters

from agent.demo.loki import Limits

PASSWORD, TOKEN, OWN = "hunter2hunter", "aB3dEf9hIjKlMnOpQrSt7v", "own-Token-4711-of-the-agent"
ADDRESS, CARD = "bob.miller@example.com", "4111 1111 1111 1111"
SECRETS = (PASSWORD, TOKEN, OWN, ADDRESS, CARD)


def lines_with(n: int, word: str) -> list[bytes]:
    return [
        f'{{"message": "{word} User credentials: bob:{PASSWORD}", "user": "{ADDRESS}", "n": {n}}}'.encode(),
        f"{word} GET /x?api_key={TOKEN} card {CARD} n={n}".encode(),
        f'{{"message": "{word} sent {OWN} to the server", "token": "{TOKEN}", "n": {n}}}'.encode(),
        # So much of it that no verdict is possible: what is sent says how long it was.
        f"{word} ".encode() + b"password=x1, " * 12_000 + PASSWORD.encode(),
    ]


async def everything(agent: AgentProcess) -> dict[str, bytes]:
    """All that the agent has written or would tell, by where."""
    files = {str(path): path.read_bytes() for path in agent.state.rglob("*") if path.is_file()}
    pages = {}
    async with aiohttp.ClientSession() as http:
        for page in ("/", "/metrics", "/api/status", "/health"):
            async with http.get(agent.url + page) as reply:
                assert reply.status < 500 or page == "/health", page
                pages[page] = await reply.read()
    return {**files, **pages, "log": agent.errors().encode()}


@pytest.mark.parametrize("level", ["info", "debug"])
async def test_secrets_stand_nowhere_while_loki_is_down_and_none_is_in_the_dead_letters(
    tmp_path: Path, launch: Launch, level: str
) -> None:
    log, own = tmp_path / "app.log", tmp_path / "token"
    own.write_text(OWN)
    own.chmod(0o600)
    async with RefusesWholeBodies(limits=Limits.without_rates()) as loki:
        agent = launch(loki.url, str(log), loki=f'bearer_token = {{ file = "{own}" }}', agent=f'log_level = "{level}"')
        await loki.down()
        await agent.start()
        append(log, [line for n in range(20) for line in lines_with(n, "POISON" if n % 5 == 0 else "plain")])
        waiting = await agent.until(lambda seen: seen["waiting_entries"] == 80, WAIT_S)
        assert waiting["redactions_total"] >= 16 * 4
        for where, data in (await everything(agent)).items():
            assert not [secret for secret in SECRETS if secret.encode() in data], where
        await loki.up()
        await agent.until(lambda seen: seen["waiting_entries"] == 0 and seen["delivery_held"] == 0, WAIT_S)
        refused = letters(agent)
        assert len(refused) == 4 * 3, "all but the stubs hold the word"
        arrived = b"".join(line for lines in stored(loki).values() for line in lines)
        for where, data in {**await everything(agent), "loki": arrived}.items():
            assert not [secret for secret in SECRETS if secret.encode() in data], where
    assert arrived.count(b"[REDACTED:") > 16 * 3
    assert arrived.count(b'"redaction":"failed"') == 20
