"""The one place where an exception becomes a message on stderr and an exit code."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING

from dativo_ingest.cli import exit_codes
from dativo_ingest.run.error_document import error_document

if TYPE_CHECKING:
    from dativo_ingest.cli.logs import Talk


def tell(error: BaseException, talk: Talk) -> int:
    """Say on stderr what went wrong, and give the exit code that says whether to try again."""
    shown = "".join(traceback.format_exception(error)) if talk.debug else None
    talk.error(error_document(error), shown)
    return exit_codes.of(error)
