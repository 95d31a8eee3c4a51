"""A config keeps to its schema, and nothing holds a credential."""

from typing import Any

import httpx
import pytest
from tests.support.api import ANY_VERSION, assert_problem, places, registered
from tests.support.builders import a_config, a_registration

# In pieces: these are no secrets, and scanners of repositories should not take them for some.
GITHUB_TOKEN = "ghp_" + "a1B2" * 9
GITLAB_TOKEN = "glpat-" + "a1B2c3D4e5F6g7H8i9J0"
AWS_KEY = "AKIA" + "QWERTYUIOPASDFGH"
SLACK_TOKEN = "xoxb-" + "123456789012-1234567890123-abcdefabcdefabcdefabcdef"
PRIVATE_KEY = "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIE\n"
JSON_WEB_TOKEN = "eyJhbGciOiJIUzI1NiJ9." + "eyJzdWIiOiIxIn0." + "c2lnbmF0dXJlLXNpZ25hdHVyZQ"
VAULT_TOKEN = "hvs." + "CAESIJlWvL1cAbCdEfGhIjKlMn"


class TestConfigSchema:
    @pytest.mark.parametrize(
        ("config", "expected"),
        [
            pytest.param({}, ["/config/endpoint", "/config/project"], id="two fields missing"),
            pytest.param(a_config(endpoint="ftp://x"), ["/config/endpoint"], id="pattern"),
            pytest.param(a_config(endpoint=7), ["/config/endpoint"], id="type"),
            pytest.param(a_config(retries=10), ["/config/retries"], id="maximum"),
            pytest.param(a_config(retries=1.5), ["/config/retries"], id="no integer"),
            pytest.param(a_config(insecure="yes"), ["/config/insecure"], id="no boolean"),
            pytest.param(a_config(typo=1), ["/config/typo"], id="unknown field"),
            pytest.param(
                a_config(typo=1, other=2), ["/config/other", "/config/typo"], id="two unknown"
            ),
            pytest.param(
                a_config(mirrors=[{"url": "a"}, {}]), ["/config/mirrors/1/url"], id="inside a list"
            ),
        ],
    )
    async def test_each_fault_is_named(
        self, api: httpx.AsyncClient, config: dict[str, Any], expected: list[str]
    ) -> None:
        answer = await api.post("/integrations", json=a_registration(config=config))

        assert sorted(places(assert_problem(answer, 422, "config_rejected"))) == expected

    async def test_values_are_not_repeated(self, api: httpx.AsyncClient) -> None:
        config = a_config(endpoint="canary-1", retries="canary-2", insecure={"canary-3": 1})

        answer = await api.post("/integrations", json=a_registration(config=config))

        assert_problem(answer, 422, "config_rejected")
        assert "canary" not in answer.text

    async def test_a_change_is_held_to_the_schema_too(self, api: httpx.AsyncClient) -> None:
        record = await registered(api)

        answer = await api.put(
            f"/integrations/{record['id']}",
            json={"config": {"project": "library"}},
            headers=ANY_VERSION,
        )

        assert places(assert_problem(answer, 422, "config_rejected")) == ["/config/endpoint"]

    async def test_the_list_of_faults_ends(self, api: httpx.AsyncClient) -> None:
        config = a_config(mirrors=[{}] * 100)

        answer = await api.post("/integrations", json=a_registration(config=config))

        assert len(places(assert_problem(answer, 422, "config_rejected"))) == 20


class TestRawSecrets:
    @pytest.mark.parametrize(
        "secret",
        [
            pytest.param(GITHUB_TOKEN, id="GitHub"),
            pytest.param("github_pat_" + "a1B2c3D4e5" * 6, id="GitHub, fine-grained"),
            pytest.param(GITLAB_TOKEN, id="GitLab"),
            pytest.param(AWS_KEY, id="AWS"),
            pytest.param(SLACK_TOKEN, id="Slack"),
            pytest.param(PRIVATE_KEY, id="private key"),
            pytest.param(JSON_WEB_TOKEN, id="JWT"),
            pytest.param(VAULT_TOKEN, id="Vault"),
            pytest.param("sk_live_" + "a1B2c3D4e5F6g7H8i9J0k1L2", id="Stripe"),
            pytest.param("npm_" + "a1B2" * 9, id="npm"),
            pytest.param("Authorization: Bearer " + "hunter2hunter2hunter2", id="in a header"),
            pytest.param("https://robot:hunter2@registry.test", id="in a URL"),
            pytest.param("https://a.test/x?private_token=hunter2hunter2", id="in a query"),
            pytest.param(f"see {GITHUB_TOKEN} # pragma: allowlist secret", id="with an excuse"),
        ],
    )
    @pytest.mark.parametrize("field", ["labels", "name", "description"])
    async def test_a_credential_is_refused_wherever_it_stands(
        self, api: httpx.AsyncClient, secret: str, field: str
    ) -> None:
        deep: dict[str, Any] = {"a": {"b": [{"c": {"d": {"note": secret}}}]}}
        places_of: dict[str, dict[str, Any]] = {
            "labels": {"config": a_config(labels=deep)},
            "name": {"name": secret.replace("\n", " ")[:200]},
            "description": {"description": secret},
        }

        answer = await api.post("/integrations", json=a_registration(**places_of[field]))

        document = assert_problem(answer, 422, "config_rejected")
        expected = {"labels": "/config/labels/a/b/0/c/d/note"}.get(field, f"/{field}")
        assert places(document) == [expected]
        assert "authRefUri" in document["errors"][0]["detail"]
        assert secret not in answer.text
        assert "hunter2" not in answer.text

    async def test_a_credential_in_a_tag_is_refused(self, api: httpx.AsyncClient) -> None:
        answer = await api.post("/integrations", json=a_registration(tags=["eu", GITLAB_TOKEN]))

        assert places(assert_problem(answer, 422, "config_rejected")) == ["/tags/1"]
        assert GITLAB_TOKEN not in answer.text

    async def test_a_credential_in_a_change_is_refused(self, api: httpx.AsyncClient) -> None:
        record = await registered(api)

        answer = await api.put(
            f"/integrations/{record['id']}",
            json={"config": a_config(labels={"password": "hunter2"})},
            headers=ANY_VERSION,
        )

        assert places(assert_problem(answer, 422, "config_rejected")) == ["/config/labels/password"]
        assert "hunter2" not in answer.text
