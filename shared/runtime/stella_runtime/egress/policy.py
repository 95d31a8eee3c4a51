"""Which addresses may be called. Pure; decided on numbers, never on how they were spelled."""

from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Reach(Enum):
    """How far an address may be reached."""

    PUBLIC = "public"
    BY_PERMISSION = "by permission"
    """Loopback and private: only inside a network that the operator allows."""
    NEVER = "never"


# The IANA special-purpose registries, and the metadata services of clouds. `is_global` of
# Python's ipaddress is true for many of these, so it is no policy.
_NEVER_V4 = [
    IPv4Network(network)
    for network in (
        "0.0.0.0/8",
        "100.100.100.200/32",  # Alibaba Cloud's metadata
        "168.63.129.16/32",  # Azure's wire server
        "169.254.0.0/16",  # link-local, with the metadata of AWS, Azure, Google and others
        "192.0.0.0/24",  # with Oracle Cloud's metadata
        "192.0.2.0/24",
        "192.88.99.0/24",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
]
_PRIVATE_V4 = [
    IPv4Network(network)
    for network in (
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "198.18.0.0/15",
    )
]
_NEVER_V6 = [
    IPv6Network(network)
    for network in (
        "2001::/23",
        "2001:db8::/32",
        "3fff::/20",
        "fd00:ec2::/32",  # AWS: metadata, DNS, time
        "fd20:ce::/32",  # Google Cloud's metadata
    )
]
_PRIVATE_V6 = [IPv6Network("::1/128"), IPv6Network("fc00::/7"), IPv6Network("fec0::/10")]
_GLOBAL_V6 = IPv6Network("2000::/3")

# Prefixes whose last 32 bits are an IPv4 address: mapped, translated (RFC 2765), NAT64
# (RFC 6052) and the deprecated compatible form.
_EMBEDS_V4 = [
    IPv6Network(network)
    for network in ("::/96", "::ffff:0:0/96", "::ffff:0:0:0/96", "64:ff9b::/96")
]
_NOT_EMBEDDED = {IPv6Address("::"), IPv6Address("::1")}


def reach_of(address: Address) -> Reach:
    """How far an address may be reached. It is judged without what it is wrapped in."""
    inner = unwrapped(address)
    if inner:
        return max((reach_of(each) for each in inner), key=list(Reach).index)
    if isinstance(address, IPv4Address):
        if _is_in(address, _NEVER_V4):
            return Reach.NEVER
        return Reach.BY_PERMISSION if _is_in(address, _PRIVATE_V4) else Reach.PUBLIC
    if _is_in(address, _NEVER_V6):
        return Reach.NEVER
    if _is_in(address, _PRIVATE_V6):
        return Reach.BY_PERMISSION
    return Reach.PUBLIC if address in _GLOBAL_V6 else Reach.NEVER


class EgressPolicy:
    """What an operator allows."""

    def __init__(self, allow: Iterable[Network] = ()) -> None:
        self._allow = tuple(allow)

    def permits(self, address: str) -> bool:
        """Whether the address, in its numeric form, may be dialled."""
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        reach = reach_of(parsed)
        if reach is Reach.BY_PERMISSION:
            return all(_is_in(each, self._allow) for each in unwrapped(parsed) or (parsed,))
        return reach is Reach.PUBLIC


class Policies:
    """What each tenant may reach."""

    def __init__(
        self, allow: Iterable[Network], by_tenant: Mapping[str, Iterable[Network]]
    ) -> None:
        everywhere = tuple(allow)
        self._of_all = EgressPolicy(everywhere)
        self._of = {
            tenant: EgressPolicy((*everywhere, *more)) for tenant, more in by_tenant.items()
        }

    def of(self, tenant_id: str | None) -> EgressPolicy:
        return self._of_all if tenant_id is None else self._of.get(tenant_id, self._of_all)


def unwrapped(address: Address) -> Sequence[Address]:
    """The IPv4 addresses that an IPv6 address stands for."""
    if isinstance(address, IPv4Address) or address in _NOT_EMBEDDED:
        return []
    if _is_in(address, _EMBEDS_V4):
        return [IPv4Address(int(address) & 0xFFFFFFFF)]
    if address.sixtofour is not None:
        return [address.sixtofour]
    return list(address.teredo or [])


def _is_in(address: Address, networks: Iterable[Network]) -> bool:
    return any(address in network for network in networks)
