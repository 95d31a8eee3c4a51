"""Asks HashiCorp Vault or OpenBao, and says in words what it refuses."""

import asyncio
from collections.abc import Mapping
from typing import Any, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, ValidationError

from stella_contracts.errors import SecretUnavailable
from stella_contracts.failures import failure_of
from stella_contracts.plugin import CheckFailed

_Body = TypeVar("_Body", bound=BaseModel)

ANSWER_SECONDS = 4.0
"""Less than a read may take as a whole, so that the vault is blamed and not the hub."""

# Source: what OpenBao 2.7 answers, and the documentation of sys/health for the rest.
_STATES = {
    429: "limits our rate",
    472: "is a standby of disaster recovery",
    473: "is a standby",
    501: "is not initialised",
    503: "is sealed, or overloaded",
}
_NO_NAMESPACE = "namespace not found"


class _Answer(BaseModel):
    # What is refused would quote the secret.
    model_config = ConfigDict(hide_input_in_errors=True)


class Refusal(_Answer):
    """Body of a 4xx. To be compared with what vaults are known to say, and never shown."""

    errors: list[str] = []
    warnings: list[str] | None = None
    data: dict[str, Any] | None = None


class VaultRequests:
    """The address and the namespace of one vault."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        url: str,
        namespace: str = "",
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> None:
        self._http = http
        self._seconds = seconds
        self._root = f"{url.rstrip('/')}/v1"
        self._headers = {"X-Vault-Request": "true"}
        if namespace:
            self._headers["X-Vault-Namespace"] = namespace

    async def ask(
        self,
        method: str,
        path: str,
        *,
        token: str | None = None,
        body: Mapping[str, object] | None = None,
    ) -> httpx.Response:
        """
        The answer, which may be a refusal (4xx).

        Raises SecretUnavailable if there is none, or the vault is in no state to answer.
        """
        headers = self._headers | ({"X-Vault-Token": token} if token else {})
        try:
            # Whoever waits for a token waits for who asks for it.
            async with asyncio.timeout(self._seconds):
                response = await self._http.request(
                    method, f"{self._root}/{path}", headers=headers, json=body
                )
        except TimeoutError:
            raise SecretUnavailable(f"The vault did not answer in {self._seconds:g} s.") from None
        except httpx.HTTPError as error:
            raise SecretUnavailable(f"The vault: {failure_of(error).message}.") from None
        except CheckFailed as error:
            raise SecretUnavailable(f"The vault: {error.message}.") from None
        status = response.status_code
        if status in _STATES:
            raise SecretUnavailable(f"The vault {_STATES[status]} (HTTP {status}).")
        if response.is_server_error or response.is_redirect:
            raise SecretUnavailable(f"The vault answers with HTTP {status}.")
        if status == httpx.codes.NOT_FOUND and _NO_NAMESPACE in refusal_of(response).errors:
            raise SecretUnavailable("The vault has no such namespace.")
        return response


def vault_answer(response: httpx.Response, shape: type[_Body]) -> _Body:
    """The body in that shape. Raises SecretUnavailable for another one."""
    try:
        return shape.model_validate_json(response.content)
    except ValidationError:
        # Not `from error`, which quotes the answer.
        raise SecretUnavailable("The answer is not one of a vault.") from None


def refusal_of(response: httpx.Response) -> Refusal:
    """What a refusal says; an empty one if it is not in a vault's form."""
    try:
        return Refusal.model_validate_json(response.content)
    except ValidationError:
        return Refusal()
