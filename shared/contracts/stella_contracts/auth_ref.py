"""
`authref://<vault>/<path>[#field]`: a pointer to a secret, never the secret.

Parsed once, at the edge, into a value. Examples: `authref://vault/ci/harbor#robot`,
`authref://azure-keyvault/name/secret`, `authref://env/HARBOR_ROBOT`.
"""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from stella_contracts.errors import MalformedAuthRef

SCHEME = "authref://"
MAX_LENGTH = 512
PATTERN = (
    r"^authref://[a-z0-9](?:[a-z0-9-]{0,62})"
    r"(?:/[A-Za-z0-9_.~+@=:-]{1,128})+(?:#[A-Za-z0-9_.-]{1,128})?$"
)
_VALID = re.compile(PATTERN)


@dataclass(frozen=True, slots=True)
class AuthRef:
    """A reference that was well-formed when it was made."""

    vault: str
    """Which store: `vault`, `azure-keyvault`, `kubernetes`, `env`, `file`."""

    path: str
    """Where in that store, without a leading slash."""

    field: str | None = None
    """Which field of the secret, or None for the whole of it."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """
        Read a reference.

        Raises MalformedAuthRef, whose message says what is wrong and never repeats the
        input: a caller who pastes the secret itself must not find it in a log.
        """
        if not text.startswith(SCHEME):
            raise MalformedAuthRef(
                "It must start with authref://, such as authref://vault/ci/harbor#robot. "
                "Store the secret in a vault and refer to it."
            )
        if len(text) > MAX_LENGTH:
            raise MalformedAuthRef(f"It may have at most {MAX_LENGTH} characters.")
        # fullmatch: `$` would let a newline at the end through.
        if not _VALID.fullmatch(text):
            raise MalformedAuthRef(
                "It must read authref://<vault>/<path>[#field]: vault in lower case, path "
                "segments of letters, digits and _.~+@=:- with no empty segment."
            )
        place, _, field = text.removeprefix(SCHEME).partition("#")
        vault, _, path = place.partition("/")
        if any(segment in {".", ".."} for segment in path.split("/")):
            raise MalformedAuthRef("A path segment may not be . or ...")
        return cls(vault=vault, path=path, field=field or None)

    def __str__(self) -> str:
        field = f"#{self.field}" if self.field else ""
        return f"{SCHEME}{self.vault}/{self.path}{field}"


class _AsText:
    """Lets a pydantic model hold an AuthRef that is text in JSON."""

    @classmethod
    def __get_pydantic_core_schema__(
        cls, _source: Any, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        # One function and no union: a union reports one error for each of its members.
        def read(value: Any) -> AuthRef:
            if isinstance(value, AuthRef):
                return value
            if not isinstance(value, str):
                raise PydanticCustomError("auth_ref", "It must be text: authref://<vault>/<path>.")
            try:
                return AuthRef.parse(value)
            except MalformedAuthRef as error:
                raise ValueError(str(error)) from None

        return core_schema.no_info_plain_validator_function(
            read, serialization=core_schema.to_string_ser_schema()
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, _schema: CoreSchema, _handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {"type": "string", "pattern": PATTERN, "maxLength": MAX_LENGTH}


AuthRefText = Annotated[AuthRef, _AsText]
"""An AuthRef in a DTO: text in JSON, a value in Python."""
