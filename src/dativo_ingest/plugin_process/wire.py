"""The two sockets of a plugin's process, read and written within a deadline, with an eye on whoever wants to stop."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from dativo_plugin_sdk.protocol.breach import breach
from dativo_plugin_sdk.protocol.frames import LENGTH_BYTES, FrameDecoder, body_bytes_of
from dativo_plugin_sdk.protocol.parts import Parts, to_frames
from dativo_plugin_sdk.protocol.sockets import widen

_PIECE_BYTES = 2**16
_LOOK_EVERY_S = 0.5
_MOST_BUFFERS = 512  # of one call; Linux takes 1,024
_NOT_NOW = socket.MSG_DONTWAIT


class GoneError(Exception):
    """The other side has closed a socket."""


class OverdueError(Exception):
    """The deadline has passed."""


class LeftError(Exception):
    """Nobody wants any more what is waited for."""


def _wanted() -> bool:
    return False


class Wire:
    """Both sockets, used by one thread at a time.

    Args:
        control: The socket of control frames.
        data: The socket of Arrow data.
        while_waiting: Called twice a second while nothing comes; what it raises ends the waiting.
        aside: Given each message that comes; says whether it is one that may come at any time, and is done with.
    """

    def __init__(
        self,
        control: socket.socket,
        data: socket.socket,
        while_waiting: Callable[[], None],
        aside: Callable[[dict[str, Any]], bool],
    ) -> None:
        self._control = control
        self._data = data
        self._while_waiting = while_waiting
        self._aside = aside
        self._decoder = FrameDecoder()
        self._parts = Parts()
        self._messages: deque[dict[str, Any]] = deque()
        self._until_s = 0.0
        self._renewed_s: float | None = None
        self.bytes_in = self.bytes_out = 0
        for sock in (control, data):
            widen(sock)

    def expect(self, within_s: float, *, renewed: bool = False) -> None:
        """Set the deadline of what comes next; ``renewed`` by every byte that comes or goes."""
        self._until_s = time.monotonic() + within_s
        self._renewed_s = within_s if renewed else None

    def message(self, is_left: Callable[[], bool] = _wanted) -> dict[str, Any]:
        """Wait for the next message that is not for the side.

        Args:
            is_left: Asked twice a second whether to leave off waiting.
        """
        while not self._messages:
            if not self._read_control():
                while not self._poll([(self._control, select.POLLIN)]):
                    self._look_up()
                    if is_left():
                        raise LeftError
        return self._messages.popleft()

    def fill(self, view: memoryview) -> None:
        """Fill a view with the bytes that come next on the data socket, all of it."""
        while len(view):
            try:
                taken = self._data.recv_into(view, 0, _NOT_NOW)
            except BlockingIOError:
                self._wait_for_data()
                continue
            except ConnectionResetError:
                taken = 0
            if not taken:
                raise GoneError
            self._went_on()
            self.bytes_in += taken
            view = view[taken:]

    def first_frame_of_data(self) -> dict[str, Any]:
        """Read the one frame that comes on the data socket before its data."""
        length = bytearray(LENGTH_BYTES)
        self.fill(memoryview(length))
        body = bytearray(body_bytes_of(length))
        self.fill(memoryview(body))
        (message,) = FrameDecoder().feed(bytes(length + body))
        return message

    def say(self, message: Mapping[str, Any]) -> None:
        """Send a message, in parts where it is larger than a frame."""
        self._send(self._control, to_frames(message))

    def writelines(self, lines: Iterable[Any], /) -> None:
        """Send buffers over the data socket, as `dativo_plugin_sdk.protocol.arrow_stream.ArrowSender` asks for."""
        self._send(self._data, lines)

    def _send(self, sock: socket.socket, buffers: Iterable[Any]) -> None:
        waiting = deque(view for buffer in buffers if len(view := memoryview(buffer).cast("B")))
        while waiting:
            try:
                sent = sock.sendmsg(
                    [waiting[number] for number in range(min(len(waiting), _MOST_BUFFERS))], [], _NOT_NOW
                )
            except BlockingIOError:
                self._wait_to_send(sock)
                continue
            except (BrokenPipeError, ConnectionResetError) as error:
                raise GoneError from error
            self._went_on()
            self.bytes_out += sent
            while sent:
                first = waiting.popleft()
                if sent < len(first):
                    waiting.appendleft(first[sent:])
                sent -= min(sent, len(first))

    def _wait_for_data(self) -> None:
        """Wait for data; what is told meanwhile is taken, so that whoever sends both is not held up."""
        # Whoever sends is at the data until all of it is sent: what is told after it is told with it there.
        if self._messages and not self._is_ready(self._data, select.POLLIN):
            raise breach("a batch was announced and did not come")
        while not self._poll([(self._data, select.POLLIN), (self._control, select.POLLIN)]):
            self._look_up()
        if not self._is_ready(self._data, select.POLLIN):
            self._read_control()

    def _wait_to_send(self, sock: socket.socket) -> None:
        """Wait for room; what is told meanwhile is taken, so that the other side comes to read."""
        if self._messages and not self._is_ready(sock, select.POLLOUT):
            raise breach("it answered before it had taken what it was asked to take")
        while not self._poll([(sock, select.POLLOUT), (self._control, select.POLLIN)]):
            self._look_up()
        if not self._is_ready(sock, select.POLLOUT):
            self._read_control()

    def _poll(self, wanted: Iterable[tuple[socket.socket, int]]) -> bool:
        poll = select.poll()
        for sock, event in wanted:
            poll.register(sock, event)
        left_s = max(0.0, min(self._until_s - time.monotonic(), _LOOK_EVERY_S))
        return bool(poll.poll(left_s * 1000))

    @staticmethod
    def _is_ready(sock: socket.socket, event: int) -> bool:
        poll = select.poll()
        poll.register(sock, event)
        return bool(poll.poll(0))

    def _look_up(self) -> None:
        if time.monotonic() >= self._until_s:
            raise OverdueError
        self._while_waiting()

    def _went_on(self) -> None:
        if self._renewed_s is not None:
            self._until_s = time.monotonic() + self._renewed_s

    def _read_control(self) -> bool:
        """Take what is there of control frames; say whether there was anything."""
        try:
            piece = self._control.recv(_PIECE_BYTES, _NOT_NOW)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            piece = b""
        if not piece:
            self._decoder.end()
            raise GoneError
        self._went_on()
        self.bytes_in += len(piece)
        for frame in self._decoder.feed(piece):
            message = self._parts.take(frame)
            if message is not None and not self._aside(message):
                self._messages.append(message)
        return True
