"""Names as Postgres takes them."""

from __future__ import annotations

MAX_NAME_BYTES = 63
"""Postgres cuts a longer name off, so that two names may become one."""


def quoted(*names: str) -> str:
    """Write a name, level by level, so that any of its characters stands for itself."""
    return ".".join('"' + name.replace('"', '""') + '"' for name in names)
