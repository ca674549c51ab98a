"""Which addresses a plugin may not reach, although the name of a granted host resolves to them, and why.

What may be reached is the internet: IANA's registries of special-purpose addresses say what is not
(https://www.iana.org/assignments/iana-ipv4-special-registry and -ipv6-). An address of version 6 that carries one of
version 4 is judged by that one.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Final, TypeAlias

from dativo_ingest.sandbox.hosts import Address

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network

EVERYWHERE: Final[tuple[Network, ...]] = (ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0"))
"""Every address; but link-local ones, which nobody means who says everywhere, and those of metadata services."""

_THIS_MACHINE: Final = "an address of this machine"
_INTERNET_6: Final = ipaddress.IPv6Network("2000::/3")
_NAT64: Final = ipaddress.IPv6Network("64:ff9b::/96")
_CARRIERS: Final = (  # and how many bits follow the address of version 4
    (ipaddress.IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (ipaddress.IPv6Network("::ffff:0:0:0/96"), 0),  # IPv4-translated, RFC 7915
    (_NAT64, 0),  # RFC 6052
    (ipaddress.IPv6Network("64:ff9b:1::/48"), 0),  # NAT64 of the network's own, RFC 8215
    (ipaddress.IPv6Network("::/96"), 0),  # IPv4-compatible
    (ipaddress.IPv6Network("2002::/16"), 80),  # 6to4
)
_TEREDO: Final = ipaddress.IPv6Network("2001::/32")
_ISATAP: Final = frozenset({0x5EFE, 0x2005EFE})  # RFC 5214: what stands before the address of version 4

# In order: the first that fits says why. "metadata" stands for services that hand a machine its credentials.
_REFUSED: Final = tuple(
    (ipaddress.ip_network(text), why)
    for text, why in (
        ("169.254.169.254/32", "metadata"),
        ("169.254.170.0/24", "metadata"),
        ("168.63.129.16/32", "metadata"),
        ("100.100.100.200/32", "metadata"),
        ("192.0.0.192/32", "metadata"),
        ("fd00:ec2::/32", "metadata"),
        ("fd20:ce::254/128", "metadata"),
        ("0.0.0.0/32", "unspecified"),
        ("0.0.0.0/8", "reserved"),
        ("10.0.0.0/8", "private"),
        ("100.64.0.0/10", "private"),
        ("127.0.0.0/8", "loopback"),
        ("169.254.0.0/16", "link-local"),
        ("172.16.0.0/12", "private"),
        ("192.0.0.0/24", "reserved"),
        ("192.0.2.0/24", "reserved"),
        ("192.88.99.0/24", "reserved"),
        ("192.168.0.0/16", "private"),
        ("198.18.0.0/15", "private"),
        ("198.51.100.0/24", "reserved"),
        ("203.0.113.0/24", "reserved"),
        ("224.0.0.0/4", "multicast"),
        ("240.0.0.0/4", "reserved"),
        ("::/128", "unspecified"),
        ("::1/128", "loopback"),
        ("fe80::/10", "link-local"),
        ("fec0::/10", "private"),
        ("fc00::/7", "private"),
        ("ff00::/8", "multicast"),
        ("2001::/23", "reserved"),
        ("2001:db8::/32", "reserved"),
        ("3fff::/20", "reserved"),
    )
)
_NARROWLY: Final = frozenset({"metadata", "link-local"})
_NEVER: Final = frozenset({"unspecified", "multicast"})


def refusal(address: Address, granted: Iterable[Network] = ()) -> str | None:
    """Say why an address may not be reached: ``"private"``, ``"metadata"``; None where it may.

    Args:
        address: What a name has resolved to.
        granted: Ranges that may be reached although they are no part of the internet. One that is wider than
            link-local addresses does not grant those, nor services of metadata: ``0.0.0.0/0`` means no harm.
    """
    ranges = tuple(granted)
    return next((why for each in _meant(address) if (why := _refusal(each, ranges)) is not None), None)


def is_own(address: Address) -> bool:
    """Say whether this machine has an address: it would answer itself, whatever kind of address it is."""
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6  # noqa: PLR2004  the version
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((str(address), 9))  # a datagram socket sends nothing for that, and is told its own address
        except OSError:
            return False
        return str(probe.getsockname()[0]) == str(address)


def own_refusal(address: Address, granted: Iterable[Network] = ()) -> str | None:
    """Refuse an address of this machine that no range grants."""
    meant = getattr(address, "ipv4_mapped", None) or address
    if is_own(address) and not any(_is_within(meant, each) for each in granted):
        return _THIS_MACHINE
    return None


def _refusal(address: Address, granted: tuple[Network, ...]) -> str | None:
    why, within = _why(address)
    if why is None or why in _NEVER:
        return why
    for each in granted:
        if _is_within(address, each) and (why not in _NARROWLY or _is_no_wider(each, within)):
            return None
    return why


@cache
def _why(address: Address) -> tuple[str | None, Network | None]:
    for network, why in _REFUSED:
        if _is_within(address, network):
            return why, network
    if address.version == 6 and address not in _INTERNET_6 and address not in _NAT64:  # noqa: PLR2004  the version
        return "reserved", None
    return None, None


def _is_within(address: Address, network: Network) -> bool:
    return address.version == network.version and address in network


def _is_no_wider(granted: Network, refused: Network | None) -> bool:
    """Say whether a range was written for such addresses: link-local ones at most, which metadata's lie within."""
    if refused is None:
        return False
    link_local = ipaddress.ip_network("169.254.0.0/16" if granted.version == 4 else "fe80::/10")  # noqa: PLR2004
    return any(
        granted.version == other.version and granted.subnet_of(other)  # type: ignore[arg-type]  # of one version
        for other in (refused, link_local)
    )


def _meant(address: Address) -> Iterator[Address]:
    """Give the addresses that packets to this one may reach: itself, and those of version 4 that it carries."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    number = int(address)
    low = ipaddress.IPv4Address(number & 0xFFFFFFFF)
    if address.ipv4_mapped is not None:
        yield address.ipv4_mapped
        return
    yield address
    if address in ipaddress.IPv6Network("::/127"):  # unspecified and loopback, which carry none
        return
    for network, behind in _CARRIERS:
        if address in network:
            yield ipaddress.IPv4Address(number >> behind & 0xFFFFFFFF)
    if address in _TEREDO:
        yield ipaddress.IPv4Address(number >> 64 & 0xFFFFFFFF)
        yield ipaddress.IPv4Address(~number & 0xFFFFFFFF)
    if number >> 32 & 0xFFFFFFFF in _ISATAP:
        yield low
