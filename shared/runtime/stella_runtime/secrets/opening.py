"""Builds the resolver of a process from its settings."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AsyncExitStack,
    asynccontextmanager,
    suppress,
)
from ipaddress import ip_network
from pathlib import Path

import structlog
from pydantic import SecretStr

from stella_contracts.errors import SecretUnavailable
from stella_runtime.egress import open_egress
from stella_runtime.secrets.policy import AuthRefPolicy
from stella_runtime.secrets.reading import Tell
from stella_runtime.secrets.resolver import SecretResolver
from stella_runtime.secrets.settings import SecretSettings
from stella_runtime.secrets.stores import MountedStore, SecretStore
from stella_runtime.secrets.vault import VaultStore
from stella_runtime.secrets.vault_requests import VaultRequests
from stella_runtime.secrets.vault_session import Login, RoleLogin, TokenLogin, VaultSession

log = structlog.get_logger()

_EVERYWHERE = [ip_network("0.0.0.0/0"), ip_network("::/0")]
"""The operator has named the vault, and it is mostly inside. Metadata stays out of reach."""

FILE_LIMIT = 64 * 1024


@asynccontextmanager
async def open_secrets(
    settings: SecretSettings, *, tell: Tell = lambda _: None
) -> AsyncIterator[SecretResolver]:
    """
    Resolve references until the block ends; the vault's token is renewed meanwhile.

    `tell` hears of every read of a vault.
    """
    policy = AuthRefPolicy(settings.authref_policy)
    if policy.is_open and settings.environment == "production":
        log.warning("authref_policy_open", setting="STELLA_AUTHREF_POLICY")
    async with AsyncExitStack() as stack:
        stores: dict[str, SecretStore] = {}
        if settings.kubernetes_secret_folder is not None:
            stores["kubernetes"] = MountedStore(settings.kubernetes_secret_folder)
        if settings.azure_keyvaults:
            stores["azure-keyvault"] = await stack.enter_async_context(_azure(settings))
        if settings.vault_url is not None:
            stores["vault"] = await stack.enter_async_context(
                _vault(settings, str(settings.vault_url))
            )
        yield SecretResolver(
            environment=settings.environment,
            folder=settings.secret_folder,
            stores=stores,
            policy=policy,
            tell=tell,
        )


def _azure(settings: SecretSettings) -> AbstractAsyncContextManager[SecretStore]:
    try:
        # An extra: most hubs have no use for the library.
        from stella_runtime.secrets.azure_keyvault import open_azure_keyvault
    except ImportError as error:
        raise SecretUnavailable(
            "STELLA_AZURE_KEYVAULTS needs the extra: pip install 'stella-integrations[azure]'."
        ) from error
    return open_azure_keyvault(
        settings.azure_keyvault_urls, os.environ, client_id=settings.azure_client_id
    )


@asynccontextmanager
async def _vault(settings: SecretSettings, url: str) -> AsyncIterator[SecretStore]:
    authorities = settings.vault_authorities and settings.vault_authorities.read_text()
    async with open_egress(_EVERYWHERE, authorities=authorities or None) as egress:
        vault = VaultRequests(egress.client_of(url), url, settings.vault_namespace)
        session = VaultSession(vault, _login(settings))
        keeping = asyncio.create_task(session.keep())
        try:
            yield VaultStore(vault, session, settings.vault_mount)
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping


def _login(settings: SecretSettings) -> Login:
    if settings.vault_login == "token":
        return TokenLogin(_value_or_file(settings.vault_token, settings.vault_token_file))
    mount = settings.vault_login_mount or settings.vault_login
    if settings.vault_login == "kubernetes":
        token = _value_or_file(None, settings.vault_jwt_file)
        return RoleLogin(mount, lambda: {"role": settings.vault_role, "jwt": token()})
    secret_id = _value_or_file(settings.vault_secret_id, settings.vault_secret_id_file)

    def proof() -> Mapping[str, object]:
        return {"role_id": settings.vault_role_id, "secret_id": secret_id()}

    return RoleLogin(mount, proof)


def _value_or_file(value: SecretStr | None, path: Path | None) -> Callable[[], str]:
    """Reads the file anew each time, or gives the value."""

    def read() -> str:
        if path is None:
            return value.get_secret_value() if value else ""
        try:
            with path.open() as file:
                return file.read(FILE_LIMIT).strip()
        except (OSError, UnicodeDecodeError):
            raise SecretUnavailable(
                f"The hub's own credential for the vault cannot be read: {path}."
            ) from None

    return read
