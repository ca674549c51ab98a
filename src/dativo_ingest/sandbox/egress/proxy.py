"""The proxy that a sandboxed plugin reaches the hosts through that it is granted, and no others.

It takes CONNECT requests on a socket in the process's folder, resolves names itself, connects to the very address that
it has judged, and passes bytes on: TLS stays between the plugin and its host. Everything that comes over the socket is
a plugin's, whoever wrote it.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Final, TypeAlias

from dativo_ingest.job.sizes import size_text
from dativo_ingest.sandbox.egress.connect_request import END_OF_HEAD, MAX_HEAD_BYTES, BadRequestError, read_connect
from dativo_ingest.sandbox.egress.reach import Reach
from dativo_ingest.sandbox.egress.record import Contact, Denial, Record
from dativo_ingest.sandbox.hosts import Address, Host

Resolve: TypeAlias = Callable[[str, int], Sequence[str]]
"""Gives the addresses of a name; called in a thread of its own.

Raises:
    OSError: It has none.
"""

BACKLOG: Final = 128
"""How many connections may wait to be taken."""
HEAD_S: Final = 10.0
RESOLVE_S: Final = 15.0
CONNECT_S: Final = 30.0

_PIECE_BYTES = 2**17
_MOST_HEADS = 64  # requests that are not answered yet, beside the open connections
_MOST_LOOKUPS = 8
_MOST_WARNINGS = 200
_CLOSING_S = 5.0
_PAUSE_S = 0.1
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid of unix(7)
_RESET = struct.pack("ii", 1, 0)  # close(2) then resets the connection: nobody takes what came for all there was
_REASONS = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    408: "Request Timeout",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
    504: "Gateway Timeout",
}
_LOGGER = logging.getLogger("dativo.plugins")


def resolve(name: str, port: int) -> Sequence[str]:
    """Ask the machine's resolver."""
    found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(each[4][0]) for each in found))


class _DeniedError(Exception):
    def __init__(self, denial: Denial, status: int = 403) -> None:
        super().__init__(denial.why)
        self.denial = denial
        self.status = status


class _UnreachableError(Exception):
    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status
        self.why = why


class Proxy:
    """Answers one process's connections, in a thread of its own, until it is closed.

    Args:
        listener: The socket that it listens on already; it is closed with the proxy.
        reach: Whom the process may reach.
        record: Where it is noted what the process reached and was denied.
        plugin: Its name, for messages.
        uids: Whose connections are taken.
        resolve: How names are resolved.
        head_s: How long a request may take to come.
    """

    def __init__(  # noqa: PLR0913  what there is to say of it
        self,
        listener: socket.socket,
        reach: Reach,
        record: Record,
        *,
        plugin: str,
        uids: Collection[int],
        resolve: Resolve = resolve,
        head_s: float = HEAD_S,
    ) -> None:
        self.record = record
        self._listener = listener
        self._reach = reach
        self._plugin = plugin
        self._uids = uids
        self._resolve = resolve
        self._head_s = head_s
        self._open = 0
        self._said: set[str] = set()
        self._lookups = asyncio.Semaphore(_MOST_LOOKUPS)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._over = asyncio.Event()
        listener.setblocking(False)  # noqa: FBT003  the signature of the library
        self._thread = threading.Thread(target=self._run, name=f"egress {plugin}", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Reset what is open, and take nothing any more; may be called twice, by any thread."""
        with suppress(RuntimeError):  # the loop is closed already
            self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(_CLOSING_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._loop.add_reader(self._listener, self._accept)
        try:
            await self._over.wait()
        finally:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self) -> None:
        try:
            peer, _ = self._listener.accept()
        except BlockingIOError:
            return
        except OSError:  # too many open files
            self._loop.remove_reader(self._listener)
            self._loop.call_later(_PAUSE_S, self._go_on)
            return
        if not self._is_taken(peer):
            peer.close()
            return
        peer.setblocking(False)  # noqa: FBT003  the signature of the library
        task = self._loop.create_task(self._answer(peer))
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, peer))

    def _go_on(self) -> None:
        if not self._over.is_set():
            self._loop.add_reader(self._listener, self._accept)

    def _is_taken(self, peer: socket.socket) -> bool:
        _, uid, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        return uid in self._uids and len(self._tasks) < self._reach.connections + _MOST_HEADS

    def _done(self, peer: socket.socket, task: asyncio.Task[None]) -> None:
        peer.close()
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            _LOGGER.error("the proxy of the plugin %s failed", self._plugin, exc_info=task.exception())

    async def _answer(self, peer: socket.socket) -> None:
        """Answer one connection, from its first byte to its last."""
        host: Host | None = None
        try:
            host = await self._asked(peer)
            await self._connect(peer, host)
        except BadRequestError as error:
            denial = None if error.host is None else self._reach.denies(error.host)
            if denial is None:
                await self._refuse(peer, error.status, error.why)
            else:
                await self._refuse_denied(peer, 403, denial)
        except _DeniedError as error:
            await self._refuse_denied(peer, error.status, error.denial)
        except _UnreachableError as error:
            self._warn(f"cannot reach {host}: {error.why}")
            await self._refuse(peer, error.status, error.why)
        except OSError:  # the plugin is gone, or its process
            return

    async def _refuse_denied(self, peer: socket.socket, status: int, denial: Denial) -> None:
        self._deny(denial)
        await self._refuse(peer, status, f"{denial.place}: {denial.why}", is_denial=True)

    def _deny(self, denial: Denial) -> None:
        if self.record.denied(denial):
            self._warn(f"was denied {denial.place}: {denial.why}")

    def _warn(self, text: str) -> None:
        """Say something once: a plugin can try for as long as it likes."""
        if text not in self._said and len(self._said) < _MOST_WARNINGS:
            self._said.add(text)
            _LOGGER.warning("the plugin %s %s", self._plugin, text)

    async def _asked(self, peer: socket.socket) -> Host:
        head = bytearray()
        try:
            async with asyncio.timeout(self._head_s):
                while END_OF_HEAD not in head:
                    if len(head) > MAX_HEAD_BYTES:
                        raise BadRequestError(431, f"the request has more than {MAX_HEAD_BYTES} bytes")
                    piece = await self._loop.sock_recv(peer, MAX_HEAD_BYTES + 1 - len(head))
                    if not piece:
                        raise BadRequestError(400, "the request has no end")
                    head += piece
        except TimeoutError:
            raise BadRequestError(408, f"the request took more than {self._head_s:g} s") from None
        return read_connect(bytes(head))

    async def _connect(self, peer: socket.socket, host: Host) -> None:
        denial = self._reach.denies(host)
        if denial is not None:
            raise _DeniedError(denial)
        self._check_quotas(host)
        if self._open >= self._reach.connections:
            most = f"{self._reach.connections} at once"
            raise _DeniedError(self._reach.at_quota(host, "connections", most), 429)
        self._open += 1
        try:
            upstream, address = await self._reached(host)
            with upstream:
                contact = self.record.opened(host, str(address))
                await self._loop.sock_sendall(peer, b"HTTP/1.1 200 Connection Established\r\n\r\n")
                await self._relay(peer, upstream, host, contact)
        finally:
            self._open -= 1

    async def _reached(self, host: Host) -> tuple[socket.socket, Address]:
        """Connect to the first of a host's addresses that may be reached and answers."""
        why = "it has no address"
        status = 502
        try:
            async with asyncio.timeout(CONNECT_S):
                for address in await self._addresses(host):
                    upstream = socket.socket(
                        socket.AF_INET if address.version == 4 else socket.AF_INET6,  # noqa: PLR2004  the version
                        socket.SOCK_STREAM | socket.SOCK_NONBLOCK,
                    )
                    try:
                        await self._loop.sock_connect(upstream, (str(address), host.port))
                        upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                        upstream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                    except OSError as error:
                        upstream.close()
                        why = os.strerror(error.errno) if error.errno else str(error)
                    except BaseException:
                        upstream.close()
                        raise
                    else:
                        return upstream, address
        except TimeoutError:
            status, why = 504, f"no answer within {CONNECT_S:g} s"
        raise _UnreachableError(status, why)

    async def _addresses(self, host: Host) -> list[Address]:
        """Give the addresses of a host that may be reached; they are connected to and not resolved again."""
        found = [host.address] if host.address is not None else await self._resolved(host)
        denials = [self._reach.denies_address(host, address) for address in found]
        reachable = [address for address, denial in zip(found, denials, strict=True) if denial is None]
        denial = next((each for each in denials if each is not None), None)
        if not reachable and denial is not None:
            raise _DeniedError(denial)
        return reachable

    async def _resolved(self, host: Host) -> list[Address]:
        try:
            async with asyncio.timeout(RESOLVE_S):
                return [ipaddress.ip_address(each.partition("%")[0]) for each in await self._looked_up(host)]
        except TimeoutError:
            raise _UnreachableError(504, f"its name was not resolved within {RESOLVE_S:g} s") from None
        except OSError as error:
            raise _UnreachableError(502, f"its name is not resolved: {error.strerror or error}") from None

    async def _looked_up(self, host: Host) -> Sequence[str]:
        """Resolve a name in a thread that nobody has to wait for, a few at a time."""
        await self._lookups.acquire()
        answer: asyncio.Future[Sequence[str]] = self._loop.create_future()

        def note(found: Sequence[str] | None, error: OSError | None) -> None:
            self._lookups.release()
            if answer.done():
                return
            if error is not None:
                answer.set_exception(error)
            else:
                answer.set_result(found or ())

        def look_up() -> None:
            found, failure = None, None
            try:
                found = self._resolve(host.name, host.port)
            except (OSError, UnicodeError) as error:
                failure = error if isinstance(error, OSError) else OSError(str(error))
            with suppress(RuntimeError):  # the proxy is closed
                self._loop.call_soon_threadsafe(note, found, failure)

        threading.Thread(target=look_up, name=f"look up {host.name}", daemon=True).start()
        return await answer

    async def _relay(self, peer: socket.socket, upstream: socket.socket, host: Host, contact: Contact) -> None:
        """Pass on what comes in both directions, until both have ended; what breaks one ends the other by a reset."""
        tunnel = _Tunnel(peer, upstream, host, contact)
        try:
            async with asyncio.TaskGroup() as directions:
                directions.create_task(self._pass_up(tunnel))
                directions.create_task(self._pass_down(tunnel))
        except* _DeniedError as errors:
            self._deny(_first(errors).denial)
        except* OSError:  # either end reset it
            pass
        finally:
            if not (tunnel.is_up_done and tunnel.is_down_done):
                upstream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    async def _pass_up(self, tunnel: _Tunnel) -> None:
        piece = memoryview(bytearray(_PIECE_BYTES))
        while got := await self._loop.sock_recv_into(tunnel.peer, piece):
            taken = min(got, self._reach.upload - self.record.totals.upload)
            self.record.moved(tunnel.contact, upload=taken)
            await self._loop.sock_sendall(tunnel.upstream, piece[:taken])
            if taken < got:
                self._check_quotas(tunnel.host)
        if not tunnel.is_down_done and _is_closed(tunnel.peer):
            raise ConnectionResetError("the plugin's end was not ended but closed, or reset")
        tunnel.upstream.shutdown(socket.SHUT_WR)
        tunnel.is_up_done = True

    async def _pass_down(self, tunnel: _Tunnel) -> None:
        piece = memoryview(bytearray(_PIECE_BYTES))
        while got := await self._loop.sock_recv_into(tunnel.upstream, piece):
            taken = min(got, self._reach.download - self.record.totals.download)
            self.record.moved(tunnel.contact, download=taken)
            await self._loop.sock_sendall(tunnel.peer, piece[:taken])
            if taken < got:
                self._check_quotas(tunnel.host)
        tunnel.is_down_done = True
        tunnel.peer.shutdown(socket.SHUT_WR)

    def _check_quotas(self, host: Host) -> None:
        """Deny what comes once all is used that may be moved."""
        totals = self.record.totals
        for what, moved, most in (
            ("upload", totals.upload, self._reach.upload),
            ("download", totals.download, self._reach.download),
        ):
            if moved >= most:
                raise _DeniedError(self._reach.at_quota(host, what, size_text(most)), 429)

    async def _refuse(self, peer: socket.socket, status: int, why: str, *, is_denial: bool = False) -> None:
        code = "X-Dativo-Error: EGRESS_DENIED\r\n" if is_denial else ""
        answer = f"HTTP/1.1 {status} {_REASONS[status]}: {why}\r\n{code}Content-Length: 0\r\nConnection: close\r\n\r\n"
        with suppress(OSError):  # it is gone
            await self._loop.sock_sendall(peer, answer.encode("ascii", errors="replace"))


@dataclass
class _Tunnel:
    """Two ends that are joined."""

    peer: socket.socket
    upstream: socket.socket
    host: Host
    contact: Contact
    is_up_done: bool = False
    is_down_done: bool = False


def _is_closed(peer: socket.socket) -> bool:
    """Say whether the other side closed a unix socket for both directions, where it could have ended one."""
    poll = select.poll()
    poll.register(peer, 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


def _first(errors: BaseExceptionGroup[_DeniedError]) -> _DeniedError:
    error: BaseException = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, _DeniedError)  # noqa: S101  the group has no others
    return error
