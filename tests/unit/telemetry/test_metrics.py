"""What Prometheus reads."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stella_runtime.telemetry.metrics import Metrics
from stella_runtime.telemetry.tenant_labels import Group


def samples(metrics: Metrics) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
    }


def labels(**given: str) -> frozenset[tuple[str, str]]:
    return frozenset(given.items())


GROUP = labels(type="harbor", tenant="acme")


@pytest.mark.parametrize(
    ("counts", "value"),
    [
        pytest.param({"healthy": 3}, 1.0, id="all healthy"),
        pytest.param({"healthy": 3, "degraded": 1}, 0.5, id="one degraded"),
        pytest.param({"healthy": 3, "degraded": 1, "unhealthy": 1}, 0.0, id="one unhealthy"),
        pytest.param({"healthy": 1, "unknown": 4, "disabled": 2}, 1.0, id="the rest is not known"),
    ],
)
def test_a_group_shows_its_worst_status(counts: dict[str, int], value: float) -> None:
    metrics = Metrics()

    metrics.groups([Group("harbor", "acme", counts)])

    assert samples(metrics)["integration_health_status", GROUP] == value


def test_a_group_of_which_nothing_is_known_shows_no_status() -> None:
    metrics = Metrics()

    metrics.groups([Group("harbor", "acme", {"unknown": 2})])

    found = samples(metrics)
    assert ("integration_health_status", GROUP) not in found
    unknown = labels(type="harbor", tenant="acme", status="unknown")
    assert found["integration_health_integrations", unknown] == 2


def test_a_group_that_is_gone_is_shown_no_more() -> None:
    metrics = Metrics()
    metrics.groups([Group("harbor", "acme", {"healthy": 1})])

    metrics.groups([])

    assert ("integration_health_status", GROUP) not in samples(metrics)


def test_the_metrics_of_the_source_document_have_their_names_and_labels() -> None:
    metrics = Metrics()

    metrics.crud("create")
    metrics.groups([Group("harbor", "acme", {"healthy": 1})])
    metrics.check(
        provider_type="harbor",
        tenant_id="acme",
        status="healthy",
        error_code=None,
        trigger="schedule",
        latency_ms=12,
    )

    found = samples(metrics)
    assert found["integration_crud_total", labels(action="create")] == 1
    assert found["integration_health_status", GROUP] == 1
    assert found["integration_health_latency_ms_count", GROUP] == 1
    assert found["integration_health_latency_ms_sum", GROUP] == 12


def test_tenants_beyond_the_limit_share_one_label_and_its_worst_status() -> None:
    metrics = Metrics(tenants=1)

    metrics.groups(
        [
            Group("harbor", "acme", {"healthy": 1}),
            Group("harbor", "globex", {"healthy": 2}),
            Group("harbor", "initech", {"unhealthy": 1, "healthy": 3}),
        ]
    )

    found = samples(metrics)
    assert found["integration_health_status", GROUP] == 1
    others = labels(type="harbor", tenant="_other")
    assert found["integration_health_status", others] == 0
    healthy = labels(type="harbor", tenant="_other", status="healthy")
    assert found["integration_health_integrations", healthy] == 5
    assert ("integration_health_status", labels(type="harbor", tenant="globex")) not in found


def test_a_tenant_keeps_its_label_when_others_come() -> None:
    metrics = Metrics(tenants=1)
    metrics.groups([Group("harbor", "globex", {"healthy": 1})])

    metrics.groups(
        [Group("harbor", "acme", {"healthy": 1}), Group("harbor", "globex", {"healthy": 1})]
    )

    found = samples(metrics)
    assert found["integration_health_status", labels(type="harbor", tenant="globex")] == 1
    assert found["integration_health_status", labels(type="harbor", tenant="_other")] == 1


def test_a_thousand_tenants_make_no_thousand_histograms() -> None:
    metrics = Metrics(tenants=10)

    for number in range(1000):
        metrics.check(
            provider_type="harbor",
            tenant_id=f"tenant-{number}",
            status="healthy",
            error_code=None,
            trigger="schedule",
            latency_ms=1,
        )

    counts = [key for key in samples(metrics) if key[0] == "integration_health_latency_ms_count"]
    assert len(counts) == 11


def test_a_method_that_nobody_knows_makes_no_series_of_its_own() -> None:
    metrics = Metrics()

    for number in range(100):
        metrics.request(f"BREW{number}", "unmatched", 405, 0.001)

    found = [key for key in samples(metrics) if key[0] == "integration_http_request_seconds_count"]
    assert len(found) == 1


ABBREVIATED = {"ms", "milliseconds", "us", "ns", "sec", "mins", "hours", "kb", "mb"}
FIXED_BY_THE_SOURCE_DOCUMENT = {"integration_health_latency_ms"}


def test_metrics_are_named_as_prometheus_asks() -> None:
    """The rules of `promtool check metrics`."""
    families = list(text_string_to_metric_families(Metrics().exposition().decode()))

    assert len(families) > 20
    for family in families:
        words = family.name.split("_")
        assert family.documentation.endswith("."), f"{family.name} says nothing"
        assert family.name == family.name.lower(), family.name
        assert words[0] in {"integration", "integrations", "plugin", "plugins"}, family.name
        assert family.type != "unknown", family.name
        if family.type == "gauge":
            assert words[-1] not in {"total", "count", "sum", "bucket", "created"}, family.name
        if family.name not in FIXED_BY_THE_SOURCE_DOCUMENT:
            assert not ABBREVIATED & set(words), family.name


def test_a_crash_of_a_plugin_is_counted_by_type() -> None:
    metrics = Metrics()

    metrics.plugin_crashed("harbor")

    assert samples(metrics)["plugin_crashes_total", labels(type="harbor")] == 1
