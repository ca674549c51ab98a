"""What a table's schema must become to take a stream's: nullable columns added, types widened, nothing lost."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from pyiceberg.types import IcebergType, ListType, MapType, NestedField, PrimitiveType, StructType

from dativo_ingest.targets.iceberg.types import wider
from dativo_plugin_sdk import SchemaValidationError

if TYPE_CHECKING:
    from pyiceberg.schema import Schema
    from pyiceberg.table.update.schema import UpdateSchema

Path: TypeAlias = tuple[str, ...]


@dataclass(frozen=True)
class AddColumn:
    """A new column, always nullable: rows that are there have no value for it."""

    path: Path
    type: IcebergType
    doc: str | None

    def __str__(self) -> str:
        return f"added column {'.'.join(self.path)} {self.type}"

    def apply(self, update: UpdateSchema) -> None:
        """Stage the change."""
        update.add_column(self.path, self.type, self.doc)


@dataclass(frozen=True)
class WidenType:
    """A type that holds more."""

    path: Path
    before: IcebergType
    after: PrimitiveType

    def __str__(self) -> str:
        return f"widened column {'.'.join(self.path)} from {self.before} to {self.after}"

    def apply(self, update: UpdateSchema) -> None:
        """Stage the change."""
        update.update_column(self.path, self.after)


@dataclass(frozen=True)
class MakeOptional:
    """A column that may hold nulls from now on."""

    path: Path

    def __str__(self) -> str:
        return f"column {'.'.join(self.path)} may be null"

    def apply(self, update: UpdateSchema) -> None:
        """Stage the change."""
        update.make_column_optional(self.path)


Change: TypeAlias = AddColumn | WidenType | MakeOptional


def plan_changes(table: Schema, wanted: Schema, name: str) -> Sequence[Change]:
    """List the changes that let a table take rows of the schema ``wanted``.

    Args:
        table: The table's schema now.
        wanted: The schema of the rows; its field ids mean nothing.
        name: The table, for messages.

    Raises:
        SchemaValidationError: It would take a change that breaks rows or readers that are there.
    """
    identifiers = set(table.identifier_field_names())
    changes = list(_struct_changes(table.as_struct(), wanted.as_struct(), (), name))
    for change in changes:
        if isinstance(change, MakeOptional) and ".".join(change.path) in identifiers:
            raise SchemaValidationError(
                f"{name}: column {'.'.join(change.path)} is an identifier of the table and must not be null",
                hint="mark it as required in the contract",
            )
    return changes


def _struct_changes(table: StructType, wanted: StructType, path: Path, name: str) -> Iterator[Change]:
    there = {field.name: field for field in table.fields}
    cases = {field.name.casefold(): field.name for field in table.fields}
    for field in wanted.fields:
        here = (*path, field.name)
        if field.name in there:
            yield from _field_changes(there[field.name], field, here, name)
        elif field.name.casefold() in cases:
            raise SchemaValidationError(
                f"{name}: column {'.'.join(here)} and the table's {cases[field.name.casefold()]} differ only in case",
                hint="use the table's spelling in the contract",
            )
        else:
            yield AddColumn(here, field.field_type, field.doc)
    known = {field.name for field in wanted.fields}
    for field in table.fields:
        if field.required and field.name not in known:
            raise SchemaValidationError(
                f"{name}: the stream lacks column {'.'.join((*path, field.name))}, which the table requires",
                hint="add the column to the stream, or make it nullable in the table",
            )


def _field_changes(table: NestedField, wanted: NestedField, path: Path, name: str) -> Iterator[Change]:
    if table.required and not wanted.required:
        yield MakeOptional(path)
    yield from _type_changes(table.field_type, wanted.field_type, path, name)


def _type_changes(table: IcebergType, wanted: IcebergType, path: Path, name: str) -> Iterator[Change]:
    match table, wanted:
        case StructType(), StructType():
            yield from _struct_changes(table, wanted, path, name)
        case ListType(), ListType():
            yield from _field_changes(table.element_field, wanted.element_field, (*path, "element"), name)
        case MapType(), MapType():
            if list(_type_changes(table.key_type, wanted.key_type, (*path, "key"), name)):
                raise _refused(table, wanted, path, name)  # Iceberg spec: a map's key never changes
            yield from _field_changes(table.value_field, wanted.value_field, (*path, "value"), name)
        case PrimitiveType(), PrimitiveType():
            after = wider(table, wanted)
            if not isinstance(after, PrimitiveType):
                raise _refused(table, wanted, path, name)
            if after != table:
                yield WidenType(path, table, after)
        case _:
            raise _refused(table, wanted, path, name)


def _refused(table: IcebergType, wanted: IcebergType, path: Path, name: str) -> SchemaValidationError:
    column = ".".join(path)
    return SchemaValidationError(
        f"{name}: column {column} is {table} in the table and {wanted} in the stream; one cannot become the other",
        details={"column": column, "table_type": str(table), "stream_type": str(wanted)},
        hint=f"declare {column} as {table} in the contract, or load into another table (table: ...)",
    )
