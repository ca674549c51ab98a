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
import sys
from collections import deque
from collections.abc import Generator, Mapping
from typing import Any, NoReturn

from names import Names, Query

PROXY_ADDRESS = ("127.77.0.1", 3128)
NAME_SERVER = ("127.0.0.1", 53)

_PIECE_BYTES = 2**17
_MAX_HEAD = 8192
_BACKLOG = 128
_LONGEST_MESSAGE = 4096
_PR_SET_NAME = 15
_PR_SET_PDEATHSIG = 1
_RESET = struct.pack("ii", 1, 0)  # close(2) then resets the connection: nobody takes what came for all there was
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

    def up(self) -> Task:
        """Pass on what the client says."""
        try:
            yield from self._pass(self._client, self._proxy)
            self._is_up_done = True
            self._proxy.shutdown(socket.SHUT_WR)
        except OSError:
            self._break()
        self._leave()

    def down(self, first: bytes) -> Task:
        """Pass on what the host says, of which something may have come already."""
        try:
            yield from _send(self._client, first)
            yield from self._pass(self._proxy, self._client)
            if not self._is_up_done and _is_closed(self._proxy):
                self._break()  # the connection was not ended but broken
            else:
                self._client.shutdown(socket.SHUT_WR)
        except OSError:
            self._break()
        self._leave()

    @staticmethod
    def _pass(source: socket.socket, sink: socket.socket) -> Task:
        while data := (yield from _receive(source, _PIECE_BYTES)):
            yield from _send(sink, data)

    def _break(self) -> None:
        """Wake the other direction, which then ends too, and have the client see that this was no good end."""
        with contextlib.suppress(OSError):
            self._client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        for each in (self._client, self._proxy):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RD)
        if self._at_work == 1:
            return
        with contextlib.suppress(OSError):
            self._proxy.shutdown(socket.SHUT_WR)

    def _leave(self) -> None:
        self._at_work -= 1
        if self._at_work == 0:
            self._client.close()
            self._proxy.close()
