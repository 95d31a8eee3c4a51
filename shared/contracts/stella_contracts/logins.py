"""Credentials in the forms that most tools take."""

import httpx

from stella_contracts.health import ErrorCode
from stella_contracts.plugin import CheckFailed, Secret


def basic_login_of(secret: Secret) -> httpx.BasicAuth:
    """
    Make Basic authentication of a secret with the fields `username` and `password`, or of one
    value `name:password`.

    Raises CheckFailed, whose message holds nothing of the secret.
    """
    if len(secret.field_names) == 1:
        name, _, password = secret.value.partition(":")
    else:
        name, password = secret.get("username") or "", secret.get("password") or ""
    if not name or not password:
        raise CheckFailed(
            ErrorCode.SECRET_UNRESOLVABLE,
            "The secret must have the fields username and password, or be one name:password",
        )
    # Basic authentication (RFC 7617) ends the name at its first colon, and is text.
    if ":" in name or not _is_text(name + password):
        raise CheckFailed(
            ErrorCode.SECRET_UNRESOLVABLE,
            "The secret cannot be sent: a colon in the name, or control characters",
        )
    return httpx.BasicAuth(name, password)


def _is_text(value: str) -> bool:
    return not any(char < " " or char == "\x7f" or "\ud800" <= char <= "\udfff" for char in value)
