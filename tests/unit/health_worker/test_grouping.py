"""What outages have in common, and which of them are told."""

from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.health_worker.plugin_doubles import TARGET, WITH_SECRET

from stella_contracts.health import ErrorCode, IncidentScope, IntegrationStatus
from stella_health_worker.grouping import GROUP_SIZE, plan, root_of
from stella_runtime.ids import new_id
from stella_runtime.persistence.alerts import ReadyAlert
from stella_runtime.persistence.incidents import Root, StoredIncident

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOST = Root(IncidentScope.HOST, "https://harbor.test")
VAULT = Root(IncidentScope.VAULT, "vault")


def an_incident(root: Root | None, tenant: str = "acme", *, parent: bool = False) -> StoredIncident:
    return StoredIncident(
        id=new_id(),
        tenant_id=tenant,
        integration_id=None if parent else new_id(),
        since=NOON,
        opened_at=NOON,
        resolved_at=None,
        error_code=ErrorCode.CONNECT,
        error_message=None,
        root=root,
        parent_id=None,
        affected=1,
        announced=False,
    )


def ready(incident: StoredIncident) -> ReadyAlert:
    return ReadyAlert(incident, "harbor", IntegrationStatus.UNHEALTHY)


@pytest.mark.parametrize(
    ("endpoint", "code", "root"),
    [
        ("https://harbor.test/a?b", ErrorCode.CONNECT, HOST),
        ("https://HARBOR.test:443", ErrorCode.TIMEOUT, HOST),
        ("http://[::1]:8080", ErrorCode.TLS, Root(IncidentScope.HOST, "http://[::1]:8080")),
        ("https://harbor.test", ErrorCode.AUTH_REJECTED, None),
        ("https://harbor.test", ErrorCode.SECRET_UNRESOLVABLE, VAULT),
        ("no url", ErrorCode.CONNECT, None),
        (7, ErrorCode.CONNECT, None),
    ],
)
def test_root_is_the_host_or_the_vault_that_the_code_speaks_of(
    endpoint: object, code: ErrorCode, root: Root | None
) -> None:
    assert root_of(replace(WITH_SECRET, config={"endpoint": endpoint}), code) == root


def test_without_a_reference_there_is_no_vault() -> None:
    assert root_of(TARGET, ErrorCode.SECRET_UNRESOLVABLE) is None


tenants = st.sampled_from(["acme", "globex"])
roots = st.sampled_from([None, HOST, VAULT])
incidents = st.builds(an_incident, roots, tenants)
parents = st.builds(
    lambda root, tenant: an_incident(root, tenant, parent=True),
    st.sampled_from([HOST, VAULT]),
    tenants,
)


@given(
    st.lists(incidents, max_size=12),
    st.lists(incidents, max_size=4),
    st.lists(parents, max_size=4, unique_by=lambda each: (each.tenant_id, each.root)),
)
def test_each_outage_is_told_once_and_groups_are_of_one_tenant_and_root(
    fresh: list[StoredIncident], recent: list[StoredIncident], open_parents: list[StoredIncident]
) -> None:
    planned = plan([ready(each) for each in fresh], [*recent, *open_parents])

    told: list[UUID] = [each.incident.id for each in planned.announce]
    told += [each for ids in planned.adopt.values() for each in ids]
    told += [
        each.id for children in planned.found.values() for each in children if each not in recent
    ]
    assert sorted(told) == sorted(each.id for each in fresh)
    for root, children in planned.found.items():
        assert len(children) >= GROUP_SIZE
        assert {(each.tenant_id, each.root) for each in children} == {(root.tenant_id, root.root)}
    of_id = {each.id: each for each in fresh}
    for parent in open_parents:
        for child in planned.adopt.get(parent.id, []):
            assert (of_id[child].tenant_id, of_id[child].root) == (parent.tenant_id, parent.root)


def test_one_fewer_than_a_group_is_told_by_itself() -> None:
    fresh = [ready(an_incident(HOST)) for _ in range(GROUP_SIZE - 1)]

    planned = plan(fresh, [])

    assert (planned.announce, planned.found) == (fresh, {})
