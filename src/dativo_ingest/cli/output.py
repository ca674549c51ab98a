"""stdout: the result of a command, and nothing else."""

from __future__ import annotations

import json
import os
import re
import sys
from typing import Any

import click

_MARK = re.compile(r"^( *)([✓✗⚠])", re.MULTILINE)
_COLOURS = {"✓": "green", "✗": "red", "⚠": "yellow"}


def emit(text: str) -> None:
    """Write one piece of text and a line end to stdout, without secrets; marks get their colour on a terminal.

    A reader that has gone away (``dativo discover | head -1``) does not change what the command did, so its exit code
    stands and the rest of its output is dropped.
    """
    from dativo_ingest.secrets.redaction import redact

    try:
        click.echo(painted(redact(text)), color=colour_wish())
        sys.stdout.flush()
    except BrokenPipeError:
        drop_stdout()


def emit_json(document: Any, *, pretty: bool = True) -> None:
    """Write one JSON document to stdout; on one line where it is not ``pretty``."""
    emit(to_json(document, pretty=pretty))


def to_json(document: Any, *, pretty: bool = True) -> str:
    """Write a document as JSON text without secrets, which are replaced before quoting can disguise them."""
    from dativo_ingest.secrets.redaction import redact_document

    return json.dumps(redact_document(document), ensure_ascii=False, indent=2 if pretty else None, default=str)


def painted(text: str) -> str:
    """Colour the marks that begin a line; `click.echo` drops the colour where nobody would see it."""
    return _MARK.sub(lambda found: found[1] + click.style(found[2], fg=_COLOURS[found[2]]), text)


def colour_wish() -> bool | None:
    """Say whether colour is refused (``NO_COLOR``, see no-color.org); None leaves it to the terminal."""
    return False if os.environ.get("NO_COLOR") else None


def drop_stdout() -> None:
    """Send what is still to be written nowhere, so that the interpreter's last flush does not fail either."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
