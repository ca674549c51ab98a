"""The document of an error, the same in reports, in checks and on stderr."""

from __future__ import annotations

from typing import Any

from dativo_ingest.run import exit_codes
from dativo_plugin_sdk.errors import DativoError, get_error_code, is_retryable_error

_BUG_HINT = "this is a bug in Dativo, please report it; --debug (or DATIVO_DEBUG=1) shows the traceback"


def error_document(
    error: BaseException, *, stage: str | None = None, stream: str | None = None, plugin: str | None = None
) -> dict[str, Any]:
    """Describe an error, with every key that such documents have; one that nobody expected says that it is a bug.

    An error of a plugin's process names it, unless ``plugin`` does.
    """
    document: dict[str, Any] = {
        "error_code": get_error_code(error),
        "message": str(error) or type(error).__name__,
        "retryable": is_retryable_error(error),
        "retry_after_s": None,
        "hint": None,
        "type": type(error).__name__,
        "details": {},
        "stage": stage,
        "stream": stream,
        "plugin": plugin,
    }
    if isinstance(error, DativoError):
        told = error.to_dict()
        details = dict(told["details"])
        named = details.pop("plugin", None)
        return {**document, **told, "details": details, "plugin": named if plugin is None else plugin}
    if exit_codes.of(error) == exit_codes.INTERNAL:
        message = f"internal error: {type(error).__name__}: {error}"
        document |= {"error_code": "INTERNAL_ERROR", "message": message, "hint": _BUG_HINT}
    return document
