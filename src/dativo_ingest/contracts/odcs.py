"""Contracts: ODCS 3.x documents (`*.odcs.yaml`), and the schema that a stream's rows must have by one."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from dativo_ingest.contracts import arrow_types
from dativo_ingest.contracts.arrow_types import Field, UnknownTypeError
from dativo_ingest.contracts.document import ContractDocument, read_contract
from dativo_ingest.contracts.lossy import refuse_losses, with_losses
from dativo_ingest.job.problems import Loc, Problem
from dativo_plugin_sdk import InvalidConfigError, parse

if TYPE_CHECKING:
    from pydantic import BaseModel

_REQUIRED = ("apiVersion", "kind", "id", "version")
_ISO = {"date": "yyyy-MM-dd", "timestamp": "yyyy-MM-dd", "time": "HH:mm"}
_UTC = {"UTC", "Etc/UTC", "GMT", "Z", "+00:00"}


@dataclass(frozen=True)
class Contract:
    """What a stream's rows must be."""

    id: str
    name: str | None
    version: str
    path: Path
    schema: pa.Schema
    """Columns in the document's order; field metadata holds the description (``doc``) and the mark of JSON columns."""
    primary_key: tuple[str, ...] = ()
    partition_by: tuple[str, ...] = ()
    """Columns that the document calls partitioned, in its order: a hint, the job decides."""


def load_contract(path: Path | str, *, stream: str, table: str) -> Contract:
    """Read the contract of one stream.

    Of several schema objects the one whose ``name`` or ``physicalName`` is the table's or the stream's is taken; a
    single one is taken whatever its name. A column is found in the source by its ``name``. Columns of the primary key
    are required.

    Raises:
        MissingConfigError: There is no such file.
        SchemaValidationError: It is no contract, or one that cannot be kept; with file, line and column.
    """
    document = _checked(read_contract(Path(path)))
    loc, chosen = _choose(document, stream, table)
    properties = chosen.get("properties") or []
    if not properties:
        raise document.error(loc, "no properties: a contract names at least one column")
    fields = [_column(document, item, (*loc, "properties", index)) for index, item in enumerate(properties)]
    _check_names(document, fields, (*loc, "properties"))
    return Contract(
        id=str(document.data["id"]),
        name=document.data.get("name"),
        version=str(document.data["version"]),
        path=Path(path),
        schema=pa.schema(fields),
        primary_key=_marked(properties, "primaryKey", "primaryKeyPosition"),
        partition_by=_marked(properties, "partitioned", "partitionKeyPosition"),
    )


def _checked(document: ContractDocument) -> ContractDocument:
    """Check the document as ODCS: what it must say, keys that it knows; give it with values of the right types."""
    data = document.data
    for key in _REQUIRED:
        if not isinstance(data.get(key), str) or not data[key]:
            hint = "in quotes" if key in data else f"for instance {key}: {_EXAMPLES[key]}"
            raise document.error((key,) if key in data else (), f"required key {key} is missing or no text", hint=hint)
    if not data["apiVersion"].startswith("v3."):
        raise document.error(("apiVersion",), f"{data['apiVersion']} is not supported; Dativo reads ODCS v3.0 to v3.2")
    if data["kind"] != "DataContract":
        raise document.error(("kind",), f"{data['kind']!r}, expected DataContract")
    from open_data_contract_standard.model import OpenDataContractStandard  # noqa: PLC0415  0.3 s

    problems = list(_unknown_keys(document, data, OpenDataContractStandard, ()))
    if problems:
        raise document.error_of(problems)
    try:
        parsed = parse(OpenDataContractStandard, data, where=str(document.path))
    except InvalidConfigError as error:
        wrong = [document.problem(tuple(each["loc"]), each["message"]) for each in error.details["problems"]]
        raise document.error_of(wrong) from error
    return replace(document, data=parsed.model_dump(by_alias=True, exclude_unset=True))


_EXAMPLES = {"apiVersion": "v3.1.0", "kind": "DataContract", "id": "orders", "version": "1.0.0"}


def _unknown_keys(document: ContractDocument, data: object, model: type[BaseModel], loc: Loc) -> Iterator[Problem]:
    """Name the keys that the standard does not have; its models let most of them pass."""
    if not isinstance(data, dict):
        return
    known = {info.alias or name: info.annotation for name, info in model.model_fields.items()}
    for key, value in data.items():
        inner = (*loc, key)
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            said = f"did you mean {close[0]}" if close else "own keys belong into customProperties"
            yield document.problem(inner, f"unknown key, {said}", of_key=True)
            continue
        models = list(_models_in(known[key]))
        if len(models) != 1:
            continue
        items = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, item in items:
            yield from _unknown_keys(document, item, models[0], inner if index is None else (*inner, index))


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if hasattr(annotation, "model_fields"):
        yield annotation
    for argument in getattr(annotation, "__args__", ()):
        yield from _models_in(argument)


def _choose(document: ContractDocument, stream: str, table: str) -> tuple[Loc, Mapping[str, Any]]:
    objects: Sequence[Mapping[str, Any]] = document.data.get("schema") or []
    if not objects:
        raise document.error((), "no schema: a contract names its columns under schema[0].properties")
    names = {stream, stream.rsplit(".", 1)[-1], table}
    called = [
        index for index, item in enumerate(objects) if names & {item.get("name"), item.get("physicalName")} - {None}
    ]
    if len(objects) == 1:
        called = [0]
    if len(called) != 1:
        there = ", ".join(str(item.get("name")) for item in objects)
        wrong = "several schema objects are" if called else "no schema object is"
        raise document.error(("schema",), f"{wrong} called {table} (stream {stream}); there are: {there}")
    return ("schema", called[0]), objects[called[0]]


def _check_names(document: ContractDocument, fields: Sequence[Field], loc: Loc) -> None:
    seen: set[str] = set()
    for index, field in enumerate(fields):
        if field.name in seen:
            raise document.error((*loc, index, "name"), f"column {field.name} is there already")
        seen.add(field.name)


def _marked(properties: Sequence[Mapping[str, Any]], flag: str, position: str) -> tuple[str, ...]:
    """Give the columns with ``flag``: those with a position by it, then the others in the document's order."""
    chosen = [(index, item) for index, item in enumerate(properties) if item.get(flag)]
    last = len(properties) + 1

    def place(entry: tuple[int, Mapping[str, Any]]) -> tuple[int, int]:
        wanted = entry[1].get(position)
        return (wanted if isinstance(wanted, int) and wanted > 0 else last, entry[0])

    return tuple(item["name"] for _, item in sorted(chosen, key=place))


def _column(document: ContractDocument, item: Mapping[str, Any], loc: Loc) -> Field:
    """Give the field of a column, with what it may lose."""
    return with_losses(document, item, loc, _field(document, item, loc))


def _part(document: ContractDocument, item: Mapping[str, Any], loc: Loc, name: str | None = None) -> Field:
    """Give the field of what is inside of a column."""
    refuse_losses(document, item, loc)
    return _field(document, item, loc, name=name)


def _field(document: ContractDocument, item: Mapping[str, Any], loc: Loc, *, name: str | None = None) -> Field:
    """Give the field of a property; of an item or a map's part, which have no name, under ``name``."""
    called = name or item.get("name")
    if not isinstance(called, str) or not called:
        raise document.error(loc, "a property needs a name")
    nullable = not (item.get("required") or item.get("primaryKey"))
    field = _typed(document, item, loc, called, nullable=nullable)
    metadata: Any = {**(field.metadata or {})}  # the stubs' keys are invariant
    if item.get("description"):
        metadata[b"doc"] = str(item["description"]).encode()
    return field.with_metadata(metadata) if metadata else field


def _typed(document: ContractDocument, item: Mapping[str, Any], loc: Loc, name: str, *, nullable: bool) -> Field:
    logical, physical = item.get("logicalType"), item.get("physicalType")
    options = item.get("logicalTypeOptions") or {}
    if logical is None and physical is None:
        raise document.error(loc, f"{name} has no type: it needs a logicalType or a physicalType")
    _check_options(document, logical, options, (*loc, "logicalTypeOptions"))
    at: Loc = (*loc, "logicalType")
    if physical is None and logical in _NEEDS and not _has_parts(item):
        raise document.error(at, _NEEDS[logical])
    try:
        if logical in {"array", "object", "map"} and _has_parts(item):
            return pa.field(name, _with_parts(document, item, loc, logical), nullable=nullable)
        if physical is None and logical == "object":
            return arrow_types.json_field(name, nullable=nullable)
        if physical is None:
            return arrow_types.from_logical(str(logical), options, name=name, nullable=nullable)
        if logical is not None and logical not in _LOGICAL:
            return arrow_types.from_logical(str(logical), options, name=name, nullable=nullable)
        at = (*loc, "physicalType")
        field = arrow_types.from_physical(physical, name=name, nullable=nullable)
        field = arrow_types.with_zone(field, options.get("timezone"))
    except UnknownTypeError as error:
        raise document.error(at, str(error)) from error
    if logical is not None and not arrow_types.agree(logical, field):
        raise document.error(
            at,
            f"physicalType {physical!r} is no {logical}",
            hint="the physical type is what the target holds; correct it, or leave it out",
        )
    return field


_LOGICAL = ("string", "integer", "number", "boolean", "date", "time", "timestamp", "array", "object", "map")


_NEEDS = {
    "array": "an array needs items, or a physicalType such as array<string>",
    "map": "a map needs map.key and map.value, or a physicalType such as map<string, string>",
}


def _has_parts(item: Mapping[str, Any]) -> bool:
    return any(item.get(key) for key in ("items", "properties", "map"))


def _with_parts(document: ContractDocument, item: Mapping[str, Any], loc: Loc, logical: object) -> pa.DataType:
    """Give the type of an array, object or map that spells out its parts."""
    if logical == "array" and item.get("items"):
        return pa.list_(_part(document, item["items"], (*loc, "items"), "item"))
    if logical == "object" and item.get("properties"):
        inner = (*loc, "properties")
        fields = [_part(document, each, (*inner, index)) for index, each in enumerate(item["properties"])]
        _check_names(document, fields, inner)
        return pa.struct(fields)
    parts = item.get("map") or {}
    if logical == "map" and parts.get("key") and parts.get("value"):
        key = _part(document, parts["key"], (*loc, "map", "key"), "key")
        return arrow_types.map_type(key, _part(document, parts["value"], (*loc, "map", "value"), "value"))
    raise UnknownTypeError(_NEEDS.get(str(logical), "an object has properties, neither items nor a map"))


def _check_options(document: ContractDocument, logical: object, options: Mapping[str, Any], loc: Loc) -> None:
    """Refuse options that ask for values to be read in a way that Dativo does not."""
    form, zone, has_zone = options.get("format"), options.get("defaultTimezone"), options.get("timezone")
    if not isinstance(has_zone, bool | None):
        raise document.error((*loc, "timezone"), f"{has_zone!r}, expected true or false")
    iso = _ISO.get(str(logical))
    if iso is not None and form is not None and not str(form).startswith(iso):
        raise document.error(
            (*loc, "format"),
            f"{logical} format {form!r}; Dativo reads ISO 8601 only ({iso}...)",
            hint="take the column as a string, or have the source write ISO 8601",
        )
    if zone is not None and zone not in _UTC:
        raise document.error(
            (*loc, "defaultTimezone"),
            f"{zone!r}: a timestamp without offset is not turned into an instant",
            hint="declare timezone: false to keep local times as they are",
        )
