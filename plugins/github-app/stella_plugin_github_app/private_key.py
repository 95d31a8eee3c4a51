"""The private key of an App, and what is signed with it."""

import hashlib

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from stella_contracts.health import ErrorCode
from stella_contracts.plugin import CheckFailed, Secret

# Source: docs.github.com, "Generating a JSON Web Token for a GitHub App": at most ten minutes
# ahead, and a minute back for clocks that differ.
ISSUED_SECONDS_AGO = 60
EXPIRES_IN_SECONDS = 9 * 60


class AppKey:
    """Shows nothing of the key in its text forms."""

    def __init__(self, secret: Secret) -> None:
        """Raises CheckFailed, whose message holds nothing of the secret."""
        text = secret.value if len(secret.field_names) == 1 else secret.get("private_key") or ""
        # As it stands in variables of one line.
        pem = text.replace("\\n", "\n").encode()
        try:
            # Its primes are tested when it is made, which takes a hundred times a signature.
            key = load_pem_private_key(pem, password=None, unsafe_skip_rsa_key_validation=True)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            # Not `from error`: what cryptography says may quote the key.
            raise _unusable("it is no private key in PEM, or it has a passphrase") from None
        if not isinstance(key, RSAPrivateKey):
            raise _unusable("GitHub's are RSA keys, and it is another one")
        self._key = key
        self.fingerprint = hashlib.sha256(pem).hexdigest()

    def token(self, app: int | str, now: float) -> str:
        """What proves for a few minutes that the App asks; `now` is GitHub's time."""
        claims = {
            "iss": str(app),
            "iat": int(now) - ISSUED_SECONDS_AGO,
            "exp": int(now) + EXPIRES_IN_SECONDS,
        }
        return jwt.encode(claims, self._key, algorithm="RS256")

    def __repr__(self) -> str:
        return "AppKey()"


def _unusable(reason: str) -> CheckFailed:
    return CheckFailed(
        ErrorCode.SECRET_UNRESOLVABLE, f"The secret must be the App's private key: {reason}"
    )
