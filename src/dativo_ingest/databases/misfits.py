"""Rows with values that their columns' types cannot hold, apart from the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def apart(
    columns: Sequence[Any], texts: Mapping[int, Any], misfits: Mapping[int, NDArray[np.bool_]], names: Sequence[str]
) -> Iterator[pa.RecordBatch]:
    """Give the rows in which all fits, then the others: in a batch the same columns are at fault, and are text.

    A value that fits is never text, which the engine would have to read as its type: it knows fewer spellings of one
    than the source does.

    Args:
        columns: The values, each of its column's type; null where they do not fit.
        texts: The columns in which there are some that do not, as texts.
        misfits: Where these are; the same columns.
        names: What the columns are called.
    """
    bad = np.logical_or.reduce(list(misfits.values()))
    if not bad.all():
        yield pa.RecordBatch.from_arrays(list(columns), names=list(names)).filter(pa.array(~bad))
    for at_fault in _combinations(misfits):
        mixed = [texts[number] if number in at_fault else array for number, array in enumerate(columns)]
        rows = np.logical_and.reduce([mask == (number in at_fault) for number, mask in misfits.items()])
        yield pa.RecordBatch.from_arrays(mixed, names=list(names)).filter(pa.array(rows))


def _combinations(misfits: Mapping[int, NDArray[np.bool_]]) -> list[set[int]]:
    """List which columns are at fault together."""
    found = np.unique(np.stack(list(misfits.values())), axis=1).T
    return [{number for number, wrong in zip(misfits, each, strict=True) if wrong} for each in found if each.any()]
