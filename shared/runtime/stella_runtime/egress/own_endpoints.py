"""Where this hub itself answers: its API, its database, its bus. They are no tools to check."""

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import structlog

from stella_runtime.egress.policy import unwrapped

log = structlog.get_logger()

FIND_SECONDS = 5.0


@dataclass(frozen=True)
class OwnEndpoints:
    """By whatever name or address they are dialled."""

    places: frozenset[tuple[str, int]] = frozenset()
    """Names and addresses, each with its port."""
    local_ports: frozenset[int] = frozenset()
    """Of those that listen on this machine, at any of its loopback addresses."""

    def include(self, host: str, address: str, port: int) -> bool:
        if (host, port) in self.places or (address, port) in self.places:
            return True
        return port in self.local_ports and _is_local(address)


async def find_own(
    places: Iterable[tuple[str, int]], lookup: Callable[[str], Sequence[str]]
) -> OwnEndpoints:
    """
    From the hosts and ports in a hub's settings.

    A name that does not resolve now is guarded by its name alone.
    """
    known = list(places)
    addresses = await asyncio.gather(*(_addresses(host, lookup) for host, _ in known))
    found = set(known)
    for (_, port), each in zip(known, addresses, strict=True):
        found |= {(address, port) for address in each}
    local = {port for host, port in found if _is_local(host)}
    return OwnEndpoints(frozenset(found), frozenset(local))


async def _addresses(host: str, lookup: Callable[[str], Sequence[str]]) -> Sequence[str]:
    try:
        async with asyncio.timeout(FIND_SECONDS):
            return await asyncio.to_thread(lookup, host)
    except (socket.gaierror, TimeoutError):
        log.warning("own_endpoint_not_resolved", host=host)
        return []


def _is_local(address: str) -> bool:
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return any(each.is_loopback or each.is_unspecified for each in unwrapped(parsed) or (parsed,))
