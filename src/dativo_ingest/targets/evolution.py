"""How a table's columns follow those of a stream: nullable columns are added, types widened, nothing is lost.

Pure, and the same for every kind of type: a target says by ``wider`` which of its types holds the values of two.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from dativo_plugin_sdk import SchemaValidationError

Type = TypeVar("Type")


@dataclass(frozen=True)
class Column(Generic[Type]):
    """A column of a table or a stream."""

    name: str
    type: Type
    nullable: bool = True


@dataclass(frozen=True)
class Change(Generic[Type]):
    """One change a table needs; ``column`` is how the column is to be afterwards."""

    kind: Literal["add", "widen", "relax"]
    column: Column[Type]
    text: str


def evolve(
    table: Sequence[Column[Type]],
    incoming: Sequence[Column[Type]],
    wider: Callable[[Type, Type], Type | None],
    *,
    name: str,
) -> tuple[list[Column[Type]], list[Change[Type]]]:
    """Find the columns with which the table takes rows of the stream, and the changes that lead there.

    Args:
        table: The table's columns as they are; they keep their order, new ones follow.
        incoming: The stream's columns.
        wider: Gives the type that the table's column (first argument) must have so that the values of both fit, None
            where there is none; the table's own type means that nothing changes.
        name: The table, for messages.

    Raises:
        SchemaValidationError: Something would be lost; every such column is named.
    """
    columns = {column.name: column for column in table}
    changes: list[Change[Type]] = []
    problems: list[str] = []
    for column in incoming:
        old = columns.get(column.name)
        if old is None:
            columns[column.name] = new = replace(column, nullable=True)
            changes.append(Change("add", new, f"added {new.name} {new.type}"))
            continue
        merged = wider(old.type, column.type)
        if merged is None:
            problems.append(f"{column.name} is {old.type} there and {column.type} here")
            continue
        if merged != old.type:
            old = replace(old, type=merged)
            changes.append(Change("widen", old, f"widened {old.name} from {columns[old.name].type} to {merged}"))
        if column.nullable and not old.nullable:
            old = replace(old, nullable=True)
            changes.append(Change("relax", old, f"{old.name} may be null"))
        columns[old.name] = old
    named = {column.name for column in incoming}
    problems += [f"{column.name} is required there and missing here" for column in table if _lost(column, named)]
    if problems:
        raise SchemaValidationError(
            f"table {name} cannot take these columns: {'; '.join(problems)}",
            details={"table": name, "problems": problems},
            hint="change the contract back, load into another table, or change this one by hand",
        )
    return list(columns.values()), changes


def _lost(column: Column[Type], named: set[str]) -> bool:
    return not column.nullable and column.name not in named
