"""Lists of Python values as Arrow columns, without turning one kind of value into another."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import numbers
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa

from dativo_plugin_sdk.rejects import row_json

_JSON = {"dativo.logical_type": "json"}
_EXACT_FLOAT = 2**53
_DECIMAL_DIGITS = 38
_SHOWN_CHARACTERS = 100


@dataclass(frozen=True)
class Column:
    """Values as Arrow; ``bad`` says, by row, why a value could not be taken (it is null in the array)."""

    field: pa.Field[Any]
    array: pa.Array[Any]
    bad: dict[int, str] = dataclasses.field(default_factory=dict)

    def settled(self) -> pa.Field[Any]:
        """Give the field as a schema for later batches: decimals at full width, nulls as text."""
        return self.field.with_type(_settled(self.field.type))


def as_wanted(wanted: pa.Field[Any], values: Sequence[Any]) -> Column:  # noqa: C901, PLR0911  one each
    """Make a column of the kind that ``wanted`` is, of the types that the values have.

    Where the values are of several kinds (ints and texts), they become text in the one spelling that the engine reads
    back as what they were; a number in a column of text is bad, as is a dict in a column of numbers.
    """
    values, kinds = _all_known(values)
    name, data_type = wanted.name, wanted.type
    if not kinds:
        return Column(wanted.with_nullable(True), pa.nulls(len(values), data_type))  # noqa: FBT003
    if _is_json(wanted):
        return _json_column(wanted, values)
    if pa.types.is_struct(data_type):
        return _structs(wanted, values)
    if pa.types.is_map(data_type):
        return _maps(wanted, values)
    if _is_list(data_type):
        return _lists(wanted, values)
    if _is_text(data_type):
        return _one_kind(name, values, (str, bytes), data_type)
    if pa.types.is_binary(data_type) and len(kinds) > 1:
        return _bytes(name, values, data_type)
    if kinds == {Decimal} and pa.types.is_decimal128(data_type):
        with contextlib.suppress(pa.ArrowInvalid):  # some do not fit; the engine says which
            return _column(name, pa.array(values, data_type))
    if _is_flat(kinds, data_type):
        column = _agreed(name, values, kinds)
        if column is not None and not column.bad:
            return column
    return _spelt(name, values, data_type)


def _is_flat(kinds: set[type], data_type: pa.DataType) -> bool:
    """Say whether the values are numbers, texts, times of one kind, which the engine casts as they are."""
    if kinds == {int, float}:
        return pa.types.is_floating(data_type)
    return len(kinds) == 1 and not kinds & {dict, list}


def as_inferred(name: str, values: Sequence[Any]) -> Column:
    """Make a column of the type that all values agree on, else of JSON; `infer_schema` says which."""
    values, kinds = _all_known(values)
    found = _agreed(name, values, kinds)
    return _json_column(pa.field(name, pa.string(), metadata=_JSON), values) if found is None else found


def _agreed(name: str, values: Sequence[Any], kinds: set[type]) -> Column | None:  # noqa: C901, PLR0911  one line each
    """Give the column where there is one type for all; None where there is none."""
    if not kinds:
        return _column(name, pa.nulls(len(values)))
    if kinds == {dict}:
        return _inferred_structs(name, values)
    if kinds == {list}:
        return _inferred_lists(name, values)
    if kinds == {int}:
        return _integers(name, values)
    if kinds == {int, float}:
        if all(abs(value) <= _EXACT_FLOAT for value in values if type(value) is int):
            return _column(name, pa.array([None if value is None else float(value) for value in values], pa.float64()))
        return None
    if kinds <= {int, Decimal}:
        return _decimals(name, values)
    if len(kinds) > 1 or kinds == {_Unknown}:
        return None
    if kinds == {datetime}:
        return _datetimes(name, values)
    if kinds == {str}:
        return _one_kind(name, values, (str,), pa.string())
    return _column(name, pa.array(values, _TYPES[next(iter(kinds))]))


_TYPES: dict[type, pa.DataType] = {
    bool: pa.bool_(),
    float: pa.float64(),
    bytes: pa.binary(),
    date: pa.date32(),
    time: pa.time64("us"),
    timedelta: pa.duration("us"),
}


class _Unknown:
    """A value of a class that has no Arrow type."""

    def __init__(self, value: object) -> None:
        self.value = value


def _all_known(values: Sequence[Any]) -> tuple[Sequence[Any], set[type]]:
    """Give values of plain classes that stand for these, and the classes but for that of None."""
    kinds = set(map(type, values))
    if not kinds <= _PLAIN_OR_NONE:
        values = [_known(value) for value in values]
        kinds = set(map(type, values))
    return values, kinds - {type(None)}


def _known(value: Any) -> Any:  # noqa: PLR0911  one line for each kind
    """Give a value of one of the plain classes that stands for it: NumPy's scalars, enums, subclasses, UUIDs."""
    kind = type(value)
    if kind in _PLAIN or value is None:
        return value
    for plain in (bool, datetime, date, time, timedelta, Decimal):
        if isinstance(value, plain):
            return value
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value)
    if isinstance(value, Mapping):
        return {str(key): item for key, item in value.items()}
    if isinstance(value, tuple | set | frozenset):
        return list(value)
    return _known_number(value)


def _known_number(value: object) -> Any:
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if type(value).__name__ in {"bool_", "bool"}:  # NumPy's is no number
        return bool(value)
    return _Unknown(value)


_PLAIN = {bool, int, float, str, bytes, Decimal, date, datetime, time, timedelta, dict, list, _Unknown}
_PLAIN_OR_NONE = _PLAIN | {type(None)}


def _column(name: str, array: pa.Array[Any], bad: dict[int, str] | None = None) -> Column:
    return Column(pa.field(name, array.type), array, bad or {})


def _integers(name: str, values: Sequence[Any]) -> Column | None:
    try:
        return _column(name, pa.array(values, pa.int64()))
    except OverflowError:
        return _decimals(name, values)


def _decimals(name: str, values: Sequence[Any]) -> Column | None:
    """Take numbers that fit 38 digits together."""
    exact = [None if value is None else Decimal(value) for value in values]
    if not all(map(Decimal.is_finite, filter(None, exact))):  # a zero is finite, too
        return None
    try:
        found = pa.array(exact)  # Arrow finds the digits that they take together
        scale = found.type.scale if pa.types.is_decimal(found.type) else 0
        return _column(name, found.cast(pa.decimal128(_DECIMAL_DIGITS, scale)))
    except pa.ArrowInvalid:
        return None  # more digits than there are


def _datetimes(name: str, values: Sequence[Any]) -> Column | None:
    """Take datetimes that all have an offset, or all have none."""
    offsets = [value.tzinfo for value in values if value is not None]
    naive = offsets.count(None)
    if 0 < naive < len(offsets):
        return None
    if not naive:
        return _column(name, pa.array(values, pa.timestamp("us", tz="UTC")))
    return _column(name, pa.array(values, pa.timestamp("us")))


def _one_kind(name: str, values: Sequence[Any], kinds: tuple[type, ...], data_type: pa.DataType) -> Column:
    """Take text; what is of another kind, or is no Unicode, is bad."""
    if set(map(type, values)) <= {str, type(None)}:
        try:
            return _column(name, pa.array(values, pa.string()))
        except UnicodeEncodeError:
            pass  # which ones cannot be taken is found one by one
    bad: dict[int, str] = {}
    taken: list[str | None] = []
    for index, value in enumerate(values):
        text = _unicode(value) if isinstance(value, kinds) else None
        if text is None and value is not None:
            bad[index] = _reason(value, data_type)
        taken.append(text)
    return _column(name, pa.array(taken, pa.string()), bad)


def _spelt(name: str, values: Sequence[Any], data_type: pa.DataType) -> Column:
    """Write values of several kinds as the text that stands for each."""
    bad: dict[int, str] = {}
    taken: list[str | None] = []
    for index, value in enumerate(values):
        text = _spelling(value) if _keeps_meaning(value, data_type) else None
        if text is None and value is not None:
            bad[index] = _reason(value, data_type)
        taken.append(text)
    return _column(name, pa.array(taken, pa.string()), bad)


def _keeps_meaning(value: Any, data_type: pa.DataType) -> bool:
    """Say whether reading the value's text as this type gives what casting the value would."""
    if pa.types.is_boolean(data_type):
        return not isinstance(value, float | Decimal)
    if pa.types.is_floating(data_type) and isinstance(value, int | Decimal) and not isinstance(value, bool):
        if isinstance(value, int):
            return abs(value) <= _EXACT_FLOAT
        return value.is_finite() and Decimal(repr(float(value))) == value
    return True


def _bytes(name: str, values: Sequence[Any], data_type: pa.DataType) -> Column:
    """Take bytes, and text as UTF-8."""
    taken = [value.encode() if isinstance(value, str) and _is_unicode(value) else value for value in values]
    rows, bad = _of_kind(taken, bytes, data_type)
    return _column(name, pa.array(rows, pa.binary()), bad)


def _spelling(value: Any) -> str | None:  # noqa: PLR0911  one line for each kind
    """Give the text that the engine's casts read back as this value; None where there is none."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float() if value.is_integer() and abs(value) <= _EXACT_FLOAT:
            return str(int(value))
        case float():
            return repr(value)
        case Decimal() if value.is_finite():
            return f"{value.to_integral_value():f}" if value == value.to_integral_value() else f"{value:f}"
        case datetime() if value.tzinfo is not None:
            return value.astimezone(UTC).isoformat()
        case datetime():
            return value.date().isoformat() if value.time() == time() else value.isoformat()
        case date() | time():
            return value.isoformat()
        case str():
            return value if _is_unicode(value) else None
    return None


def _structs(wanted: pa.Field[Any], values: Sequence[Any]) -> Column:
    rows, bad = _of_kind(values, dict, wanted.type)
    fields = [wanted.type.field(index) for index in range(wanted.type.num_fields)]
    names = {each.name for each in fields}
    columns = [as_wanted(each, _items(rows, each.name)) for each in fields]
    columns += [as_inferred(name, _items(rows, name)) for name in _keys(rows) if name not in names]
    return _struct_column(wanted.name, rows, columns, bad)


def _inferred_structs(name: str, values: Sequence[Any]) -> Column | None:
    keys = _keys(values)
    if not keys:
        return None  # a struct without fields: no file can hold it
    return _struct_column(name, values, [as_inferred(key, _items(values, key)) for key in keys], {})


def _struct_column(name: str, rows: Sequence[Any], columns: Sequence[Column], bad: dict[int, str]) -> Column:
    for column in columns:
        for index, reason in column.bad.items():
            bad.setdefault(index, f"{column.field.name}: {reason}")
    array = pa.StructArray.from_arrays(
        [column.array for column in columns],
        fields=[column.field for column in columns],
        mask=pa.array([row is None for row in rows], pa.bool_()),
    )
    return _column(name, array, bad)


def _lists(wanted: pa.Field[Any], values: Sequence[Any]) -> Column:
    rows, bad = _of_kind(values, list, wanted.type)
    elements = as_wanted(wanted.type.value_field, [item for row in rows if row is not None for item in row])
    return _list_column(wanted.name, rows, elements, bad)


def _inferred_lists(name: str, values: Sequence[Any]) -> Column | None:
    elements = as_inferred("item", [item for row in values if row is not None for item in row])
    if pa.types.is_null(elements.field.type):
        return None  # of nothing but empty lists nobody knows the elements
    return _list_column(name, values, elements, {})


def _list_column(name: str, rows: Sequence[Any], elements: Column, bad: dict[int, str]) -> Column:
    offsets = [0]
    for index, row in enumerate(rows):
        offsets.append(offsets[-1] + len(row or ()))
        for at in range(offsets[-2], offsets[-1]) if elements.bad else ():
            if at in elements.bad:
                bad.setdefault(index, elements.bad[at])
    array = pa.ListArray.from_arrays(
        pa.array(offsets, pa.int32()),
        elements.array,
        type=pa.list_(elements.field),
        mask=pa.array([row is None for row in rows], pa.bool_()),
    )
    return _column(name, array, bad)


def _maps(wanted: pa.Field[Any], values: Sequence[Any]) -> Column:
    rows, bad = _of_kind(values, dict, wanted.type)
    keys = as_wanted(wanted.type.key_field, [key for row in rows if row is not None for key in row])
    items = as_wanted(wanted.type.item_field, [item for row in rows if row is not None for item in row.values()])
    offsets: list[int | None] = []
    end = 0
    for index, row in enumerate(rows):
        offsets.append(None if row is None else end)
        for at in range(end, end + len(row or ())) if keys.bad or items.bad else ():
            reason = keys.bad.get(at) or items.bad.get(at)
            if reason:
                bad.setdefault(index, reason)
        end += len(row or ())
    if keys.bad:  # a key may not be null: the rows that have such keys are left out of the array
        rest = [None if index in bad else row for index, row in enumerate(rows)]
        return replace(_maps(wanted, rest), bad=bad)
    array: pa.Array[Any] = pa.MapArray.from_arrays(  # type: ignore[call-overload]  # the stubs know no Any here
        pa.array([*offsets, end], pa.int32()), keys.array, items.array
    )
    return _column(wanted.name, array, bad)


def _json_column(wanted: pa.Field[Any], values: Sequence[Any]) -> Column:
    """Write each value as JSON; text that is a JSON object or array already stays, any other becomes a JSON string."""
    bad: dict[int, str] = {}
    taken: list[str | None] = []
    for index, value in enumerate(values):
        text = None if value is None else _json_text(value)
        if text is None and value is not None:
            bad[index] = _reason(value, "JSON")
        taken.append(text)
    return Column(pa.field(wanted.name, pa.string(), metadata=_JSON), pa.array(taken, pa.string()), bad)


def _json_text(value: Any) -> str | None:
    if isinstance(value, str) and value.lstrip()[:1] in {"{", "["}:
        try:
            json.loads(value)
        except ValueError:
            pass
        else:
            return value
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, default=_json_form)
    except (ValueError, TypeError):
        try:
            text = json.dumps(_finite(value), ensure_ascii=False, allow_nan=False, default=_json_form)
        except (ValueError, TypeError):
            return None
    return text if _is_unicode(text) else None


def _json_form(value: object) -> Any:
    known = _known(value)
    if isinstance(known, _Unknown):
        raise TypeError(f"{type(known.value).__name__} has no form in JSON")
    if isinstance(known, datetime | date | time):
        return known.isoformat()
    if isinstance(known, bytes):
        return known.decode(errors="backslashreplace")
    return known if isinstance(known, int | float | dict | list) else str(known)


def _finite(value: Any) -> Any:
    """Write numbers that are none by their names, for which JSON has no number."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def _of_kind(values: Sequence[Any], kind: type, data_type: pa.DataType) -> tuple[list[Any], dict[int, str]]:
    bad = {
        index: _reason(value, data_type)
        for index, value in enumerate(values)
        if value is not None and not isinstance(value, kind)
    }
    return [value if isinstance(value, kind) else None for value in values], bad


def _reason(value: Any, data_type: object) -> str:
    shown = value.value if isinstance(value, _Unknown) else value
    text = row_json(shown) if not isinstance(shown, str) or _is_unicode(shown) else ascii(shown)
    return f"{_shortened(text)} ({type(shown).__name__}) does not fit {_shortened(str(data_type))} without loss"


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def _items(rows: Sequence[Any], key: str) -> list[Any]:
    return [None if row is None else row.get(key) for row in rows]


def _keys(rows: Sequence[Any]) -> list[str]:
    return list(dict.fromkeys(str(key) for row in rows if row is not None for key in row))


def _is_json(one: pa.Field[Any]) -> bool:
    return (one.metadata or {}).get(b"dativo.logical_type") == b"json"


def _is_text(data_type: pa.DataType) -> bool:
    return any(test(data_type) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view))


def _is_list(data_type: pa.DataType) -> bool:
    return any(test(data_type) for test in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def _unicode(value: Any) -> str | None:
    try:
        text = value.decode() if isinstance(value, bytes) else str(value)
    except UnicodeDecodeError:
        return None
    return text if _is_unicode(text) else None


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _settled(data_type: Any) -> pa.DataType:
    if pa.types.is_null(data_type):
        return pa.string()
    if pa.types.is_struct(data_type):
        fields = [data_type.field(index) for index in range(data_type.num_fields)]
        return pa.struct([each.with_type(_settled(each.type)) for each in fields])
    if pa.types.is_list(data_type):
        return pa.list_(data_type.value_field.with_type(_settled(data_type.value_type)))
    settled: pa.DataType = data_type
    return settled
