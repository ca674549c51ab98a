"""Hosts with ports, as manifests ask for them and policies allow them: ``api.stripe.com:443``, ``*.stripe.com:443``."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, TypeAlias
from urllib.parse import urlsplit

from pydantic import AfterValidator

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_ADDRESS = re.compile(r"\[(?P<six>[^\]]+)\]:(?P<six_port>[^:]*)|(?P<host>[^:\[\]]*):(?P<port>[^:]*)")
_LIKE_A_NUMBER = re.compile(r"\d+|0x[0-9a-f]*")  # 0177.1 and 2130706433 are addresses to some resolvers
_MAX_NAME = 253
_MAX_PORT = 65_535
_CONFIG = re.compile(r"config:(?P<key>(?:connection|options)(?:\.[A-Za-z_]\w*)+)(?::(?P<port>.+))?")
_KEY = re.compile(r"(?:connection|options)(?:\.[A-Za-z_]\w*)+")
_SCHEMES = {"http": 80, "ws": 80, "https": 443, "wss": 443}

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

ANY_PORT = 0


@dataclass(frozen=True, order=True)
class Host:
    """A host, or all whose names have one label more than what stands after ``*.``, and a port.

    Attributes:
        name: In small letters, without the dot at the end; an address of IP version 6 without its brackets.
        port: `ANY_PORT` is every port; only a policy says so.
    """

    name: str
    port: int

    def __str__(self) -> str:
        name = f"[{self.name}]" if ":" in self.name else self.name
        return f"{name}:{self.port if self.port != ANY_PORT else '*'}"

    @property
    def address(self) -> Address | None:
        """The address, where it is named by one."""
        return _address(self.name)

    def covers(self, other: Host) -> bool:
        """Say whether everything that ``other`` stands for is within this."""
        if self.port not in {ANY_PORT, other.port}:
            return False
        if self.name == other.name:
            return True
        rest = other.name.partition(".")[2]
        return self.name.startswith("*.") and self.name == f"*.{rest}" and other.address is None


@dataclass(frozen=True)
class FromConfig:
    """A host that a job's configuration names.

    Attributes:
        key: Where: ``("connection", "host")``.
        port: A number, where another key has it, or None: within the value itself.
    """

    key: tuple[str, ...]
    port: int | tuple[str, ...] | None


def read_host(text: str, *, any_port: bool = False, labels: int = 2) -> Host:
    """Read ``name:port``.

    Args:
        text: A name, ``*.`` and a name, or an address, then ``:`` and a port.
        any_port: Whether the port may be ``*``.
        labels: How many labels a name after ``*.`` has at least.

    Raises:
        ValueError: It is none.
    """
    found = _ADDRESS.fullmatch(text.strip())
    if not found:
        raise ValueError(f"{text!r} is no host with a port; write api.example.com:443")
    port = _port(found["port"] if found["six"] is None else found["six_port"], text, any_port=any_port)
    if found["six"] is not None and _address(found["six"]) is None:
        raise ValueError(f"{text!r}: within brackets stands an address of IP version 6")
    return Host(_name(found["six"] or found["host"], text, labels=labels), port)


def read_asked(text: str) -> Host | FromConfig:
    """Read what a manifest asks for: a host with a port, or where the job's configuration has one.

    ``config:connection.host`` takes the port from the value (``host:port`` or a URL), ``config:connection.host:5432``
    says it, and ``config:connection.host:connection.port`` says which key has it.

    Raises:
        ValueError: It is none.
    """
    if not text.startswith("config:"):
        return read_host(text)
    found = _CONFIG.fullmatch(text)
    if not found:
        raise ValueError(
            f"{text!r} is no place in a job's configuration; write config:connection.host, "
            "config:connection.host:5432 or config:connection.host:connection.port"
        )
    port = found["port"]
    key = tuple(found["key"].split("."))
    if port is None:
        return FromConfig(key, None)
    if _KEY.fullmatch(port):
        return FromConfig(key, tuple(port.split(".")))
    return FromConfig(key, _port(port, text, any_port=False))


def hosts_in(value: object, port: object) -> Iterator[Host]:
    """Give the hosts that a value of a job's configuration names: one, or a list of them.

    Args:
        value: A name, ``name:port``, or a URL.
        port: The port of those that name none, or None.

    Raises:
        ValueError: One of them is no host, or has no port.
    """
    for each in value if isinstance(value, list | tuple) else [value]:
        if not isinstance(each, str) or not each.strip():
            raise ValueError("no host stands there")
        yield _host_in(each.strip(), port)


def _host_in(text: str, port: object) -> Host:
    scheme, separator, _ = text.partition("://")
    try:
        parts = urlsplit(
            text if separator else f"//{text}" if text.count(":") <= 1 or text[0] == "[" else f"//[{text}]"
        )
        name, own = parts.hostname, parts.port
    except ValueError:
        raise ValueError("what stands there is no host") from None
    if not name:
        raise ValueError("what stands there is no host")
    chosen = next((each for each in (own, port, _SCHEMES.get(scheme) if separator else None) if each is not None), None)
    if chosen is None:
        raise ValueError("the host there has no port")
    return Host(_name(name, name), _port(str(chosen), str(chosen), any_port=False))


def _port(text: str, whole: str, *, any_port: bool) -> int:
    if text == "*" and any_port:
        return ANY_PORT
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= _MAX_PORT):
        raise ValueError(f"{whole!r} has no port from 1 to {_MAX_PORT}; write api.example.com:443")
    return int(text)


def _name(text: str, whole: str, *, labels: int = 2) -> str:
    name = text.lower().removesuffix(".")
    address = _address(name)
    if address is not None:
        return str(address)
    if not name.isascii():
        raise ValueError(f"{whole!r}: write the name as DNS has it (xn--…)")
    rest = name.removeprefix("*.")
    if "*" in rest:
        raise ValueError(f"{whole!r}: * stands for the first label and no other, such as *.example.com:443")
    if rest != name and rest.count(".") + 1 < labels:
        raise ValueError(f"{whole!r} stands for too many hosts; at least {labels} labels follow *.")
    if len(rest) > _MAX_NAME or not _NAME.fullmatch(rest) or _LIKE_A_NUMBER.fullmatch(rest.rpartition(".")[2]):
        raise ValueError(f"{whole!r} has no name of a host; write api.example.com:443")
    return name


def _address(name: str) -> Address | None:
    """Read an address; one with a zone is none, since it means another host on each link."""
    try:
        return None if "%" in name else ipaddress.ip_address(name)
    except ValueError:
        return None


def _checked_asked(text: str) -> str:
    read_asked(text)
    return text


def _checked_allowed(text: str) -> str:
    read_allowed(text)
    return text


def read_allowed(text: str) -> Host:
    """Read what a policy allows: a host with a port, which may be ``*``.

    Raises:
        ValueError: It is none.
    """
    return read_host(text, any_port=True, labels=1)


AskedHost: TypeAlias = Annotated[str, AfterValidator(_checked_asked)]
"""A host as a manifest writes it."""
AllowedHost: TypeAlias = Annotated[str, AfterValidator(_checked_allowed)]
"""A host as a policy writes it."""
