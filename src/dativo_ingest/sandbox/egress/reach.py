"""Whom a plugin may reach, decided from its grant alone; what a name resolves to is judged by `addresses`."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from dativo_ingest.sandbox.egress.addresses import EVERYWHERE, Network, own_refusal, refusal
from dativo_ingest.sandbox.egress.record import Denial
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.hosts import ANY_PORT, Address, Host, read_host


@dataclass(frozen=True)
class Reach:
    """What a grant lets a plugin reach.

    Attributes:
        hosts: The hosts, with ports.
        ranges: Ranges of addresses that are no part of the internet, which these hosts may have.
        anywhere: Those of the hosts that may have any such address.
        upload: The most bytes that a process may send.
        download: The most that it may be sent.
        connections: How many connections it may have at once.
    """

    hosts: tuple[Host, ...]
    ranges: tuple[Network, ...] = ()
    anywhere: tuple[Host, ...] = ()
    upload: int = 2**30
    download: int = 2**40
    connections: int = 64

    @classmethod
    def of(cls, grant: Grant) -> Reach:
        """Read a grant."""
        return cls(
            hosts=tuple(map(read_host, grant.network)),
            ranges=tuple(ipaddress.ip_network(each) for each in grant.private if "/" in each),
            anywhere=tuple(read_host(each) for each in grant.private if "/" not in each),
            upload=grant.upload_bytes,
            download=grant.download_bytes,
            connections=grant.connections,
        )

    def denies(self, host: Host) -> Denial | None:
        """Say what stands against a host, before anything of it is resolved."""
        if host.port != ANY_PORT and any(each.covers(host) for each in self.hosts):
            return None
        same = [each for each in self.hosts if Host(each.name, host.port).covers(host)]
        granted = f", as {', '.join(map(str, same))} is" if same and host.port != ANY_PORT else ""
        return Denial(host, "host", f"it is not granted{granted}", "capabilities.network", _as_asked(host))

    def denies_address(self, host: Host, address: Address) -> Denial | None:
        """Say what stands against an address that a granted host has."""
        granted = self.ranges
        if any(each.covers(host) for each in self.anywhere):  # an address means itself, a name any that it has
            granted += EVERYWHERE if host.address is None else (ipaddress.ip_network(host.address),)
        why = refusal(address, granted) or own_refusal(address, granted)
        if why is None:
            return None
        said = f"it is {_article(why)}" if host.address is not None else f"it resolves to {address}, {_article(why)}"
        return Denial(host, "address", said, "private", f"{address}/{address.max_prefixlen}")

    def at_quota(self, host: Host, what: str, most: str) -> Denial:
        """Make the denial for a process that moved as much as it may."""
        return Denial(host, "quota", f"its limit of {what} is reached: {most}", f"resources.{what}")


def _as_asked(host: Host) -> str:
    return f"{host.name}:PORT" if host.port == ANY_PORT else str(host)


def _article(why: str) -> str:
    if " " in why:
        return why
    if why == "metadata":
        return "an address of a metadata service"
    return f"{'an' if why[0] in 'aeiou' else 'a'} {why} address"
