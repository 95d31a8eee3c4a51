"""The services as processes of their own, on a real database and a real broker."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from fastapi import FastAPI

from stella_embedded import issuer
from stella_runtime.operations import serving
from tests.support.namespaces import Namespace
from tests.support.ports import free_port

COMMANDS = {
    "api": ["-m", "stella_api"],
    "worker": ["-m", "stella_health_worker", "--role", "worker"],
    "scheduler": ["-m", "stella_health_worker", "--role", "scheduler"],
    "discovery": ["-m", "stella_discovery"],
}
START_SECONDS = 90
STOP_SECONDS = 40


@dataclass
class Service:
    """One process, and where it listens."""

    name: str
    port: int
    log: Path
    host: str
    process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-4000:]


@dataclass
class System:
    """Every service, started from the same settings as in production."""

    environment: dict[str, str]
    folder: Path
    signer: issuer.Issuer
    services: dict[str, Service] = field(default_factory=dict)
    inside: Namespace | None = None
    """Where services are started, if not on this machine's own network."""

    def client(self, tenant: str = "acme", *, service: str = "api") -> httpx.AsyncClient:
        """A client of the API, with a token of a tenant."""
        token = self.signer.token(tenant=tenant, subject="alice")
        return httpx.AsyncClient(
            base_url=f"{self.services[service].url}/api/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=40,
        )

    async def start(self, *names: str, **settings: str) -> None:
        """
        Start services, and return when each is ready.

        `worker-b` is another worker. Settings are environment variables of theirs.
        """
        host, prefix = "127.0.0.1", list[str]()
        if self.inside is not None:
            host, prefix = self.inside.address, self.inside.prefix
        for name in names:
            service = self.services.get(name) or Service(
                name=name, port=free_port(), log=self.folder / f"{name}.log", host=host
            )
            self.services[name] = service
            with service.log.open("ab") as log:
                service.process = await asyncio.create_subprocess_exec(
                    *prefix,
                    sys.executable,
                    *COMMANDS[name.partition("-")[0]],
                    env={
                        **self.environment,
                        **settings,
                        "STELLA_HOST": host,
                        "STELLA_PORT": str(service.port),
                    },
                    stdout=log,
                    stderr=log,
                )
        await asyncio.gather(*(self._ready(self.services[name]) for name in names))

    async def metrics(self, name: str) -> str:
        """What a service says of itself now."""
        async with httpx.AsyncClient(timeout=10) as http:
            return (await http.get(f"{self.services[name].url}/metrics")).text

    async def kill(self, name: str) -> None:
        """SIGKILL: no chance to finish anything."""
        await self._end(self.services[name], signal.SIGKILL)

    def pid(self, name: str) -> int:
        process = self.services[name].process
        assert process is not None
        return process.pid

    @contextmanager
    def frozen(self, name: str) -> Iterator[None]:
        """SIGSTOP, and SIGCONT after the block: it does not know that time has passed."""
        process = self.services[name].process
        assert process is not None
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    async def stop(self, name: str) -> int:
        """SIGTERM, and the exit code."""
        return await self._end(self.services[name], signal.SIGTERM)

    async def stop_all(self) -> None:
        for service in self.services.values():
            if service.process is not None and service.process.returncode is None:
                await self._end(service, signal.SIGTERM)

    async def _end(self, service: Service, number: signal.Signals) -> int:
        assert service.process is not None
        if service.process.returncode is None:
            service.process.send_signal(number)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                return await service.process.wait()
        except TimeoutError:
            service.process.kill()
            await service.process.wait()
            pytest.fail(f"{service.name} did not stop:\n{service.said()}")

    async def _ready(self, service: Service) -> None:
        assert service.process is not None
        try:
            async with asyncio.timeout(START_SECONDS), httpx.AsyncClient() as http:
                while service.process.returncode is None:
                    try:
                        answer = await http.get(f"{service.url}/readyz")
                    except httpx.TransportError:
                        answer = None
                    if answer is not None and answer.json()["status"] == "ready":
                        return
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pytest.fail(f"{service.name} is not ready:\n{service.said()}")
        pytest.fail(f"{service.name} ended while it started:\n{service.said()}")


@asynccontextmanager
async def authority() -> AsyncIterator[tuple[issuer.Issuer, str]]:
    """An issuer of tokens, and the address of its keys."""
    signer = issuer.Issuer(ec.generate_private_key(ec.SECP256R1()))
    app = FastAPI()
    app.include_router(issuer.routes(signer))
    async with serving(app, host="127.0.0.1", port=0, drain_seconds=1) as port:
        yield signer, f"http://127.0.0.1:{port}/oauth/jwks"


@asynccontextmanager
async def running_system(database_url: str, amqp_url: str, folder: Path) -> AsyncIterator[System]:
    """The settings of a system whose services the caller starts; all are stopped at the end."""
    async with authority() as (signer, keys_url):
        environment = {
            name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ
        } | {
            "STELLA_DATABASE_URL": database_url,
            "STELLA_AMQP_URL": amqp_url,
            "STELLA_JWKS_URL": keys_url,
            "STELLA_ISSUER": issuer.ISSUER,
            "STELLA_AUDIENCE": issuer.AUDIENCE,
            "STELLA_CURSOR_KEY": "a key for tests, thirty-two characters",
            "STELLA_EGRESS_ALLOW": "127.0.0.0/8",
            "STELLA_BUILTIN_PLUGIN_PATH": str(Path("plugins").absolute()),
        }
        running = System(environment=environment, folder=folder, signer=signer)
        try:
            yield running
        finally:
            await running.stop_all()


@pytest.fixture
async def system(database_url: str, amqp_url: str, tmp_path: Path) -> AsyncIterator[System]:
    """As `running_system`, for one test."""
    async with running_system(database_url, amqp_url, tmp_path) as running:
        yield running
