"""Tokens of a certified OpenID provider (npm's oidc-provider), as it makes and signs them."""

from collections.abc import AsyncIterator

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from starlette.datastructures import Headers
from tests.support.api import AUDIENCE, Authority, PrivateKey, assert_problem, running_hub
from tests.support.builders import a_registration
from tests.support.openid_provider import (
    BILLING,
    HUB,
    HUB_ES256,
    OpenIdProvider,
    running_provider,
)

from stella_api.authentication import Authenticator
from stella_api.keys import UNKNOWN_KEY_PAUSE_SECONDS, Keys
from stella_api.settings import ApiSettings
from stella_contracts.errors import TokenRejected
from stella_runtime.persistence import Database


@pytest.fixture
async def provider(signing_keys: dict[str, PrivateKey]) -> AsyncIterator[OpenIdProvider]:
    async with running_provider(signing_keys) as running:
        yield running


@pytest.fixture
async def api(database: Database, provider: OpenIdProvider) -> AsyncIterator[httpx.AsyncClient]:
    """A hub that trusts the provider, called without a token unless a test gives one."""
    keys_url = await provider.keys_url()
    async with running_hub(
        database, Authority({}), jwks_url=keys_url, issuer=provider.issuer
    ) as hub:
        yield hub.client(authorization="")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize("resource", [HUB, HUB_ES256])
async def test_a_token_opens_what_its_scopes_say(
    api: httpx.AsyncClient, provider: OpenIdProvider, resource: str
) -> None:
    token = bearer(await provider.token(resource=resource))

    read = await api.get("/integrations", headers=token)
    written = await api.post("/integrations", json=a_registration(), headers=token)

    assert (read.status_code, read.json()["items"]) == (200, [])
    assert_problem(written, 403, "scope_missing")


@pytest.mark.parametrize(
    "resource", [pytest.param(BILLING, id="for billing"), pytest.param(None, id="opaque")]
)
async def test_a_token_that_is_not_for_the_hub_opens_nothing(
    api: httpx.AsyncClient, provider: OpenIdProvider, resource: str | None
) -> None:
    token = await provider.token(resource=resource, scope="integrations:read" if resource else "")

    answer = await api.get("/integrations", headers=bearer(token))

    assert_problem(answer, 401, "token_rejected")


async def test_a_key_that_was_rotated_is_taken_and_the_withdrawn_one_no_more(
    provider: OpenIdProvider, signing_keys: dict[str, PrivateKey]
) -> None:
    now = 0.0
    settings = ApiSettings(
        environment="embedded",
        database_url="postgresql://unused",
        amqp_url="amqp://unused",
        jwks_url=await provider.keys_url(),
        issuer=provider.issuer,
        audience=AUDIENCE,
    )
    async with httpx.AsyncClient() as http:
        keys = Keys(settings.jwks_url, http, clock=lambda: now)
        callers = Authenticator(settings, keys)
        await callers.authenticate(Headers(bearer(await provider.token())))
        unused = await provider.token()
        await provider.stop()
        await provider.start(
            {
                "rsa-2": rsa.generate_private_key(public_exponent=65537, key_size=2048),
                "ec-2": ec.generate_private_key(ec.SECP256R1()),
            }
        )
        now += UNKNOWN_KEY_PAUSE_SECONDS

        actor = await callers.authenticate(Headers(bearer(await provider.token())))

        assert (actor.tenant_id, actor.subject) == ("acme", "scanner")
        with pytest.raises(TokenRejected, match="its key is not one of the issuer's"):
            await callers.authenticate(Headers(bearer(unused)))
