"""What Prometheus reads."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from stella_runtime.telemetry.metrics import Group, Metrics


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
