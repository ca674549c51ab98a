"""The first steps of a check, for either end: is the server there, and does it let this user in?"""

from __future__ import annotations

import builtins
import socket
from collections.abc import Sequence
from typing import Generic, Literal, Protocol, TypeVar

from dativo_ingest.databases.failures import End
from dativo_plugin_sdk import Check, ConnectionTestResult, DativoError, NetworkError, TimeoutError

SessionT = TypeVar("SessionT")


class Door(Protocol[SessionT]):
    """A database, as far as the way to a session in it has to know it."""

    @property
    def end(self) -> End:
        """Say which part of the job names it."""

    @property
    def place(self) -> str:
        """Name it for messages."""

    @property
    def servers(self) -> Sequence[tuple[str, int]]:
        """List the hosts and ports to try; empty where there is nothing to look up."""

    @property
    def otherwise(self) -> str:
        """Say how the server is found where there are no hosts and ports."""

    @property
    def timeout_s(self) -> float:
        """Say how long an address may take to answer."""

    def open(self) -> SessionT:
        """Open a session, or say by the class of the error why there is none."""

    def close(self, session: SessionT) -> None:
        """Let go of a session."""

    def is_encrypted(self, session: SessionT) -> bool:
        """Say whether the connection is encrypted."""

    def user(self, session: SessionT) -> str:
        """Say whom the server takes the user for."""

    def step_of(self, refusal: DativoError) -> Literal["tls", "authentication"] | None:
        """Say which step a refusal belongs to; None for one after them."""


class WayIn(Generic[SessionT]):
    """The steps from a server's name to a session, which serves the steps after them.

    Args:
        door: The database.
    """

    def __init__(self, door: Door[SessionT]) -> None:
        self._door = door
        self._session: SessionT | None = None
        self._refusal: DativoError | None = None
        self.place = door.place

    def steps(self) -> list[Check]:
        """List the steps in order."""
        return [
            Check("dns", self._names),
            Check("tcp", self._addresses),
            Check("tls", self._tls),
            Check("authentication", self._authentication),
        ]

    def close(self) -> None:
        """Let go of the session; may be called twice."""
        if self._session is not None:
            self._door.close(self._session)
        self._session = None

    def session(self) -> SessionT:
        """Give the session, or say why there is none.

        Raises:
            DativoError: There is no way in; the class says why.
        """
        if self._refusal is not None:
            raise self._refusal
        if self._session is None:
            self._session = self._door.open()
        return self._session

    def user(self) -> str:
        """Say whom the server takes the user for.

        Raises:
            DativoError: There is no way in; the class says why.
        """
        return self._door.user(self.session())

    def _names(self) -> ConnectionTestResult:
        found = {}
        for host, port in self._door.servers:
            try:
                found[host] = sorted({each[4][0] for each in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)})
            except (OSError, UnicodeError) as error:
                raise NetworkError(
                    f"{host}: its name has no address: {error}",
                    hint=f"check {self._door.end}.connection.host, and the DNS here",
                ) from error
        if not found:
            return passed(f"no name to look up: {self._door.otherwise}")
        return passed(f"{', '.join(found)}: found", addresses=found)

    def _addresses(self) -> ConnectionTestResult:
        failure: OSError | None = None
        servers = self._door.servers
        for host, port in servers:
            try:
                socket.create_connection((host, port), timeout=self._door.timeout_s).close()
            except OSError as error:
                failure = error
            else:
                return passed(f"{host}:{port} takes connections")
        if failure is None:
            return passed(f"no address to try: {self._door.otherwise}")
        kind = TimeoutError if isinstance(failure, builtins.TimeoutError) else NetworkError
        raise kind(
            f"{' and '.join(f'{host}:{port}' for host, port in servers)}: {failure}",
            hint=f"check {self._door.end}.connection.host and port, that the server is up, and the firewalls between",
        ) from failure

    def _tls(self) -> ConnectionTestResult:
        try:
            self._session = self._door.open()
        except DativoError as error:
            self._refusal = error
            if self._door.step_of(error) == "tls":
                raise
        if self._session is None:
            return passed("not refused so far")
        encrypted = self._door.is_encrypted(self._session)
        return passed("the connection is encrypted" if encrypted else "the connection is not encrypted", tls=encrypted)

    def _authentication(self) -> ConnectionTestResult:
        if self._refusal is not None and self._door.step_of(self._refusal) == "authentication":
            raise self._refusal
        if self._session is None:
            return passed("not refused so far")
        return passed(f"{self.user()} is let in", user=self.user())


def passed(message: str, **details: object) -> ConnectionTestResult:
    """Say that a step went well; ``warning=True`` says that somebody should look at it."""
    return ConnectionTestResult(success=True, message=message, details=dict(details) or None)
