"""Finds the store that a reference names, and reads the fields out of what it holds."""

import asyncio
import json
import os
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from stella_contracts.auth_ref import AuthRef
from stella_contracts.errors import AuthRefForbidden, SecretUnavailable
from stella_contracts.plugin import Secret
from stella_runtime.secrets.cache import SecretCache
from stella_runtime.secrets.policy import AuthRefPolicy
from stella_runtime.secrets.reading import Reader, SecretRead, Tell
from stella_runtime.secrets.stores import EnvironmentStore, FileStore, SecretStore

RESOLVE_SECONDS = 5.0

SINGLE = "value"
"""What the only field of a secret without fields is called."""

_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z ]+-----\r?\n[\x20-\x7e\r\n]+")


class SecretResolver:
    """
    Resolves references. What was read is kept for a short time, so that a vault that is away
    for a moment costs nothing; who finds that a secret was refused asks for a fresh one.
    """

    def __init__(
        self,
        *,
        environment: Literal["production", "embedded"],
        folder: Path | None = None,
        stores: Mapping[str, SecretStore] | None = None,
        seconds: float = RESOLVE_SECONDS,
        cache: SecretCache | None = None,
        policy: AuthRefPolicy | None = None,
        tell: Tell = lambda _: None,
    ) -> None:
        """
        `tell` hears of every read of a vault, and of none that the cache has answered.
        `stores` are the vaults by name. The embedded environment has `env`, and `file` below
        the folder, besides: with them whoever registers an integration can have any of these
        secrets sent to a server of their own.
        """
        self._seconds = seconds
        self._policy = policy or AuthRefPolicy({})
        self._tell = tell
        self._cache = cache or SecretCache()
        self._stores = dict(stores or {})
        if environment == "embedded":
            self._stores.setdefault("env", EnvironmentStore(os.environ))
            if folder is not None:
                self._stores.setdefault("file", FileStore(folder))

    async def resolve(self, reference: AuthRef, *, reader: Reader, fresh: bool = False) -> Secret:
        """
        Read a secret; with a field in the reference, that field of it alone.

        `fresh` asks the vault now, whatever is remembered. Raises SecretUnavailable, whose
        message never holds a value, and AuthRefForbidden if the reader's tenant may not.
        """
        # Again, although it was checked when it was written: the policy may be another by now.
        if not self._policy.allows(reader.tenant_id, reference):
            raise AuthRefForbidden(self._policy.rules_of(reader.tenant_id))
        text = None if fresh else self._cache.find(reference.vault, reference.path)
        if text is None:
            text = await self._read_told(reference, reader)
            self._cache.keep(reference.vault, reference.path, text)
        fields = _fields_of(text)
        if reference.field is None:
            return Secret({name: _usable(name, value) for name, value in fields.items()})
        if reference.field not in fields:
            raise SecretUnavailable(f"The secret has no field {reference.field!r}.")
        return Secret({reference.field: _usable(reference.field, fields[reference.field])})

    async def _read_told(self, reference: AuthRef, reader: Reader) -> str:
        found = False
        try:
            text = await self._read(reference)
            found = True
            return text
        finally:
            self._tell(SecretRead(reader, reference, datetime.now(UTC), found=found))

    async def _read(self, reference: AuthRef) -> str:
        store = self._stores.get(reference.vault)
        if store is None:
            raise SecretUnavailable(f"This hub has no vault named {reference.vault!r}.")
        try:
            async with asyncio.timeout(self._seconds):
                return await store.read(reference.path)
        except TimeoutError as error:
            raise SecretUnavailable(
                f"The vault {reference.vault!r} did not answer in {self._seconds:g} s."
            ) from error


def _fields_of(text: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError):
        return {SINGLE: text}
    if not isinstance(parsed, dict):
        return {SINGLE: text}
    if not parsed:
        raise SecretUnavailable("The secret is an object without fields.")
    return parsed


def _usable(name: str, value: Any) -> str:
    """The value as it may go into a header. Raises SecretUnavailable without repeating it."""
    text = str(value) if type(value) is int else value
    if not isinstance(text, str):
        raise SecretUnavailable(f"The field {name[:64]!r} of the secret is no text or number.")
    # Editors and `echo` end files with a newline.
    text = text.rstrip("\r\n")
    if not text:
        raise SecretUnavailable(f"The field {name[:64]!r} of the secret is empty.")
    if not (_PRINTABLE.fullmatch(text) or _PRIVATE_KEY.fullmatch(text)):
        raise SecretUnavailable(
            f"The field {name[:64]!r} of the secret has characters other than printable ASCII,"
            " which no header can carry."
        )
    return text
