"""Every metric of the system: its name, labels and buckets."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from stella_runtime.telemetry.tenant_labels import TENANTS, Group, TenantLabels

_LATENCY_MS = (5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000)
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_QUEUE_SECONDS = (1, 2.5, 5, 10, 30, 60, 300, 900, 3600)

# Of a group the worst is shown. What is not known or switched off is nobody's outage.
_VALUE_OF_STATUS = {"healthy": 1.0, "degraded": 0.5, "unhealthy": 0.0}

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_OTHER_METHOD = "_other"


@dataclass(frozen=True, slots=True)
class HistoryState:
    """How the history is kept."""

    default_rows: int
    days_ahead: int
    rollup_lag_seconds: float


class Metrics:
    """The metrics of one process, on a registry of their own."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, *, tenants: int = TENANTS) -> None:
        """`tenants`: how many have series of their own; those beyond share one label."""
        # When a series was made: one more series for each, which nobody reads.
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        self._tenants = TenantLabels(tenants)
        self._health_status = Gauge(
            "integration_health_status",
            "Worst status of the integrations of a type and tenant: 1 healthy, 0.5 degraded, "
            "0 unhealthy. Unknown and disabled ones do not count.",
            ["type", "tenant"],
            registry=self.registry,
        )
        self._health_integrations = Gauge(
            "integration_health_integrations",
            "Integrations of a type and tenant by status.",
            ["type", "tenant", "status"],
            registry=self.registry,
        )
        self._health_latency = Histogram(
            "integration_health_latency_ms",
            "How long a health check took, in milliseconds.",
            ["type", "tenant"],
            buckets=_LATENCY_MS,
            registry=self.registry,
        )
        # prometheus-client appends `_total` to the name of a counter.
        self._crud = Counter(
            "integration_crud",
            "Calls that read or changed the catalog.",
            ["action"],
            registry=self.registry,
        )
        self._checks = Counter(
            "integration_checks",
            "Health checks by what they found and who asked for them.",
            ["type", "status", "error_code", "trigger"],
            registry=self.registry,
        )
        self._stale = Counter(
            "integration_stale_results",
            "Results that were not counted: another worker's lease, or an older configuration.",
            ["reason"],
            registry=self.registry,
        )
        self._lag = Gauge(
            "integration_schedule_lag_seconds",
            "How long the check that is most overdue has been due.",
            registry=self.registry,
        )
        self._claimed = Counter(
            "integration_checks_claimed",
            "Due checks that were handed to the queue.",
            registry=self.registry,
        )
        self._put_off = Counter(
            "integration_checks_put_off",
            "Checks that were late, or found no room, and were spread over the next minute.",
            registry=self.registry,
        )
        self._refused = Counter(
            "integration_checks_refused",
            "Checks whose host was not asked, since it had not answered several times in a row.",
            registry=self.registry,
        )
        self._given_up = Counter(
            "integration_checks_given_up",
            "Claimed checks that ended without a result and are claimed again, by what was short.",
            ["reason"],
            registry=self.registry,
        )
        self._aside = Gauge(
            "integration_checks_aside",
            "Checks of slow targets that go on while their message is settled, by their lease.",
            registry=self.registry,
        )
        self._shut_out = Gauge(
            "integration_hosts_shut_out",
            "Breakers that are open in this worker: hosts that are not asked for a while.",
            registry=self.registry,
        )
        self._hub_condition = Gauge(
            "integration_hub_condition",
            "1 while this worker has no way out (egress) or can read nothing from a vault.",
            ["condition"],
            registry=self.registry,
        )
        self._missed_slots = Counter(
            "integration_missed_slots",
            "Slots of the schedule that passed without a check of their own.",
            registry=self.registry,
        )
        self._outbox = Gauge(
            "integration_outbox_messages",
            "Committed messages that are not published yet.",
            registry=self.registry,
        )
        self._outbox_age = Gauge(
            "integration_outbox_oldest_seconds",
            "Age of the oldest unpublished message.",
            registry=self.registry,
        )
        self._queue_messages = Gauge(
            "integration_queue_messages",
            "Messages that wait in a queue; in a .dead queue and in stella.unrouted for a human.",
            ["queue"],
            registry=self.registry,
        )
        self._queue_consumers = Gauge(
            "integration_queue_consumers",
            "Processes that take from a queue.",
            ["queue"],
            registry=self.registry,
        )
        self._queue_age = Histogram(
            "integration_queue_age_seconds",
            "How old messages of a queue were when a handler got them.",
            ["queue"],
            buckets=_QUEUE_SECONDS,
            registry=self.registry,
        )
        self._dead_letters = Counter(
            "integration_dead_letters",
            "Messages that a handler could not do, by the queue they came from.",
            ["queue"],
            registry=self.registry,
        )
        self._publisher_blocked = Gauge(
            "integration_publisher_blocked",
            "1 while the broker takes nothing from this process, as during a resource alarm.",
            registry=self.registry,
        )
        self._history_default = Gauge(
            "integration_history_default_rows",
            "Checks in the default partition, since their day had none: 0 when all is well.",
            registry=self.registry,
        )
        self._history_ahead = Gauge(
            "integration_history_days_ahead",
            "Days from tomorrow on that have a partition; -1 when today has none.",
            registry=self.registry,
        )
        self._history_lag = Gauge(
            "integration_history_rollup_lag_seconds",
            "How long ago the first hour began that is not rolled up.",
            registry=self.registry,
        )
        self._requests = Histogram(
            "integration_http_request_seconds",
            "Requests by route and status.",
            ["method", "route", "status"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._event_streams = Gauge(
            "integration_event_streams",
            "Streams of server-sent events that are open.",
            registry=self.registry,
        )
        self._event_streams_ended = Counter(
            "integration_event_streams_ended",
            "Streams of server-sent events that ended, by why.",
            ["reason"],
            registry=self.registry,
        )
        self._webhook_tries = Counter(
            "integration_webhook_tries",
            "Tries to deliver an event to a webhook, by what became of the delivery.",
            ["outcome"],
            registry=self.registry,
        )
        self._scans = Counter(
            "plugin_scans", "Scans of the plugin paths.", ["outcome"], registry=self.registry
        )
        self._crashes = Counter(
            "plugin_crashes",
            "Checks in which a plugin raised what it may not, or would not be cancelled.",
            ["type"],
            registry=self.registry,
        )
        self._plugins = Gauge(
            "plugins_known", "Plugins by state.", ["state"], registry=self.registry
        )

    def crud(self, action: str) -> None:
        self._crud.labels(action).inc()

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        known = method if method in _METHODS else _OTHER_METHOD
        self._requests.labels(known, route, str(status)).observe(seconds)

    def check(
        self,
        *,
        provider_type: str,
        tenant_id: str,
        status: str,
        error_code: str | None,
        trigger: str,
        latency_ms: float,
    ) -> None:
        self._checks.labels(provider_type, status, error_code or "", trigger).inc()
        tenant = self._tenants.of(tenant_id)
        self._health_latency.labels(provider_type, tenant).observe(latency_ms)

    def stale(self, reason: str) -> None:
        self._stale.labels(reason).inc()

    def claimed(self, checks: int) -> None:
        self._claimed.inc(checks)

    def put_off(self, checks: int) -> None:
        self._put_off.inc(checks)

    def check_refused(self) -> None:
        self._refused.inc()

    def check_given_up(self, reason: str) -> None:
        self._given_up.labels(reason).inc()

    def checks_aside(self, checks: int) -> None:
        self._aside.set(checks)

    def hosts_shut_out(self, breakers: int) -> None:
        self._shut_out.set(breakers)

    def hub_condition(self, condition: str, *, is_so: bool) -> None:
        self._hub_condition.labels(condition).set(is_so)

    def missed_slots(self, slots: int) -> None:
        self._missed_slots.inc(slots)

    def schedule_lag(self, seconds: float) -> None:
        self._lag.set(seconds)

    def outbox(self, messages: int, oldest_seconds: float) -> None:
        self._outbox.set(messages)
        self._outbox_age.set(oldest_seconds)

    def queues(self, messages: Mapping[str, int], consumers: Mapping[str, int]) -> None:
        """Replace the depths of every queue."""
        for gauge, counts in (
            (self._queue_messages, messages),
            (self._queue_consumers, consumers),
        ):
            gauge.clear()
            for queue, count in counts.items():
                gauge.labels(queue).set(count)

    def message_taken(self, queue: str, seconds_waited: float) -> None:
        self._queue_age.labels(queue).observe(seconds_waited)

    def message_died(self, queue: str) -> None:
        self._dead_letters.labels(queue).inc()

    def publisher_blocked(self, blocked: bool) -> None:
        self._publisher_blocked.set(blocked)

    def groups(self, groups: Iterable[Group]) -> None:
        """Replace the health of every group: one that is gone must not stay as it was."""
        self._health_status.clear()
        self._health_integrations.clear()
        for group in self._tenants.folded(groups):
            for status, count in group.counts.items():
                self._health_integrations.labels(group.provider_type, group.tenant_id, status).set(
                    count
                )
            values = [_VALUE_OF_STATUS[s] for s in group.counts if s in _VALUE_OF_STATUS]
            if values:
                self._health_status.labels(group.provider_type, group.tenant_id).set(min(values))

    def event_streams(self, count: int) -> None:
        self._event_streams.set(count)

    def event_stream_ended(self, reason: str) -> None:
        self._event_streams_ended.labels(reason).inc()

    def history(self, state: HistoryState) -> None:
        self._history_default.set(state.default_rows)
        self._history_ahead.set(state.days_ahead)
        self._history_lag.set(state.rollup_lag_seconds)

    def webhook_try(self, outcome: str) -> None:
        self._webhook_tries.labels(outcome).inc()

    def scan(self, outcome: str) -> None:
        self._scans.labels(outcome).inc()

    def plugin_crashed(self, provider_type: str) -> None:
        self._crashes.labels(provider_type).inc()

    def plugins(self, counts: Mapping[str, int]) -> None:
        self._plugins.clear()
        for state, count in counts.items():
            self._plugins.labels(state).set(count)

    def exposition(self) -> bytes:
        """What Prometheus reads."""
        return generate_latest(self.registry)
