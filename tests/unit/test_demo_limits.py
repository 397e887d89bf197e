from agent.demo.limits import MIB, SECOND_NS, Bucket, Limits


def test_a_bucket_is_full_at_first_and_fills_at_its_rate() -> None:
    bucket = Bucket(rate=100, burst=150)
    assert bucket.take(150, 0)
    assert not bucket.take(1, 0)
    assert not bucket.take(101, SECOND_NS)
    assert bucket.take(100, SECOND_NS)


def test_a_refusal_takes_nothing() -> None:
    bucket = Bucket(rate=100, burst=150)
    assert not bucket.take(151, 0)
    assert bucket.take(150, 0)


def test_more_than_the_burst_is_refused_for_ever() -> None:
    bucket = Bucket(rate=100, burst=150)
    assert not any(bucket.take(151, hour * 3600 * SECOND_NS) for hour in range(5))


def test_a_clock_that_steps_back_gives_no_tokens() -> None:
    bucket = Bucket(rate=100, burst=100)
    assert bucket.take(100, 10 * SECOND_NS)
    assert not bucket.take(1, 5 * SECOND_NS)
    assert not bucket.take(1, 10 * SECOND_NS)
    assert bucket.take(100, 11 * SECOND_NS)


def test_without_a_rate_everything_passes() -> None:
    assert Bucket(rate=None, burst=1).take(10**9, 0)


def test_the_defaults_are_lokis_and_the_rates_can_be_switched_off() -> None:
    assert (Limits().tenant_rate, Limits().tenant_burst, Limits().max_line_bytes) == (4 * MIB, 6 * MIB, 262144)
    assert (Limits.without_rates().tenant_rate, Limits.without_rates().stream_rate) == (None, None)
