"""What a plugin's process prints and logs: told line by line, without secrets and control characters, up to a limit."""

from __future__ import annotations

import re
import sys
import threading
import unicodedata
from collections import deque
from collections.abc import Callable
from typing import Final

from dativo_ingest.secrets.redaction import redact

LAST_LINES: Final = 20
"""How many lines an error repeats."""
_MAX_LINE_BYTES = 16384
_SHOWN_CHARACTERS = 4096  # fewer, so that a secret that is cut in two lies in what does not show
_CUT = " … (cut)"
_NOT_THE_PLUGINS = re.compile(r'  File "(<frozen |[^"]*/(dativo_plugin_sdk/|threading\.py"))|Extension modules: ')
"""Of what Python says where it crashes, the lines that tell nothing of the plugin's own code."""


def printable(text: str) -> str:
    """Give the text without characters that steer a terminal, turn the direction of writing, or stand alone."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(" " if each == "\t" else each for each in text if each == "\t" or _shows(each))


def _shows(character: str) -> bool:
    return unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def to_stderr(line: str) -> None:
    """Pass a line on to people."""
    try:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        return  # nobody reads stderr: the run goes on all the same


class Output:
    """Takes what a plugin prints and logs; may be given pieces from several threads.

    Args:
        max_bytes: How much it may be in all.
        tell: Where lines go.

    Attributes:
        is_flood: Whether there was more. What comes then is dropped.
    """

    def __init__(self, max_bytes: int, tell: Callable[[str], None] = to_stderr) -> None:
        self._max_bytes = max_bytes
        self._tell = tell
        self._bytes = 0
        self._last: deque[str] = deque(maxlen=LAST_LINES)
        self._lock = threading.Lock()
        self.is_flood = False

    @property
    def last_lines(self) -> list[str]:
        """The newest lines, the oldest of them first."""
        with self._lock:
            return list(self._last)

    def count(self, size_bytes: int) -> bool:
        """Take note of that many bytes of output; say whether they are within the limit."""
        with self._lock:
            self._bytes += size_bytes
            is_first = self._bytes > self._max_bytes and not self.is_flood
            self.is_flood = self.is_flood or is_first
        if is_first:
            self.line(f"the plugin printed and logged more than {self._max_bytes:,} bytes; the rest is dropped")
        return not self.is_flood

    def line(self, text: str) -> None:
        """Keep a line and pass it on."""
        self._tell(self.keep(text))

    def keep(self, text: str) -> str:
        """Keep a line for errors to repeat, and give it as it may be shown."""
        # Once more, for a value that was hidden by the characters between its own.
        shown = redact(printable(redact(text)))
        if len(shown) > _SHOWN_CHARACTERS:
            shown = shown[:_SHOWN_CHARACTERS] + _CUT
        if not _NOT_THE_PLUGINS.match(shown):
            with self._lock:
                self._last.append(shown)
        return shown


class Lines:
    """Finds the lines in what comes out of one pipe.

    Args:
        output: Where they go. Bytes count as they come.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._line = bytearray()

    def feed(self, received: bytes) -> bool:
        """Take a piece; say whether there may be more."""
        if not self._output.count(len(received)):
            return False
        *ended, rest = received.split(b"\n")
        for piece in ended:
            self._add(piece)
            self._end()
        self._add(rest)
        return True

    def finish(self) -> None:
        """Pass on what has no line end."""
        if self._line:
            self._end()

    def _add(self, piece: bytes) -> None:
        self._line += piece[: _MAX_LINE_BYTES - len(self._line)]

    def _end(self) -> None:
        text = self._line.decode(errors="replace")
        self._line.clear()
        self._output.line(text)
