"""What cannot be read or kept is a problem that names the place, and never a 5xx."""

import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from tests.support.api import UNKNOWN_ID, assert_problem, places, registered
from tests.support.builders import a_config, a_registration

JSON = {"Content-Type": "application/json"}


async def post(api: httpx.AsyncClient, content: str | bytes) -> httpx.Response:
    return await api.post("/integrations", content=content, headers=JSON)


def with_config(text: str) -> str:
    """A registration whose config holds one more field, written as given."""
    body = json.dumps(a_registration())
    return body.replace('"project": "library"', f'"project": "library", "labels": {text}')


class TestJson:
    @pytest.mark.parametrize(
        "body",
        [
            pytest.param("", id="nothing"),
            pytest.param("{", id="cut off"),
            pytest.param("{'type': 'registry'}", id="single quotes"),
            pytest.param('{"a": 1,}', id="a comma too many"),
            pytest.param("[]", id="a list"),
            pytest.param('"text"', id="a text"),
            pytest.param("null", id="null"),
            pytest.param(b"\xef\xbb\xbf{}", id="a byte order mark"),
            pytest.param('{"type": "registry"}'.encode("utf-16"), id="UTF-16"),
            pytest.param(b'{"name": "\xff\xfe"}', id="no UTF-8"),
            pytest.param('{"name": "a", "name": "b"}', id="a key twice"),
            pytest.param("[" * 100_000, id="100,000 levels, cut off"),
            pytest.param("[" * 100_000 + "]" * 100_000, id="100,000 levels"),
            pytest.param("1" * 5000, id="a number of 5,000 digits"),
        ],
    )
    async def test_what_is_no_body_is_refused(
        self, api: httpx.AsyncClient, body: str | bytes
    ) -> None:
        answer = await post(api, body)

        assert answer.status_code in {400, 422}, answer.text
        assert answer.headers["content-type"] == "application/problem+json"

    @pytest.mark.parametrize(
        ("value", "place"),
        [
            pytest.param(r'{"a": "\u0000"}', "/config/labels/a", id="NUL"),
            pytest.param(r'{"a": "\ud800"}', "/config/labels/a", id="half a surrogate pair"),
            pytest.param(r'{"a\u0000": 1}', "/config/labels", id="NUL in a key"),
            pytest.param(r'{"a\udfff": 1}', "/config/labels", id="half a pair in a key"),
            pytest.param('{"a": 9007199254740993}', "", id="an integer beyond 2**53"),
            pytest.param('{"a": 9223372036854775808}', "", id="an integer beyond 64 bits"),
            pytest.param('{"a": 1e999}', "", id="an overflow"),
            pytest.param('{"a": NaN}', "", id="NaN"),
            pytest.param('{"a": -Infinity}', "", id="an infinity"),
            pytest.param('{"a": 1, "a": 2}', "", id="a key twice"),
            pytest.param("[" * 33 + "]" * 33, "/config/labels", id="33 levels"),
            pytest.param("[" * 300 + "]" * 300, "/config/labels", id="300 levels"),
            pytest.param(
                json.dumps({str(n): n for n in range(1001)}), "/config/labels", id="1,001 keys"
            ),
        ],
    )
    async def test_a_value_that_cannot_be_kept_is_refused(
        self, api: httpx.AsyncClient, value: str, place: str
    ) -> None:
        answer = await post(api, with_config(value))

        assert answer.status_code in {400, 422}, answer.text
        document = assert_problem(
            answer, answer.status_code, answer.json()["type"].removeprefix("urn:stella:problem:")
        )
        assert document["errors"], document
        if place:
            named = places(document)[0]
            assert named.startswith(place) or place.startswith(named), document

    async def test_what_is_large_but_can_be_kept_is_kept(self, api: httpx.AsyncClient) -> None:
        labels: dict[str, Any] = {"n": 2**53 - 1, "t": "\U0001f600 é 日本", "f": 1.5e300, "z": 0}

        record = await registered(api, config=a_config(labels=labels))

        text = (await api.get(f"/integrations/{record['id']}")).text
        # PostgreSQL writes every number in digits, of which a double keeps the first seventeen.
        assert json.loads(text, parse_int=float)["config"]["labels"] == labels

    @pytest.mark.parametrize(
        "content_type",
        ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=utf-16", ""],
    )
    async def test_another_content_type_is_refused(
        self, api: httpx.AsyncClient, content_type: str
    ) -> None:
        answer = await api.post(
            "/integrations",
            content=json.dumps(a_registration()),
            headers={"Content-Type": content_type} if content_type else {},
        )

        assert_problem(answer, 415, "unsupported_media_type")

    async def test_utf_8_may_be_said(self, api: httpx.AsyncClient) -> None:
        answer = await api.post(
            "/integrations",
            content=json.dumps(a_registration()),
            headers={"Content-Type": 'application/json; charset="UTF-8"'},
        )

        assert answer.status_code == 201, answer.text


class TestSize:
    async def test_a_body_that_says_it_is_too_large_is_not_read(
        self, api: httpx.AsyncClient
    ) -> None:
        answer = await post(api, b" " * (256 * 1024 + 1))

        assert_problem(answer, 413, "body_too_large")

    async def test_a_body_in_chunks_is_read_up_to_the_limit(self, api: httpx.AsyncClient) -> None:
        sent = 0

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal sent
            for _ in range(50 * 1024):
                sent += 1024
                yield b" " * 1024

        answer = await api.post("/integrations", content=chunks(), headers=JSON)

        assert_problem(answer, 413, "body_too_large")

    async def test_a_body_at_the_limit_is_taken(self, api: httpx.AsyncClient) -> None:
        body = json.dumps(a_registration()).encode()

        answer = await post(api, body + b" " * (256 * 1024 - len(body)))

        assert answer.status_code == 201, answer.text


class TestFields:
    @pytest.mark.parametrize(
        ("fields", "place"),
        [
            pytest.param({"name": None}, "/name", id="name null"),
            pytest.param({"name": ""}, "/name", id="name empty"),
            pytest.param({"name": "   "}, "/name", id="name blank"),
            pytest.param({"name": "x" * 201}, "/name", id="name too long"),
            pytest.param({"name": "a\nb"}, "/name", id="name of two lines"),
            pytest.param({"name": 7}, "/name", id="name a number"),
            pytest.param({"type": "Registry"}, "/type", id="type in upper case"),
            pytest.param({"type": "a.b"}, "/type", id="type with a dot"),
            pytest.param({"config": []}, "/config", id="config a list"),
            pytest.param({"config": "x"}, "/config", id="config a text"),
            pytest.param({"tags": ["a b"]}, "/tags/0", id="tag with a space"),
            pytest.param({"tags": ["a"] * 33}, "/tags", id="33 tags"),
            pytest.param({"enabled": "maybe"}, "/enabled", id="enabled maybe"),
            pytest.param({"checkIntervalSeconds": 29}, "/checkIntervalSeconds", id="too often"),
            pytest.param({"checkIntervalSeconds": 86401}, "/checkIntervalSeconds", id="too seldom"),
            pytest.param({"checkTimeoutSeconds": 61}, "/checkTimeoutSeconds", id="too long"),
            pytest.param({"failureThreshold": 0}, "/failureThreshold", id="no failures"),
            pytest.param({"tenantId": "globex"}, "/tenantId", id="a tenant"),
            pytest.param({"status": "healthy"}, "/status", id="a status"),
            pytest.param({"version": 7}, "/version", id="a version"),
            pytest.param({"__proto__": {}}, "/__proto__", id="a prototype"),
            pytest.param({"a/b~c": 1}, "/a~1b~0c", id="a name that a pointer must escape"),
        ],
    )
    async def test_a_field_that_breaks_its_rule_is_named(
        self, api: httpx.AsyncClient, fields: dict[str, Any], place: str
    ) -> None:
        answer = await api.post("/integrations", json=a_registration(**fields))

        assert places(assert_problem(answer, 422, "invalid_request")) == [place]

    async def test_what_is_missing_is_named(self, api: httpx.AsyncClient) -> None:
        answer = await api.post("/integrations", json={})

        assert places(assert_problem(answer, 422, "invalid_request")) == ["/type", "/name"]

    @pytest.mark.parametrize(
        "reference",
        [
            "hunter2-canary",
            "vault://a/b",
            "authref://",
            "authref://vault",
            "authref://Vault/a",
            "authref://vault/../a",
            "authref://vault/a\n",
            "authref://vault/" + "a" * 600,
        ],
    )
    async def test_a_malformed_reference_is_refused_and_not_repeated(
        self, api: httpx.AsyncClient, reference: str
    ) -> None:
        answer = await api.post("/integrations", json=a_registration(authRefUri=reference))

        assert places(assert_problem(answer, 422, "invalid_request")) == ["/authRefUri"]
        assert "canary" not in answer.text

    async def test_a_type_that_nobody_provides_is_refused_with_those_that_are(
        self, api: httpx.AsyncClient
    ) -> None:
        answer = await api.post("/integrations", json=a_registration(type="mainframe"))

        document = assert_problem(answer, 422, "unknown_provider")
        assert places(document) == ["/type"]
        assert "registry" in document["detail"]


class TestRoutes:
    @pytest.mark.parametrize(
        ("method", "path", "status", "code"),
        [
            ("GET", "/nothing", 404, "not_found"),
            ("PATCH", "/integrations", 405, "method_not_allowed"),
            ("DELETE", "/plugins", 405, "method_not_allowed"),
        ],
    )
    async def test_what_is_no_route_is_a_problem_too(
        self, api: httpx.AsyncClient, method: str, path: str, status: int, code: str
    ) -> None:
        assert_problem(await api.request(method, path), status, code)

    async def test_a_405_names_every_method_there_is(self, api: httpx.AsyncClient) -> None:
        catalog = await api.request("PATCH", "/integrations")
        one = await api.request("PATCH", f"/integrations/{UNKNOWN_ID}")

        scan = await api.request("PATCH", "/plugins/discover")

        assert catalog.headers["allow"] == "GET, POST"
        assert scan.headers["allow"] == "POST"
        assert one.headers["allow"] == "DELETE, GET, PUT"

    @pytest.mark.parametrize(
        ("given", "is_kept"),
        [
            ("abc-123", True),
            ("a" * 128, True),
            ("a" * 129, False),
            ("a b", False),
            ("<x>", False),
            ("", False),
        ],
    )
    async def test_a_sane_request_id_is_kept(
        self, api: httpx.AsyncClient, given: str, is_kept: bool
    ) -> None:
        answer = await api.get("/integrations", headers={"X-Request-ID": given})

        assert (answer.headers["x-request-id"] == given) is is_kept
        assert answer.headers["x-request-id"]
