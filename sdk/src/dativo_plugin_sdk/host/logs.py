"""What a plugin logs, as frames to the engine."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from dativo_plugin_sdk.protocol.json_values import written

MAX_MESSAGE = 8 * 2**10
_MAX_NAME = 200


class LogFrames(logging.Handler):
    """Hands each record to ``send`` as an event; a record that cannot be sent is dropped.

    Args:
        send: Takes an event; raises ``OSError`` or ``EOFError`` where nobody listens any more.
    """

    def __init__(self, send: Callable[[dict[str, Any]], None]) -> None:
        super().__init__()
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record with its traceback, cut to a size."""
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001  foreign code: arguments whose own text fails, or that do not fit the message
            text = f"{record.msg!s:.{MAX_MESSAGE}}"
        if len(text) > MAX_MESSAGE:
            text = text[: MAX_MESSAGE - 1] + "…"
        event = {
            "event": "log",
            "level": _level(record.levelno),
            "message": written(text),
            "logger": written(record.name[:_MAX_NAME]),
        }
        with suppress(OSError, EOFError):  # the engine is gone: the thread that reads from it ends this process
            self._send(event)


def _level(number: int) -> str:
    """Give the level's name, or that of the one below: a plugin may have levels of its own."""
    if number >= logging.ERROR:
        return "error"
    if number >= logging.WARNING:
        return "warning"
    return "info" if number >= logging.INFO else "debug"
