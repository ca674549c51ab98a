"""A name server for one sandbox: each granted host gets an address of loopback there, every other name gets none.

It answers messages of DNS (RFC 1035) and has no sockets of its own: `forwards` has them.
"""

from __future__ import annotations

import socket
import struct
from collections import OrderedDict
from collections.abc import Iterable

_HEADER = struct.Struct("!6H")  # id, flags, questions, answers, authorities, additions
_QUESTION = struct.Struct("!2H")  # type, class
_ANSWER = struct.Struct("!3HIH")  # name, type, class, seconds, length
_NAME_OF_QUESTION = 0xC00C
_IS_ANSWER = 0x8000
_OPCODE = 0x7800
_KEPT_FLAGS = 0x7900  # the opcode, and whether recursion is wanted
_RECURSION = 0x0080
_NO_ERROR, _FORMAT_ERROR, _NO_NAME, _NOT_IMPLEMENTED = 0, 1, 3, 4
_A = 1
_INTERNET = 1
_SECONDS = 1  # a name of a wildcard may lose its address to another one
_MAX_LABEL = 63
_MAX_NAME = 253
_SAFE = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")
_REVERSE = (".in-addr.arpa", ".ip6.arpa")

FIRST = (127 << 24) + (77 << 16) + (1 << 8)  # 127.77.1.0; 127.77.0.0/24 is the sandbox's own
MOST_OF_WILDCARDS = 512


class Names:
    """Which address each name has.

    Args:
        hosts: The granted names, those with a wildcard too, each with its ports.
    """

    def __init__(self, hosts: Iterable[tuple[str, int]]) -> None:
        self.ports: dict[str, list[int]] = {}
        for name, port in hosts:
            if not is_address(name):
                self.ports.setdefault(name, []).append(port)
        named = [name for name in self.ports if not name.startswith("*.")]
        self.fixed = {name: _address(number) for number, name in enumerate(named)}
        self.fixed |= {name: "127.0.0.1" for name in named if name == "localhost" or name.endswith(".localhost")}
        self._free = [_address(len(named) + number) for number in reversed(range(MOST_OF_WILDCARDS))]
        self._given: OrderedDict[str, str] = OrderedDict()

    def address(self, name: str) -> str | None:
        """Give a name's address; one that a wildcard grants may take the address of the one asked for longest ago."""
        if name in self.fixed:
            return self.fixed[name]
        if not self.ports_of(name):
            return None
        if name not in self._given:
            self._given[name] = self._free.pop() if self._free else self._given.popitem(last=False)[1]
        self._given.move_to_end(name)
        return self._given[name]

    def name_of(self, address: str) -> str | None:
        """Give the name that has an address now; None where it is no name's own."""
        names = (name for name, given in (*self.fixed.items(), *self._given.items()) if given == address)
        found = [*names]
        return found[0] if len(found) == 1 else None

    def ports_of(self, name: str) -> list[int]:
        """Give the ports that are granted for a name, by itself or by a wildcard of one label."""
        _, dot, rest = name.partition(".")
        wildcard = self.ports.get(f"*.{rest}", []) if dot else []
        return sorted({*self.ports.get(name, []), *wildcard})


class Query:
    """What a message asks, and the messages that answer it.

    Raises:
        ValueError: It is no question that can be answered at all.
    """

    def __init__(self, message: bytes) -> None:
        if len(message) < _HEADER.size:
            raise ValueError("too short")
        self._id, self._flags, questions, *_ = _HEADER.unpack_from(message)
        if self._flags & _IS_ANSWER:
            raise ValueError("an answer")
        self.name = ""
        self._question = b""
        self._type = 0
        self._error = _NO_ERROR
        if self._flags & _OPCODE:
            self._error = _NOT_IMPLEMENTED
        elif questions != 1 or not self._read(message):
            self._error = _FORMAT_ERROR

    @property
    def is_a_name(self) -> bool:
        """Whether it asks for a name that can be told to somebody, and is not the reverse of an address."""
        return bool(self.name) and not self._error and set(self.name) <= _SAFE and not self.name.endswith(_REVERSE)

    def answer(self, address: str | None) -> bytes:
        """Write the answer; without an address, there is no such name."""
        error = self._error or (_NO_ERROR if address else _NO_NAME)
        found = address if address and self._type == _A and not error else None
        flags = _IS_ANSWER | self._flags & _KEPT_FLAGS | _RECURSION | error
        message = _HEADER.pack(self._id, flags, 1 if self._question else 0, 1 if found else 0, 0, 0) + self._question
        if found is None:
            return message
        packed = socket.inet_aton(found)
        return message + _ANSWER.pack(_NAME_OF_QUESTION, _A, _INTERNET, _SECONDS, len(packed)) + packed

    def _read(self, message: bytes) -> bool:
        labels = []
        at = _HEADER.size
        while at < len(message) and (length := message[at]):
            if length > _MAX_LABEL or at + length + 1 >= len(message):
                return False
            labels.append(message[at + 1 : at + 1 + length])
            at += 1 + length
        end = at + 1 + _QUESTION.size
        if end > len(message):
            return False
        name = b".".join(labels).lower().decode("latin-1")
        self._type, asked_class = _QUESTION.unpack_from(message, at + 1)
        self._question = message[_HEADER.size : end]
        if len(name) > _MAX_NAME or asked_class != _INTERNET:
            return False
        self.name = name
        return True


def _address(number: int) -> str:
    return socket.inet_ntoa((FIRST + 1 + number).to_bytes(4, "big"))


def is_address(name: str) -> bool:
    """Say whether a host is named by an address."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            socket.inet_pton(family, name)
        except OSError:
            continue
        return True
    return False
