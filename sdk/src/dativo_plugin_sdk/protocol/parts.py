"""Requests and results that are larger than a frame: their JSON text in parts, put together again.

Sans-I/O, as `frames`. The parts ``{"type": "part", "id": n, "text": TEXT}`` come in order, with no other message of the
same id among them, then ``{"type": "request" | "result", "id": n, "parts": k}``, which stands for the whole message.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from dativo_plugin_sdk.protocol.breach import breach
from dativo_plugin_sdk.protocol.frames import MAX_FRAME_BYTES, encode, parsed

MAX_MESSAGE_BYTES = 64 * 2**20
"""Of a request's or a result's JSON text."""
MAX_VALUES = 5_000_000
"""How many values a message may have: parsed, each takes much more than its two bytes of text."""
_PART_CHARACTERS = 2**17  # as text within JSON it may take four times as many bytes, and its quotes twice
_CUT = ("request", "result")


def to_frames(message: Mapping[str, Any]) -> Iterator[bytes]:
    """Write a message, in parts where it is too large for a frame and of a type that may be cut.

    Raises:
        ValueError: It is no JSON, or too large.
    """
    text = json.dumps(message, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    size_bytes = len(text) if text.isascii() else len(text.encode())
    if size_bytes <= MAX_FRAME_BYTES or message.get("type") not in _CUT:
        yield encode(message)
        return
    if size_bytes > MAX_MESSAGE_BYTES:
        raise ValueError(f"a message of {size_bytes} bytes is larger than one may be, {MAX_MESSAGE_BYTES}")
    starts = range(0, len(text), _PART_CHARACTERS)
    for at in starts:
        yield encode({"type": "part", "id": message["id"], "text": text[at : at + _PART_CHARACTERS]})
    yield encode({"type": message["type"], "id": message["id"], "parts": len(starts)})


class Parts:
    """Puts messages together; keeps at most one, of at most ``most_bytes``."""

    def __init__(self, most_bytes: int = MAX_MESSAGE_BYTES) -> None:
        self._most_bytes = most_bytes
        self._id: object = None
        self._count = 0
        self._body = bytearray()

    def take(self, frame: dict[str, Any]) -> dict[str, Any] | None:
        """Give the message that a frame is or completes; None for a part.

        Raises:
            PluginExecutionError: The parts are too large, of two messages at once, not as many as said, or no message.
        """
        if frame.get("type") == "part":
            self._keep(frame)
            return None
        if "parts" not in frame or frame.get("type") not in _CUT:
            return frame
        if frame["parts"] != self._count or frame.get("id") != self._id:
            raise breach("a message has not the parts that it says")
        body = bytes(self._body)
        self._id, self._count, self._body = None, 0, bytearray()
        if sum(map(body.count, (b",", b"[", b"{"))) > MAX_VALUES:
            raise breach(f"a message of more than {MAX_VALUES} values")
        message = parsed(body)
        if message.get("type") != frame["type"] or message.get("id") != frame.get("id") or "parts" in message:
            raise breach("the parts of a message are another message")
        return message

    def _keep(self, frame: dict[str, Any]) -> None:
        text = frame.get("text")
        if not isinstance(text, str) or not text:
            raise breach("a part has no text")
        if self._count and frame.get("id") != self._id:
            raise breach("parts of two messages at once")
        self._id = frame.get("id")
        self._count += 1
        self._body += text.encode()
        if len(self._body) > self._most_bytes:
            raise breach(f"a message of more than {self._most_bytes} bytes")
