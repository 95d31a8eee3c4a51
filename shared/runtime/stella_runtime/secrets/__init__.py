"""From a reference to a secret, read when it is needed and kept nowhere."""

from stella_runtime.secrets.opening import open_secrets
from stella_runtime.secrets.policy import AuthRefPolicy
from stella_runtime.secrets.reading import Reader, SecretRead
from stella_runtime.secrets.resolver import SecretResolver
from stella_runtime.secrets.settings import SecretSettings

__all__ = [
    "AuthRefPolicy",
    "Reader",
    "SecretRead",
    "SecretResolver",
    "SecretSettings",
    "open_secrets",
]
