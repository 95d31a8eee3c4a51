"""Addresses that may be called, and those that may not, in every form that they can have."""

from ipaddress import IPv4Address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stella_runtime.egress.policy import EgressPolicy

EVERYTHING = [ip_network("0.0.0.0/0"), ip_network("::/0")]

NEVER = [
    "0.0.0.0",
    "0.1.2.3",
    "100.100.100.200",
    "168.63.129.16",
    "169.254.169.254",
    "169.254.170.2",
    "192.0.0.192",
    "192.0.2.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "ff02::1",
    "fd00:ec2::254",
    "fd20:ce::254",
    "2001:db8::1",
    "100::1",
    "64:ff9b:1::a9fe:a9fe",
    "::169.254.169.254",
    "::ffff:169.254.169.254",
    "::ffff:0:169.254.169.254",
    "64:ff9b::169.254.169.254",
    "2002:a9fe:a9fe::1",
    "2001:0:a9fe:a9fe::1",
    "2001:0:808:808:0:0:5601:5601",
    "not an address",
    "127.1",
    "",
]

BY_PERMISSION = [
    "10.0.0.1",
    "100.64.0.1",
    "127.0.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "198.18.0.1",
    "::1",
    "fc00::1",
    "fd12:3456::1",
    "fec0::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "64:ff9b::10.0.0.1",
    "2002:7f00:1::",
]

PUBLIC = ["1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "64:ff9b::1.1.1.1"]


@pytest.mark.parametrize("address", [*NEVER, *BY_PERMISSION])
def test_special_address_is_blocked(address: str) -> None:
    assert not EgressPolicy().permits(address)


@pytest.mark.parametrize("address", NEVER)
def test_no_network_allows_what_is_always_blocked(address: str) -> None:
    assert not EgressPolicy(EVERYTHING).permits(address)


@pytest.mark.parametrize("address", BY_PERMISSION)
def test_private_address_is_allowed_with_its_network(address: str) -> None:
    assert EgressPolicy(EVERYTHING).permits(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_public_address_is_allowed(address: str) -> None:
    assert EgressPolicy().permits(address)


def test_private_address_outside_the_allowed_network_is_blocked() -> None:
    policy = EgressPolicy([ip_network("10.1.0.0/16")])

    assert policy.permits("10.1.2.3")
    assert policy.permits("::ffff:10.1.2.3")
    assert not policy.permits("10.2.0.1")
    assert not policy.permits("::ffff:10.2.0.1")


@given(st.ip_addresses(v=4))
def test_wrapping_changes_nothing(address: IPv4Address) -> None:
    policy = EgressPolicy([ip_network("10.0.0.0/8")])
    number = int(address)

    wrapped = [
        f"::ffff:{address}",
        f"64:ff9b::{address}",
        f"2002:{number >> 16:x}:{number & 0xFFFF:x}::1",
    ]

    assert {policy.permits(each) for each in wrapped} == {policy.permits(str(address))}
