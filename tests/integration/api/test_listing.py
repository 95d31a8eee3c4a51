"""Listings: order, pages, filters, and the paths beside an id."""

import httpx
import pytest
from tests.support.api import ANY_VERSION, UNKNOWN_ID, Hub, assert_problem, everything, registered


class TestListing:
    async def test_pages_hold_everything_once_in_order(self, api: httpx.AsyncClient) -> None:
        made = [(await registered(api))["id"] for _ in range(7)]

        found = await everything(api, limit=3)

        assert [each["id"] for each in found] == made

    async def test_what_is_added_while_paging_moves_nothing(self, api: httpx.AsyncClient) -> None:
        for name in "bdfh":
            await registered(api, name=name)
        first = (await api.get("/integrations", params={"sort": "name", "limit": 2})).json()
        await registered(api, name="a")
        await registered(api, name="g")

        rest = await everything(api, sort="name", limit=2, cursor=first["nextCursor"])

        assert [each["name"] for each in [*first["items"], *rest]] == ["b", "d", "f", "g", "h"]

    @pytest.mark.parametrize(
        ("sort", "order"),
        [
            ("createdAt", ["b", "c", "a"]),
            ("-createdAt", ["a", "c", "b"]),
            ("name", ["a", "b", "c"]),
            ("-name", ["c", "b", "a"]),
            ("updatedAt", ["b", "a", "c"]),
            ("-updatedAt", ["c", "a", "b"]),
        ],
    )
    async def test_every_order_is_kept_over_pages(
        self, api: httpx.AsyncClient, sort: str, order: list[str]
    ) -> None:
        ids = {name: (await registered(api, name=name))["id"] for name in "bca"}
        await api.put(
            f"/integrations/{ids['c']}", json={"description": "newer"}, headers=ANY_VERSION
        )

        found = await everything(api, sort=sort, limit=1)

        assert [each["name"] for each in found] == order

    @pytest.mark.parametrize(
        ("query", "names"),
        [
            pytest.param({"type": "registry"}, ["one", "off"], id="type"),
            pytest.param({"type": "mirror"}, ["two"], id="another type"),
            pytest.param({"status": "disabled"}, ["off"], id="status"),
            pytest.param({"tag": "eu"}, ["two"], id="tag"),
            pytest.param({"q": "TW"}, ["two"], id="part of a name"),
            pytest.param({"q": "100%"}, ["one"], id="part of a description, taken literally"),
            pytest.param({"q": "%"}, ["one"], id="no pattern"),
            pytest.param({"type": "nothing"}, [], id="unknown type"),
        ],
    )
    async def test_filters_narrow(
        self, hub: Hub, api: httpx.AsyncClient, query: dict[str, str], names: list[str]
    ) -> None:
        await hub.put_plugins("mirror")
        await registered(api, name="one", description="100% up")
        await registered(api, name="two", type="mirror", tags=["eu"])
        await registered(api, name="off", enabled=False)

        found = await everything(api, **query)

        assert [each["name"] for each in found] == names

    async def test_by_type_lists_the_enabled_ones(self, hub: Hub, api: httpx.AsyncClient) -> None:
        await hub.put_plugins("mirror")
        await registered(api, name="one")
        await registered(api, name="two", type="mirror")
        await registered(api, name="off", enabled=False)

        page = (await api.get("/integrations/by-type/registry")).json()

        assert [each["name"] for each in page["items"]] == ["one"]
        assert page["nextCursor"] is None

    async def test_a_type_in_place_of_an_id_leads_to_the_type(self, api: httpx.AsyncClient) -> None:
        answer = await api.get("/integrations/registry")

        assert answer.status_code == 307
        assert answer.headers["location"] == "/api/v1/integrations/by-type/registry"

    @pytest.mark.parametrize("name", ["mainframe", "Not A Type", "123", str(UNKNOWN_ID)])
    async def test_what_is_neither_an_id_nor_a_type_is_not_found(
        self, api: httpx.AsyncClient, name: str
    ) -> None:
        assert_problem(await api.get(f"/integrations/{name}"), 404, "integration_not_found")

    async def test_static_paths_do_not_lose_to_an_id(self, api: httpx.AsyncClient) -> None:
        answer = await api.post("/integrations/plugins/discover")

        assert answer.status_code == 202
