"""What a plugin's process reached, and what it tried to reach and was denied; safe to fill from several threads."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias

from dativo_ingest.sandbox.hosts import ANY_PORT, Host

EGRESS_DENIED: Final = "EGRESS_DENIED"

Kind: TypeAlias = Literal["host", "address", "quota"]

_MOST_DENIALS: Final = 100
_MOST_HOSTS: Final = 1000
_SUMS: Final = ("connections", "upload", "download")
_OTHERS: Final = Host("others", ANY_PORT)


@dataclass(frozen=True)
class Denial:
    """Something that a plugin tried and was denied.

    Attributes:
        host: Whom it tried to reach; a port of 0 is any, where it only looked up the name.
        kind: What stood against it: nobody granted the ``host``; its ``address`` is none of the internet; a ``quota``.
        why: The same in words: ``it is not granted``.
        key: What would have to be changed: ``capabilities.network``, ``private``, ``resources.upload``.
        value: What to write there, if that is known.
    """

    host: Host
    kind: Kind
    why: str
    key: str
    value: str = ""

    @property
    def place(self) -> str:
        """Say whom it tried to reach, as manifests write it; a name alone where no port is known."""
        return self.host.name if self.host.port == ANY_PORT else str(self.host)

    def document(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        return {"host": self.place, "kind": self.kind, "why": self.why, "key": self.key}


def summed(documents: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Sum up what several processes did, each as `Record.document` tells it."""
    hosts: dict[str, dict[str, Any]] = {}
    denied: dict[tuple[str, ...], dict[str, Any]] = {}
    for document in documents:
        for each in document["hosts"]:
            found = hosts.setdefault(each["host"], {**each, "addresses": [], **dict.fromkeys(_SUMS, 0)})
            found["addresses"] = sorted({*found["addresses"], *each["addresses"]})
            found |= {key: found[key] + each[key] for key in _SUMS}
        for each in document["denied"]:
            key = (each["host"], each["kind"], each["why"])
            found = denied.setdefault(key, {**each, "times": 0})
            found["times"] += each["times"]
    return {"hosts": list(hosts.values()), "denied": list(denied.values())}


@dataclass
class Contact:
    """How much went to a host and came from it."""

    connections: int = 0
    upload: int = 0
    download: int = 0
    addresses: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Totals:
    """All that a process moved."""

    connections: int
    denials: int
    upload: int
    download: int


class Record:
    """What one process reached and was denied."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contacts: dict[Host, Contact] = {}
        self._denials: dict[Denial, int] = {}
        self._times: dict[Denial, int] = {}
        self._denied = 0
        self._upload = self._download = self._connections = 0

    def denied(self, denial: Denial) -> bool:
        """Note a denial; say whether it is the first of its kind."""
        with self._lock:
            self._denied += 1
            if denial not in self._times and len(self._times) >= _MOST_DENIALS:
                return False
            self._denials[denial] = self._denied
            self._times[denial] = self._times.get(denial, 0) + 1
            return self._times[denial] == 1

    def opened(self, host: Host, address: str) -> Contact:
        """Note a connection; what moves through it is added with `moved`."""
        with self._lock:
            self._connections += 1
            key = host if host in self._contacts or len(self._contacts) < _MOST_HOSTS else _OTHERS
            contact = self._contacts.setdefault(key, Contact())
            contact.connections += 1
            if len(contact.addresses) < _MOST_DENIALS:
                contact.addresses.add(address)
            return contact

    def moved(self, contact: Contact, *, upload: int = 0, download: int = 0) -> None:
        """Add bytes that went to a host or came from it."""
        with self._lock:
            contact.upload += upload
            contact.download += download
            self._upload += upload
            self._download += download

    @property
    def totals(self) -> Totals:
        """Sum up what moved until now."""
        with self._lock:
            return Totals(self._connections, self._denied, self._upload, self._download)

    @property
    def mark(self) -> int:
        """Give how many denials there were until now, for `since`."""
        with self._lock:
            return self._denied

    def since(self, mark: int = 0) -> tuple[Denial, ...]:
        """Give the denials after a mark, each once, those that name a port before those that do not."""
        with self._lock:
            found = [denial for denial, last in self._denials.items() if last > mark]
        return tuple(sorted(found, key=lambda denial: denial.host.port == ANY_PORT))

    def document(self) -> dict[str, Any]:
        """Give it as plain JSON: each host with what moved, each denial with how often it came."""
        with self._lock:
            return {
                "hosts": [
                    {
                        "host": str(host) if host is not _OTHERS else host.name,
                        "addresses": sorted(contact.addresses),
                        "connections": contact.connections,
                        "upload": contact.upload,
                        "download": contact.download,
                    }
                    for host, contact in sorted(self._contacts.items())
                ],
                "denied": [{**denial.document(), "times": times} for denial, times in self._times.items()],
            }
