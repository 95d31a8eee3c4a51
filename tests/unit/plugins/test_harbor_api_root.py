"""From what people paste to the root of Harbor's API."""

import tomllib
from pathlib import Path

import httpx
import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stella_plugin_harbor.api_root import api_root_of
from stella_plugin_harbor.plugin import HarborPlugin

MANIFEST = Path(__file__).parents[3] / "plugins" / "harbor" / "plugin.toml"

ACCEPTED = [
    ("https://harbor.test", "https://harbor.test/api/v2.0"),
    ("https://harbor.test/", "https://harbor.test/api/v2.0"),
    ("https://harbor.test//", "https://harbor.test/api/v2.0"),
    ("https://harbor.test/api/v2.0", "https://harbor.test/api/v2.0"),
    ("https://harbor.test/api/v2.0/", "https://harbor.test/api/v2.0"),
    ("https://harbor.test/registry", "https://harbor.test/registry/api/v2.0"),
    ("https://harbor.test/registry/api/v2.0", "https://harbor.test/registry/api/v2.0"),
    ("https://harbor.test/my-api/v2.0x", "https://harbor.test/my-api/v2.0x/api/v2.0"),
    ("HTTPS://Harbor.Test:443", "https://harbor.test/api/v2.0"),
    ("http://harbor:8080", "http://harbor:8080/api/v2.0"),
    ("http://127.0.0.1:80", "http://127.0.0.1/api/v2.0"),
    ("https://[::1]:8443/x", "https://[::1]:8443/x/api/v2.0"),
    ("https://bücher.test", "https://xn--bcher-kva.test/api/v2.0"),
    ("https://harbor.test/a%2Fb", "https://harbor.test/a%2Fb/api/v2.0"),
]


@pytest.mark.parametrize(("endpoint", "root"), ACCEPTED, ids=[each[0] for each in ACCEPTED])
async def test_endpoint_becomes_one_api_root(endpoint: str, root: str) -> None:
    result = await HarborPlugin().validate_config({"endpoint": endpoint})

    assert result.connection is not None
    assert result.connection.api_root == root
    assert api_root_of(root) == root


REFUSED = [
    pytest.param("", "https:// or http://", id="empty"),
    pytest.param("harbor.test", "https:// or http://", id="no scheme"),
    pytest.param("//harbor.test", "https:// or http://", id="any scheme"),
    pytest.param("ftp://harbor.test", "https:// or http://", id="another scheme"),
    pytest.param("file:///etc/passwd", "https:// or http://", id="a file"),
    pytest.param("https://", "host name", id="no host"),
    pytest.param("https:///path", "host name", id="a path for a host"),
    pytest.param("https://%41", "host name", id="escapes for a host"),
    pytest.param("https://ci:hunter2@harbor.test", "authRefUri", id="credentials"),
    pytest.param("https://ci@harbor.test", "authRefUri", id="a user name"),
    pytest.param("https://harbor.test?token=hunter2", "base URL", id="query"),
    pytest.param("https://harbor.test?", "base URL", id="empty query"),
    pytest.param("https://harbor.test#x", "base URL", id="fragment"),
    pytest.param("https://harbor.test:0", "1 to 65535", id="port 0"),
    pytest.param("https://harbor.test:65536", "1 to 65535", id="port beyond 16 bits"),
    pytest.param("https://harbor.test:x", "not a URL", id="port of letters"),
    pytest.param("https://harbor.test/a/../b", ". or ..", id="parent folder"),
    pytest.param("https://harbor.test/a b", "no spaces", id="space"),
    pytest.param(" https://harbor.test", "no spaces", id="space before"),
    pytest.param("https://harbor.test\n", "no spaces", id="line end"),
    pytest.param("https://harbor.test\\@evil.test", "no spaces", id="backslash"),
    pytest.param("https://harbor.test/\x00", "no spaces", id="NUL"),
    pytest.param("https://harbor.test/\ud800", "not a URL", id="no text"),
]


@pytest.mark.parametrize(("endpoint", "reason"), REFUSED)
async def test_endpoint_that_cannot_work_is_refused_with_the_reason(
    endpoint: str, reason: str
) -> None:
    result = await HarborPlugin().validate_config({"endpoint": endpoint})

    [problem] = result.problems
    assert problem.pointer == "/endpoint"
    assert reason in problem.detail
    assert "hunter2" not in problem.detail


AUTHORITIES = st.from_regex(r"[A-Za-z0-9.@:\[\]_-]{0,20}", fullmatch=True) | st.builds(
    "{}:{}".format, st.sampled_from(["h", "[::1]", "ä.test"]), st.sampled_from([80, 443, 8443, ""])
)
PATHS = st.lists(
    st.sampled_from(["", "a", "api", "v2.0", "api/v2.0", "%2e", "ä", "..", "?", "#"]), max_size=5
).map("/".join)


@given(
    st.text()
    | st.builds(
        "{}://{}/{}".format, st.sampled_from(["http", "https", "HTTP", "hTTps"]), AUTHORITIES, PATHS
    )
)
def test_endpoint_is_normalised_once_and_for_all_or_refused(endpoint: str) -> None:
    try:
        root = api_root_of(endpoint)
    except ValueError:
        return

    url = httpx.URL(root)
    assert api_root_of(root) == root
    assert root.endswith("/api/v2.0")
    assert (url.userinfo, url.query, url.fragment) == (b"", b"", "")
    assert url.scheme in ("http", "https")
    assert url.host


def test_schema_refuses_what_must_not_be_stored_before_the_plugin_runs() -> None:
    schema = tomllib.loads(MANIFEST.read_text())["config_schema"]
    validator = jsonschema.Draft202012Validator(schema)

    accepted = [each for each, _ in ACCEPTED if not validator.is_valid({"endpoint": each})]
    with_secrets = [
        each.values[0]
        for each in REFUSED
        if "hunter2" in str(each.values[0]) and validator.is_valid({"endpoint": each.values[0]})
    ]

    assert accepted == []
    assert with_secrets == []
