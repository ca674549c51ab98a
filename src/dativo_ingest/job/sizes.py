"""Sizes in bytes as manifests and policies write them: ``64Ki``, ``512Mi``, ``2Gi``, or a number of bytes."""

from __future__ import annotations

import re
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema

PATTERN = r"^[0-9]+(\.[0-9]+)?\s*(Ki|Mi|Gi|Ti)?$"
_FACTORS = {"": 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}


def parse_size(text: str) -> int:
    """Read a size; a part of a byte is left out.

    Raises:
        ValueError: It is none.
    """
    written = text.strip()
    found = re.fullmatch(PATTERN, written)
    if not found:
        raise ValueError(f"{text!r} is no size; write a number and a unit: 64Ki, 512Mi, 2Gi")
    unit = found[2] or ""
    return int(float(written.removesuffix(unit)) * _FACTORS[unit])


def size_text(size_bytes: int) -> str:
    """Write a size in the largest unit that divides it."""
    unit = next((unit for unit in ("Ti", "Gi", "Mi", "Ki") if size_bytes and size_bytes % _FACTORS[unit] == 0), "")
    return f"{size_bytes // _FACTORS[unit]}{unit}"


def _parse(value: object) -> object:
    return parse_size(value) if isinstance(value, str) else value


Size: TypeAlias = Annotated[
    int,
    Field(ge=1, le=2**60),
    BeforeValidator(_parse),
    WithJsonSchema({"anyOf": [{"type": "string", "pattern": PATTERN}, {"type": "integer", "minimum": 1}]}),
]
"""A size in bytes in a file."""
