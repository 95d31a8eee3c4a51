"""A vault's token for this hub: got by a login, renewed, and got anew when it ends."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import httpx
import structlog
from pydantic import BaseModel, Field

from stella_contracts.errors import SecretUnavailable
from stella_runtime.secrets.vault_requests import VaultRequests, vault_answer

log = structlog.get_logger()

RENEWED_AT = 2 / 3
"""The part of its life after which a token is renewed."""

LOOK_SECONDS = 15.0
LEAST_SECONDS = 30.0
"""A token that would live shorter after being renewed is close to its end: log in anew."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A token and for how long it is good."""

    token: str = field(repr=False)
    seconds: float
    """0: for ever."""
    renewable: bool


class Login(Protocol):
    """A way to get a token."""

    async def log_in(self, vault: VaultRequests) -> Lease:
        """Raises SecretUnavailable."""
        ...


class TokenLogin:
    """A token that was made for the hub, as a value or in a file that may be replaced."""

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read

    async def log_in(self, vault: VaultRequests) -> Lease:
        token = await asyncio.to_thread(self._read)
        response = await vault.ask("GET", "auth/token/lookup-self", token=token)
        _check(response, "The vault refuses the hub's token")
        found = vault_answer(response, _LookedUp).data
        return Lease(token, found.ttl, found.renewable)


class RoleLogin:
    """AppRole and Kubernetes: a role proves itself by something that is read for each login."""

    def __init__(self, mount: str, proof: Callable[[], Mapping[str, object]]) -> None:
        self._mount = mount
        self._proof = proof

    async def log_in(self, vault: VaultRequests) -> Lease:
        proof = await asyncio.to_thread(self._proof)
        response = await vault.ask("POST", f"auth/{self._mount}/login", body=proof)
        _check(response, f"The vault refuses the hub's login at auth/{self._mount}")
        return _lease(response)


class VaultSession:
    """Has a token whenever one is wanted. One login or renewal at a time."""

    def __init__(
        self, vault: VaultRequests, login: Login, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._vault = vault
        self._login = login
        self._clock = clock
        self._lock = asyncio.Lock()
        self._lease: Lease | None = None
        self._since = 0.0

    async def token(self, *, refused: str | None = None) -> str:
        """
        A token; another one than that which the vault has just refused, unless that is good
        and lacks a policy.

        Raises SecretUnavailable.
        """
        async with self._lock:
            lease = self._lease
            if lease is None:
                return await self._start()
            # Not a login for each refusal: some ways to log in can be used a few times only.
            if lease.token == refused and not await self._is_known(refused):
                return await self._start()
            age = self._clock() - self._since
            if lease.seconds and age >= lease.seconds:
                return await self._start()
            if lease.seconds and age >= lease.seconds * RENEWED_AT:
                return await self._renewed(lease)
            return lease.token

    async def keep(self) -> None:
        """Renew in time also while nobody wants the token. Runs until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            if self._lease is None:
                continue
            try:
                await self.token()
            except SecretUnavailable as error:
                log.warning("vault_token_not_renewed", reason=str(error))

    async def _is_known(self, token: str) -> bool:
        response = await self._vault.ask("GET", "auth/token/lookup-self", token=token)
        return response.is_success

    async def _start(self) -> str:
        self._lease = None
        started = self._clock()
        return self._hold(await self._login.log_in(self._vault), started)

    async def _renewed(self, lease: Lease) -> str:
        if not lease.renewable:
            return await self._start()
        started = self._clock()
        response = await self._vault.ask("POST", "auth/token/renew-self", token=lease.token)
        if not response.is_success:
            return await self._start()
        renewed = _lease(response)
        if renewed.seconds < LEAST_SECONDS:
            return await self._start()
        return self._hold(renewed, started)

    def _hold(self, lease: Lease, since: float) -> str:
        self._lease, self._since = lease, since
        return lease.token

    def __repr__(self) -> str:
        return f"VaultSession(logged_in={self._lease is not None})"


class _Auth(BaseModel):
    client_token: str = Field(min_length=1, repr=False)
    lease_duration: float = Field(ge=0)
    renewable: bool


class _LoggedIn(BaseModel):
    auth: _Auth


class _Found(BaseModel):
    ttl: float = Field(ge=0)
    renewable: bool = False


class _LookedUp(BaseModel):
    data: _Found


def _lease(response: httpx.Response) -> Lease:
    auth = vault_answer(response, _LoggedIn).auth
    return Lease(auth.client_token, auth.lease_duration, auth.renewable)


def _check(response: httpx.Response, otherwise: str) -> None:
    if not response.is_success:
        raise SecretUnavailable(f"{otherwise} (HTTP {response.status_code}).")
