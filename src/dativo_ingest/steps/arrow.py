"""Names for Arrow values of any type.

The stubs of pyarrow type each kernel for one type of array at a time, which says nothing about arrays of any type, and
know the parameters of a type only where it is spelt out. `pc` and `DataType` are what mypy is asked to believe instead.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import pyarrow as pa
import pyarrow.compute

pc: Any = pyarrow.compute
Array: TypeAlias = "pa.Array[Any]"
Scalar: TypeAlias = "pa.Scalar[Any]"
Field: TypeAlias = "pa.Field[Any]"
DataType: TypeAlias = Any
"""A `pa.DataType` of which a caller knows more than the class: ``scale``, ``unit``, ``tz``, ``value_type``."""


def constant(value: Scalar, rows: int) -> Array:
    """Give an array that holds the same value in every row."""
    array: Array = pa.repeat(value, rows)  # type: ignore[call-overload]  # the stubs know one type at a time
    return array
