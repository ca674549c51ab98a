r"""Postgres arrays as text, ``{1,NULL,"a \"b\""}``, into Arrow lists of the elements' texts, all rows at once.

Documentation: "Array Input and Output Syntax". What Postgres writes quotes an element that is empty, spells NULL, or
has a brace, a comma, a quote, a backslash or white space, and escapes quotes and backslashes in it by a backslash.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dativo_ingest.databases.arrow import Array, Mask, buffer_of, lists_of, pc

_BOUNDS = r"^\[[^{]*=\{"  # [0:2]={1,2,3}: an array that does not count from 1
_EMPTY = "{}"
_QUOTE, _COMMA, _OPEN, _CLOSE, _BACKSLASH = b'",{}\\'
_ESCAPED_BACKSLASH = 1
_ESCAPED_QUOTE = 2


def split_arrays(texts: Array, *, drop_bounds: bool = False) -> tuple[Array, Mask]:
    """Take arrays apart.

    Args:
        texts: Arrays as Postgres writes them, nulls among them.
        drop_bounds: Leave out from where an array counts, as a list does not say.

    Returns:
        A list of texts for each row, null for null; and which rows no list can hold, which are null too: arrays of
        arrays, and those that do not count from 1.
    """
    absent = texts.is_null()
    texts = pc.fill_null(texts, _EMPTY)
    bounded = pc.starts_with(texts, "[")
    misfits: Mask = np.zeros(len(texts), np.bool_)
    if pc.any(bounded).as_py():
        if not drop_bounds:
            misfits = bounded.to_numpy(zero_copy_only=False)
        texts = pc.replace_substring_regex(texts, pattern=_BOUNDS, replacement="{")
    octets, starts = _octets(texts)
    misfits = misfits | (_per_row((octets == _OPEN) & ~_quoted(octets), starts) > 1)
    if misfits.any():
        texts = pc.if_else(pa.array(misfits), _EMPTY, texts)
        octets, starts = _octets(texts)
    values, counts = _elements(octets, starts)
    ends = np.concatenate(([0], np.cumsum(counts))).astype(np.int32)
    nothing = pc.or_(absent, pa.array(misfits))
    lists = lists_of(pa.array(ends), values, mask=nothing)
    return lists, misfits


def _octets(texts: Array) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Give the bytes of all rows, each escape as a zero and a number, and where rows start; one end more."""
    if texts.offset:
        texts = pa.concat_arrays([texts])
    _, offsets, data = texts.buffers()
    starts = np.frombuffer(offsets, np.int32)[: len(texts) + 1].astype(np.int64)
    octets = data.to_pybytes()[starts[0] : starts[-1]] if data is not None else b""
    # Text in Postgres has no zero bytes. From left to right, backslashes outside of pairs stand before quotes.
    octets = octets.replace(b"\\\\", b"\0\1").replace(b'\\"', b"\0\2")
    return np.frombuffer(octets, np.uint8), starts - starts[0]


def _quoted(octets: NDArray[np.uint8]) -> Mask:
    return (np.cumsum(octets == _QUOTE) & 1).astype(np.bool_)


def _per_row(marks: Mask, starts: NDArray[np.int64]) -> NDArray[np.int64]:
    counted = np.concatenate(([0], np.cumsum(marks)))
    return np.diff(counted[starts])


def _elements(octets: NDArray[np.uint8], starts: NDArray[np.int64]) -> tuple[Array, NDArray[np.int64]]:
    """Give the elements of all rows, and how many each row has."""
    free = ~_quoted(octets)
    commas = (octets == _COMMA) & free
    quotes = octets == _QUOTE
    full = np.diff(starts) > len(_EMPTY)
    counts = np.where(full, _per_row(commas, starts) + 1, 0)
    last = np.zeros(len(octets), np.bool_)  # where an element ends: at a comma, or at the brace after the last one
    last[starts[1:][full] - 1] = True
    ends = np.flatnonzero(commas | last)
    braces = ((octets == _OPEN) | (octets == _CLOSE)) & free
    marks = np.flatnonzero(octets == 0)
    kept = ~(quotes | commas | braces)
    kept[marks] = False
    plain = octets.copy()
    plain[marks + 1] = np.where(octets[marks + 1] == _ESCAPED_QUOTE, _QUOTE, _BACKSLASH)
    offsets = np.concatenate(([0], np.cumsum(kept)[ends])).astype(np.int32)
    values = pa.StringArray.from_buffers(len(ends), buffer_of(offsets), buffer_of(np.ascontiguousarray(plain[kept])))
    unquoted = np.diff(np.concatenate(([0], np.cumsum(quotes)[ends]))) == 0
    absent = pc.and_(pc.equal(values, "NULL"), pa.array(unquoted))
    return pc.if_else(absent, pa.scalar(None, pa.string()), values), counts
