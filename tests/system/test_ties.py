"""Row T19: equal lines at one moment are as many in Loki as in the file, also when they are sent again."""

import time
from collections.abc import Callable
from pathlib import Path

from agent_process import AgentProcess

from agent.demo.faults import FaultPlan, HalfReply, ResetAfter
from agent.demo.loki import Limits, LokiStandIn

COUNT = 10_000


async def test_t19_ten_thousand_equal_lines_arrive_apart_and_stay_single_through_kills_and_lost_replies(
    tmp_path: Path, launch: Callable[..., AgentProcess]
) -> None:
    log = tmp_path / "app.log"
    moment = int(time.time())
    line = f'{{"timestamp": {moment}.5, "level": "INFO", "message": "again"}}'
    # Each request is stored, and for half of them the sender never hears of it.
    faults = FaultPlan.random(seed=19, share=0.5, kinds=(ResetAfter(), HalfReply()))
    async with LokiStandIn(limits=Limits.without_rates(), faults=faults) as loki:
        agent = launch(loki.url, str(log), batch="max_entries = 200", redact="enabled = false")
        for part in range(5):
            with log.open("a") as file:
                file.write(f"{line}\n" * (COUNT // 5))
            await agent.start()
            reached = part * COUNT // 5 + 500
            await loki.wait_for(lambda there, at=reached: there.accepted >= at, 60)
            await agent.kill()
        await agent.start()
        await loki.wait_for(lambda there: there.accepted >= COUNT, 60)
        await agent.until(lambda seen: seen["waiting_entries"] == 0)
        times = [entry.timestamp_ns for entry in loki.entries()]
        assert {entry.line for entry in loki.entries()} == {line.encode()}
        assert times == [moment * 10**9 + 500_000_000 + n for n in range(COUNT)]
        assert loki.repeats > 0, "nothing was sent twice, so this shows nothing"
        assert await agent.stop() == 0
