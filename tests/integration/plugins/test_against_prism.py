"""The connectors against servers that Prism makes of the vendors' own descriptions."""

from typing import Any

import pytest
from tests.support.app_key import app_key_pem
from tests.support.checked import checked_for_real, lending_for_real
from tests.support.prism import prism

from stella_contracts.capabilities import PageRequest
from stella_contracts.plugin import Secret
from stella_plugin_github_app.plugin import GitHubAppPlugin
from stella_plugin_gitlab.plugin import GitLabPlugin
from stella_plugin_harbor.plugin import HarborPlugin

APP = {"appId": 17, "installationId": 42, "permissions": {"contents": "read"}}
KEY = Secret({"value": app_key_pem()})


@pytest.mark.parametrize(
    ("plugin", "file", "config", "secret", "finding"),
    [
        pytest.param(
            GitHubAppPlugin(),
            "github-ghes-3.19.trimmed.json",
            APP,
            KEY,
            ("healthy", None),
            id="github",
        ),
        pytest.param(
            GitHubAppPlugin(),
            "github-ghes-3.19.trimmed.json",
            APP | {"permissions": {"contents": "admin"}},
            KEY,
            ("unhealthy", "permission_missing"),
            id="github, of a permission that is none",
        ),
        pytest.param(
            GitLabPlugin(),
            "gitlab-v4.assembled.oas3.json",
            {},
            Secret({"value": "glpat-x"}),
            ("healthy", None),
            id="gitlab",
        ),
        pytest.param(
            HarborPlugin(),
            "harbor-v2.16.trimmed.oas3.json",
            {},
            Secret({"value": "robot$ci:x"}),
            # Prism's Harbor has one component, `string`, whose status is `string`.
            ("degraded", "remote_error"),
            id="harbor",
        ),
    ],
)
async def test_what_the_vendor_describes_is_understood(
    plugin: Any,
    file: str,
    config: dict[str, Any],
    secret: Secret,
    finding: tuple[str, str | None],
) -> None:
    async with prism(file) as url:
        found = await checked_for_real(plugin, {"endpoint": url, **config}, secret)

    assert found.finding == finding


@pytest.mark.parametrize(
    ("plugin", "capability", "file", "config", "secret", "name"),
    [
        pytest.param(
            GitHubAppPlugin(),
            "list_repositories",
            "github-ghes-3.19.trimmed.json",
            APP,
            KEY,
            "octocat/Hello-World",
            id="github",
        ),
        pytest.param(
            GitLabPlugin(),
            "list_projects",
            "gitlab-v4.assembled.oas3.json",
            {},
            Secret({"value": "glpat-x"}),
            "diaspora/diaspora-client",
            id="gitlab",
        ),
    ],
)
async def test_what_the_vendor_lists_in_its_examples_is_listed(
    plugin: Any, capability: str, file: str, config: dict[str, Any], secret: Secret, name: str
) -> None:
    async with (
        prism(file) as url,
        lending_for_real(plugin, {"endpoint": url, **config}, secret) as lent,
    ):
        page = await getattr(plugin, capability)(*lent, PageRequest())

    assert page.items[0].name == name
