"""The one place where an exception becomes a message, a code, a hint and an exit code."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from dativo_ingest.cli import exit_codes
from dativo_plugin_sdk.errors import DativoError, get_error_code, is_retryable_error

if TYPE_CHECKING:
    from dativo_ingest.cli.logs import Talk

BUG_HINT = "this is a bug in Dativo, please report it; --debug (or DATIVO_DEBUG=1) shows the traceback"


def describe(error: BaseException) -> dict[str, Any]:
    """Give an error's document, with every key that such documents have."""
    document: dict[str, Any] = {
        "error_code": get_error_code(error),
        "message": str(error) or type(error).__name__,
        "retryable": is_retryable_error(error),
        "retry_after_s": None,
        "hint": None,
        "type": type(error).__name__,
        "details": {},
        "stage": None,
        "stream": None,
        "plugin": None,
    }
    if isinstance(error, DativoError):
        return {**document, **error.to_dict()}
    if exit_codes.of(error) == exit_codes.INTERNAL:
        message = f"internal error: {type(error).__name__}: {error}"
        document |= {"error_code": "INTERNAL_ERROR", "message": message, "hint": BUG_HINT}
    return document


def tell(error: BaseException, talk: Talk) -> int:
    """Say on stderr what went wrong, and give the exit code that says whether to try again."""
    shown = "".join(traceback.format_exception(error)) if talk.debug else None
    talk.error(describe(error), shown)
    return exit_codes.of(error)
