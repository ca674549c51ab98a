"""Where the reports of a ``dativo run`` go: text on stdout, JSON lines in a file, or JSON lines alone on stdout."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import click

from dativo_ingest.cli.output import emit, emit_json, to_json

if TYPE_CHECKING:
    from io import TextIOWrapper

    from dativo_ingest.cli.logs import Talk
    from dativo_ingest.cli.ran_job import RanJob


class Reports:
    """The reports of one command, told job by job, so that a later job's end does not take the earlier ones along.

    Args:
        path: A file, ``-`` for stdout, or None for text alone.
        talk: Where the text goes when stdout is taken, and errors besides.

    Raises:
        click.BadParameter: On entering: the file cannot be written. Nothing has run by then.
    """

    def __init__(self, path: str | None, talk: Talk) -> None:
        self._path = path
        self._talk = talk
        self._on_stdout = path == "-"
        self._file: TextIOWrapper | None = None

    def __enter__(self) -> Self:
        if self._path is not None and not self._on_stdout:
            try:
                self._file = Path(self._path).open("w", encoding="utf-8")
            except OSError as error:
                raise click.BadParameter(f"{self._path}: {error.strerror}", param_hint="--report") from error
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def tell(self, ran: RanJob) -> None:
        """Tell of one job."""
        if self._file is not None:
            self._file.write(to_json(ran.report, pretty=False) + "\n")
            self._file.flush()
        if self._on_stdout:
            emit_json(ran.report, pretty=False)
        if ran.job is None:
            return  # why it could not be read is told, and there is nothing else
        if self._talk.debug:
            for traceback in ran.tracebacks():
                self._talk.say(traceback)
        self._tell_errors(ran.report)
        if not self._on_stdout:
            emit(ran.text())
        elif self._talk.log_format == "text":
            self._talk.say(ran.text())

    def _tell_errors(self, report: dict[str, Any]) -> None:
        """Put errors on stderr too, for whoever reads only that: a log, or the mail that cron sends.

        As text they are part of what stderr shows already where the report is JSON, and of what a terminal shows.
        """
        as_text = self._talk.log_format == "text"
        if as_text and (self._on_stdout or sys.stdout.isatty()):
            return
        for error in report["errors"]:
            where = f"{error['stream']}: " if error["stream"] and as_text else ""
            message = f"{where}{error['message']}"
            self._talk.error({"job": report["job"], "run_id": report["run_id"], **error, "message": message})
