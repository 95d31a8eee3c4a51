"""What stands in a URL is bounded, and a cursor is good for its own listing."""

from typing import Any
from uuid import UUID

import httpx
import pytest
from tests.support.api import UNKNOWN_ID, Hub, assert_problem, places, registered


class TestQuery:
    @pytest.mark.parametrize(
        ("query", "parameter"),
        [
            ("limit=0", "limit"),
            ("limit=-1", "limit"),
            ("limit=201", "limit"),
            ("limit=1e3", "limit"),
            ("limit=9223372036854775808", "limit"),
            (f"limit={'9' * 5000}", "limit"),
            ("sort=owner", "sort"),
            ("status=fine", "status"),
            (f"q={'x' * 201}", "q"),
        ],
    )
    async def test_a_parameter_out_of_bounds_is_named(
        self, api: httpx.AsyncClient, query: str, parameter: str
    ) -> None:
        answer = await api.get(f"/integrations?{query}")

        assert places(assert_problem(answer, 422, "invalid_request")) == [parameter]

    @pytest.mark.parametrize(
        "path",
        [
            "/integrations?q=%00",
            "/integrations?type=a%00b",
            "/integrations?tag=%00",
            "/integrations/%00",
            "/integrations/by-type/%00",
            "/plugins/%00",
            "/audit-logs?actor=%00",
            "/integrations?cursor=%00",
        ],
    )
    async def test_nul_is_refused(self, api: httpx.AsyncClient, path: str) -> None:
        answer = await api.get(path)

        assert 400 <= answer.status_code < 500, answer.text
        assert answer.headers["content-type"] == "application/problem+json"

    @pytest.mark.parametrize(
        "moment",
        [
            "yesterday",
            "2026-01-01",
            "2026-01-01T00:00:00",
            "0001-01-01T00:00:00%2B14:00",
            "9999-12-31T23:59:59-14:00",
            "99999-01-01T00:00:00Z",
            "9" * 400,
            "NaN",
            "1e400",
        ],
    )
    async def test_a_moment_that_is_none_is_named(
        self, api: httpx.AsyncClient, moment: str
    ) -> None:
        record = await registered(api)

        for path in (f"/integrations/{record['id']}/health", "/audit-logs"):
            answer = await api.get(f"{path}?from={moment}")

            assert places(assert_problem(answer, 422, "invalid_request")) == ["from"]

    @pytest.mark.parametrize(
        "check_id",
        ["nonsense", str(UUID(int=0)), str(UUID(int=2**128 - 1)), str(UNKNOWN_ID)],
    )
    async def test_any_check_id_may_be_asked_for(
        self, api: httpx.AsyncClient, check_id: str
    ) -> None:
        record = await registered(api)

        answer = await api.get(f"/integrations/{record['id']}/health-checks/{check_id}")

        assert_problem(answer, 404, "check_not_found")


class TestCursor:
    async def first_cursor(self, api: httpx.AsyncClient, **query: Any) -> str:
        page = (await api.get("/integrations", params={"limit": 1, **query})).json()
        return str(page["nextCursor"])

    async def test_a_cursor_that_was_altered_is_refused(self, api: httpx.AsyncClient) -> None:
        await registered(api)
        await registered(api)
        cursor = await self.first_cursor(api)

        for forged in ("", "x", cursor[:-2], "A" + cursor[1:], cursor + "A", "e30.x.y", "é" * 9):
            answer = await api.get("/integrations", params={"cursor": forged})

            assert_problem(answer, 400, "malformed_cursor")

    async def test_a_cursor_that_is_far_too_long_is_refused(self, api: httpx.AsyncClient) -> None:
        answer = await api.get("/integrations", params={"cursor": "x" * 10_000})

        assert answer.status_code in {400, 422}

    @pytest.mark.parametrize(
        "path",
        [
            "/integrations?type=registry",
            "/integrations?sort=name",
            "/integrations/by-type/registry",
            "/audit-logs",
        ],
    )
    async def test_a_cursor_of_another_listing_is_refused(
        self, api: httpx.AsyncClient, path: str
    ) -> None:
        await registered(api)
        await registered(api)
        cursor = await self.first_cursor(api)

        answer = await api.get(path, params={"cursor": cursor, "limit": "1"} | _query(path))

        assert_problem(answer, 400, "malformed_cursor")

    async def test_a_cursor_of_another_tenant_is_refused(
        self, hub: Hub, api: httpx.AsyncClient
    ) -> None:
        await registered(api)
        await registered(api)
        cursor = await self.first_cursor(api)

        answer = await hub.client(tenant="globex").get("/integrations", params={"cursor": cursor})

        assert_problem(answer, 400, "malformed_cursor")


def _query(path: str) -> dict[str, str]:
    # httpx drops the query of a path when it is given parameters.
    return dict(part.split("=") for part in path.partition("?")[2].split("&") if part)
