"""Errors as they cross between processes: with their class, bounded, and without what a terminal would act on."""

from __future__ import annotations

import math
import traceback
from collections.abc import Mapping
from typing import Any

from dativo_plugin_sdk import errors
from dativo_plugin_sdk.errors import DativoError, PluginExecutionError, error_from_dict
from dativo_plugin_sdk.plugin_faults import is_foreign
from dativo_plugin_sdk.protocol.json_values import (
    Shape,
    WrongValueError,
    as_json,
    flag,
    json_object,
    maybe,
    seconds,
    text_of,
    written,
)

MAX_MESSAGE = 8 * 2**10
MAX_DETAILS = 16 * 2**10
MAX_TRACEBACK = 16 * 2**10
_SHORT = 200
_KNOWN = frozenset(errors.__all__)


def error_to_json(error: BaseException) -> dict[str, Any]:
    """Write an error with its traceback; one that is none of ours becomes a `PluginExecutionError`.

    A subclass of the plugin's own crosses as the nearest class that the SDK knows.
    """
    known = error if isinstance(error, DativoError) else _wrapped(error)
    document = {
        "type": next(each.__name__ for each in type(known).__mro__ if each.__name__ in _KNOWN),
        "error_code": plain_text(text_of(known.error_code), _SHORT),
        "message": plain_text(text_of(known.message), MAX_MESSAGE),
        "details": _bounded(known.details),
        "retryable": bool(known.retryable),
        "traceback": written(_traceback(error)[-MAX_TRACEBACK:]),
    }
    if known.hint is not None:
        document["hint"] = plain_text(text_of(known.hint), MAX_MESSAGE)
    if isinstance(known.retry_after_s, int | float) and math.isfinite(known.retry_after_s):
        document["retry_after_s"] = float(known.retry_after_s)
    return document


def _traceback(error: BaseException) -> str:
    """Give the traceback without the SDK's own lines, where there are others."""
    whole = traceback.TracebackException.from_exception(error)
    is_cut = False
    each: traceback.TracebackException | None = whole
    while each is not None:
        foreign = [frame for frame in each.stack if is_foreign(frame.filename)]
        is_cut = is_cut or bool(foreign)
        each.stack = traceback.StackSummary.from_list(foreign)
        each = each.__cause__ or each.__context__
    return "".join(whole.format() if is_cut else traceback.format_exception(error))


def _wrapped(error: BaseException) -> DativoError:
    name, said = type(error).__name__, text_of(error)
    return PluginExecutionError(
        f"{name}: {said}" if said else name, details={"original_error": name, "original_message": said}
    )


def error_from_json(value: object) -> tuple[DativoError, str | None]:
    """Read an error that a plugin's process sent, which may be hostile, and the traceback if it has one."""
    document = _ERROR.of(value)
    told = document.pop("traceback", None)
    document["message"] = plain_text(document["message"], MAX_MESSAGE)
    document["details"] = _bounded(document.get("details") or {})
    for key, most in (("error_code", _SHORT), ("hint", MAX_MESSAGE)):
        if document.get(key) is not None:
            document[key] = plain_text(document[key], most)
    return error_from_dict(document), None if told is None else plain_text(told[-MAX_TRACEBACK:], MAX_TRACEBACK)


def plain_text(text: str, most: int) -> str:
    """Give a text without control characters but line ends and tabs, cut to ``most`` characters."""
    kept = "".join(
        each if each.isprintable() or each in "\n\t" else "\N{REPLACEMENT CHARACTER}" for each in text[: most + 1]
    )
    return kept if len(kept) <= most else kept[: most - 1] + "…"


def _bounded(details: Mapping[str, Any]) -> dict[str, Any]:
    """Give details that are small: values that are too much are cut, and beyond all measure left out."""
    kept: dict[str, Any] = {}
    room = MAX_DETAILS
    plain_details = as_json(details)
    for key, value in plain_details.items() if isinstance(plain_details, dict) else ():
        plain = _plain(value)
        room -= len(key) + len(repr(plain))
        if room < 0:
            kept["truncated"] = True
            break
        kept[plain_text(key, _SHORT)] = plain
    return kept


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return plain_text(value, MAX_MESSAGE)
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {plain_text(key, _SHORT): _plain(item) for key, item in value.items()}
    return value


def _any_text(value: object) -> str:
    if not isinstance(value, str):
        raise WrongValueError("a text is expected")
    return value


_ERROR = Shape(
    "an error",
    {"message": _any_text, "type": _any_text, "error_code": _any_text},
    {
        "details": maybe(json_object),
        "retryable": maybe(flag),
        "retry_after_s": maybe(seconds),
        "hint": maybe(_any_text),
        "traceback": maybe(_any_text),
    },
)
