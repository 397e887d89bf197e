"""What Loki 3.7 allows, with its defaults (pkg/validation/limits.go, pkg/distributor, pkg/ingester, dskit server.go)."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * 1024
SECOND_NS = 1_000_000_000

# Loki looks for a service name in these labels, in this order (`discover_service_name`).
SERVICE_NAME_LABELS = (
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of every tenant; `Limits()` is Loki as it comes, None switches a rate off.

    ingest_overhead_bytes is what one entry costs on the way to the ingester beyond line and metadata (framing and the
    `detected_level` that Loki adds; measured at 47): a push is refused when the sum exceeds max_ingester_message_bytes.
    """

    auth_enabled: bool = False
    max_label_names: int = 15
    max_label_name_bytes: int = 1024
    max_label_value_bytes: int = 2048
    max_line_bytes: int = 256 * KIB
    max_metadata_entries: int = 128
    max_metadata_bytes: int = 64 * KIB
    oldest_ns: int = 7 * 24 * 3600 * SECOND_NS
    newest_ns: int = 600 * SECOND_NS
    out_of_order_ns: int = 3600 * SECOND_NS
    tenant_rate: int | None = 4 * MIB
    tenant_burst: int = 6 * MIB
    stream_rate: int | None = 3 * MIB
    stream_burst: int = 15 * MIB
    max_streams: int = 5000
    max_wire_bytes: int = 100 * MIB
    max_ingester_message_bytes: int = 4 * MIB
    ingest_overhead_bytes: int = 47
    max_query_entries: int = 5000
    max_query_range_ns: int = 721 * 3600 * SECOND_NS
    detect_level: bool = False
    """Add `detected_level` to the stored metadata as Loki does. Off, so that what comes back is what was sent."""

    @classmethod
    def without_rates(cls) -> Limits:
        """Loki's limits without the two token buckets, for measuring throughput."""
        return cls(tenant_rate=None, stream_rate=None)


class Bucket:
    """A token bucket as Go's `rate.Limiter`: full at first, refuses whole, refuses for ever what exceeds the burst."""

    def __init__(self, rate: int | None, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._at_ns: int | None = None

    def take(self, count: int, now_ns: int) -> bool:
        if self._rate is None:
            return True
        if self._at_ns is not None and now_ns > self._at_ns:
            self._tokens = min(self._burst, self._tokens + (now_ns - self._at_ns) * self._rate / SECOND_NS)
        self._at_ns = now_ns if self._at_ns is None else max(now_ns, self._at_ns)
        if count > self._tokens:
            return False
        self._tokens -= count
        return True
