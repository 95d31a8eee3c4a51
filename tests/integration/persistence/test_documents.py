"""Reads of one round trip: what they show is what everything else shows, with both locks on."""

from uuid import UUID

import httpx
import orjson
import psycopg
import pytest
from tests.support.catalog import TENANT, register

from stella_contracts.errors import IntegrationNotFound
from stella_contracts.integrations import Connection, Integration
from stella_runtime.persistence import Database

OTHER = "globex"


async def test_a_document_is_the_integration_that_a_transaction_reads(
    database: Database, database_url: str
) -> None:
    registered = await register(database)
    connection = Connection(api_root="https://harbor.test/api").model_dump_json()
    with psycopg.connect(database_url) as direct:
        direct.execute("update schedule_state set connection = %s", [connection])
        direct.execute(
            "update integrations set description = 'a \"quoted\" ü', tags = '{eu,b}',"
            " created_at = '2026-01-02 03:04:05+02', config_json = '{\"deep\": [1.5, null, {}]}'"
        )

    document = await database.documents.get(TENANT, registered.id)
    async with database.transaction(TENANT) as transaction:
        expected = await transaction.integrations.get(registered.id)

    shown = orjson.loads(document.text) | {"authRefUri": document.auth_ref_uri}
    assert shown.keys() == expected.model_dump(mode="json").keys()
    assert Integration.model_validate(shown) == expected


async def test_reads_show_nothing_of_another_tenant(database: Database) -> None:
    theirs = await register(database, tenant=OTHER)

    with pytest.raises(IntegrationNotFound):
        await database.documents.get(TENANT, theirs.id)
    assert await _listed(database, TENANT) == []
    assert await _listed(database, OTHER) == [theirs.id]


async def test_what_is_deleted_is_not_read(database: Database) -> None:
    gone = await register(database)
    async with database.transaction(TENANT) as transaction:
        await transaction.integrations.delete(await transaction.integrations.lock(gone.id))

    with pytest.raises(IntegrationNotFound):
        await database.documents.get(TENANT, gone.id)
    assert await _listed(database, TENANT) == []


@pytest.mark.parametrize(
    "removed",
    [
        pytest.param("alter table integrations disable row level security", id="policy"),
        pytest.param("filter", id="filter"),
    ],
)
async def test_either_lock_holds_without_the_other(
    database: Database, database_url: str, removed: str
) -> None:
    theirs = await register(database, tenant=OTHER)
    with psycopg.connect(database_url) as direct:
        if removed == "filter":
            _remove_filters(direct)
        else:
            direct.execute(removed)

    assert await _listed(database, TENANT) == []
    with pytest.raises(IntegrationNotFound):
        await database.documents.get(TENANT, theirs.id)


async def test_without_both_locks_the_tests_above_would_fail(
    database: Database, database_url: str
) -> None:
    theirs = await register(database, tenant=OTHER)
    with psycopg.connect(database_url) as direct:
        _remove_filters(direct)
        direct.execute("alter table integrations disable row level security")

    assert await _listed(database, TENANT) == [theirs.id]


async def test_a_read_leaves_nothing_on_its_connection(
    database: Database, database_url: str
) -> None:
    await register(database)
    with psycopg.connect(database_url, autocommit=True) as direct:
        direct.execute(
            "select * from list_integration_documents('acme', null, false, %s, 5)", [NIL]
        )

        left = direct.execute(
            "select current_setting('app.tenant_id', true), current_user = session_user"
        ).fetchone()

    assert left == ("", True)


async def test_plain_and_unusual_requests_are_answered_alike(
    database: Database, api: httpx.AsyncClient
) -> None:
    for number in range(3):
        await register(database, name=f"registry-{number}")

    plain = await api.get("/integrations?limit=2")
    unusual = await api.get("/integrations?limit=2&q=")
    sorted_so = await api.get("/integrations?limit=2&sort=name")

    assert plain.json()["items"] == unusual.json()["items"]
    assert [each["name"] for each in sorted_so.json()["items"]] == ["registry-0", "registry-1"]
    assert plain.json()["items"][0] == sorted_so.json()["items"][0]
    following = await api.get(
        "/integrations", params={"limit": 2, "cursor": plain.json()["nextCursor"]}
    )
    assert [each["name"] for each in following.json()["items"]] == ["registry-2"]
    assert following.json()["nextCursor"] is None


NIL = UUID(int=0)
_LIST = "select * from list_integration_documents(%s, null, false, %s, 5)"


def _remove_filters(direct: psycopg.Connection) -> None:
    """A build whose functions forgot the tenant."""
    for name in ("get_integration_document", "list_integration_documents"):
        row = direct.execute(
            "select pg_get_functiondef(oid) from pg_proc where proname = %s", [name]
        ).fetchone()
        assert row is not None
        assert "d.tenant_id = tenant and" in row[0]
        direct.execute(row[0].replace("d.tenant_id = tenant and", ""))


async def _listed(database: Database, tenant: str) -> list[UUID]:
    found = await database.documents.list_page(
        tenant, provider_type=None, only_enabled=False, after=None, limit=10
    )
    return [each.id for each in found]
