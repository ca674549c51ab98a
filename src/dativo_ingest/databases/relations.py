"""Tables, views and their columns, as far as databases agree on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pyarrow as pa

from dativo_ingest.databases.native_types import DatabaseType, Fidelity

TypeT_co = TypeVar("TypeT_co", bound=DatabaseType, covariant=True)


@dataclass(frozen=True)
class DatabaseColumn(Generic[TypeT_co]):
    """A column that the user may read."""

    name: str
    source_type: str
    """As the server writes it: ``bigint(20) unsigned``."""
    native: TypeT_co
    nullable: bool
    counts_up: bool = False
    """Whether the database itself gives each new row a larger number."""
    tells_changes: bool = False
    """Whether the database itself sets it to the time of each change of the row."""
    is_uuid7: bool = False
    """Whether its default makes uuids of version 7, which rise with time."""
    description: str | None = None

    @property
    def arrow(self) -> pa.DataType:
        """Give the type that keeps its values."""
        return self.native.arrow

    @property
    def field(self) -> pa.Field[Any]:
        """Give the column as Arrow has it, with what it was and how well that comes over in its metadata."""
        metadata = {"dativo.source_type": self.source_type, "dativo.fidelity": self.native.fidelity}
        if self.native.is_json:
            metadata["dativo.logical_type"] = "json"
        if self.description:
            metadata["doc"] = self.description
        return pa.field(self.name, self.arrow, nullable=self.nullable, metadata=metadata)

    @property
    def fidelity(self) -> Fidelity:
        """Say how well its values come over."""
        return self.native.fidelity


@dataclass(frozen=True, kw_only=True)
class DatabaseRelation(Generic[TypeT_co]):
    """Something with rows."""

    schema: str
    """What it is in."""
    name: str
    kind: str
    rows: int | None = None
    """As the server estimates them; None where nobody knows."""
    size_bytes: int | None = None
    description: str | None = None
    columns: tuple[DatabaseColumn[TypeT_co], ...] = ()
    hidden_columns: tuple[str, ...] = ()
    """Columns that the user may not read but knows of."""
    key: tuple[str, ...] = ()
    """The primary key, or a unique one whose columns are never null."""

    @property
    def title(self) -> str:
        """The stream's name."""
        return f"{self.schema}.{self.name}"

    @property
    def arrow_schema(self) -> pa.Schema:
        """Give the columns as Arrow has them."""
        return pa.schema([column.field for column in self.columns])
