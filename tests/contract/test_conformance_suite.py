"""The conformance suite: it passes a sound plugin, and fails each kind of unsound one."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from stella_contracts.testing import NotConforming, PluginConformance

MANIFEST = """
id = "{name}"
provider_type = "example"
version = "1.0.0"
api_version = 1
entry_point = "stella_plugin_{name}.plugin:Plugin"

[config_schema]
type = "object"
examples = [{{ endpoint = "https://tool.test" }}]
"""

CODE = """
import asyncio, logging, socket

from stella_contracts.failures import raise_for_status
from stella_contracts.health import ErrorCode, HealthResult
from stella_contracts.integrations import Connection
from stella_contracts.plugin import CheckFailed, ValidationResult


class Plugin:
    provider_type = "{provider_type}"

    async def validate_config(self, config):
        {validate}
        return ValidationResult(connection=Connection(api_root=config["endpoint"]))

    async def check_health(self, integration, context):
        token = context.secret.value
        {before}
        response = await context.http.get(
            integration.settings["endpoint"], headers={{"Authorization": token}}
        )
        {after}
        raise_for_status(response)
        raise CheckFailed(ErrorCode.BAD_RESPONSE, "It is something else")
"""

Write = Callable[..., PluginConformance]


@pytest.fixture
def written(tmp_path: Path) -> Iterator[Write]:
    """Writes a sound plugin, with a flaw where the caller says one."""
    name = f"flaw{uuid4().hex}"

    def write(**flaw: str) -> PluginConformance:
        sound = {"provider_type": "example", "validate": "pass", "before": "pass", "after": "pass"}
        package = tmp_path / f"stella_plugin_{name}"
        package.mkdir()
        (tmp_path / "plugin.toml").write_text(MANIFEST.format(name=name))
        (package / "plugin.py").write_text(CODE.format(**sound | flaw))
        suite = PluginConformance()
        suite.folder = tmp_path
        return suite

    yield write
    sys.path[:] = [entry for entry in sys.path if entry != str(tmp_path)]


TESTS = [name for name in vars(PluginConformance) if name.startswith("test_")]


@pytest.mark.parametrize("test", TESTS)
def test_sound_plugin_passes(written: Write, test: str) -> None:
    getattr(written(), test)()


@pytest.mark.parametrize(
    ("test", "flaw", "reason"),
    [
        pytest.param(
            "test_provider_type_is_the_one_of_the_manifest",
            {"provider_type": "other"},
            "provides 'other', and its manifest says 'example'",
            id="another type",
        ),
        pytest.param(
            "test_capabilities_of_the_manifest_are_those_of_the_class",
            {"provider_type": 'example"\n    list_projects = print\n    other = "x'},
            "has list_projects, and its manifest does not name it",
            id="does more than it says",
        ),
        pytest.param(
            "test_validate_config_accepts_the_examples_and_opens_no_connection",
            {"validate": "await asyncio.get_running_loop().getaddrinfo('localhost', 1)"},
            "connects in validate_config",
            id="looks a name up",
        ),
        pytest.param(
            "test_validate_config_accepts_the_examples_and_opens_no_connection",
            {"validate": "config['seen'] = True"},
            "changes the config",
            id="changes its config",
        ),
        pytest.param(
            "test_normalised_endpoint_is_normalised_to_itself",
            {"validate": "config = {'endpoint': config['endpoint'] + '/api'}"},
            "and of that",
            id="adds a path each time",
        ),
        pytest.param(
            "test_check_ends_when_it_is_cancelled",
            {
                "before": "import contextlib\n"
                "        with contextlib.suppress(asyncio.CancelledError):\n"
                "            await asyncio.Event().wait()\n"
                "        return HealthResult.healthy()"
            },
            "swallows the CancelledError",
            id="swallows its cancellation",
        ),
        pytest.param(
            "test_failure_on_the_way_is_neither_healthy_nor_a_defect",
            {
                "before": "import httpx\n"
                "        try:\n"
                "            await context.http.get(integration.settings['endpoint'])\n"
                "        except httpx.HTTPError:\n"
                "            return HealthResult.healthy()"
            },
            "is healthy, and the provider raised",
            id="calls a failure healthy",
        ),
        pytest.param(
            "test_nonsense_for_an_answer_is_neither_healthy_nor_a_defect",
            {"after": "return HealthResult.healthy()"},
            "is healthy, and the provider answered 200",
            id="calls a login page healthy",
        ),
        pytest.param(
            "test_nonsense_for_an_answer_is_neither_healthy_nor_a_defect",
            {"after": "response.json()['status']"},
            "raises JSONDecodeError",
            id="expects JSON",
        ),
        pytest.param(
            "test_rejected_credential_is_called_that",
            {"after": "raise CheckFailed(ErrorCode.REMOTE_ERROR, 'x')"},
            "when every answer is a 401",
            id="does not notice a 401",
        ),
        pytest.param(
            "test_secret_is_in_no_result_and_no_log",
            {"after": "raise CheckFailed(ErrorCode.BAD_RESPONSE, response.text[:400])"},
            "lets its secret out",
            id="quotes an answer that quotes the secret",
        ),
        pytest.param(
            "test_secret_is_in_no_result_and_no_log",
            {"before": "logging.getLogger('x').debug('using %s', token)"},
            "lets its secret out",
            id="logs its secret",
        ),
        pytest.param(
            "test_secret_is_in_no_result_and_no_log",
            {"before": "context.log.info('asked', headers={'Authorization': token})"},
            "lets its secret out",
            id="logs its headers",
        ),
        pytest.param(
            "test_secret_is_in_no_result_and_no_log",
            {"before": "self.token = token"},
            "lets its secret out",
            id="keeps its secret",
        ),
    ],
)
def test_flawed_plugin_fails_with_the_reason(
    written: Write, test: str, flaw: dict[str, str], reason: str
) -> None:
    suite = written(**flaw)

    with pytest.raises(NotConforming) as caught:
        getattr(suite, test)()

    assert reason in str(caught.value)


def test_plugin_that_cannot_do_what_its_manifest_says_is_told_so(
    written: Write, tmp_path: Path
) -> None:
    suite = written()
    manifest = tmp_path / "plugin.toml"
    manifest.write_text('capabilities = ["health", "list_projects"]\n' + manifest.read_text())

    with pytest.raises(NotConforming, match="names list_projects and has no list_projects"):
        suite.test_capabilities_of_the_manifest_are_those_of_the_class()


def test_plugin_without_examples_is_told_to_have_some(written: Write, tmp_path: Path) -> None:
    suite = written()
    manifest = tmp_path / "plugin.toml"
    manifest.write_text(manifest.read_text().replace("examples", "default"))

    with pytest.raises(NotConforming, match="has no `examples`"):
        suite.test_check_ends_when_it_is_cancelled()
