"""One try: resolve the key, sign (Standard Webhooks), post, and name what came of it."""

import asyncio
import base64
import binascii
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Protocol

import httpx
from standardwebhooks.webhooks import Webhook

from stella_contracts.auth_ref import AuthRef
from stella_contracts.errors import AuthRefForbidden, MalformedAuthRef, SecretUnavailable
from stella_contracts.failures import failure_of, retry_after
from stella_contracts.plugin import CheckFailed, Secret
from stella_health_worker.webhooks.rules import Try
from stella_runtime.persistence.webhook_sending import Parcel
from stella_runtime.secrets import Reader

ANSWER_SECONDS = 15.0
MEDIA_TYPE = "application/cloudevents+json; charset=utf-8"
SHORTEST_KEY = 24
"""Bytes, as the convention has it: a signature must not give its key away to guessing."""

_PREFIX = "whsec_"


class Egress(Protocol):
    def client_of(self, url: str, *, tenant_id: str) -> httpx.AsyncClient: ...


class Secrets(Protocol):
    async def resolve(self, reference: AuthRef, *, reader: Reader) -> Secret:
        """Raises SecretUnavailable, with a sentence that may be shown."""
        ...


class _NotSigned(Exception):
    """Nothing was sent. The message may be shown."""


class Sender:
    """Sends parcels by the one way out. The answer's body is not read: its status is enough."""

    def __init__(
        self, egress: Egress, secrets: Secrets, *, answer_seconds: float = ANSWER_SECONDS
    ) -> None:
        self._egress = egress
        self._secrets = secrets
        self._answer_seconds = answer_seconds

    async def send(self, parcel: Parcel) -> Try:
        """Raises nothing but CancelledError."""
        try:
            headers = await self._signed(parcel)
        except _NotSigned as error:
            return Try(error=f"secret_unresolvable: {error}", is_ours=True)
        try:
            async with (
                asyncio.timeout(self._answer_seconds),
                self._egress.client_of(parcel.url, tenant_id=parcel.tenant_id).stream(
                    "POST", parcel.url, content=parcel.body, headers=headers
                ) as response,
            ):
                return _answered(response)
        except TimeoutError:
            return Try(error=f"timeout: No answer within {self._answer_seconds:g} s")
        except CheckFailed as failure:
            return _failed(failure)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            return _failed(failure_of(error))

    async def _signed(self, parcel: Parcel) -> dict[str, str]:
        """Raises _NotSigned."""
        try:
            secret = await self._secrets.resolve(
                AuthRef.parse(parcel.auth_ref_uri), reader=Reader(parcel.tenant_id)
            )
        except (AuthRefForbidden, MalformedAuthRef, SecretUnavailable) as error:
            raise _NotSigned(str(error)) from error
        now = datetime.now(UTC)
        body = parcel.body.decode()
        signatures = [
            Webhook(key).sign(str(parcel.event_id), now, body) for key in keys_of(secret.values)
        ]
        return {
            "Content-Type": MEDIA_TYPE,
            "webhook-id": str(parcel.event_id),
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": " ".join(signatures),
        }


def keys_of(values: Sequence[str]) -> list[bytes]:
    """
    The keys that a secret holds, of which a receiver needs to know one: while a key is changed, a
    secret with two fields holds the old one and the new one. Raises _NotSigned.
    """
    keys = []
    for value in values:
        text = value.removeprefix(_PREFIX)
        try:
            key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
        except binascii.Error:
            # Not `from error`, and not the value.
            raise _NotSigned("The signing key is not base64, with or without whsec_") from None
        if len(key) < SHORTEST_KEY:
            raise _NotSigned(f"The signing key has fewer than {SHORTEST_KEY} bytes")
        keys.append(key)
    return keys


def _answered(response: httpx.Response) -> Try:
    status = response.status_code
    if response.is_success:
        return Try(status_code=status)
    error = f"HTTP {status}"
    if response.is_redirect:
        error += ": Redirects are not followed"
    return Try(status_code=status, error=error, retry_after_seconds=retry_after(response))


def _failed(failure: CheckFailed) -> Try:
    return Try(error=f"{failure.code}: {failure.message}"[:200])
