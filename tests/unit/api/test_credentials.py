"""What is taken for a credential, and what is not."""

import time
from typing import Any

import pytest

from stella_api.integrations.credentials import find_credentials


@pytest.mark.parametrize(
    "value",
    [
        "https://registry.test/v2/",
        "https://registry.test:8443/a?page=2&sort=name",
        "0198a0de-6f6e-7c1b-a1ac-0f6b8c1f4a55",
        "3b18e512dba79e4c8300dd08aeb37f8e728b8dad",
        "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "authref://vault/ci/registry#robot",
        "APEXregistryEurope",
        "b.a-host-name-of-more-than-twenty-characters.test",
        "project = STELLA AND status in (Open, Done)",
        "Basic checks for the bearer of news",
        "robot$library+ci",
        "someone@example.test",
        "secret_unresolvable",
        "token service of the EU",
        "",
    ],
)
def test_ordinary_values_pass(value: str) -> None:
    assert find_credentials({"config": {"note": value}, "name": value}) == []


@pytest.mark.parametrize(
    "config",
    [
        pytest.param({"script": ["healthy", {"status": "unhealthy", "errorCode": "tls"}]}, id="a"),
        pytest.param({"seed": 7, "tokenLifetime": 3600, "hasPassword": True}, id="no text"),
        pytest.param({"tokenUrl": "https://idp.test/oauth/token"}, id="where tokens are to be had"),
        pytest.param({"password": "authref://vault/a"}, id="a reference"),
        pytest.param({"password": ""}, id="empty"),
        pytest.param({"compass": "north", "bypass": "10.0.0.0/8", "passes": "3"}, id="no password"),
    ],
)
def test_ordinary_configs_pass(config: dict[str, Any]) -> None:
    assert find_credentials({"config": config}) == []


@pytest.mark.parametrize(
    ("config", "place"),
    [
        pytest.param({"password": "x"}, "/config/password", id="password"),
        pytest.param({"dbPassword": "x"}, "/config/dbPassword", id="in a longer name"),
        pytest.param({"DB_PASS": "x"}, "/config/DB_PASS", id="pass as a word"),
        pytest.param({"api_key": "x"}, "/config/api_key", id="api_key"),
        pytest.param({"apiKey": "x"}, "/config/apiKey", id="apiKey"),
        pytest.param({"privateKey": "x"}, "/config/privateKey", id="privateKey"),
        pytest.param({"headers": {"Cookie": "x"}}, "/config/headers/Cookie", id="a header"),
        pytest.param({"tokens": ["x"]}, "/config/tokens/0", id="a list of them"),
        pytest.param({"secret": {"value": "x"}}, "/config/secret/value", id="below such a name"),
        pytest.param({"a~b/c": {"secret": "x"}}, "/config/a~0b~1c/secret", id="names escaped"),
        pytest.param({"hvs." + "a1B2" * 6: 1}, "/config", id="as a name"),
    ],
)
def test_a_name_that_promises_a_secret_may_hold_a_reference_only(
    config: dict[str, Any], place: str
) -> None:
    found = find_credentials({"config": config})

    assert [each.pointer for each in found] == [place]
    assert "authRefUri" in found[0].detail


@pytest.mark.parametrize(
    "piece", ["://", "://a", "//", "?token", "eyJ-", "eyJ-.", "aws", "BEGIN ", "Basic ", "xoxb-1-"]
)
def test_no_text_takes_long(piece: str) -> None:
    text = (piece * 256 * 1024)[: 256 * 1024]
    started = time.process_time()

    find_credentials({"config": {"note": text}})

    # Quadratic time would take minutes; the bound is for the slowest of machines.
    assert time.process_time() - started < 10
