"""From a reference to a secret, read when it is needed and kept nowhere."""

from stella_runtime.secrets.resolver import SecretResolver

__all__ = ["SecretResolver"]
