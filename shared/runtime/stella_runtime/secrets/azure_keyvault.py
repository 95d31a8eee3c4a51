"""Secrets of Azure Key Vault, by Microsoft's own library, which comes with the extra `azure`."""

import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager

from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceNotFoundError,
)
from azure.identity.aio import ManagedIdentityCredential, WorkloadIdentityCredential
from azure.keyvault.secrets import KeyVaultSecret
from azure.keyvault.secrets.aio import SecretClient

from stella_contracts.errors import SecretUnavailable

_NAME = re.compile(r"[0-9A-Za-z-]{1,127}")
_FEDERATED = ("AZURE_FEDERATED_TOKEN_FILE", "AZURE_TENANT_ID", "AZURE_CLIENT_ID")


class AzureKeyVaultStore:
    """Reads `<vault>/<secret>` or `<vault>/<secret>/<version>` of the vaults that are named."""

    def __init__(
        self, clients: Mapping[str, SecretClient], now: Callable[[], float] = time.time
    ) -> None:
        self._clients = clients
        self._now = now

    async def read(self, path: str) -> str:
        """The secret's value. Raises SecretUnavailable."""
        vault, *place = path.split("/")
        client = self._clients.get(vault)
        if client is None:
            raise SecretUnavailable(
                f"The hub may not read the Key Vault {vault!r}: STELLA_AZURE_KEYVAULTS lacks it."
            )
        if len(place) not in (1, 2) or not all(map(_NAME.fullmatch, place)):
            raise SecretUnavailable(
                "A secret of Key Vault is <vault>/<secret>, of letters, digits and hyphens."
            )
        secret = await _get(client, path, *place)
        self._check(path, secret)
        return secret.value or ""

    def _check(self, path: str, secret: KeyVaultSecret) -> None:
        """Key Vault gives away what it holds for unusable, and leaves the judging to us."""
        now, about = self._now(), secret.properties
        if about.enabled is False:
            raise SecretUnavailable(f"The secret {path} is disabled.")
        if about.expires_on is not None and about.expires_on.timestamp() <= now:
            raise SecretUnavailable(f"The secret {path} has expired.")
        if about.not_before is not None and about.not_before.timestamp() > now:
            raise SecretUnavailable(f"The secret {path} is not valid yet.")


async def _get(
    client: SecretClient, path: str, name: str, version: str | None = None
) -> KeyVaultSecret:
    try:
        return await client.get_secret(name, version)
    # Nowhere `from error`: the library's texts quote what was sent and answered.
    except ResourceNotFoundError:
        raise SecretUnavailable(f"Key Vault has no secret {path}.") from None
    except ClientAuthenticationError:
        raise SecretUnavailable("Azure refuses the identity of the hub.") from None
    except HttpResponseError as error:
        if error.status_code == 403:
            raise SecretUnavailable(
                f"Key Vault lets the hub not read {path}: a role or a firewall rule is missing."
            ) from None
        raise SecretUnavailable(f"Key Vault answers with HTTP {error.status_code}.") from None
    except AzureError:
        raise SecretUnavailable("Key Vault cannot be reached.") from None


@asynccontextmanager
async def open_azure_keyvault(
    vaults: Mapping[str, str], environment: Mapping[str, str], client_id: str = ""
) -> AsyncIterator[AzureKeyVaultStore]:
    """
    Read these vaults, by name and URL, as the workload identity that Kubernetes lends, or else
    the managed identity of this machine; `client_id` names one of several.
    """
    federated = all(environment.get(name) for name in _FEDERATED)
    credential: WorkloadIdentityCredential | ManagedIdentityCredential = (
        WorkloadIdentityCredential()
        if federated
        else ManagedIdentityCredential(client_id=client_id or None)
    )
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(credential)
        clients = {
            name: await stack.enter_async_context(SecretClient(url, credential, retry_total=1))
            for name, url in vaults.items()
        }
        yield AzureKeyVaultStore(clients)
