"""The command `dead-letters`: what Loki refused is listed, shown, and sent again when its cause is mended."""

import json
import time
from pathlib import Path

from test_command import call, call_beside_loki, config_file

from agent.demo.faults import Delay, FaultPlan
from agent.demo.loki import Limits, LokiStandIn
from agent.push.dead_letters import DeadLetter, DeadLetters
from agent.wire import encode_metadata

DAY_S = 24 * 3600


async def filled(directory: Path, files: int, *, age_s: float = 0) -> DeadLetters:
    letters = DeadLetters(directory / "state" / "dead-letters", print, max_bytes=1 << 20)
    letters._max_file_bytes = 1
    now_ns = int((time.time() - age_s) * 1e9)
    for number in range(files):
        row = DeadLetter(
            time.time(), "greater_than_max_sample_age", "too old", '{filename="/a.log"}', now_ns + number,
            b"\xff" if number == 1 else b"line %d" % number, encode_metadata([(b"request_id", b"r-%d" % number)]),
        )  # fmt: skip
        await letters.add([row])
    return letters


async def test_letters_are_listed_by_reason_and_shown_with_all_they_hold(tmp_path: Path) -> None:
    await filled(tmp_path, 3)
    path = str(config_file(tmp_path))
    listed = call("dead-letters", "list", "-c", path)
    assert listed.returncode == 0
    assert listed.stdout.count(b"greater_than_max_sample_age 1") == 3
    assert b"3 entries in " in listed.stderr
    shown = [json.loads(line) for line in call("dead-letters", "show", "-c", path, "-n", "2").stdout.splitlines()]
    assert [row.get("line") for row in shown] == [None, "line 2"]
    assert shown[0]["line_base64"] == "/w=="
    assert shown[1]["metadata"] == {"request_id": "r-2"}
    assert shown[1]["message"] == "too old"


async def test_a_replay_sends_them_as_they_were_and_leaves_nothing(tmp_path: Path, loki: LokiStandIn) -> None:
    letters = await filled(tmp_path, 3)
    before = letters.show(3)
    code, told, _ = await call_beside_loki("dead-letters", "replay", "-c", str(config_file(tmp_path, loki.url)))
    assert (code, told.splitlines()[-1]) == (0, "3 entries sent, 0 refused again")
    assert [(each.timestamp_ns, each.line) for each in loki.entries()] == [
        (row.timestamp_ns, row.line) for row in before
    ]
    assert letters.list() == ()


async def test_what_is_refused_again_stays_with_the_new_reason(tmp_path: Path, loki: LokiStandIn) -> None:
    letters = await filled(tmp_path, 3, age_s=10 * DAY_S)
    code, told, _ = await call_beside_loki("dead-letters", "replay", "-c", str(config_file(tmp_path, loki.url)))
    assert (code, told.splitlines()[-1]) == (1, "0 entries sent, 3 refused again")
    assert [row.line for row in letters.show(9)] == [b"line 0", b"\xff", b"line 2"]
    assert "timestamp too old" in letters.show(1)[0].message


async def test_patience_ends_without_an_answer_not_without_an_end(tmp_path: Path) -> None:
    letters = await filled(tmp_path, 12)
    # All answers together take longer than the patience; each alone a tenth of it, for machines that stall.
    async with LokiStandIn(limits=Limits(), faults=FaultPlan.always(Delay(0.4))) as slow:
        path = str(config_file(tmp_path, slow.url))
        code, told, _ = await call_beside_loki("dead-letters", "replay", "-c", path, "--patience", "4")
        assert code == 0, told
    await filled(tmp_path, 2)
    code, told, _ = await call_beside_loki("dead-letters", "replay", "-c", path, "--patience", "0.5")
    assert code == 69
    assert "0 entries sent, then no answer for 0.5 s; the rest stays" in told
    assert sum(file.rows for file in letters.list()) == 2
