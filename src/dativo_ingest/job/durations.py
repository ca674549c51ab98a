"""Lengths of time as jobs and command lines write them: ``90s``, ``30m``, ``24h``, ``7d``, ``2w``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, WithJsonSchema

PATTERN = r"^\d+(\.\d+)?\s*(s|m|h|d|w)$"
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(text: str) -> timedelta:
    """Read a length of time.

    Raises:
        ValueError: It is none.
    """
    written = text.strip()
    if not re.match(PATTERN, written):
        raise ValueError(f"{text!r} is no length of time; write a number and a unit: 90s, 30m, 24h, 7d or 2w")
    try:
        return timedelta(**{_UNITS[written[-1]]: float(written[:-1])})
    except OverflowError as error:
        raise ValueError(f"{text!r} is too long") from error


def _parse(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


Duration: TypeAlias = Annotated[
    timedelta, BeforeValidator(_parse), WithJsonSchema({"type": "string", "pattern": PATTERN})
]
"""A length of time in a job file."""


def duration_text(seconds: float) -> str:
    """Write a length of time in the largest unit that divides it."""
    lengths = {unit: timedelta(**{name: 1}).total_seconds() for unit, name in reversed(_UNITS.items())}
    unit = next((unit for unit, length in lengths.items() if seconds and seconds % length == 0), "s")
    return f"{seconds / lengths[unit]:g}{unit}"
