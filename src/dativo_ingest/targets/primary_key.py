"""The columns that rows are merged by: every one of them is there, and has a value in every row."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from dativo_plugin_sdk import DataValidationError, InvalidConfigError


def require_key_columns(schema: pa.Schema, names: Sequence[str], title: str) -> None:
    """Refuse a key that is not made of columns of the stream.

    Raises:
        InvalidConfigError: A name is no column.
    """
    absent = [name for name in names if name not in schema.names]
    if absent:
        raise InvalidConfigError(
            f"{title}: primary_key {', '.join(absent)} is no column; there are: {', '.join(schema.names)}"
        )


def require_keys(batch: pa.RecordBatch, names: Sequence[str], title: str) -> None:
    """Refuse rows without a key.

    Raises:
        DataValidationError: A column of the key has nulls.
    """
    for name in names:
        nulls = batch.column(name).null_count
        if nulls:
            raise DataValidationError(
                f"{title}: primary_key {name} is null in {nulls} of {batch.num_rows} rows: they cannot be merged",
                details={"column": name, "rows": nulls},
                hint=f"make {name} required in the contract, so that such rows are quarantined",
            )
