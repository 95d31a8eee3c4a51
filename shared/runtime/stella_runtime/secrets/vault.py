"""Secrets of the KV version 2 engine of HashiCorp Vault and OpenBao."""

import json
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import BaseModel, Field

from stella_contracts.errors import SecretUnavailable
from stella_runtime.secrets.vault_requests import VaultRequests, refusal_of, vault_answer
from stella_runtime.secrets.vault_session import VaultSession


class VaultStore:
    """What lies below one mount, as far as the policies of the hub's token go."""

    def __init__(self, vault: VaultRequests, session: VaultSession, mount: str) -> None:
        self._vault = vault
        self._session = session
        self._mount = mount

    async def read(self, path: str) -> str:
        """The newest version's fields, as a JSON object. Raises SecretUnavailable."""
        token = await self._session.token()
        response = await self._get(path, token)
        if response.status_code == httpx.codes.FORBIDDEN:
            # So it answers to a token that has ended, or was revoked, as well.
            renewed = await self._session.token(refused=token)
            if renewed != token:
                response = await self._get(path, renewed)
        if not response.is_success:
            raise SecretUnavailable(self._reason(path, response))
        return json.dumps(vault_answer(response, _Read).data.data)

    async def _get(self, path: str, token: str) -> httpx.Response:
        place = f"{quote(self._mount)}/data/{quote(path)}"
        return await self._vault.ask("GET", place, token=token)

    def _reason(self, path: str, response: httpx.Response) -> str:
        status, said = response.status_code, refusal_of(response)
        if status == httpx.codes.FORBIDDEN:
            return f"The vault lets the hub not read {path}: no policy of its token does."
        if status != httpx.codes.NOT_FOUND:
            return f"The vault refuses to read {path} (HTTP {status})."
        if any(each.startswith("no handler for route") for each in said.errors) or said.warnings:
            return f"The vault has no KV version 2 engine at {self._mount}/."
        if said.data is not None:
            return f"The newest version of {path} was deleted from the vault."
        return f"The vault has no secret {path}."


class _Version(BaseModel):
    data: dict[str, Any] = Field(repr=False)


class _Read(BaseModel):
    data: _Version
