"""To whom requests may go, by config and manifest."""

from typing import Any

import httpx
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stella_contracts.manifest import Manifest
from stella_runtime.egress.origins import Origin, origin_of, origins_of, parsed_origin, url_of


def a_manifest(**fields: Any) -> Manifest:
    return Manifest(
        id="harbor",
        provider_type="harbor",
        version="1.0.0",
        api_version=1,
        entry_point="stella_plugin_harbor.plugin:HarborPlugin",
        config_schema={},
        **fields,
    )


@pytest.mark.parametrize(
    ("endpoint", "origin"),
    [
        pytest.param("https://a.test", Origin("https", "a.test", 443), id="default port"),
        pytest.param("https://a.test:443/x", Origin("https", "a.test", 443), id="same port"),
        pytest.param("http://A.test:8080/x/", Origin("http", "a.test", 8080), id="upper case"),
        pytest.param("https://ü.test", Origin("https", "xn--tda.test", 443), id="not ASCII"),
        pytest.param("https://[::1]:1/", Origin("https", "::1", 1), id="IPv6"),
    ],
)
def test_endpoint_is_the_origin(endpoint: str, origin: Origin) -> None:
    assert origins_of(a_manifest(), {"endpoint": endpoint}) == {origin}


@pytest.mark.parametrize(
    "endpoint", ["file:///etc/passwd", "a.test", "https://", "https://a.test:99999", "", 7, None]
)
def test_what_is_no_url_of_http_is_no_origin(endpoint: object) -> None:
    assert origins_of(a_manifest(), {"endpoint": endpoint}) == frozenset()


def test_manifest_adds_hosts_over_https() -> None:
    manifest = a_manifest(allowed_hosts=["auth.test", "api.test:8443"])

    assert origins_of(manifest, {}) == {
        Origin("https", "auth.test", 443),
        Origin("https", "api.test", 8443),
    }


@pytest.mark.parametrize(
    ("endpoint", "host"),
    [("https://a.test:8443/x", "api.a.test"), ("https://[::1]", None), ("nonsense", None)],
)
def test_allowed_host_may_stand_below_that_of_the_endpoint(endpoint: str, host: str | None) -> None:
    found = origins_of(a_manifest(allowed_hosts=["api.{host}"]), {"endpoint": endpoint})

    allowed = found - origins_of(a_manifest(), {"endpoint": endpoint})
    assert allowed == ({Origin("https", host, 443)} if host else frozenset())


def test_identity_fields_are_origins_too() -> None:
    manifest = a_manifest(identity_fields=["registry", "project"])

    found = origins_of(manifest, {"registry": "https://r.test", "project": "library"})

    assert found == {Origin("https", "r.test", 443)}


@given(st.lists(st.sampled_from([*"/:@?#\\\\.[]%a1 ", "http://", "https:", "//", "b.test", ":80"])))
def test_origin_of_text_is_that_of_the_whole_url(parts: list[str]) -> None:
    """Only what follows the authority may be left out of the parsing."""
    text = "http" + "".join(parts)
    try:
        whole = origin_of(httpx.URL(text))
    except (httpx.InvalidURL, ValueError):
        return

    assert parsed_origin(text) == whole


TRICKY = "\u00fc \t\0%2F%zz?#@:/\\.[]~a1_-+;,=&'()*!$\"<>{}|^`"
paths = st.text(st.sampled_from(TRICKY), max_size=12)
authorities = st.sampled_from(
    [
        "a.test",
        "A.test:80",
        "127.0.0.1:8080",
        "[::1]",
        "u:p@a.test",
        "\u00fc.test",
        "",
        "a.test?b",
        "a#",
    ]
)


@given(st.sampled_from(["http://", "HTTPS://", "file://", "http:/", ""]), authorities, paths)
@example("http://", "a.test", "/a/../b")
@example("http://", "a.test", "/.a/./b/...")
@example("http://", "a.test?x", "/y")
def test_url_is_what_httpx_makes_of_it(scheme: str, authority: str, path: str) -> None:
    text = scheme + authority + path
    try:
        expected = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as error:
        with pytest.raises(type(error)):
            url_of(text)
        return

    url = url_of(text)

    assert (url, str(url), url.raw_path) == (expected, str(expected), expected.raw_path)
    assert (url.host, url.port, url.userinfo) == (expected.host, expected.port, expected.userinfo)
    assert url.copy_with() == expected
