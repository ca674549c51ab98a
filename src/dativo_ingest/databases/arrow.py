"""Names for Arrow and numpy values; the stubs of pyarrow type each function for one type of array at a time."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute
from numpy.typing import NDArray

Array: TypeAlias = Any
"""A `pa.Array` of whose kind the code knows more than the stubs."""
Mask: TypeAlias = NDArray[np.bool_]
Octets: TypeAlias = NDArray[np.uint8]
Positions: TypeAlias = NDArray[np.int64]
pc: Any = pyarrow.compute
lists_of: Any = pa.ListArray.from_arrays
buffer_of: Any = pa.py_buffer


def integers(numbers: NDArray[np.int64]) -> Array:
    """Give whole numbers to Arrow as they are; `pa.array` would first import pandas, where that is installed."""
    return pa.Array.from_buffers(pa.int64(), len(numbers), [None, buffer_of(numbers)])


def booleans(mask: Mask) -> Array:
    """Give a mask to Arrow, without `pa.array`, too."""
    return pa.Array.from_buffers(pa.bool_(), len(mask), [None, buffer_of(np.packbits(mask, bitorder="little"))])
