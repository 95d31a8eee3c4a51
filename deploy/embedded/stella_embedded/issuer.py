"""A development issuer of tokens. It hands a token to whoever asks: never for production."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import APIRouter, Form
from fastapi.responses import JSONResponse, Response
from jwt.algorithms import ECAlgorithm

from stella_contracts.integrations import TenantId

ISSUER = "urn:stella:development-issuer"
AUDIENCE = "stella-integrations"
LIFETIME_SECONDS = 12 * 3600
SCOPES = "integrations:read integrations:write integrations:operate integrations:admin"

MEANING = "Whoever reaches this port gets a token of any tenant. Never for production."

_ALGORITHM = "ES256"
_KEY_ID = "development"


class Issuer:
    """Signs tokens with a key that is kept in a file, so that they outlive a restart."""

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key

    @classmethod
    def from_file(cls, path: Path) -> "Issuer":
        """Use the key in a file, and make the file if it is not there. Blocks."""
        if path.exists():
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise ValueError(f"{path} holds another kind of key. Delete it to get a new one.")
            return cls(key)
        key = ec.generate_private_key(ec.SECP256R1())
        path.touch(mode=0o600)
        path.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return cls(key)

    def token(self, *, tenant: str, subject: str, scope: str = SCOPES) -> str:
        """A token that is good for twelve hours."""
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": subject,
            "tenant": tenant,
            "scope": scope,
            "iat": now,
            "exp": now + LIFETIME_SECONDS,
        }
        return jwt.encode(claims, self._key, algorithm=_ALGORITHM, headers={"kid": _KEY_ID})

    def key_set(self) -> dict[str, Any]:
        """The public key, as a JSON Web Key Set (RFC 7517)."""
        public = json.loads(ECAlgorithm.to_jwk(self._key.public_key()))
        return {"keys": [public | {"kid": _KEY_ID, "alg": _ALGORITHM, "use": "sig"}]}


def routes(issuer: Issuer) -> APIRouter:
    """`POST /oauth/token` (client credentials, RFC 6749) and the key set beside it."""
    router = APIRouter(prefix="/oauth", tags=["development issuer"])

    @router.post("/token")
    async def issue_token(
        grant_type: Annotated[str, Form()],
        tenant: Annotated[TenantId, Form()],
        scope: Annotated[str, Form(max_length=500)] = SCOPES,
        client_id: Annotated[str, Form(max_length=100)] = "developer",
    ) -> Response:
        """Hand out a token for any tenant and scope. Development only."""
        if grant_type != "client_credentials":
            return JSONResponse({"error": "unsupported_grant_type"}, status_code=400)
        unknown = set(scope.split()) - set(SCOPES.split())
        if unknown:
            return JSONResponse({"error": "invalid_scope"}, status_code=400)
        return JSONResponse(
            {
                "access_token": issuer.token(tenant=tenant, subject=client_id, scope=scope),
                "token_type": "Bearer",
                "expires_in": LIFETIME_SECONDS,
                "scope": scope,
            },
            headers={"Cache-Control": "no-store"},
        )

    @router.get("/jwks")
    async def list_keys() -> dict[str, Any]:
        """The key that tokens are checked with."""
        return issuer.key_set()

    return router
