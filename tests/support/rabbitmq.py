"""A real RabbitMQ for tests: a server per worker process, a virtual host per test."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx
import psutil
import pytest

from tests.support.ports import free_port

CONTAINER_IMAGE = "rabbitmq:3.13-management"
START_SECONDS = 60.0
STOP_SECONDS = 20.0
DEBIAN_SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
HOW_TO_GET_ONE = (
    "These tests need RabbitMQ. Either set STELLA_TEST_AMQP_URL (amqp://user:password@host:5672)"
    " and STELLA_TEST_AMQP_MANAGEMENT_URL (http://user:password@host:15672), or run a Docker"
    " engine, or install the server: apt-get install rabbitmq-server."
)


Resource = Literal["disk", "memory"]

_ALARMING: dict[Resource, list[str]] = {
    "disk": ["set_disk_free_limit", "5000GB"],
    "memory": ["set_vm_memory_high_watermark", "absolute", "1MB"],
}
_HARMLESS: dict[Resource, list[str]] = {
    "disk": ["set_disk_free_limit", "50MB"],
    "memory": ["set_vm_memory_high_watermark", "0.4"],
}

USUAL_HANDLING_SECONDS = 1800.0
_TIMEOUT = (
    "application:set_env(rabbit, consumer_timeout, {milliseconds}),"
    " application:set_env(rabbit, channel_tick_interval, min(60000, {milliseconds} div 2))."
)


class Management:
    """The broker's management interface, as far as tests need it."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._http = httpx.Client(
            base_url=f"{parts.scheme}://{parts.hostname}:{parts.port}/api",
            auth=(parts.username or "guest", parts.password or "guest"),
            timeout=10.0,
            trust_env=False,
        )

    def close(self) -> None:
        self._http.close()

    def answers(self) -> bool:
        try:
            return self._http.get("/overview").is_success
        except httpx.TransportError:
            return False

    def create_virtual_host(self, name: str) -> None:
        user = quote(str(self._call("GET", "/whoami").json()["name"]), safe="")
        self._call("PUT", f"/vhosts/{name}")
        everything = {"configure": ".*", "write": ".*", "read": ".*"}
        self._call("PUT", f"/permissions/{name}/{user}", json=everything)

    def delete_virtual_host(self, name: str) -> None:
        self._call("DELETE", f"/vhosts/{name}")

    def connection_names(self, virtual_host: str) -> list[str]:
        listed = self._call("GET", f"/vhosts/{virtual_host}/connections").json()
        return [str(connection["name"]) for connection in listed]

    def channels(self, virtual_host: str) -> int:
        """How many are open, as the broker knew some seconds ago."""
        return len(self._call("GET", f"/vhosts/{virtual_host}/channels").json())

    def close_connections(self, virtual_host: str, *, at_least: int) -> None:
        """Close every connection, once that many are listed, which takes the broker a moment."""
        wait_until(lambda: len(self.connection_names(virtual_host)) >= at_least, 30)
        for name in self.connection_names(virtual_host):
            self._http.delete(f"/connections/{quote(name, safe='')}")

    def delete_exchange(self, virtual_host: str, name: str) -> None:
        self._call("DELETE", f"/exchanges/{virtual_host}/{name}")

    def delete_queue(self, virtual_host: str, name: str) -> None:
        self._call("DELETE", f"/queues/{virtual_host}/{name}")

    def declare_queue(self, virtual_host: str, name: str, arguments: dict[str, Any]) -> None:
        body = {"durable": True, "arguments": arguments}
        self._call("PUT", f"/queues/{virtual_host}/{name}", json=body)

    def _call(
        self, method: str, path: str, *, json: dict[str, Any] | None = None
    ) -> httpx.Response:
        return self._http.request(method, path, json=json).raise_for_status()


@dataclass(frozen=True, slots=True)
class GivenServer:
    """A server that was there before: it cannot be stopped by a test."""

    amqp: str
    """Without a virtual host."""
    management: Management

    def stop(self) -> None:
        pytest.fail("The server of STELLA_TEST_AMQP_URL cannot be stopped by a test.")

    def kill(self) -> None:
        self.stop()

    def start(self) -> None:
        self.stop()

    def freeze(self) -> None:
        self.stop()

    def thaw(self) -> None:
        self.stop()

    def raise_alarm(self, resource: Resource) -> None:
        self.stop()

    def clear_alarm(self, resource: Resource) -> None:
        self.stop()

    def limit_handling(self, seconds: float) -> None:
        self.stop()


@dataclass(slots=True)
class LocalServer:
    """
    Debian's server as our own child process: own ports, name, folder and cookie.

    It dies with this process, and leaves nothing behind after `close`.
    """

    folder: Path
    port: int = field(default_factory=lambda: free_port())
    management_port: int = field(default_factory=lambda: free_port())
    distribution_port: int = field(default_factory=lambda: free_port())
    epmd_port: int = field(default_factory=lambda: free_port())
    management: Management = field(init=False)
    _broker: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _epmd: subprocess.Popen[bytes] | None = field(default=None, init=False)
    _spawner: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1), init=False)

    def __post_init__(self) -> None:
        self.management = Management(f"http://127.0.0.1:{self.management_port}")
        (self.folder / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            "management.tcp.ip = 127.0.0.1\n"
            f"management.tcp.port = {self.management_port}\n"
            "disk_free_limit.absolute = 50MB\n"
        )
        (self.folder / "enabled_plugins").write_text("[rabbitmq_management].\n")
        (self.folder / "rabbitmq-env.conf").touch()

    @property
    def amqp(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start, and return when it takes connections. What was durable is still there."""
        if self._broker is not None and self._broker.poll() is None:
            return
        if self._epmd is None:
            # In the foreground and ours: the one that `erl` would start by itself is a daemon,
            # which stays for ever.
            self._epmd = self._spawn("epmd", "-port", str(self.epmd_port), "-address", "127.0.0.1")
            wait_until(lambda: accepts(self.epmd_port), START_SECONDS)
        self._broker = broker = self._spawn(str(DEBIAN_SERVER))
        wait_until(lambda: broker.poll() is not None or self._takes_connections(), START_SECONDS)
        if not self._takes_connections():
            raise RuntimeError(f"RabbitMQ did not start:\n{self._last_output()}")

    def stop(self) -> None:
        """Stop as an operator would."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """Stop as a power cut would."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Take no processor time: connections stay, nothing is answered."""
        if self._broker is not None:
            self._broker.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        if self._broker is not None:
            self._broker.send_signal(signal.SIGCONT)

    def raise_alarm(self, resource: Resource) -> None:
        """Let the broker be short of disk or memory: it reads no more from who publishes."""
        self._control(*_ALARMING[resource])

    def clear_alarm(self, resource: Resource) -> None:
        self._control(*_HARMLESS[resource])

    def limit_handling(self, seconds: float) -> None:
        """Close channels, opened from now on, on which a delivery is unacknowledged for longer."""
        self._control("eval", _TIMEOUT.format(milliseconds=int(seconds * 1000)))

    def close(self) -> None:
        self.kill()
        if self._epmd is not None:
            self._epmd.kill()
            self._epmd.wait(STOP_SECONDS)
        self._spawner.shutdown()
        self.management.close()

    def _spawn(self, *command: str) -> subprocess.Popen[bytes]:
        """
        Start a process that does not outlive a test run that is killed.

        Linux sends that signal when the starting *thread* ends, so one thread of ours, and not
        the caller's, starts them.
        """
        with (self.folder / "output.log").open("ab") as output:
            started = self._spawner.submit(
                subprocess.Popen,
                ["setpriv", "--pdeathsig", "KILL", *command],
                env=self._environment(),
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            return started.result(START_SECONDS)

    def _control(self, *command: str) -> None:
        done = subprocess.run(
            [DEBIAN_SERVER.with_name("rabbitmqctl"), *command],
            env=self._environment(),
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"rabbitmqctl {' '.join(command)}:\n{done.stdout}{done.stderr}")

    def _end(self, how: signal.Signals) -> None:
        if self._broker is None or self._broker.poll() is not None:
            return
        # Small programs of the broker's, which notice its end a little later.
        attendants = psutil.Process(self._broker.pid).children(recursive=True)
        self._broker.send_signal(how)
        try:
            self._broker.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._broker.kill()
            self._broker.wait(STOP_SECONDS)
        self._broker = None
        _, staying = psutil.wait_procs(attendants, timeout=2)
        for process in staying:
            process.kill()
        wait_until(lambda: not accepts(self.port), STOP_SECONDS)

    def _takes_connections(self) -> bool:
        return accepts(self.port) and self.management.answers()

    def _last_output(self) -> str:
        return (self.folder / "output.log").read_text(errors="replace")[-4000:]

    def _environment(self) -> dict[str, str]:
        loopback = "-kernel inet_dist_use_interface {127,0,0,1}"
        return {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "LANG": "C.UTF-8",
            "HOME": str(self.folder),
            "ERL_EPMD_PORT": str(self.epmd_port),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODENAME": f"stella{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self.distribution_port),
            "RABBITMQ_CONF_ENV_FILE": str(self.folder / "rabbitmq-env.conf"),
            "RABBITMQ_CONFIG_FILE": str(self.folder / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.folder / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.folder / "data"),
            "RABBITMQ_LOG_BASE": str(self.folder),
            "RABBITMQ_LOGS": "-",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": loopback,
            # Replaces the shell by the broker, so that our signals reach the broker itself.
            "RUNNING_UNDER_SYSTEMD": "true",
        }


class ContainerServer:
    """The official image, on ports of this machine that stay the same when it is restarted."""

    def __init__(self, container: Any, port: int, management: Management) -> None:
        self.amqp = f"amqp://guest:guest@127.0.0.1:{port}"
        self.management = management
        self._container = container

    def stop(self) -> None:
        self._container.get_wrapped_container().stop(timeout=int(STOP_SECONDS))

    def kill(self) -> None:
        self._container.get_wrapped_container().kill()

    def start(self) -> None:
        self._container.get_wrapped_container().start()
        wait_until(self.management.answers, START_SECONDS)

    def freeze(self) -> None:
        self._container.get_wrapped_container().pause()

    def thaw(self) -> None:
        self._container.get_wrapped_container().unpause()

    def raise_alarm(self, resource: Resource) -> None:
        self._control(*_ALARMING[resource])

    def clear_alarm(self, resource: Resource) -> None:
        self._control(*_HARMLESS[resource])

    def limit_handling(self, seconds: float) -> None:
        """Close channels, opened from now on, on which a delivery is unacknowledged for longer."""
        self._control("eval", _TIMEOUT.format(milliseconds=int(seconds * 1000)))

    def _control(self, *command: str) -> None:
        code, output = self._container.exec(["rabbitmqctl", *command])
        if code:
            raise RuntimeError(f"rabbitmqctl {' '.join(command)}:\n{output.decode()}")


Server = GivenServer | ContainerServer | LocalServer


@pytest.fixture(scope="session")
def rabbitmq_server() -> Iterator[Server]:
    """
    From the environment, else a container, else a local process, else a failure.

    A test that stops the server must leave it running.
    """
    if os.environ.get("STELLA_TEST_AMQP_URL"):
        opened = _given_server()
    elif docker_answers():
        opened = _container_server()
    else:
        opened = local_server()
    with opened as server:
        yield server


@pytest.fixture
def virtual_host(rabbitmq_server: Server) -> Iterator[str]:
    name = f"test-{uuid4().hex}"
    rabbitmq_server.management.create_virtual_host(name)
    yield name
    # One of our own ends with the run. RabbitMQ 3.10 can lose its dead-lettering, for the queues
    # of all virtual hosts, when one is deleted while messages move from queue to queue.
    if isinstance(rabbitmq_server, GivenServer):
        rabbitmq_server.management.delete_virtual_host(name)


@pytest.fixture
def amqp_url(rabbitmq_server: Server, virtual_host: str) -> str:
    """An empty virtual host of this test's own."""
    return f"{rabbitmq_server.amqp}/{virtual_host}"


@contextmanager
def _given_server() -> Iterator[Server]:
    parts = urlsplit(os.environ["STELLA_TEST_AMQP_URL"])
    management_url = os.environ.get("STELLA_TEST_AMQP_MANAGEMENT_URL")
    if not management_url:
        pytest.fail(f"STELLA_TEST_AMQP_MANAGEMENT_URL is not set. {HOW_TO_GET_ONE}")
    with closing(Management(management_url)) as management:
        if not management.answers():
            pytest.fail(f"Nothing answers at STELLA_TEST_AMQP_MANAGEMENT_URL. {HOW_TO_GET_ONE}")
        yield GivenServer(amqp=f"{parts.scheme}://{parts.netloc}", management=management)


@contextmanager
def _container_server() -> Iterator[Server]:
    from testcontainers.core.container import DockerContainer

    port, management_port = free_port(), free_port()
    described = (
        DockerContainer(CONTAINER_IMAGE)
        .with_bind_ports(5672, port)
        .with_bind_ports(15672, management_port)
    )
    management_url = f"http://guest:guest@127.0.0.1:{management_port}"
    with described as container, closing(Management(management_url)) as management:
        wait_until(management.answers, START_SECONDS)
        yield ContainerServer(container, port, management)


@contextmanager
def local_server() -> Iterator[Server]:
    if not DEBIAN_SERVER.exists():
        pytest.fail(HOW_TO_GET_ONE)
    folder = Path(tempfile.mkdtemp(prefix="stella-rabbitmq-"))
    try:
        with closing(LocalServer(folder)) as server:
            server.start()
            yield server
    finally:
        shutil.rmtree(folder)


def docker_answers() -> bool:
    """Ask the engine itself: the client alone proves nothing."""
    address = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    try:
        if address.scheme == "unix":
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(2)
                connection.connect(address.path)
        else:
            host = (address.hostname or "", address.port or 2375)
            socket.create_connection(host, timeout=2).close()
    except OSError:
        return False
    return True


def accepts(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    """Return when the condition holds. Raises TimeoutError when it does not in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"Not so after {seconds:g} s.")
        time.sleep(0.05)
