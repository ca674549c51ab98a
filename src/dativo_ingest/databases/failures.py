"""How kinds of failures are written down."""

from __future__ import annotations

from typing import Literal, TypeAlias

from dativo_plugin_sdk import DativoError

End: TypeAlias = Literal["source", "target"]
"""Which part of a job messages and hints speak of."""

Kind: TypeAlias = tuple[type[DativoError], str | None]
"""A class and a hint, in which ``{end}`` stands for the end of the job."""


def hinted(kind: Kind, end: End) -> Kind:
    """Write the end of the job into a kind's hint."""
    error, hint = kind
    return error, None if hint is None else hint.replace("{end}", end)
