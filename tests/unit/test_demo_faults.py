from agent.demo.faults import PASSING, Delay, FaultPlan, NeverRead, ResetBefore, Status


def fates(plan: FaultPlan, count: int) -> list[object]:
    return [plan.next() for _ in range(count)]


def test_nothing_goes_wrong_without_a_plan() -> None:
    assert fates(FaultPlan(), 3) == [None, None, None]


def test_a_script_is_followed_and_then_all_is_well() -> None:
    script = [Status(503), None, ResetBefore()]
    assert fates(FaultPlan.script(script), 5) == [*script, None, None]


def test_the_same_seed_gives_the_same_faults() -> None:
    assert fates(FaultPlan.random(7), 100) == fates(FaultPlan.random(7), 100)
    assert fates(FaultPlan.random(7), 100) != fates(FaultPlan.random(8), 100)


def test_the_share_and_the_weights_are_kept_roughly() -> None:
    seen = fates(FaultPlan.random(1, 0.3, {Delay(1): 9, NeverRead(): 1}), 10_000)
    assert 2700 < 10_000 - seen.count(None) < 3300
    assert 7 < seen.count(Delay(1)) / seen.count(NeverRead()) < 12


def test_every_passing_fault_comes_up() -> None:
    assert {*fates(FaultPlan.random(1), 1000)} == {None, *PASSING}


def test_faults_end_when_they_were_enough() -> None:
    seen = fates(FaultPlan.random(1, share=1.0, at_most=3), 10)
    assert seen.count(None) == 7
    assert seen[3:] == [None] * 7


def test_always_means_until_stopped() -> None:
    plan = FaultPlan.always(Status(401, "no org id"))
    assert fates(plan, 3) == [Status(401, "no org id")] * 3
    plan.stop()
    assert plan.next() is None


def test_one_stream_may_have_a_fate_of_its_own() -> None:
    plan = FaultPlan.script([ResetBefore()]).for_stream('{file=~"a.*"}', [Status(400), None])
    assert plan.needs_labels
    assert plan.next({"file": "a1"}) == Status(400)
    assert plan.next({"file": "b"}) == ResetBefore()
    assert plan.next({"file": "a2"}) is None
    assert plan.next({"file": "b"}) is None


def test_a_plan_may_serve_a_stream() -> None:
    plan = FaultPlan().for_stream('{file="a"}', FaultPlan.always(Status(500)))
    assert [plan.next({"file": "a"}) for _ in range(3)] == [Status(500)] * 3
    plan.stop()
    assert plan.next({"file": "a"}) is None
