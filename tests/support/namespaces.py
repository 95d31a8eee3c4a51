"""
A network of the kernel's own, which can be parted: for root, on Linux with `ip`.

What runs inside has two ways to this machine: one that always works, for who watches it, and one
by a router. Parted, the router drops what it is given, both ways and without a word, as a cable
does that is pulled further on: TCP sends again and again, and nobody is told.
"""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_BENCHMARKS = (198 << 24) | (18 << 16)
"""198.18.0.0/15, which RFC 2544 keeps for tests of networks: nobody's addresses."""
_BLOCK = 16


@dataclass(frozen=True, slots=True)
class Namespace:
    """A host of its own."""

    name: str
    address: str
    """Where it is always reached from this machine."""
    this_machine: str
    """Where it always reaches this machine."""
    by_router: str
    """Where it reaches this machine unless it is parted."""
    _behind_router: str

    @property
    def prefix(self) -> list[str]:
        """Before a command that is to run inside."""
        return ["ip", "netns", "exec", self.name]

    def cut(self) -> None:
        """Drop what is on its way by the router, both ways, from now on."""
        self._blackholes("add")

    def heal(self) -> None:
        """Undo `cut`."""
        self._blackholes("del")

    def _blackholes(self, change: str) -> None:
        for address in (self.by_router, self._behind_router):
            _inside(f"{self.name}-r", f"route {change} blackhole {address}/32")


def can_be_made() -> bool:
    """Whether this process may make one."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    name = f"stella-try-{os.getpid()}"
    try:
        _ip(f"netns add {name}")
    except subprocess.CalledProcessError:
        return False
    _ip(f"netns del {name}")
    return True


@contextmanager
def namespace() -> Iterator[Namespace]:
    """One, until the block ends. What runs inside must have ended by then."""
    number = random.randrange(1 << 13)
    name, router = f"stella{number}", f"stella{number}-r"
    here, router_near, router_far, behind, this_machine, address = (
        _address(number, offset) for offset in (1, 2, 5, 6, 9, 10)
    )
    try:
        _ip(f"netns add {name}")
        _ip(f"netns add {router}")
        _ip(f"link add {name}r type veth peer name near netns {router}")
        _ip(f"link add {name}d type veth peer name direct netns {name}")
        _inside(router, f"link add far type veth peer name routed netns {name}")
        _ip(f"addr add {here}/30 dev {name}r")
        _ip(f"addr add {this_machine}/30 dev {name}d")
        _inside(router, f"addr add {router_near}/30 dev near")
        _inside(router, f"addr add {router_far}/30 dev far")
        _inside(name, f"addr add {behind}/30 dev routed")
        _inside(name, f"addr add {address}/30 dev direct")
        for link in (f"{name}r", f"{name}d"):
            _ip(f"link set {link} up")
        for inside, link in (
            (router, "near"),
            (router, "far"),
            (name, "routed"),
            (name, "direct"),
            (name, "lo"),
        ):
            _inside(inside, f"link set {link} up")
        _ip(f"netns exec {router} tee /proc/sys/net/ipv4/ip_forward", given=b"1")
        _inside(name, f"route add {here}/32 via {router_far}")
        _ip(f"route add {behind}/32 via {router_near}")
        yield Namespace(name, address, this_machine, here, behind)
    finally:
        # With them go their links, the other ends of those, and the routes by them.
        for each in (name, router):
            subprocess.run(
                ["ip", "netns", "del", each],
                check=False,
                capture_output=True,
            )


def _address(number: int, offset: int) -> str:
    whole = _BENCHMARKS + number * _BLOCK + offset
    return ".".join(str(whole >> shift & 255) for shift in (24, 16, 8, 0))


def _inside(name: str, command: str) -> None:
    _ip(f"-n {name} {command}")


def _ip(command: str, *, given: bytes = b"") -> None:
    subprocess.run(
        ["ip", *command.split()],
        check=True,
        capture_output=True,
        input=given,
        timeout=10,
    )
