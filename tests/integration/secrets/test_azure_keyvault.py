"""The Key Vault resolver, with Microsoft's library, against a server that speaks Key Vault."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from azure.core.credentials import AccessToken, AccessTokenInfo
from azure.core.exceptions import ClientAuthenticationError
from azure.keyvault.secrets.aio import SecretClient
from tests.support.certificates import server_certificate

from stella_contracts.errors import SecretUnavailable
from stella_runtime.secrets.azure_keyvault import AzureKeyVaultStore

NOW = 1_800_000_000


class Identity:
    """What Azure would know this machine by."""

    def __init__(self, *, known: bool = True) -> None:
        self._known = known

    async def get_token(self, *_: str, **__: Any) -> AccessToken:
        if not self._known:
            raise ClientAuthenticationError("hunter2")
        return AccessToken("a-token", int(time.time()) + 3600)

    async def get_token_info(self, *_: str, **__: Any) -> AccessTokenInfo:
        if not self._known:
            raise ClientAuthenticationError("hunter2")
        return AccessTokenInfo("a-token", int(time.time()) + 3600)

    async def close(self) -> None:
        pass

    async def __aenter__(self) -> "Identity":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


def problem(status: int, code: str) -> web.Response:
    return web.json_response({"error": {"code": code, "message": "hunter2"}}, status=status)


class KeyVault:
    """The secrets of a vault, by name; attributes as Key Vault has them."""

    def __init__(self) -> None:
        self.url = ""
        self.attributes: dict[str, dict[str, Any]] = {
            "harbor": {"enabled": True},
            "disabled": {"enabled": False},
            "expired": {"enabled": True, "exp": NOW - 1},
            "not-yet": {"enabled": True, "nbf": NOW + 1},
            "ends": {"enabled": True, "exp": NOW + 1, "nbf": NOW - 1},
        }
        self.versions: list[str] = []

    async def answer(self, request: web.Request) -> web.Response:
        if request.headers.get("Authorization") != "Bearer a-token":
            resource = f'Bearer authorization="https://login.test/t", resource="{self.url}"'
            return web.Response(status=401, headers={"WWW-Authenticate": resource})
        assert "api-version" in request.query
        name = request.match_info["name"]
        self.versions.append(request.match_info["version"])
        if name == "forbidden":
            return problem(403, "Forbidden")
        if name == "busy":
            return problem(400, "BadParameter")
        if name not in self.attributes:
            return problem(404, "SecretNotFound")
        return web.json_response(
            {
                "value": '{"robot": "hunter2"}',
                "id": f"{self.url}/secrets/{name}/v1",
                "attributes": self.attributes[name],
            }
        )


@asynccontextmanager
async def key_vault(folder: Path) -> AsyncIterator[tuple[KeyVault, Path]]:
    certificate = server_certificate()
    trusted = folder / "authorities.pem"
    trusted.write_bytes(certificate.certificate)
    vault = KeyVault()
    application = web.Application()
    application.router.add_get("/secrets/{name}/{version:.*}", vault.answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=certificate.server_context()).start()
        vault.url = f"https://localhost:{runner.addresses[0][1]}"
        yield vault, trusted
    finally:
        await runner.cleanup()


@asynccontextmanager
async def store_of(
    url: str, trusted: Path, identity: Identity | None = None
) -> AsyncIterator[AzureKeyVaultStore]:
    client = SecretClient(
        url,
        identity or Identity(),
        connection_verify=str(trusted),
        verify_challenge_resource=False,
        retry_total=0,
    )
    async with client:
        yield AzureKeyVaultStore({"team": client}, now=lambda: NOW)


async def test_secret_is_read_by_name_and_by_version(tmp_path: Path) -> None:
    async with key_vault(tmp_path) as (vault, trusted), store_of(vault.url, trusted) as store:
        newest = await store.read("team/harbor")
        pinned = await store.read("team/harbor/v1")
        usable = await store.read("team/ends")

    assert newest == pinned == usable == '{"robot": "hunter2"}'
    assert vault.versions == ["", "v1", ""]


async def test_what_cannot_be_read_is_told_in_our_words(tmp_path: Path) -> None:
    expected = {
        "team/none": "Key Vault has no secret team/none.",
        "team/forbidden": (
            "Key Vault lets the hub not read team/forbidden: a role or a firewall rule is missing."
        ),
        "team/busy": "Key Vault answers with HTTP 400.",
        "team/disabled": "The secret team/disabled is disabled.",
        "team/expired": "The secret team/expired has expired.",
        "team/not-yet": "The secret team/not-yet is not valid yet.",
        "other/harbor": (
            "The hub may not read the Key Vault 'other': STELLA_AZURE_KEYVAULTS lacks it."
        ),
        "team": "A secret of Key Vault is <vault>/<secret>, of letters, digits and hyphens.",
        "team/a_b": "A secret of Key Vault is <vault>/<secret>, of letters, digits and hyphens.",
    }
    async with key_vault(tmp_path) as (vault, trusted), store_of(vault.url, trusted) as store:
        told = {path: await refusal(store, path) for path in expected}

    assert told == expected


async def test_identity_that_azure_does_not_know_and_a_vault_that_is_away(tmp_path: Path) -> None:
    async with key_vault(tmp_path) as (vault, trusted):
        async with store_of(vault.url, trusted, Identity(known=False)) as store:
            unknown = await refusal(store, "team/harbor")
        gone = vault.url
    async with store_of(gone, trusted) as store:
        away = await refusal(store, "team/harbor")

    assert unknown == "Azure refuses the identity of the hub."
    assert away == "Key Vault cannot be reached."


async def refusal(store: AzureKeyVaultStore, path: str) -> str:
    with pytest.raises(SecretUnavailable) as refused:
        await store.read(path)
    return str(refused.value)
