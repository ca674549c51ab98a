"""Control frames: a length of four bytes, little-endian, and that many bytes of JSON, an object.

Sans-I/O: `encode` makes bytes, `FrameDecoder` takes them in pieces of any size. A peer may be hostile, so a length is
looked at before anything is kept, and whatever is no frame is a breach.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from dativo_plugin_sdk.protocol.breach import breach

MAX_FRAME_BYTES = 2**20
"""Of a frame's JSON; what is larger belongs on the data socket."""
LENGTH_BYTES = 4


def encode(message: Mapping[str, Any]) -> bytes:
    """Write a frame.

    Raises:
        ValueError: The message is larger than a frame may be, or no JSON.
    """
    body = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    if len(body) > MAX_FRAME_BYTES:
        raise ValueError(f"a message of {len(body)} bytes is larger than a frame may be, {MAX_FRAME_BYTES}")
    return len(body).to_bytes(LENGTH_BYTES, "little") + body


class FrameDecoder:
    """Finds the frames in what a peer sends; keeps less than one frame."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def feed(self, received: bytes | memoryview) -> Iterator[dict[str, Any]]:
        """Give the messages that are whole by now.

        Raises:
            PluginExecutionError: A length is 0 or too large, or a body is no JSON object.
        """
        self._waiting += received
        while (body := self._next_body()) is not None:
            yield parsed(body)

    def end(self) -> None:
        """Take note that the peer sends no more.

        Raises:
            PluginExecutionError: It ended within a frame.
        """
        if self._waiting:
            raise breach("the control connection ended within a frame")

    def _next_body(self) -> bytes | None:
        if len(self._waiting) < LENGTH_BYTES:
            return None
        end = LENGTH_BYTES + body_bytes_of(self._waiting[:LENGTH_BYTES])
        if len(self._waiting) < end:
            return None
        body = bytes(self._waiting[LENGTH_BYTES:end])
        del self._waiting[:end]
        return body


def body_bytes_of(length: bytes | bytearray) -> int:
    """Read a frame's length.

    Raises:
        PluginExecutionError: No frame has it.
    """
    body_bytes = int.from_bytes(length, "little")
    if not 0 < body_bytes <= MAX_FRAME_BYTES:
        raise breach(f"a control frame of {body_bytes} bytes, where 1 to {MAX_FRAME_BYTES} are allowed")
    return body_bytes


def parsed(body: bytes) -> dict[str, Any]:
    """Read a message.

    Raises:
        PluginExecutionError: It is no JSON object.
    """
    try:
        message = json.loads(body.decode(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:  # a number of 5,000 digits is a ValueError, too
        raise breach(f"a control frame is no JSON ({type(error).__name__})") from error
    if b"\\ud" in body.lower():
        _refuse_lone_surrogates(message)
    if not isinstance(message, dict):
        raise breach(f"a control frame holds a JSON {type(message).__name__}, an object is expected")
    return message


def _refuse_lone_surrogates(message: object) -> None:
    """Refuse half a character, which JSON can write and nothing else can."""
    try:
        json.dumps(message, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        raise breach("a control frame has text that is no Unicode") from error


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")
