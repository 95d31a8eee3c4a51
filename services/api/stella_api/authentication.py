"""Who is calling: a bearer token, checked by the keys of its issuer (RFC 8725, RFC 9068)."""

import hashlib
import re
import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import jwt

from stella_api.keys import GOOD_FOR_SECONDS, Keys
from stella_api.settings import ApiSettings
from stella_contracts.errors import ScopeMissing, TokenRejected
from stella_contracts.integrations import TENANT_PATTERN

ALGORITHMS = ["RS256", "ES256"]
LEEWAY_SECONDS = 60
LONGEST_TOKEN = 8192
CACHED_TOKENS = 10_000
LONGEST_SUBJECT = 255

_TENANT = re.compile(TENANT_PATTERN)


@dataclass(frozen=True, slots=True)
class Actor:
    """The caller, as the token says."""

    tenant_id: str
    subject: str
    scopes: frozenset[str]
    expires_at: float
    """When the token stops being good, in seconds since 1970."""

    def require(self, scope: str) -> None:
        """Raises ScopeMissing."""
        if scope not in self.scopes:
            raise ScopeMissing(scope)


class Authenticator:
    """
    Turns a token into an actor.

    A token that was good is believed until it expires, and no longer than the key that it was
    checked with: a key that the issuer withdraws is worth nothing soon after.
    """

    def __init__(self, settings: ApiSettings, keys: Keys) -> None:
        self._settings = settings
        self._keys = keys
        self._known: OrderedDict[bytes, tuple[float, Actor]] = OrderedDict()

    async def authenticate(self, authorization: str | None) -> Actor:
        """Raises TokenRejected, or KeysUnavailable."""
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise TokenRejected("there is none; send Authorization: Bearer <token>")
        if len(token) > LONGEST_TOKEN:
            raise TokenRejected("it is too long")
        digest = hashlib.sha256(token.encode("utf-8", "replace")).digest()
        known = self._known.get(digest)
        if known is not None and known[0] > time.time():
            return known[1]
        claims = await self._verify(token)
        actor = self._actor(claims)
        self._known[digest] = (min(actor.expires_at, time.time() + GOOD_FOR_SECONDS), actor)
        if len(self._known) > CACHED_TOKENS:
            self._known.popitem(last=False)
        return actor

    async def _verify(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
            if header.get("alg") not in ALGORITHMS:
                raise TokenRejected(f"its algorithm must be one of {', '.join(ALGORITHMS)}")
            key = await self._keys.get(str(header.get("kid", "")))
            claims = jwt.decode(
                token,
                key,
                # The key decides, not the header: a public key never checks an HMAC.
                algorithms=[name for name in ALGORITHMS if name == header["alg"]],
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.ExpiredSignatureError as error:
            raise TokenRejected("it has expired") from error
        except jwt.InvalidAudienceError as error:
            raise TokenRejected("it is for another audience") from error
        except jwt.InvalidIssuerError as error:
            raise TokenRejected("it is from another issuer") from error
        except jwt.ImmatureSignatureError as error:
            raise TokenRejected("it is not good yet") from error
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError) as error:
            raise TokenRejected("it is not a valid token of the issuer") from error
        return claims

    def _actor(self, claims: dict[str, Any]) -> Actor:
        tenant = claims.get(self._settings.tenant_claim)
        if not isinstance(tenant, str) or not _TENANT.fullmatch(tenant):
            raise TokenRejected(f"its claim {self._settings.tenant_claim!r} names no tenant")
        subject = claims["sub"]
        if not (0 < len(subject) <= LONGEST_SUBJECT and subject.isprintable()):
            raise TokenRejected("its subject is not a name")
        scope = claims.get("scope", "")
        return Actor(
            tenant_id=tenant,
            subject=subject,
            scopes=frozenset(scope.split() if isinstance(scope, str) else ()),
            expires_at=float(claims["exp"]) + LEEWAY_SECONDS,
        )
