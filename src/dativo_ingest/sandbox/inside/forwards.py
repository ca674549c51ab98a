"""The sandbox's end of the way out: what connects to a granted host's address on loopback reaches the host.

A process of its own within the sandbox, started before the plugin. It trusts nobody and is trusted by nobody: it joins
connections to the proxy's socket, which decides. Clients need to know nothing of it, since names resolve to where it
listens; those that take a proxy from the environment find one, which answers for every other host.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import select
import signal
import socket
import struct
import time
from collections import deque
from collections.abc import Callable, Generator, Sequence
from typing import NoReturn

from .names import Names, Query, is_address

PROXY_ADDRESS = ("127.77.0.1", 3128)
NAME_SERVER = ("127.0.0.1", 53)

_PIECE_BYTES = 2**17
_MAX_HEAD = 8192
_BACKLOG = 128
_LONGEST_MESSAGE = 4096
_PR_SET_NAME = 15
_PR_SET_PDEATHSIG = 1
_RESET = struct.pack("ii", 1, 0)  # close(2) then resets the connection: nobody takes what came for all there was
_END_OF_HEAD = b"\r\n\r\n"
_GRANTED = b"HTTP/1.1 200 "
_CONNECT_S = struct.pack("ll", 5, 0)  # where more wait for the proxy than it takes at once
_PAUSE_S = 0.05
_READ, _WRITE = select.EPOLLIN, select.EPOLLOUT

Task = Generator[tuple[socket.socket, int], None, None]
"""Something that goes on until it waits for a socket to be readable or writable."""


class Tasks:
    """Goes on with each task when what it waits for is there; one may read and one may write the same socket.

    A socket that a task may be waiting for is shut down, which wakes the task, and closed by the last that uses it.
    """

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._waiting: dict[int, dict[int, Task]] = {}
        self._ready: deque[Task] = deque()

    def add(self, task: Task) -> None:
        """Start a task."""
        self._ready.append(task)

    def run(self) -> NoReturn:
        """Go on for ever."""
        while True:
            while self._ready:
                self._go_on(self._ready.popleft())
            for number, events in self._poll.poll():
                self._wake(number, events)

    def close(self) -> None:
        """Forget the tasks: they go on in another process."""
        self._poll.close()
        self._ready.clear()
        self._waiting.clear()

    def _go_on(self, task: Task) -> None:
        try:
            waits_for, what = next(task)
        except StopIteration:
            return
        number = waits_for.fileno()
        waiting = self._waiting.setdefault(number, {})
        waiting[what] = task
        if len(waiting) == 1:
            self._poll.register(number, what)
        else:
            self._poll.modify(number, _READ | _WRITE)

    def _wake(self, number: int, events: int) -> None:
        waiting = self._waiting.pop(number)
        is_over = events & (select.EPOLLHUP | select.EPOLLERR)
        for what in [what for what in waiting if events & what or is_over]:
            self._ready.append(waiting.pop(what))
        self._poll.unregister(number)
        for what in waiting:
            self._waiting[number] = waiting
            self._poll.register(number, what)


def _receive(source: socket.socket, most: int) -> Generator[tuple[socket.socket, int], None, bytes]:
    while True:
        try:
            return source.recv(most)
        except BlockingIOError:
            yield source, _READ


def _send(sink: socket.socket, data: bytes) -> Task:
    left = memoryview(data)
    while left:
        try:
            left = left[sink.send(left) :]
        except BlockingIOError:
            yield sink, _WRITE


class _Pair:
    """A client's connection and the one to the proxy, joined until both directions have ended."""

    def __init__(self, client: socket.socket, proxy: socket.socket) -> None:
        self._client = client
        self._proxy = proxy
        self._at_work = 2
        self._is_up_done = False
        self._is_broken = False

    def up(self) -> Task:
        """Pass on what the client says."""
        try:
            yield from _pass(self._client, self._proxy)
            if not self._is_broken:
                self._is_up_done = True
                self._proxy.shutdown(socket.SHUT_WR)
        except OSError:
            self._break()
        self._leave()

    def down(self, first: bytes) -> Task:
        """Pass on what the host says, of which something may have come already."""
        try:
            yield from _send(self._client, first)
            yield from _pass(self._proxy, self._client)
            if not self._is_up_done and _is_closed(self._proxy):
                self._break()  # the connection to the host was not ended but broken
            else:
                self._client.shutdown(socket.SHUT_WR)
        except OSError:
            self._break()
        self._leave()

    def _break(self) -> None:
        """Have both ends see that this is no good end; what waits for either is woken."""
        self._is_broken = True
        with contextlib.suppress(OSError):
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        with contextlib.suppress(OSError):
            self._proxy.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(OSError):
            self._client.shutdown(socket.SHUT_RD)

    def _leave(self) -> None:
        self._at_work -= 1
        if self._at_work == 0:
            self._client.close()
            self._proxy.close()


class Forwards:
    """Everything that listens in the sandbox. It is there once this is made, and answers once `serve` is called.

    Args:
        hosts: The granted hosts with their ports, as a grant has them.
        proxy: The path of the proxy's socket.

    Raises:
        OSError: A port cannot be listened on.
    """

    def __init__(self, hosts: Sequence[str], proxy: str) -> None:
        self._proxy = proxy
        self._tasks = Tasks()
        self._sockets: dict[tuple[int, str, int], socket.socket] = {}
        places = [_split(each) for each in hosts]
        self._names = Names(places)
        self._literals = [name for name, port in places if is_address(name) and self._listen_if_possible(name, port)]
        for name, address in self._names.fixed.items():
            self._listen_for(name, address)
        if hosts:
            self._listen(PROXY_ADDRESS, None)
        self._tasks.add(self._answer(self._bound(socket.SOCK_DGRAM, NAME_SERVER)))
        self._tasks.add(self._accept(self._bound(socket.SOCK_STREAM, NAME_SERVER), self._answer_stream))

    def variables(self) -> dict[str, str]:
        """Give the variables for clients that take a proxy from the environment.

        Granted hosts are reached without: so are all that are not for HTTP, and plain HTTP, too. The proxy is there for
        every other host, to say by name what is not granted.
        """
        known = [name.removeprefix("*") for name in self._names.ports]
        proxy = f"http://{PROXY_ADDRESS[0]}:{PROXY_ADDRESS[1]}"
        variables = {
            "HTTP_PROXY": proxy,
            "HTTPS_PROXY": proxy,
            "NO_PROXY": ",".join(["localhost", "127.0.0.1", "::1", *known, *self._literals]),
        }
        return variables | {name.lower(): value for name, value in variables.items()}

    def close(self) -> None:
        """Listen no more, in this process."""
        self._tasks.close()
        for each in self._sockets.values():
            each.close()

    def serve(self) -> NoReturn:
        """Answer in this process, which ends with its parent."""
        prctl = ctypes.CDLL(None, use_errno=True).prctl
        prctl(_PR_SET_NAME, b"dativo-egress", 0, 0, 0)
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        nothing = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1):
            os.dup2(nothing, number)
        self._tasks.run()

    # -- what listens

    def _listen_for(self, name: str, address: str) -> None:
        for port in self._names.ports_of(name):
            self._listen((address, port), name)
            if address == "127.0.0.1":
                self._listen_if_possible("::1", port, name)

    def _listen_if_possible(self, address: str, port: int, name: str | None = None) -> bool:
        """Listen on an address that the sandbox may not have."""
        try:
            self._listen((address, port), name or address)
        except OSError as error:
            if error.errno in {errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT, errno.EINVAL}:
                return False
            raise
        return True

    def _listen(self, place: tuple[str, int], name: str | None) -> None:
        """Listen for a host; for the proxy's own clients where there is none."""
        if (socket.SOCK_STREAM, *place) in self._sockets:
            return

        def serve(client: socket.socket) -> Task:
            host = None if name is None else self._names.name_of(place[0]) or name
            return self._forward(client, None if host is None else _joined(host, place[1]))

        self._tasks.add(self._accept(self._bound(socket.SOCK_STREAM, place), serve))

    def _bound(self, kind: int, place: tuple[str, int]) -> socket.socket:
        family = socket.AF_INET6 if ":" in place[0] else socket.AF_INET
        sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
        try:
            if kind == socket.SOCK_STREAM:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(place)
            if kind == socket.SOCK_STREAM:
                sock.listen(_BACKLOG)
        except OSError as error:
            sock.close()
            raise OSError(error.errno, f"{_joined(*place)}: {error.strerror}") from None
        self._sockets[kind, place[0], place[1]] = sock
        return sock

    def _accept(self, listener: socket.socket, serve: Callable[[socket.socket], Task]) -> Task:
        while True:
            yield listener, _READ
            try:
                client, _ = listener.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}:
                    time.sleep(_PAUSE_S)
                continue
            client.setblocking(False)  # noqa: FBT003  the signature of the library
            self._tasks.add(serve(client))

    # -- connections

    def _forward(self, client: socket.socket, target: str | None) -> Task:
        first = b""
        try:
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            proxy = self._connected()
        except OSError:
            _reset(client)
            return
        if target is not None:
            try:
                answer, first = yield from _asked(proxy, target)
            except OSError:
                answer = b""
            if not answer.startswith(_GRANTED):
                _reset(client)
                proxy.close()
                return
        pair = _Pair(client, proxy)
        self._tasks.add(pair.up())
        self._tasks.add(pair.down(first))

    def _connected(self) -> socket.socket:
        proxy = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            proxy.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, _CONNECT_S)
            proxy.connect(self._proxy)
            proxy.setblocking(False)  # noqa: FBT003  the signature of the library
        except OSError:
            proxy.close()
            raise
        return proxy

    # -- names

    def _answer(self, server: socket.socket) -> Task:
        while True:
            yield server, _READ
            try:
                message, client = server.recvfrom(_LONGEST_MESSAGE)
                query = Query(message)
            except (OSError, ValueError):
                continue
            self._tasks.add(self._answer_to(server, client, query))

    def _answer_to(self, server: socket.socket, client: tuple[str, int], query: Query) -> Task:
        answer = yield from self._answered(query)
        with contextlib.suppress(OSError):  # nobody waits for it any more
            server.sendto(answer, client)

    def _answer_stream(self, client: socket.socket) -> Task:
        try:
            while True:
                head = yield from _exactly(client, 2)
                query = Query((yield from _exactly(client, int.from_bytes(head, "big"))))
                answer = yield from self._answered(query)
                yield from _send(client, len(answer).to_bytes(2, "big") + answer)
        except (OSError, ValueError):
            client.close()

    def _answered(self, query: Query) -> Generator[tuple[socket.socket, int], None, bytes]:
        """Give the answer; a name that is not granted is told to the proxy before, so that it is known."""
        address = self._names.address(query.name) if query.is_a_name else None
        if address is not None:
            with contextlib.suppress(OSError):  # whoever connects there is refused, then
                self._listen_for(query.name, address)
        elif query.is_a_name:
            with contextlib.suppress(OSError):
                proxy = self._connected()
                with proxy:
                    yield from _asked(proxy, f"{query.name}:0")
        return query.answer(address)


def _pass(source: socket.socket, sink: socket.socket) -> Task:
    while data := (yield from _receive(source, _PIECE_BYTES)):
        yield from _send(sink, data)


def _exactly(source: socket.socket, size: int) -> Generator[tuple[socket.socket, int], None, bytes]:
    data = b""
    while len(data) < size:
        piece = yield from _receive(source, size - len(data))
        if not piece:
            raise ConnectionResetError(errno.ECONNRESET, "ended")
        data += piece
    return data


def _asked(proxy: socket.socket, target: str) -> Generator[tuple[socket.socket, int], None, tuple[bytes, bytes]]:
    """Ask the proxy for a host; give its answer, and what came behind that."""
    yield from _send(proxy, f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode("ascii"))
    head = b""
    while _END_OF_HEAD not in head:
        piece = yield from _receive(proxy, _MAX_HEAD)
        if not piece or len(head) > _MAX_HEAD:
            raise ConnectionResetError(errno.ECONNRESET, "ended")
        head += piece
    answer, _, behind = head.partition(_END_OF_HEAD)
    return answer, behind


def _reset(client: socket.socket) -> None:
    with contextlib.suppress(OSError):
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    client.close()


def _is_closed(proxy: socket.socket) -> bool:
    """Say whether the other side closed a unix socket for both directions, where it could have ended one."""
    poll = select.poll()
    poll.register(proxy, 0)
    return any(events & select.POLLHUP for _, events in poll.poll(0))


def _split(host: str) -> tuple[str, int]:
    name, _, port = host.rpartition(":")
    return name.strip("[]"), int(port)


def _joined(name: str, port: int) -> str:
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"
