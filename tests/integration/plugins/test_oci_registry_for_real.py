"""The registry connector against Debian's docker-registry, through the egress guard."""

import hashlib
import json

import httpx
import pytest
from tests.support.certificates import ServerCertificate, server_certificate
from tests.support.checked import checked_for_real, lending_for_real
from tests.support.docker_registry import PASSWORD, USER, TokenService, docker_registry
from tests.support.token_server import token_server

from stella_contracts.capabilities import ListedPage, PageRequest
from stella_contracts.health import StepResult
from stella_contracts.plugin import Secret
from stella_plugin_oci_registry.plugin import OciRegistryPlugin

RIGHT = Secret({"username": USER, "password": PASSWORD})
WRONG = Secret({"username": USER, "password": "hunter2"})
HEALTHY = ("healthy", None)
REJECTED = ("unhealthy", "auth_rejected")
PLUGIN = OciRegistryPlugin()


@pytest.fixture(scope="module")
def certificate() -> ServerCertificate:
    return server_certificate()


async def test_open_registry_is_healthy_with_and_without_a_credential() -> None:
    async with docker_registry() as url:
        without = await checked_for_real(PLUGIN, {"endpoint": url})
        prefixed = await checked_for_real(PLUGIN, {"endpoint": f"{url}/v2/"}, RIGHT)

    assert (without.finding, prefixed.finding) == (HEALTHY, HEALTHY)
    assert without.steps["authenticate"] is StepResult.SKIPPED
    assert prefixed.steps["authenticate"] is StepResult.PASSED


async def test_registry_with_passwords_over_tls(certificate: ServerCertificate) -> None:
    trusted = certificate.certificate.decode()
    async with docker_registry(certificate=certificate, passwords=True) as url:
        right = await checked_for_real(PLUGIN, {"endpoint": url}, RIGHT, authorities=trusted)
        wrong = await checked_for_real(PLUGIN, {"endpoint": url}, WRONG, authorities=trusted)
        nobody = await checked_for_real(PLUGIN, {"endpoint": url}, authorities=trusted)
        untrusted = await checked_for_real(PLUGIN, {"endpoint": url}, RIGHT)
        plain = await checked_for_real(PLUGIN, {"endpoint": url.replace("https", "http")}, RIGHT)

    assert right.finding == HEALTHY
    assert wrong.finding == REJECTED
    assert nobody.finding == REJECTED
    assert nobody.result.error_message == "The registry wants a credential. Set authRefUri"
    assert untrusted.finding == ("unhealthy", "tls")
    assert plain.finding[0] == "unhealthy"
    assert "hunter2" not in wrong.told


async def test_registry_with_tokens_of_a_service_that_the_config_names(
    certificate: ServerCertificate,
) -> None:
    async with token_server(certificate) as service:
        tokens = TokenService(f"{service.url}/token?account=x", certificate)
        async with docker_registry(tokens=tokens) as url:
            config = {"endpoint": url, "tokenEndpoint": service.url}
            right = await checked_for_real(PLUGIN, config, RIGHT)
            anonymous = await checked_for_real(PLUGIN, config)
            wrong = await checked_for_real(PLUGIN, config, WRONG)

    assert right.finding == HEALTHY
    assert anonymous.finding == HEALTHY
    assert wrong.finding == REJECTED
    assert service.queries[0] == {"account": "x", "service": tokens.service}


async def test_credential_goes_to_no_token_service_that_the_config_does_not_name(
    certificate: ServerCertificate,
) -> None:
    async with (
        token_server(certificate) as service,
        docker_registry(tokens=TokenService(service.url, certificate)) as url,
    ):
        found = await checked_for_real(PLUGIN, {"endpoint": url}, RIGHT)

    assert found.finding == ("unhealthy", "misconfigured")
    assert "tokenEndpoint" in (found.result.error_message or "")
    assert service.logins == []


async def test_tokens_of_a_stranger_are_rejected(certificate: ServerCertificate) -> None:
    async with token_server(server_certificate()) as service:
        tokens = TokenService(f"{service.url}/token", certificate)
        async with docker_registry(tokens=tokens) as url:
            config = {"endpoint": url, "tokenEndpoint": service.url}
            found = await checked_for_real(PLUGIN, config, RIGHT)

    assert found.finding == REJECTED


async def test_empty_greeting_of_a_registry_is_told_from_that_of_another_server() -> None:
    """As registries answer that leave out the header of old."""
    async with docker_registry() as url, httpx.AsyncClient(trust_env=False) as http:
        probe = await http.get(f"{url}/v2/stella-ops/no-such-repository/tags/list")

    assert probe.status_code == 404
    assert probe.json()["errors"][0]["code"] == "NAME_UNKNOWN"


async def test_repositories_are_listed_page_by_page() -> None:
    pushed = ["team/app", "team/base", "zoo"]
    async with docker_registry(passwords=True) as url:
        empty = await listed(url, PageRequest())
        for name in pushed:
            await push(url, name)
        first = await listed(url, PageRequest(limit=2))
        second = await listed(url, PageRequest(first.next_cursor, limit=2))

    assert (empty.items, empty.next_cursor) == ([], None)
    assert [each.name for each in [*first.items, *second.items]] == pushed
    assert (first.next_cursor, second.next_cursor) == ("team/base", None)


async def listed(url: str, page: PageRequest) -> ListedPage:
    async with lending_for_real(PLUGIN, {"endpoint": url}, RIGHT) as lent:
        return await PLUGIN.list_repositories(*lent, page)


async def push(url: str, name: str) -> None:
    """The least that a registry takes for an image."""
    config = b"{}"
    digest = f"sha256:{hashlib.sha256(config).hexdigest()}"
    blob = {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": digest}
    kind = "application/vnd.oci.image.manifest.v1+json"
    manifest = {"schemaVersion": 2, "mediaType": kind, "config": blob, "layers": []}
    async with httpx.AsyncClient(trust_env=False, auth=(USER, PASSWORD)) as http:
        begun = await http.post(f"{url}/v2/{name}/blobs/uploads/")
        place = httpx.URL(begun.headers["Location"]).copy_merge_params({"digest": digest})
        stored = await http.put(place, content=config)
        assert stored.status_code == 201, stored.text
        tagged = await http.put(
            f"{url}/v2/{name}/manifests/latest",
            content=json.dumps(manifest),
            headers={"Content-Type": kind},
        )
        assert tagged.status_code == 201, tagged.text
