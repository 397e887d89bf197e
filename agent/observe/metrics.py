"""Counters of what happened, gauges of what is: one registry, one place that names them.

Counters come from events: an event class that names a counter has one, and nothing else makes counters. Gauges are read
from the parts when somebody asks, so they cost nothing in between and agree with each other.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, ProcessCollector, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from agent import __version__
from agent.observe.events import Event

PREFIX = "greenstack_agent_"


@dataclass(frozen=True, slots=True)
class Gauge:
    """One gauge as it stands: `values` maps label values (in the order of `labels`) to the number."""

    name: str
    help: str
    values: dict[tuple[str, ...], float]
    labels: tuple[str, ...] = ()


def declared_events() -> Iterator[type[Event]]:
    """Every event class, in the order they are written."""
    return iter(Event.__subclasses__())


def counters() -> dict[str, type[Event]]:
    """Counter name → the event that feeds it first; several events may feed one counter with the same labels."""
    named: dict[str, type[Event]] = {}
    for kind in declared_events():
        if kind.counter is not None:
            named.setdefault(kind.counter, kind)
    return named


class Metrics:
    """The registry. `observe` is one of the receivers of events."""

    def __init__(self, gauges: Callable[[], Iterable[Gauge]]) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._counters = {
            name: Counter(PREFIX + name, (kind.__doc__ or name).splitlines()[0], kind.by, registry=self.registry)
            for name, kind in counters().items()
        }
        self._told: dict[tuple[object, ...], Counter] = {}
        """By name and label values. The registry, which checks and locks, is asked once for each."""
        measured = {kind.bytes_counter: kind for kind in declared_events() if kind.bytes_counter is not None}
        self._bytes = {
            name: Counter(PREFIX + name, f"Bytes: {(kind.__doc__ or name).splitlines()[0]}", registry=self.registry)
            for name, kind in measured.items()
        }
        self.registry.register(_Gauges(gauges))
        ProcessCollector(registry=self.registry)

    def observe(self, event: Event) -> None:
        kind = type(event)
        if kind.counter is None:
            return
        amount = 1 if kind.amount is None else getattr(event, kind.amount)
        key = (kind.counter, *[getattr(event, name) for name in kind.by])
        counter = self._told.get(key)
        if counter is None:
            counter = self._told[key] = self._counter_of(kind.counter, key[1:])
        counter.inc(amount)
        if kind.bytes_counter is not None:
            self._bytes[kind.bytes_counter].inc(getattr(event, kind.bytes_field))

    def _counter_of(self, name: str, labels: tuple[object, ...]) -> Counter:
        counter = self._counters[name]
        return counter.labels(*map(str, labels)) if labels else counter

    def total(self, name: str) -> float:
        """Sum over all labels of a counter."""
        samples = (sample for metric in self._counters[name].collect() for sample in metric.samples)
        return sum(sample.value for sample in samples if sample.name.endswith("_total"))

    def exposition(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)


class _Gauges(Collector):
    def __init__(self, read: Callable[[], Iterable[Gauge]]) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is, is known when it is read."""
        return ()

    def collect(self) -> Iterable[Metric]:
        build = InfoMetricFamily(PREFIX + "build", "Version of the agent and of Python.")
        build.add_metric([], {"version": __version__, "python_version": platform.python_version()})
        yield build
        for gauge in self._read():
            family = GaugeMetricFamily(PREFIX + gauge.name, gauge.help, labels=gauge.labels)
            for values, number in gauge.values.items():
                family.add_metric(values, number)
            yield family
