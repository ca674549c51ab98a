"""stderr: talk, as text for people or JSON lines for machines."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import click

from dativo_ingest.cli.output import colour_wish, painted, to_json
from dativo_ingest.cli.text import error_text

if TYPE_CHECKING:
    import logging

LogFormat: TypeAlias = Literal["text", "json"]
Level: TypeAlias = Literal["info", "warning", "error"]

_MARKS: dict[Level, str] = {"info": "", "warning": "⚠ ", "error": "✗ "}


class Talk:
    """What a command says beside its result: notes, warnings and errors, without secrets.

    Attributes:
        log_format: How a line looks; options set it while the command line is parsed.
        debug: Whether an unknown exception shows its traceback.
    """

    def __init__(self) -> None:
        self.log_format: LogFormat = "text"
        self.debug = False
        self._relay: logging.Handler | None = None

    def say(self, message: str, level: Level = "info", **facts: Any) -> None:
        """Write one line; ``facts`` are for machines and show in the JSON form only."""
        self._write(self.line(message, level, **facts))

    def line(self, message: str, level: Level = "info", **facts: Any) -> str:
        """Give the line that `say` writes."""
        if self.log_format == "json":
            return _stamped({"level": level, "message": message, **facts})
        return _MARKS[level] + message

    def error(self, document: dict[str, Any], traceback: str | None = None) -> None:
        """Write an error document: its message, code, details and hint."""
        if self.log_format == "json":
            facts = {"traceback": traceback} if traceback else {}
            self.write_json({"level": "error", **document, **facts})
        else:
            self._write(error_text(document) + (f"\n{traceback.rstrip()}" if traceback else ""))

    def write_json(self, document: dict[str, Any]) -> None:
        """Write one JSON line, stamped with the time."""
        self._write(_stamped(document))

    def _write(self, text: str) -> None:
        from dativo_ingest.secrets.redaction import redact

        try:
            click.echo(painted(redact(text)), file=sys.stderr, color=colour_wish())
        except BrokenPipeError:
            return  # nobody listens: what the command does goes on

    def listen_to_libraries(self) -> None:
        """Bring what libraries log at warning level, and Python's own warnings, into the same lines until `close`."""
        import logging

        if self._relay is not None:
            return

        class Relay(logging.Handler):
            def emit(relay, record: logging.LogRecord) -> None:  # noqa: N805  self is the talk
                level: Level = "error" if record.levelno >= logging.ERROR else "warning"
                self.say(record.getMessage(), level, logger=record.name)

        self._relay = Relay(logging.WARNING)
        logging.captureWarnings(capture=True)
        logging.getLogger().addHandler(self._relay)

    def close(self) -> None:
        """Let libraries talk as they did before."""
        if self._relay is not None:
            import logging

            logging.getLogger().removeHandler(self._relay)
            logging.captureWarnings(capture=False)
            self._relay = None


def _stamped(document: dict[str, Any]) -> str:
    return to_json({"at": datetime.now(UTC).isoformat(timespec="milliseconds"), **document}, pretty=False)
