"""JSON values of a foreign process, taken strictly: of the type that is expected, and bounded."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Set as AbstractSet
from dataclasses import dataclass
from typing import Any, TypeAlias

from dativo_plugin_sdk.protocol.breach import breach

Kind: TypeAlias = Callable[[object], Any]
"""Takes a value and gives it back as what it must be; raises `WrongValueError`."""

MAX_TEXT = 2**16
"""Characters of a name or of a sentence."""
MAX_DEPTH = 64
_INT64 = 2**63
_MAX_SECONDS = 1e12


class WrongValueError(Exception):
    """A value is not of its kind; the text says what it must be, never what it is."""


@dataclass(frozen=True)
class Shape:
    """An object with named values; keys beyond them are a newer peer's and left out."""

    what: str
    required: Mapping[str, Kind]
    optional: Mapping[str, Kind]

    def of(self, value: object) -> dict[str, Any]:
        """Give the values that are there, by key.

        Raises:
            PluginExecutionError: A key is missing or its value of another kind: a breach.
        """
        try:
            return self.inner(value)
        except WrongValueError as error:
            raise breach(f"{self.what}: {error}") from error

    def inner(self, value: object) -> dict[str, Any]:
        """Do the same as a kind of value within another."""
        if not isinstance(value, dict):
            raise WrongValueError("an object is expected")
        taken = {}
        for key, kind in (*self.required.items(), *self.optional.items()):
            if key in value:
                try:
                    taken[key] = kind(value[key])
                except WrongValueError as error:
                    raise WrongValueError(f"{key}: {error}") from error
            elif key in self.required:
                raise WrongValueError(f"{key} is missing")
        return taken


def text(value: object) -> str:
    """Take a text of at most `MAX_TEXT` characters."""
    if not isinstance(value, str) or len(value) > MAX_TEXT:
        raise WrongValueError(f"a text of at most {MAX_TEXT} characters is expected")
    return value


def flag(value: object) -> bool:
    """Take true or false."""
    if not isinstance(value, bool):
        raise WrongValueError("true or false is expected")
    return value


def whole(value: object) -> int:
    """Take a whole number that 64 bits hold."""
    if isinstance(value, bool) or not isinstance(value, int) or not -_INT64 <= value < _INT64:
        raise WrongValueError("a whole number of 64 bits is expected")
    return value


def count(value: object) -> int:
    """Take a whole number that is not negative."""
    if (number := whole(value)) < 0:
        raise WrongValueError("a number that is not negative is expected")
    return number


def seconds(value: object) -> float:
    """Take a number of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= _MAX_SECONDS:
        raise WrongValueError("a number of seconds is expected")
    return float(value)


def choice(*allowed: str) -> Kind:
    """Take one of these texts."""

    def take(value: object) -> str:
        if not isinstance(value, str) or value not in allowed:
            raise WrongValueError(f"one of {', '.join(allowed)} is expected")
        return value

    return take


def maybe(kind: Kind) -> Kind:
    """Take null, or what ``kind`` takes."""
    return lambda value: None if value is None else kind(value)


def items(kind: Kind, *, most: int) -> Kind:
    """Take a list of what ``kind`` takes."""

    def take(value: object) -> list[Any]:
        if not isinstance(value, list) or len(value) > most:
            raise WrongValueError(f"a list of at most {most} items is expected")
        return [kind(item) for item in value]

    return take


def texts(value: object) -> tuple[str, ...]:
    """Take a list of texts."""
    return tuple(items(text, most=MAX_TEXT)(value))


def names(value: object) -> frozenset[str]:
    """Take a list of texts whose order says nothing."""
    return frozenset(texts(value))


def any_json(value: object) -> Any:
    """Take any JSON value that is not too deep and has no number beyond all bounds."""
    waiting = [(1, value)]
    while waiting:
        depth, each = waiting.pop()
        if depth > MAX_DEPTH:
            raise WrongValueError(f"values nested at most {MAX_DEPTH} deep are expected")
        if isinstance(each, float) and not math.isfinite(each):
            raise WrongValueError("a finite number is expected")
        if isinstance(each, dict):
            waiting.extend((depth + 1, item) for item in each.values())
        elif isinstance(each, list):
            waiting.extend((depth + 1, item) for item in each)
    return value


def json_object(value: object) -> dict[str, Any]:
    """Take any JSON object."""
    taken = any_json(value)
    if not isinstance(taken, dict):
        raise WrongValueError("an object is expected")
    return taken


def as_json(value: object) -> Any:
    """Give a value as JSON holds it: what has no form there, or is nested too deep, becomes its text."""
    return _as_json(value, 0)


def _as_json(value: object, depth: int) -> Any:  # noqa: PLR0911  one for each kind
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return written(value)
    if isinstance(value, int) and abs(value) < _INT64:
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if depth < MAX_DEPTH and isinstance(value, Mapping):
        return {written(text_of(key)): _as_json(item, depth + 1) for key, item in value.items()}
    if depth < MAX_DEPTH and isinstance(value, list | tuple | AbstractSet):
        return [_as_json(item, depth + 1) for item in value]
    return written(text_of(value))


def text_of(value: object) -> str:
    """Give the text of a foreign value, whatever its class makes of that."""
    try:
        return str(value)
    except Exception as error:  # noqa: BLE001  foreign code: a class whose own text fails
        return f"({type(value).__name__}, whose text cannot be had: {type(error).__name__})"


def written(value: str) -> str:
    """Give a text that UTF-8 can hold: a lone surrogate becomes its escape."""
    return value if value.isascii() else value.encode(errors="backslashreplace").decode()


def strict_json(value: object) -> Any:
    """Give a value that must come back as it was: tuples become lists, nothing else changes.

    Raises:
        WrongValueError: JSON has no form for it; says where.
    """
    return _strict_json(value, ())


def _strict_json(value: object, path: tuple[str, ...]) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str) and written(value) == value:
        return str(value)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if len(path) < MAX_DEPTH and isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {str(key): _strict_json(item, (*path, key)) for key, item in value.items()}
    if len(path) < MAX_DEPTH and isinstance(value, list | tuple):
        return [_strict_json(item, (*path, str(number))) for number, item in enumerate(value)]
    at = f" at {'.'.join(path)}" if path else ""
    raise WrongValueError(f"{type(value).__name__}{at} has no form in JSON")


def said(value: object) -> str:
    """Give what a plugin says as a text that `text` takes."""
    return written(text_of(value))[:MAX_TEXT]
