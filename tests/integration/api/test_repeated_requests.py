"""Requests that meet others: lost races, and the same one twice."""

import asyncio
from uuid import UUID

import httpx
import psycopg
import pytest
from tests.support.api import Hub, assert_problem, audited, everything, registered
from tests.support.builders import a_registration

from stella_contracts.health import IntegrationStatus


class TestPreconditions:
    @pytest.mark.parametrize(
        ("if_match", "status"),
        [
            pytest.param('"1"', 200, id="the current version"),
            pytest.param("*", 200, id="any version"),
            pytest.param('"7", "1"', 200, id="one of several versions"),
            pytest.param('"2"', 412, id="another version"),
            pytest.param("1", 400, id="no quotes"),
            pytest.param("rubbish", 400, id="rubbish"),
        ],
    )
    async def test_a_change_honours_if_match(
        self, api: httpx.AsyncClient, if_match: str, status: int
    ) -> None:
        path = f"/integrations/{(await registered(api))['id']}"

        answer = await api.put(path, json={"description": "x"}, headers={"If-Match": if_match})

        assert answer.status_code == status, answer.text

    async def test_a_change_has_to_say_what_it_is_based_on(self, api: httpx.AsyncClient) -> None:
        record = await registered(api)
        path = f"/integrations/{record['id']}"

        answer = await api.put(path, json={"description": "x"}, headers={})

        assert "If-Match" in assert_problem(answer, 428, "if_match_missing")["detail"]
        assert (await api.get(path)).json() == record

    async def test_a_removal_needs_no_version(self, api: httpx.AsyncClient) -> None:
        """It overwrites nothing that somebody has written."""
        path = f"/integrations/{(await registered(api))['id']}"

        assert (await api.delete(path)).status_code == 204

    async def test_a_weak_tag_changes_nothing(self, api: httpx.AsyncClient) -> None:
        path = f"/integrations/{(await registered(api))['id']}"

        answer = await api.put(path, json={"description": "x"}, headers={"If-Match": 'W/"1"'})

        assert answer.status_code in {400, 412}

    async def test_a_removal_honours_if_match(self, api: httpx.AsyncClient) -> None:
        path = f"/integrations/{(await registered(api))['id']}"

        lost = await api.delete(path, headers={"If-Match": '"2"'})
        won = await api.delete(path, headers={"If-Match": '"1"'})

        assert_problem(lost, 412, "version_mismatch")
        assert won.status_code == 204

    async def test_of_two_changes_to_one_version_one_wins(self, api: httpx.AsyncClient) -> None:
        path = f"/integrations/{(await registered(api))['id']}"

        answers = await asyncio.gather(
            *(
                api.put(path, json={"description": text}, headers={"If-Match": '"1"'})
                for text in ("left", "right")
            )
        )

        assert sorted(answer.status_code for answer in answers) == [200, 412]
        assert (await api.get(path)).json()["version"] == 2

    async def test_a_reader_learns_of_a_status_that_changed_without_a_new_version(
        self, hub: Hub, api: httpx.AsyncClient
    ) -> None:
        path = f"/integrations/{(await registered(api))['id']}"
        tag = (await api.get(path)).headers["etag"]
        async with hub.database.system_transaction() as transaction:
            await transaction.scheduling.set_status(
                UUID(path.rsplit("/", 1)[-1]), IntegrationStatus.HEALTHY
            )

        answer = await api.get(path, headers={"If-None-Match": tag})
        based_on_it = await api.put(
            path, json={"description": "x"}, headers={"If-Match": answer.headers["etag"]}
        )

        assert (answer.status_code, answer.json()["status"]) == (200, "healthy")
        assert based_on_it.status_code == 200


class TestIdempotency:
    async def test_the_same_request_gets_the_same_answer(self, api: httpx.AsyncClient) -> None:
        body, headers = a_registration(), {"Idempotency-Key": "key-1"}

        first = await api.post("/integrations", json=body, headers=headers)
        second = await api.post("/integrations", json=body, headers=headers)

        assert (second.status_code, second.content) == (201, first.content)
        assert second.headers["location"] == first.headers["location"]
        assert second.headers["etag"] == first.headers["etag"]
        assert len(await everything(api)) == 1
        assert [action for action, _ in await audited(api)] == ["integration.created"]

    async def test_another_body_is_refused(self, api: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": "key-1"}
        await api.post("/integrations", json=a_registration(), headers=headers)

        answer = await api.post("/integrations", json=a_registration(), headers=headers)

        assert_problem(answer, 422, "idempotency_key_reused")

    async def test_twenty_at_once_make_one_integration(self, api: httpx.AsyncClient) -> None:
        body, headers = a_registration(), {"Idempotency-Key": "key-1"}

        answers = await asyncio.gather(
            *(api.post("/integrations", json=body, headers=headers) for _ in range(20))
        )

        assert [answer.status_code for answer in answers] == [201] * 20, answers[-1].text
        assert len({answer.content for answer in answers}) == 1
        assert len(await everything(api)) == 1

    async def test_while_the_first_one_runs_on_and_on_the_others_are_told_so(
        self, api: httpx.AsyncClient, database_url: str
    ) -> None:
        with psycopg.connect(database_url) as first:
            first.execute(
                "insert into idempotency_keys (tenant_id, actor, key, request_hash)"
                " values ('acme', 'alice', 'key-1', '')"
            )

            answer = await api.post(
                "/integrations", json=a_registration(), headers={"Idempotency-Key": "key-1"}
            )

            first.rollback()
        assert_problem(answer, 409, "idempotency_key_in_use")
        assert await everything(api) == []

    async def test_a_refused_request_does_not_use_the_key_up(self, api: httpx.AsyncClient) -> None:
        headers = {"Idempotency-Key": "key-1"}
        await api.post("/integrations", json=a_registration(config={}), headers=headers)

        answer = await api.post("/integrations", json=a_registration(), headers=headers)

        assert answer.status_code == 201

    async def test_keys_of_other_callers_are_others(self, hub: Hub, api: httpx.AsyncClient) -> None:
        body, headers = a_registration(), {"Idempotency-Key": "key-1"}
        mine = await api.post("/integrations", json=body, headers=headers)

        theirs = await hub.client(tenant="globex").post("/integrations", json=body, headers=headers)

        assert theirs.status_code == 201
        assert theirs.json()["id"] != mine.json()["id"]

    @pytest.mark.parametrize("key", ["", "x" * 256, "a b"], ids=["empty", "too long", "a space"])
    async def test_a_malformed_key_is_refused(self, api: httpx.AsyncClient, key: str) -> None:
        answer = await api.post(
            "/integrations", json=a_registration(), headers={"Idempotency-Key": key}
        )

        assert_problem(answer, 422, "invalid_request")
