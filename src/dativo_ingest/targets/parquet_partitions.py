"""Which folder each row belongs to: one pass of dictionary encoding and one sort, whatever the number of folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import types as t

from dativo_plugin_sdk import InvalidConfigError

NULL_FOLDER = "__HIVE_DEFAULT_PARTITION__"
"""What Hive calls the folder of null."""

_CALL = re.compile(r"\s*(?P<transform>[A-Za-z_]+)\s*\((?P<arguments>[^()]*)\)\s*")
_SAFE = " !$&()+,-.;@^_{}~"  # as in Hive, what no file system and no reader takes amiss stays as it is
_SECONDS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_HOUR_S = 3600
_EPOCH = date(1970, 1, 1)
_HOURS = 24
_MONTHS = 12


@dataclass(frozen=True)
class Transform:
    """One level of folders: ``key`` gives a number or a value per row, ``label`` how a key is written."""

    column: str
    name: str
    key: Callable[[pa.Array[Any]], pa.Array[Any]]
    label: Callable[[object], str]


@dataclass(frozen=True)
class Part:
    """The rows of one batch that belong into one folder; ``folder`` is empty for a table without partitions."""

    folder: str
    values: Mapping[str, str | None]
    batch: pa.RecordBatch


class Partitioning:
    """The folders of a table, outermost first; without any, every row belongs into the table's own folder."""

    def __init__(self, transforms: Sequence[Transform] = ()) -> None:
        self._transforms = tuple(transforms)

    @classmethod
    def parse(cls, texts: Sequence[str], schema: pa.Schema) -> Partitioning:
        """Read what ``partition_by`` says: ``region``, ``day(created_at)``, ...

        Raises:
            InvalidConfigError: A column, a transform or a column's type that cannot be had.
        """
        transforms = [_parse(text, schema) for text in texts]
        names = [transform.name for transform in transforms]
        if len(set(names)) < len(names):
            raise InvalidConfigError(f"partition_by: the same folder twice: {', '.join(names)}")
        return cls(transforms)

    def split(self, batch: pa.RecordBatch) -> Iterator[Part]:
        """Give the rows of every folder, in their order; each part owns its memory unless it is the whole batch."""
        if not batch.num_rows:
            return
        if not self._transforms:
            yield Part("", {}, batch)
            return
        codes, keys = np.zeros(batch.num_rows, dtype=np.int64), []
        for transform in self._transforms:
            encoded = transform.key(batch.column(transform.column)).dictionary_encode(null_encoding="encode")
            keys.append(encoded)
            codes = codes * len(encoded.dictionary) + encoded.indices.to_numpy(zero_copy_only=False)
            _, codes = np.unique(codes, return_inverse=True)  # small again, so that the next product fits
        order = np.argsort(codes, kind="stable")
        ends = np.flatnonzero(np.diff(codes[order])) + 1
        for rows in np.split(order, ends):
            values = {
                transform.name: _label(transform, encoded, int(rows[0]))
                for transform, encoded in zip(self._transforms, keys, strict=True)
            }
            yield Part(_folder(values), values, batch if not len(ends) else batch.take(pa.array(rows, pa.int64())))


def _label(transform: Transform, encoded: pa.DictionaryArray[Any, Any], row: int) -> str | None:
    value = encoded.dictionary[encoded.indices[row].as_py()].as_py()
    return None if value is None else transform.label(value)


def _folder(values: Mapping[str, str | None]) -> str:
    return "/".join(
        f"{_escape(name)}={NULL_FOLDER if value is None else _escape(value)}" for name, value in values.items()
    )


def _escape(text: str) -> str:
    return quote(text, safe=_SAFE)


def _parse(text: str, schema: pa.Schema) -> Transform:
    match = _CALL.fullmatch(text)
    if text in schema.names or match is None:
        transform, column = "identity", text
    else:
        transform, column = match["transform"].lower(), match["arguments"].strip()
        if transform != "identity" and transform not in _TIMES:
            raise InvalidConfigError(
                f"partition_by: {text!r}: the parquet target has the transforms identity, {', '.join(_TIMES)}",
                hint="bucket and truncate are for iceberg tables",
            )
    if column not in schema.names:
        raise InvalidConfigError(f"partition_by: no column {column!r}; there are: {', '.join(schema.names)}")
    column_type = schema.field(column).type
    if transform == "identity":
        return _identity(column, column_type)
    key, label, needs_time = _TIMES[transform]
    if not (t.is_timestamp(column_type) or (t.is_date(column_type) and not needs_time)):
        raise InvalidConfigError(f"partition_by: {text!r}: column {column!r} is {column_type}, not a timestamp or date")
    return Transform(column, f"{column}_{transform}", key, label)


def _identity(column: str, column_type: pa.DataType) -> Transform:
    inner = column_type.value_type if isinstance(column_type, pa.DictionaryType) else column_type
    allowed = (t.is_boolean, t.is_integer, t.is_string, t.is_large_string, t.is_date, t.is_timestamp, t.is_decimal)
    if not any(test(inner) for test in allowed):
        raise InvalidConfigError(
            f"partition_by: column {column!r} is {column_type}, of which there are no folders",
            hint="partition by a column of text, whole numbers, booleans, decimals, dates or timestamps",
        )
    if t.is_boolean(inner) or t.is_integer(inner) or t.is_string(inner) or t.is_large_string(inner):
        return Transform(column, column, lambda values: values.cast(inner), _plain)
    return Transform(column, column, lambda values: values.cast(inner).cast(pa.string()), str)


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _naive(values: pa.Array[Any]) -> pa.Array[Any]:
    """Take the time zone off: the instants stay as they are in UTC."""
    return values.cast(pa.timestamp(values.type.unit)) if isinstance(values.type, pa.TimestampType) else values


def _day(values: pa.Array[Any]) -> pa.Array[Any]:
    return _naive(values).cast(pa.date32(), safe=False).cast(pa.int32())


def _month(values: pa.Array[Any]) -> Any:
    naive: Any = _naive(values)
    return pc.add(pc.multiply(pc.year(naive), _MONTHS), pc.subtract(pc.month(naive), 1))


def _year(values: pa.Array[Any]) -> Any:
    naive: Any = _naive(values)
    return pc.year(naive)


def _hour(values: pa.Array[Any]) -> Any:
    naive: Any = pc.floor_temporal(_naive(values), unit="hour")
    return pc.divide(naive.cast(pa.int64()), _HOUR_S * _SECONDS[naive.type.unit])


def _day_label(value: object) -> str:
    days = int(str(value))
    try:
        return (_EPOCH + timedelta(days=days)).isoformat()
    except OverflowError:
        return f"{days}d"  # beyond the years 1 to 9999: days since 1970


def _month_label(value: object) -> str:
    year, month = divmod(int(str(value)), _MONTHS)
    return f"{year:04d}-{month + 1:02d}"


def _year_label(value: object) -> str:
    return f"{int(str(value)):04d}"


def _hour_label(value: object) -> str:
    days, hour = divmod(int(str(value)), _HOURS)
    return f"{_day_label(days)}-{hour:02d}"


_TIMES: dict[str, tuple[Callable[[pa.Array[Any]], pa.Array[Any]], Callable[[object], str], bool]] = {
    "year": (_year, _year_label, False),
    "month": (_month, _month_label, False),
    "day": (_day, _day_label, False),
    "hour": (_hour, _hour_label, True),
}
