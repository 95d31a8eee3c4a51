"""A certified OpenID provider of a test's own: npm's oidc-provider, in node's wheel."""

import asyncio
import json
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.api import PrivateKey, jwk_of
from tests.support.ports import free_port

HUB = "https://hub.test"
HUB_ES256 = "https://hub.test/es256"
BILLING = "https://billing.test"
"""The resources that the provider gives tokens for; see `openid/provider.mjs`."""

_FOLDER = Path(__file__).with_name("openid")
_NODE = Path(sys.executable).with_name("node")


@dataclass
class OpenIdProvider:
    """A provider whose keys a test chooses. `start` may be called again after `stop`."""

    issuer: str
    process: Process | None = None

    async def start(self, keys: Mapping[str, PrivateKey]) -> None:
        """Listen, and sign with these keys."""
        process = await asyncio.create_subprocess_exec(
            str(_NODE), "provider.mjs", cwd=_FOLDER, stdin=PIPE, stdout=PIPE, stderr=DEVNULL
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self.process = process
        port = int(self.issuer.rpartition(":")[2])
        private = [_private(key) | {"kid": key_id} for key_id, key in keys.items()]
        process.stdin.write(json.dumps({"port": port, "keys": private}).encode() + b"\n")
        async with asyncio.timeout(30):
            assert await process.stdout.readline() == b"listening\n"

    async def stop(self) -> None:
        """End it, as it does with the end of its input: so it ends with us, too."""
        if self.process is not None:
            async with asyncio.timeout(10):
                await self.process.communicate(b"")

    async def token(self, *, resource: str | None = HUB, scope: str = "integrations:read") -> str:
        """What the client `scanner` is given for its credentials."""
        form = {"grant_type": "client_credentials", "scope": scope}
        async with httpx.AsyncClient(timeout=10) as http:
            answer = await http.post(
                f"{self.issuer}/token",
                data=form | ({"resource": resource} if resource else {}),
                auth=("scanner", "secret-of-the-tests"),
            )
        token: str = answer.raise_for_status().json()["access_token"]
        return token

    async def keys_url(self) -> str:
        """Where its description says that its keys are."""
        async with httpx.AsyncClient(timeout=10) as http:
            answer = await http.get(f"{self.issuer}/.well-known/openid-configuration")
        found: str = answer.raise_for_status().json()["jwks_uri"]
        return found


def _private(key: PrivateKey) -> dict[str, Any]:
    described = jwk_of(key, private=True)
    # Those of signing are what the provider lets nobody sign with.
    described.pop("key_ops", None)
    return described | {"use": "sig"}


@asynccontextmanager
async def running_provider(keys: Mapping[str, PrivateKey]) -> AsyncIterator[OpenIdProvider]:
    """A provider that is stopped after the block."""
    if not (_FOLDER / "node_modules").exists():
        pytest.fail("oidc-provider is not installed. Run: make test-tools")
    provider = OpenIdProvider(f"http://127.0.0.1:{free_port()}")
    await provider.start(keys)
    try:
        yield provider
    finally:
        await provider.stop()
