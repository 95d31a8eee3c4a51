"""From what people paste to the root of GitHub's API."""

import json
import tomllib
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.vendor_specs import vendor_spec

from stella_contracts.manifest import Manifest
from stella_plugin_github_app.api_root import api_root_of
from stella_plugin_github_app.plugin import GitHubAppPlugin
from stella_runtime.egress.origins import origins_of, parsed_origin

MANIFEST = Path(__file__).parents[3] / "plugins" / "github-app" / "plugin.toml"
CLOUD = "https://api.github.com"
APP = {"appId": "Iv23liExample", "installationId": 42}

ACCEPTED = [
    ("https://github.com", CLOUD),
    ("https://github.com/", CLOUD),
    ("https://GitHub.com", CLOUD),
    ("https://www.github.com", CLOUD),
    ("https://api.github.com", CLOUD),
    ("https://api.github.com/", CLOUD),
    ("https://github.com:443/", CLOUD),
    ("https://octocorp.ghe.com", "https://api.octocorp.ghe.com"),
    ("https://octocorp.ghe.com/", "https://api.octocorp.ghe.com"),
    ("https://api.octocorp.ghe.com", "https://api.octocorp.ghe.com"),
    ("https://OctoCorp.GHE.com", "https://api.octocorp.ghe.com"),
    ("https://ghe.test", "https://ghe.test/api/v3"),
    ("https://ghe.test/", "https://ghe.test/api/v3"),
    ("https://ghe.test//", "https://ghe.test/api/v3"),
    ("https://ghe.test/api/v3", "https://ghe.test/api/v3"),
    ("https://ghe.test/api/v3/", "https://ghe.test/api/v3"),
    ("https://ghe.test:8443", "https://ghe.test:8443/api/v3"),
    ("https://ghe.test:8443/api/v3/", "https://ghe.test:8443/api/v3"),
    ("https://ghe.test:443", "https://ghe.test/api/v3"),
    ("https://proxy.test/github", "https://proxy.test/github/api/v3"),
    ("https://proxy.test/github/api/v3", "https://proxy.test/github/api/v3"),
    ("http://ghe:8080", "http://ghe:8080/api/v3"),
    ("https://api.ghe.test", "https://api.ghe.test/api/v3"),
    ("https://mygithub.com", "https://mygithub.com/api/v3"),
    ("https://github.com.test", "https://github.com.test/api/v3"),
    ("https://evilghe.com", "https://evilghe.com/api/v3"),
    ("https://ghe.com.test", "https://ghe.com.test/api/v3"),
    ("https://10.0.0.7", "https://10.0.0.7/api/v3"),
    ("https://[::1]:8443", "https://[::1]:8443/api/v3"),
    ("https://bücher.test", "https://xn--bcher-kva.test/api/v3"),
    ("https://ghe.test/api/v3x", "https://ghe.test/api/v3x/api/v3"),
]


@pytest.mark.parametrize(("endpoint", "root"), ACCEPTED, ids=[each[0] for each in ACCEPTED])
async def test_endpoint_becomes_one_api_root(endpoint: str, root: str) -> None:
    result = await GitHubAppPlugin().validate_config({"endpoint": endpoint, **APP})

    assert result.connection is not None
    assert result.connection.api_root == root
    assert api_root_of(root) == root


REFUSED = [
    ("http://github.com", "by https:// and without a port"),
    ("https://github.com:8443", "by https:// and without a port"),
    ("https://github.com/octocorp", "leave out what follows the host"),
    ("https://octocorp.ghe.com/x", "leave out what follows the host"),
    ("https://ghe.com", "SUBDOMAIN.ghe.com"),
    ("https://api.ghe.com", "SUBDOMAIN.ghe.com"),
    ("https://a.b.ghe.com", "SUBDOMAIN.ghe.com"),
    ("https://api.a.b.ghe.com", "SUBDOMAIN.ghe.com"),
    ("https://ghe.test/api/graphql", "another API"),
    ("https://ghe.test/api/v4", "another API"),
    ("https://x:hunter2@ghe.test", "authRefUri"),
    ("https://ghe.test?access_token=hunter2", "base URL"),
    ("git@github.com:octocorp/hello", "https:// or http://"),
    ("github.com", "https:// or http://"),
]


@pytest.mark.parametrize(("endpoint", "reason"), REFUSED, ids=[each[0] for each in REFUSED])
async def test_endpoint_that_cannot_work_is_refused_with_the_reason(
    endpoint: str, reason: str
) -> None:
    [problem] = (await GitHubAppPlugin().validate_config({"endpoint": endpoint, **APP})).problems

    assert problem.pointer == "/endpoint"
    assert reason in problem.detail
    assert "hunter2" not in problem.detail


@pytest.mark.parametrize(("endpoint", "root"), ACCEPTED, ids=[each[0] for each in ACCEPTED])
def test_api_is_where_the_manifest_lets_requests_go(endpoint: str, root: str) -> None:
    manifest = Manifest.read(MANIFEST.read_bytes())

    assert parsed_origin(root) in origins_of(manifest, {"endpoint": endpoint})


def test_hosts_are_told_apart_as_by_the_vendor() -> None:
    vectors = json.loads(vendor_spec("vendor-vectors.json").read_bytes())["github_hosts"]
    # Names of GitHub's own developers, who do not run this.
    hosts = [each for each in vectors["is_enterprise"] if not each.endswith("localhost")]

    roots = {host: api_root_of(f"https://{host}") for host in hosts}

    enterprise = {host: root.endswith("/api/v3") for host, root in roots.items()}
    tenancy = {host: root.endswith(".ghe.com") for host, root in roots.items()}
    assert enterprise == {host: vectors["is_enterprise"][host] for host in hosts}
    assert tenancy == {host: vectors["is_tenancy"][host] for host in hosts}


@given(
    st.sampled_from(
        ["github.com", "api.github.com", "x.ghe.com", "api.x.ghe.com", "api.ghe.com", "ghe.test"]
    )
    | st.from_regex(r"(api\.|www\.)?[a-z]{1,3}(\.ghe|\.github)?\.(com|test)", fullmatch=True),
    st.sampled_from(["", ":443", ":8443"]),
    st.lists(st.sampled_from(["", "api", "v3", "api/v3", "a"]), max_size=4).map("/".join),
)
def test_endpoint_is_normalised_once_and_for_all_or_refused(
    host: str, port: str, path: str
) -> None:
    try:
        root = api_root_of(f"https://{host}{port}/{path}")
    except ValueError:
        return

    assert api_root_of(root) == root
    of_github = root == CLOUD or root.removesuffix(".ghe.com").count(".") == 1
    assert of_github or root.endswith("/api/v3")


def test_schema_takes_what_the_plugin_takes() -> None:
    schema = tomllib.loads(MANIFEST.read_text())["config_schema"]
    validator = jsonschema.Draft202012Validator(schema)

    refused = [each for each, _ in ACCEPTED if not validator.is_valid({"endpoint": each, **APP})]
    stored = [
        each
        for each, _ in REFUSED
        if "hunter2" in each and validator.is_valid({"endpoint": each, **APP})
    ]

    assert (refused, stored) == ([], [])
