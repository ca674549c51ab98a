"""The one place where a simple plugin's code is called, and where what it raises becomes one of our errors."""

from __future__ import annotations

import builtins
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from dativo_plugin_sdk.errors import (
    ConnectionError as DativoConnectionError,
    DativoError,
    MemoryLimitError,
    PluginExecutionError,
    TimeoutError as DativoTimeoutError,
    wrap_exception,
)
from dativo_plugin_sdk.plugin_faults import limit_of, of_system, places, way_out

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


def call_plugin(
    where: str, method: Callable[Parameters, Result], *args: Parameters.args, **kwargs: Parameters.kwargs
) -> Result:
    """Call foreign code.

    Args:
        where: Class and method, for the message: ``ShopReader.extract``.
        method: What to call.
        args: Its arguments.
        kwargs: Its named arguments.

    Raises:
        DativoError: As the plugin raised it.
        ConnectionError: For a builtin ``ConnectionError``, `TimeoutError` for a builtin ``TimeoutError``: both pass.
        MemoryLimitError: For a ``MemoryError``.
        PluginExecutionError: For anything else; its details name the original, which is its cause. Its code is that of
            the limit that was hit, where it was one of processes or of space.
    """
    try:
        return method(*args, **kwargs)
    except StopIteration:
        raise  # the end of an iterator, not an error
    except DativoError:
        raise
    except (Exception, SystemExit) as error:  # foreign code: whatever it raises, it is the plugin that failed
        text = f"{where} failed: {type(error).__name__}: {error}"
        raise failed(error, _error_class(error), text) from error


def failed(error: BaseException, error_class: type[DativoError], message: str) -> DativoError:
    """Make the error for what foreign code raised: where in that code it was, and the way out if one is known."""
    limit = limit_of(error)
    wrapped = wrap_exception(error, MemoryLimitError if isinstance(error, MemoryError) else error_class, message)
    if limit is not None:
        wrapped.error_code = limit
    wrapped.details |= of_system(error)
    if at := places(error):
        wrapped.details["at"] = at
    wrapped.hint = wrapped.hint or way_out(error)
    return wrapped


def broke(where: str, returned: object, expected: str, *, hint: str | None = None) -> PluginExecutionError:
    """Make the error for a plugin that gave back something else than its interface says."""
    given = "None" if returned is None else f"{type(returned).__module__}.{type(returned).__qualname__}"
    text = f"{where} returned {given}, expected {expected}".replace("builtins.", "")
    return PluginExecutionError(text, hint=hint)


def _error_class(error: BaseException) -> type[DativoError]:
    if isinstance(error, builtins.TimeoutError):
        return DativoTimeoutError
    if isinstance(error, builtins.ConnectionError):
        return DativoConnectionError
    return PluginExecutionError


def is_list_of_dicts(value: Any) -> bool:
    """Say whether a plugin gave what its interface calls a list of objects or of file metadata."""
    return isinstance(value, list | tuple) and all(isinstance(item, dict) for item in value)
