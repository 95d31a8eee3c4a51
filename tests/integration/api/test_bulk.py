"""The catalog as a whole: out of one tenant, and into another, line by line."""

from collections.abc import Sequence
from typing import Any

import httpx
import orjson
import pytest
from tests.support.api import Hub, assert_problem, audited, everything, registered
from tests.support.builders import a_config, a_registration

NDJSON = {"Content-Type": "application/x-ndjson"}
OF_ITS_OWN = {"id", "createdAt", "updatedAt", "version", "status", "connection"}


def lines(*documents: Any) -> bytes:
    return b"\n".join(each if isinstance(each, bytes) else orjson.dumps(each) for each in documents)


async def imported(api: httpx.AsyncClient, body: bytes, **query: Any) -> dict[str, Any]:
    answer = await api.post("/integrations/import", content=body, headers=NDJSON, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def outcomes(result: dict[str, Any]) -> list[str]:
    return [each["outcome"] for each in result["lines"]]


def like(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in each.items() if name not in OF_ITS_OWN} for each in records
    ]


class TestExport:
    async def test_what_is_exported_is_imported_as_the_same(
        self, hub: Hub, api: httpx.AsyncClient
    ) -> None:
        await registered(api, authRefUri="authref://vault/ci/a#b", tags=["eu"], enabled=False)
        await registered(
            api,
            description="Two\nlines",
            config=a_config(labels={"a": [1, 1.5, None, "ß"]}),
            checkIntervalSeconds=60,
            failureThreshold=7,
        )
        other = hub.client(tenant="globex")

        exported = (await api.get("/integrations/export")).raise_for_status()
        result = await imported(other, exported.content)

        assert exported.headers["content-type"] == "application/x-ndjson"
        assert (result["created"], result["failed"]) == (2, 0)
        assert like(await everything(other)) == like(await everything(api))
        assert (await other.get("/integrations/export")).content == exported.content

    async def test_it_goes_on_beyond_a_page(self, api: httpx.AsyncClient) -> None:
        body = lines(*(a_registration() for _ in range(450)))
        assert (await imported(api, body))["created"] == 450

        exported = (await api.get("/integrations/export")).content.splitlines()

        assert len({orjson.loads(each)["name"] for each in exported}) == 450

    async def test_filters_narrow_it_and_it_is_audited(self, api: httpx.AsyncClient) -> None:
        await registered(api, name="one", tags=["eu"])
        await registered(api, name="two")

        exported = (await api.get("/integrations/export", params={"tag": "eu"})).content

        assert orjson.loads(exported)["name"] == "one"
        assert (await audited(api))[-1] == ("integrations.exported", {"tag": "eu"})

    async def test_who_may_only_read_gets_no_reference_that_could_be_imported(
        self, hub: Hub, api: httpx.AsyncClient
    ) -> None:
        await registered(api, authRefUri="authref://vault/ci/harbor")
        reader = hub.client(scope="integrations:read")

        exported = (await reader.get("/integrations/export")).content

        assert orjson.loads(exported)["authRefUri"] == "authref://vault/…"
        assert outcomes(await imported(api, exported)) == ["failed"]

    async def test_nothing_is_exported_as_nothing(self, api: httpx.AsyncClient) -> None:
        assert (await api.get("/integrations/export")).content == b""


class TestImport:
    async def test_a_line_that_fails_keeps_no_other_from_being_stored(
        self, api: httpx.AsyncClient
    ) -> None:
        good, better = a_registration(), a_registration()

        result = await imported(
            api,
            lines(
                good,
                b"{not json",
                a_registration(config=a_config(project=1)),
                b"",
                a_registration(tags="eu"),
                a_registration(type="mainframe"),
                better,
            ),
        )

        assert outcomes(result) == ["created", *["failed"] * 4, "created"]
        assert [
            (each["line"], each["errorCode"], [p["pointer"] for p in each["problems"]])
            for each in result["lines"]
            if each["outcome"] == "failed"
        ] == [
            (2, "malformed_body", [""]),
            (3, "config_rejected", ["/config/project"]),
            (5, "line_rejected", ["/tags"]),
            (6, "unknown_provider", ["/type"]),
        ]
        assert [each["name"] for each in await everything(api)] == [good["name"], better["name"]]

    async def test_the_same_again_changes_nothing_and_what_differs_is_updated(
        self, api: httpx.AsyncClient
    ) -> None:
        one, two = a_registration(), a_registration(tags=["eu"])
        await imported(api, lines(one, two))
        two["tags"] = ["us"]

        result = await imported(api, lines(one, two))

        assert outcomes(result) == ["unchanged", "updated"]
        found = {each["name"]: each for each in await everything(api)}
        assert (found[one["name"]]["version"], found[two["name"]]["version"]) == (1, 2)
        assert found[two["name"]]["tags"] == ["us"]
        assert result["lines"][1]["id"] == found[two["name"]]["id"]

    async def test_a_dry_run_says_the_same_and_stores_nothing(
        self, hub: Hub, api: httpx.AsyncClient
    ) -> None:
        record = await registered(api, name="one")
        changed = a_registration(name="one", description="new")
        body = lines(changed, a_registration(), a_registration(config={}))

        result = await imported(api, body, dryRun=True)

        assert (outcomes(result), result["dryRun"]) == (["updated", "created", "failed"], True)
        assert await everything(api) == [record]
        assert [action for action, _ in await audited(api)] == [
            *("integration.created", "integrations.imported"),
        ]
        assert len(await hub.database.claim(10)) == 1

    async def test_no_name_twice_and_no_other_type(self, hub: Hub, api: httpx.AsyncClient) -> None:
        await hub.put_plugins("mirror")
        await registered(api, name="one")
        twice = a_registration(name="two")

        result = await imported(api, lines(a_registration(name="one", type="mirror"), twice, twice))

        assert outcomes(result) == ["failed", "created", "failed"]
        assert [each["problems"][0]["pointer"] for each in result["lines"] if each["problems"]] == [
            "/type",
            "/name",
        ]

    async def test_a_credential_is_refused_and_not_repeated(self, api: httpx.AsyncClient) -> None:
        token = "ghp_" + "c" * 36

        answer = await api.post(
            "/integrations/import",
            content=lines(a_registration(description=token), b'{"name": "' + token.encode()),
            headers=NDJSON,
        )

        assert outcomes(answer.json()) == ["failed", "failed"]
        assert token not in answer.text
        assert token not in str(await audited(api))

    async def test_every_line_and_the_whole_is_audited(self, api: httpx.AsyncClient) -> None:
        await imported(api, lines(a_registration(), a_registration(config={})))

        *_, (action, details) = await audited(api)
        assert action == "integrations.imported"
        assert details == {
            "dryRun": False,
            "created": 1,
            "updated": 0,
            "unchanged": 0,
            "failed": 1,
        }

    @pytest.mark.parametrize(
        ("body", "headers", "status", "code"),
        [
            (b"\n" * 5, NDJSON, 422, "import_rejected"),
            (b"{}\n" * 1001, NDJSON, 422, "import_rejected"),
            (b" " * (4 * 1024 * 1024 + 1), NDJSON, 413, "body_too_large"),
            (b"{}", {"Content-Type": "application/json"}, 415, "unsupported_media_type"),
        ],
        ids=["nothing", "too many lines", "too many bytes", "one document"],
    )
    async def test_its_bounds(
        self,
        api: httpx.AsyncClient,
        body: bytes,
        headers: dict[str, str],
        status: int,
        code: str,
    ) -> None:
        answer = await api.post("/integrations/import", content=body, headers=headers)

        assert_problem(answer, status, code)
