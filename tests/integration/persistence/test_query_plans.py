"""The reads of all day take an index that gives their order, with row-level security on."""

import os
import re
from typing import Any

import psycopg
import pytest

ROWS = 1_000_000 if os.environ.get("HYPOTHESIS_PROFILE") == "nightly" else 50_000
"""A million takes longer than `make test` has: that is for the night."""
TENANTS = 20
PARAMETERS = {"tenant": "text", "kind": "text", "only_enabled": "boolean", "after": "uuid"}


@pytest.mark.timeout(300)
def test_pages_are_read_in_the_order_of_an_index(database_url: str) -> None:
    with psycopg.connect(database_url) as connection:
        _fill(connection)
        whole, by_type = _queries(connection)
        connection.execute("call enter_tenant('tenant-3')")
        # Of a function that is called often, PostgreSQL chooses between these two.
        for mode in ("force_custom_plan", "force_generic_plan"):
            connection.execute("select set_config('plan_cache_mode', %s, true)", [mode])
            plans = {
                "ix_integrations_tenant_id_id": _plan(connection, whole),
                "ix_integrations_tenant_id_type_id": _plan(connection, by_type),
            }
            for index, plan in plans.items():
                assert _scans(plan, "integrations") == [index]
                # Either would read what comes before the page, too.
                assert not {node["Node Type"] for node in _nodes(plan)} & {"Sort", "Merge Join"}


def _fill(connection: psycopg.Connection) -> None:
    connection.execute("set local session_replication_role = replica")  # no trigger for each row
    connection.execute(
        """
        insert into integrations (id, tenant_id, type, name, config_json,
            check_interval_seconds, check_timeout_seconds)
        select gen_random_uuid(), 'tenant-' || n %% %(tenants)s, 'type-' || n %% 7,
            'registry-' || n, '{}', 300, 10 from generate_series(1, %(rows)s) n
        """,
        {"tenants": TENANTS, "rows": ROWS},
    )
    connection.execute(
        "insert into schedule_state (integration_id, tenant_id)"
        " select id, tenant_id from integrations"
    )
    connection.execute("set local session_replication_role = origin")
    connection.execute("analyze integrations")
    connection.execute("analyze schedule_state")


def _queries(connection: psycopg.Connection) -> list[str]:
    """What the function runs, so that no other query is looked at than the one that is run."""
    row = connection.execute(
        "select prosrc from pg_proc where proname = 'list_integration_documents'"
    ).fetchone()
    assert row is not None
    found: list[str] = re.findall(r"return query (select .*?);", row[0], re.DOTALL)
    assert len(found) == 2
    return found


def _plan(connection: psycopg.Connection, query: str) -> dict[str, Any]:
    for number, name in enumerate(PARAMETERS, start=1):
        query = re.sub(rf"(?<![.\w]){name}\b", f"${number}", query)
    query = query.replace("limit how_many", "limit $5")
    connection.execute("deallocate all")
    connection.execute(f"prepare page ({', '.join(PARAMETERS.values())}, integer) as {query}")
    row = connection.execute(
        "explain (format json) execute page ('tenant-3', 'type-3', true,"
        " '40000000-0000-0000-0000-000000000000', 51)"
    ).fetchone()
    assert row is not None
    plan: dict[str, Any] = row[0][0]["Plan"]
    return plan


def _nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for below in plan.get("Plans", []) for node in _nodes(below))]


def _scans(plan: dict[str, Any], table: str) -> list[str]:
    """The indexes by which a table is read; "" for a scan without one."""
    return [
        node.get("Index Name", "") for node in _nodes(plan) if node.get("Relation Name") == table
    ]
