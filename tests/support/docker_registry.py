"""A real registry: Debian's docker-registry, with data in a folder of its own."""

import json
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.support.certificates import ServerCertificate
from tests.support.programs import announced

START_SECONDS = 20
USER, PASSWORD = "ci", "Registry12345"
_HTPASSWD = f"{USER}:$2b$05$abcdefghijklmnopqrstuub5b5L60zvdfS59Qv1xWQgSTkbtOQ4fW\n"
_LISTENING = "listening on "


@dataclass(frozen=True, slots=True)
class TokenService:
    """Whose tokens a registry takes."""

    realm: str
    certificate: ServerCertificate
    service: str = "test-registry"
    issuer: str = "test-issuer"


@asynccontextmanager
async def docker_registry(
    *,
    certificate: ServerCertificate | None = None,
    passwords: bool = False,
    tokens: TokenService | None = None,
) -> AsyncIterator[str]:
    """
    Run one, and give its URL. A certificate makes it HTTPS; `passwords` lets only USER in,
    `tokens` who has one of that service.
    """
    program = shutil.which("docker-registry")
    if program is None:
        pytest.fail("No docker-registry: run tests/support/install-servers.sh")
    with tempfile.TemporaryDirectory(prefix="stella-registry-") as name:
        folder = Path(name)
        config = _config(folder, certificate, passwords, tokens)
        # YAML reads JSON.
        (folder / "config.yml").write_text(json.dumps(config))
        arguments = ("serve", str(folder / "config.yml"))
        async with announced(program, *arguments, after=_LISTENING, seconds=START_SECONDS) as place:
            address = place.split(",")[0].split('"')[0].strip()
            yield f"{'https' if certificate else 'http'}://{address}"


def _config(
    folder: Path,
    certificate: ServerCertificate | None,
    passwords: bool,
    tokens: TokenService | None,
) -> dict[str, Any]:
    config: dict[str, Any] = {
        "version": "0.1",
        "log": {"level": "info", "accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(folder / "data")}},
        "http": {"addr": "127.0.0.1:0"},
    }
    if certificate is not None:
        (folder / "server.pem").write_bytes(certificate.certificate)
        (folder / "server.key").write_bytes(certificate.key)
        config["http"]["tls"] = {
            "certificate": str(folder / "server.pem"),
            "key": str(folder / "server.key"),
        }
    if passwords:
        (folder / "htpasswd").write_text(_HTPASSWD)
        config["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    if tokens is not None:
        (folder / "tokens.pem").write_bytes(tokens.certificate.certificate)
        config["auth"] = {
            "token": {
                "realm": tokens.realm,
                "service": tokens.service,
                "issuer": tokens.issuer,
                "rootcertbundle": str(folder / "tokens.pem"),
            }
        }
    return config
