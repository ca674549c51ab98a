"""What a contract lets a column lose: the custom property ``dativo.lossy``, and the field metadata that it becomes.

Nothing is lost where it says nothing: a value that does not fit rejects its row.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dativo_ingest.contracts.arrow_types import Field, kind
from dativo_ingest.contracts.document import ContractDocument
from dativo_ingest.job.problems import Loc

LOSSY = "dativo.lossy"
_NUMBERS = frozenset({"integer", "decimal"})
_KINDS: Mapping[str, frozenset[str]] = {
    "round": _NUMBERS | {"number", "time", "timestamp"},
    "clamp": _NUMBERS | {"date", "time", "timestamp"},
    "bounds": frozenset({"array"}),
}
_WAYS = (*_KINDS, "null")


def with_losses(document: ContractDocument, item: Mapping[str, Any], loc: Loc, field: Field) -> Field:
    """Mark a column's field with what the contract lets it lose.

    Raises:
        SchemaValidationError: It is nothing that can be lost, or nothing that this column can lose.
    """
    allowed: list[str] = []
    for at, value in _said(document, item, loc):
        for way in value if isinstance(value, list) else [value]:
            called = "null" if way is None else way
            _check(document, called, at, field)
            allowed.append(called)
    if not allowed:
        return field
    metadata: Any = {**(field.metadata or {}), LOSSY.encode(): ",".join(allowed).encode()}  # the stubs' keys
    return field.with_metadata(metadata)


def refuse_losses(document: ContractDocument, item: Mapping[str, Any], loc: Loc) -> None:
    """Refuse the property where it would mean nothing: inside a column.

    Raises:
        SchemaValidationError: It is there.
    """
    for at, _ in _said(document, item, loc):
        raise document.error(at, f"{LOSSY} is said of a column, not of a part of one")


def _said(document: ContractDocument, item: Mapping[str, Any], loc: Loc) -> Iterator[tuple[Loc, Any]]:
    properties: Sequence[Mapping[str, Any]] = item.get("customProperties") or []
    for index, each in enumerate(properties):
        name = str(each.get("property"))
        at = (*loc, "customProperties", index)
        if name == LOSSY:
            yield (*at, "value"), each.get("value")
        elif name.startswith("dativo."):
            raise document.error((*at, "property"), f"unknown property {name}, there is {LOSSY}")


def _check(document: ContractDocument, way: object, at: Loc, field: Field) -> None:
    if way not in _WAYS:
        close = difflib.get_close_matches(str(way), _WAYS, n=1)
        said = f"did you mean {close[0]}" if close else f"there are {', '.join(_WAYS)}"
        raise document.error(at, f"{way!r} is no way to lose something, {said}")
    if way == "null":
        if not field.nullable:
            raise document.error(at, f"{field.name} is required, and cannot become null")
    elif kind(field) not in _KINDS[str(way)]:
        fits = ", ".join(sorted(_KINDS[str(way)]))
        raise document.error(at, f"{field.name} is {kind(field)}: {way} is for {fits}")
