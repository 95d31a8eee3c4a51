"""The public keys of the issuer of tokens (RFC 7517)."""

import asyncio
import json
import time
from collections.abc import Callable

import httpx
import jwt
import structlog
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from stella_contracts.errors import KeysUnavailable, TokenRejected

log = structlog.get_logger()

GOOD_FOR_SECONDS = 300.0
UNKNOWN_KEY_PAUSE_SECONDS = 60.0
FAILURE_PAUSE_SECONDS = 1.0
FETCH_TIMEOUT_SECONDS = 5.0
LARGEST_KEY_SET = 256 * 1024
SHORTEST_RSA_KEY = 2048

_NO_KEYS = (
    httpx.HTTPError,
    httpx.InvalidURL,
    jwt.PyJWTError,
    ValueError,
    TimeoutError,
    # What PyJWT raises for JSON that is another document.
    AttributeError,
    TypeError,
)


class Keys:
    """
    Fetched when they are needed, once for all who need them.

    An unknown key id fetches them again, at most once a minute. While the issuer is away the
    keys that are known go on working.
    """

    def __init__(
        self, url: str, http: httpx.AsyncClient, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._url = url
        self._http = http
        self._clock = clock
        self._keys: dict[str, jwt.PyJWK] = {}
        self._next_fetch = float("-inf")
        self._next_fetch_for_unknown = float("-inf")
        self._fetching = asyncio.Lock()

    async def get(self, key_id: str) -> jwt.PyJWK:
        """Raises TokenRejected for an unknown key, KeysUnavailable while no key is known."""
        # While somebody fetches them, a key that is known waits for nobody: the issuer may hang.
        waits = key_id not in self._keys or not self._fetching.locked()
        if waits and self._is_due(key_id):
            async with self._fetching:
                # Whoever held the lock may have fetched them.
                if self._is_due(key_id):
                    await self._fetch()
        if not self._keys:
            raise KeysUnavailable
        if key_id not in self._keys:
            raise TokenRejected("its key is not one of the issuer's")
        return self._keys[key_id]

    async def check(self) -> None:
        """Raise KeysUnavailable unless a key is known."""
        if not self._keys:
            async with self._fetching:
                if not self._keys and self._clock() >= self._next_fetch:
                    await self._fetch()
        if not self._keys:
            raise KeysUnavailable

    def _is_due(self, key_id: str) -> bool:
        is_stranger = bool(self._keys) and key_id not in self._keys
        due = self._next_fetch_for_unknown if is_stranger else self._next_fetch
        return self._clock() >= due

    async def _fetch(self) -> None:
        found: dict[str, jwt.PyJWK] = {}
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_SECONDS):
                document = await self._document()
            found = usable(jwt.PyJWKSet.from_dict(json.loads(document)).keys)
        except _NO_KEYS as error:
            log.warning("keys_not_fetched", reason=type(error).__name__)
        now = self._clock()
        if found:
            self._keys = found
        # A set that is empty is a mistake at the other end: what is known goes on working.
        self._next_fetch = now + (GOOD_FOR_SECONDS if self._keys else FAILURE_PAUSE_SECONDS)
        self._next_fetch_for_unknown = now + UNKNOWN_KEY_PAUSE_SECONDS

    async def _document(self) -> bytes:
        document = b""
        async with self._http.stream("GET", self._url) as answer:
            answer.raise_for_status()
            async for chunk in answer.aiter_bytes():
                document += chunk
                if len(document) > LARGEST_KEY_SET:
                    raise ValueError("The key set is too large.")
        return document


def usable(keys: list[jwt.PyJWK]) -> dict[str, jwt.PyJWK]:
    """The keys of RS256 and ES256, by their ids. A shared secret is none, nor a short key."""
    return {
        key.key_id: key
        for key in keys
        if key.key_id
        and (
            (isinstance(key.key, RSAPublicKey) and key.key.key_size >= SHORTEST_RSA_KEY)
            or (
                isinstance(key.key, EllipticCurvePublicKey) and isinstance(key.key.curve, SECP256R1)
            )
        )
    }
