"""The places that secrets are read from."""

import asyncio
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from stella_contracts.errors import SecretUnavailable

FILE_LIMIT = 64 * 1024
KEYS_LIMIT = 64

_OURS = "STELLA_"


class SecretStore(Protocol):
    """One kind of vault."""

    async def read(self, path: str) -> str:
        """
        The text that is stored there: a JSON object of fields, or a value.

        Raises SecretUnavailable, whose message never holds what was read.
        """
        ...


class EnvironmentStore:
    """Variables of this process, for development."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables

    async def read(self, path: str) -> str:
        if path.startswith(_OURS):
            raise SecretUnavailable(f"Variables named {_OURS}… are the hub's own settings.")
        value = self._variables.get(path)
        if value is None:
            raise SecretUnavailable(f"The environment variable {path} is not set.")
        return value


class FileStore:
    """Files below a folder, for development."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def read(self, path: str) -> str:
        content = await asyncio.to_thread(self._content, path)
        try:
            return content.decode()
        except UnicodeDecodeError:
            # Not `from error`, which quotes the content.
            raise SecretUnavailable(f"The file {path} is not text in UTF-8.") from None

    def _content(self, path: str) -> bytes:
        try:
            folder = self._folder.resolve(strict=True)
            # Links may lead around inside the folder, as those of a mounted secret do.
            place = (folder / path).resolve(strict=True)
            if not place.is_relative_to(folder):
                raise SecretUnavailable(f"The file {path} is outside the folder of secrets.")
            # A pipe would never end, and a link put there since must not be followed.
            opened = os.open(place, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except (OSError, RuntimeError, ValueError) as error:
            raise SecretUnavailable(f"The file {path} cannot be read.") from error
        try:
            if not stat.S_ISREG(os.fstat(opened).st_mode):
                raise SecretUnavailable(f"The file {path} is not a regular file.")
            content = os.read(opened, FILE_LIMIT + 1)
        finally:
            os.close(opened)
        if len(content) > FILE_LIMIT:
            raise SecretUnavailable(f"The file {path} has more than {FILE_LIMIT} bytes.")
        return content


class MountedStore:
    """Secrets of Kubernetes that are mounted below a folder: a folder each, with a file a key."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = FileStore(folder)

    async def read(self, path: str) -> str:
        """One key, `harbor/password`, or all of a secret as a JSON object, `harbor`."""
        keys = await asyncio.to_thread(self._keys, path)
        if keys is None:
            return await self._files.read(path)
        values = {key: await self._files.read(f"{path}/{key}") for key in keys}
        return json.dumps(values)

    def _keys(self, path: str) -> list[str] | None:
        """The keys of a secret, or None if the path is not that of a folder."""
        place = self._folder / path
        try:
            if not place.is_dir():
                return None
            # Kubernetes keeps the versions of a secret in folders with two dots.
            found = [each.name for each in place.iterdir() if not each.name.startswith("..")]
        except OSError as error:
            raise SecretUnavailable(f"The secret {path} cannot be read.") from error
        if not found:
            raise SecretUnavailable(f"The secret {path} has no keys.")
        if len(found) > KEYS_LIMIT:
            raise SecretUnavailable(f"The secret {path} has more than {KEYS_LIMIT} keys.")
        return sorted(found)
