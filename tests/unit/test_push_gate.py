import asyncio
import heapq
from collections.abc import Callable
from itertools import pairwise

from agent.config import Retry
from agent.push.backoff import Backoff, Pace
from agent.push.gate import Gate


class Time:
    """A clock that moves when everybody waits."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Event]] = []
        self._count = 0

    def clock(self) -> float:
        return self.now_s

    async def sleep(self, delay_s: float) -> None:
        self._count += 1
        event = asyncio.Event()
        heapq.heappush(self._sleepers, (self.now_s + delay_s, self._count, event))
        await event.wait()

    async def pass_until(self, done: Callable[[], bool]) -> None:
        while not done():
            for _ in range(20):
                await asyncio.sleep(0)
            if not done() and self._sleepers:
                at_s, _, event = heapq.heappop(self._sleepers)
                self.now_s = max(self.now_s, at_s)
                event.set()


def gate(time: Time, limit: int = 4) -> Gate:
    return Gate(limit, sleep=time.sleep, clock=time.clock)


async def test_an_open_gate_lets_through_as_many_as_the_limit() -> None:
    time = Time()
    door, inside, most, go = gate(time, 3), 0, 0, asyncio.Event()

    async def request() -> None:
        nonlocal inside, most
        async with door.turn() as probe:
            assert not probe
            inside += 1
            most = max(most, inside)
            assert door.in_flight == inside
            await go.wait()
            inside -= 1

    async with asyncio.TaskGroup() as tasks:
        for _ in range(10):
            tasks.create_task(request())
        for _ in range(20):
            await asyncio.sleep(0)
        assert inside == 3
        go.set()
    assert most == 3
    assert door.in_flight == 0


async def test_an_outage_lets_one_probe_through_at_a_time_in_a_growing_rhythm() -> None:
    time = Time()
    door, inside, finished = gate(time), 0, 0
    starts: list[float] = []
    up_at_s = 500.0

    async def record() -> None:
        nonlocal inside, finished
        while True:
            async with door.turn():
                starts.append(time.now_s)
                inside += 1
                assert time.now_s == 0 or time.now_s >= up_at_s or inside == 1
                await asyncio.sleep(0)
                inside -= 1
                if time.now_s >= up_at_s:
                    door.succeeded()
                    finished += 1
                    return
                pause_s = door.failed(lambda rounds: min(30.0, 0.5 * 2.0 ** (rounds - 1)), probe=len(starts) > 4)
            await time.sleep(pause_s)

    tasks = [asyncio.create_task(record()) for _ in range(200)]
    await time.pass_until(lambda: finished == 200)
    await asyncio.gather(*tasks)
    during = [start for start in starts if 0 < start < up_at_s]
    assert starts.count(0.0) == 4  # those under way when the outage began
    assert during[:5] == [0.5, 1.5, 3.5, 7.5, 15.5]
    assert all(later - earlier == 30.0 for earlier, later in pairwise(during[6:]))
    assert time.now_s < up_at_s + 31.0  # and the first success lets all the others go


async def test_a_success_of_a_request_under_way_wakes_who_waits() -> None:
    time = Time()
    door = gate(time)
    async with door.turn():
        async with door.turn() as probe:
            door.failed(lambda _: 30.0, probe=probe)
        waiting = asyncio.create_task(_pass(door))
        for _ in range(10):
            await asyncio.sleep(0)
        assert not waiting.done()
        door.succeeded()
        await waiting
    assert time.now_s == 0.0
    assert door.failures == 0


async def test_requests_that_fail_together_count_as_one_round() -> None:
    door = gate(Time())
    async with door.turn() as a, door.turn() as b, door.turn() as c:
        for probe in (a, b, c):
            assert door.failed(float, probe=probe) == 1.0
    assert door.failures == 1


async def test_a_cancelled_probe_lets_the_next_one_try() -> None:
    time = Time()
    door = gate(time)
    async with door.turn() as probe:
        door.failed(lambda _: 5.0, probe=probe)
    first, second = asyncio.create_task(_pass(door)), asyncio.create_task(_pass(door))
    for _ in range(10):
        await asyncio.sleep(0)
    first.cancel()
    await time.pass_until(second.done)
    assert await second
    assert first.cancelled()
    assert time.now_s == 5.0


async def _pass(door: Gate) -> bool:
    async with door.turn() as probe:
        return probe


def test_back_off_is_full_jitter_below_a_doubling_ceiling() -> None:
    most = Backoff(Retry(first_delay="500ms", max_delay="30s"), lambda: 1.0)
    assert [most.jittered(n) for n in range(1, 9)] == [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
    assert most.jittered(100_000) == 30.0
    least = Backoff(Retry(first_delay="500ms", max_delay="30s"), lambda: 0.0)
    assert least.jittered(5) == 0.0
    assert (least.slow(1), most.slow(1)) == (15.0, 30.0)


def test_a_pace_spreads_the_bytes_of_each_group() -> None:
    pace = Pace(1000)
    assert [pace.delay_s("a", 500, 10.0) for _ in range(3)] == [0.0, 0.5, 1.0]
    assert pace.delay_s("b", 500, 10.0) == 0.0
    assert pace.delay_s("a", 500, 100.0) == 0.0
    assert Pace(0).delay_s("a", 1 << 40, 0.0) == 0.0


def test_a_pace_forgets_groups_that_are_free() -> None:
    pace = Pace(1000)
    for number in range(10_000):
        pace.delay_s(str(number), 1000, float(number))
    assert len(pace._free_at_s) <= 4098
