"""What code in this process prints while a run goes on: stdout belongs to results, and secrets belong nowhere."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TextIO

from dativo_ingest.secrets.redaction import redact


class _RedactedLines(io.TextIOBase):
    """Passes whole lines on to another stream, without secrets; may be written from several threads."""

    def __init__(self, to: TextIO) -> None:
        self._to = to
        self._line = ""
        self._lock = threading.Lock()

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        with self._lock:
            *lines, self._line = (self._line + text).split("\n")
            for line in lines:
                self._to.write(f"{redact(line)}\n")
        return len(text)

    def flush(self) -> None:
        with self._lock:
            self._to.flush()

    def finish(self) -> None:
        """Pass on what has no line end."""
        if self._line:
            self.write("\n")


@contextmanager
def plugin_output_to_stderr() -> Iterator[None]:
    """Send what a plugin prints to stderr, line by line and without secrets, so that stdout stays the result's."""
    lines = _RedactedLines(sys.stderr)
    with redirect_stdout(lines), redirect_stderr(lines):
        try:
            yield
        finally:
            lines.finish()
