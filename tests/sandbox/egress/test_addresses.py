from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given, strategies as st

from dativo_ingest.sandbox.egress.addresses import is_own, own_refusal, refusal

_NO_ADDRESS = "0.0.0.0"  # noqa: S104  nothing is bound to it
_PRIVATE = ip_network("10.0.0.0/8")
_ALL = (ip_network("0.0.0.0/0"), ip_network("::/0"))


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "1.1.1.1", "151.101.1.140", "2606:4700::1111", "64:ff9b::808:808", "2002:808:808::1"]
)
def test_the_internet_may_be_reached(address: str) -> None:
    assert refusal(ip_address(address)) is None


@pytest.mark.parametrize(
    ("address", "why"),
    [
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("10.0.0.1", "private"),
        ("172.16.0.1", "private"),
        ("172.31.255.255", "private"),
        ("192.168.1.1", "private"),
        ("100.64.0.1", "private"),
        ("198.18.0.1", "private"),
        ("169.254.1.1", "link-local"),
        ("169.254.169.254", "metadata"),
        ("169.254.170.2", "metadata"),
        ("168.63.129.16", "metadata"),
        ("100.100.100.200", "metadata"),
        ("192.0.0.192", "metadata"),
        ("fd00:ec2::254", "metadata"),
        ("fd20:ce::254", "metadata"),
        (_NO_ADDRESS, "unspecified"),
        ("0.1.2.3", "reserved"),
        ("224.0.0.1", "multicast"),
        ("240.0.0.1", "reserved"),
        ("255.255.255.255", "reserved"),
        ("192.0.2.1", "reserved"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("fe80::1", "link-local"),
        ("fec0::1", "private"),
        ("fc00::1", "private"),
        ("fd12:3456::1", "private"),
        ("ff02::1", "multicast"),
        ("2001:db8::1", "reserved"),
        ("2001:10::1", "reserved"),
        ("3fff::1", "reserved"),
        ("5f00::1", "reserved"),
        ("100::1", "reserved"),
        ("4000::1", "reserved"),
    ],
)
def test_what_is_not_the_internet_is_refused_with_the_reason(address: str, why: str) -> None:
    assert refusal(ip_address(address)) == why


@pytest.mark.parametrize(
    "carrier",
    [
        pytest.param(lambda four: f"::ffff:{four}", id="IPv4-mapped"),
        pytest.param(lambda four: f"::ffff:0:{four}", id="IPv4-translated"),
        pytest.param(lambda four: f"64:ff9b::{four}", id="NAT64"),
        pytest.param(lambda four: f"64:ff9b:1::{four}", id="NAT64 of the network's own"),
        pytest.param(lambda four: f"::{four}", id="IPv4-compatible"),
        pytest.param(lambda four: str(ip_address((0x2002 << 112) + (int(IPv4Address(four)) << 80) + 1)), id="6to4"),
        pytest.param(
            lambda four: str(ip_address((0x20010000 << 96) + (int(IPv4Address(four)) << 64))), id="Teredo's server"
        ),
        pytest.param(
            lambda four: str(ip_address((0x20010000 << 96) + (~int(IPv4Address(four)) & 0xFFFFFFFF))),
            id="Teredo's client",
        ),
        pytest.param(lambda four: f"2a00:1450::200:5efe:{four}", id="ISATAP"),
    ],
)
@pytest.mark.parametrize("four", ["127.0.0.1", "10.0.0.1", "169.254.169.254", "192.168.0.1"])
def test_an_address_of_version_6_is_no_way_around(carrier: Callable[[str], str], four: str) -> None:
    assert refusal(ip_address(carrier(four))) is not None


@given(st.ip_addresses(v=4))
def test_a_mapped_address_is_judged_as_the_one_that_it_maps(four: IPv4Address) -> None:
    assert refusal(ip_address(f"::ffff:{four}")) == refusal(four)
    assert refusal(ip_address(f"::ffff:{four}"), (_PRIVATE,)) == refusal(four, (_PRIVATE,))


@given(st.ip_addresses(v=4) | st.ip_addresses(v=6))
def test_nothing_is_let_through_that_python_holds_for_private(address: IPv4Address | IPv6Address) -> None:
    if address.is_loopback or address.is_link_local or address.is_multicast or address.is_unspecified:
        assert refusal(address) is not None
    if refusal(address) is None:
        assert address.is_global or address in ip_network("64:ff9b::/96") or address in ip_network("2002::/16")


def test_a_range_that_is_granted_may_be_reached_and_no_other() -> None:
    assert refusal(ip_address("10.1.2.3"), (_PRIVATE,)) is None
    assert refusal(ip_address("::ffff:10.1.2.3"), (_PRIVATE,)) is None
    assert refusal(ip_address("192.168.1.1"), (_PRIVATE,)) == "private"
    assert refusal(ip_address("127.0.0.1"), (_PRIVATE,)) == "loopback"
    assert refusal(ip_address("127.0.0.1"), (ip_network("127.0.0.1/32"),)) is None


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.1.1",
        "168.63.129.16",
        "100.100.100.200",
        "fd00:ec2::254",
        "fe80::1",
        _NO_ADDRESS,
        "224.0.0.1",
        "::",
    ],
)
def test_a_wide_range_does_not_mean_metadata_nor_link_local_addresses(address: str) -> None:
    assert refusal(ip_address(address), (*_ALL, ip_network("100.64.0.0/10"), ip_network("fc00::/7"))) is not None


@pytest.mark.parametrize(
    ("address", "granted"),
    [
        ("169.254.169.254", "169.254.169.254/32"),
        ("169.254.169.254", "169.254.0.0/16"),
        ("169.254.1.1", "169.254.0.0/16"),
        ("100.100.100.200", "100.100.100.200/32"),
        ("fe80::1", "fe80::/64"),
        ("fd00:ec2::254", "fd00:ec2::254/128"),
    ],
)
def test_who_writes_such_a_range_means_it(address: str, granted: str) -> None:
    assert refusal(ip_address(address), (ip_network(granted),)) is None


def test_nobody_can_grant_what_no_host_has() -> None:
    assert refusal(ip_address(_NO_ADDRESS), (ip_network(_NO_ADDRESS),)) == "unspecified"
    assert refusal(ip_address("224.0.0.1"), (ip_network("224.0.0.0/4"),)) == "multicast"


def test_this_machines_own_address_is_refused_whatever_kind_it_is() -> None:
    own = ip_address("127.0.0.1")

    assert is_own(own)
    assert own_refusal(own) == "an address of this machine"
    assert own_refusal(own, (ip_network("127.0.0.0/8"),)) is None
    assert not is_own(ip_address("192.0.2.1"))
    assert own_refusal(ip_address("192.0.2.1")) is None
