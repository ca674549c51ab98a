"""Finding rows in what the server sends."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, strategies as st

from dativo_ingest.sources.postgres.copy_frames import LEAD, blank_headers, row_starts


def frame(row: bytes, kind: bytes = b"d") -> bytes:
    return kind + struct.pack("!i", len(row) + 4) + row


def found(data: bytes, start: int = 0) -> tuple[list[int], int]:
    starts, end = row_starts(np.frombuffer(data, np.uint8), start, len(data))
    return starts.tolist(), end


def walked(data: bytes) -> tuple[list[int], int]:
    at, starts = 0, []
    while at + 5 <= len(data) and data[at : at + 1] == b"d":
        following = at + 1 + struct.unpack_from("!i", data, at + 1)[0]
        if following > len(data):
            break
        starts.append(at)
        at = following
    return starts, at


# Lengths that have the byte of a line feed themselves: 10, 266, 2560 to 2815.
LENGTHS = st.one_of(st.integers(0, 30), st.sampled_from([5, 6, 261, 262, 517, 2555, 2556, 2600, 2811]))


@given(st.lists(LENGTHS, max_size=40), st.integers(0, 20))
def test_rows_are_found_whatever_their_lengths_look_like(lengths: list[int], cut: int) -> None:
    data = b"".join(frame(b"x" * length + b"\n") for length in lengths)
    data = data[: max(0, len(data) - cut)]

    assert found(data) == walked(data)


@pytest.mark.parametrize("kind", [b"C", b"N", b"E", b"c"])
def test_rows_end_before_a_message_of_another_kind(kind: bytes) -> None:
    rows = frame(b"1\n") + frame(b"2\n")
    data = rows + frame(b"two\nlines\n", kind) + frame(b"3\n")

    assert found(data) == ([0, 7], len(rows))


def test_a_row_that_has_not_arrived_yet_is_not_taken() -> None:
    data = frame(b"1\t2\n")

    assert found(data + frame(b"3\t4\n")[:-1]) == ([0], len(data))
    assert found(data[:3]) == ([], 0)
    assert found(b"") == ([], 0)


def test_headers_become_a_cell_of_their_own() -> None:
    data = bytearray(frame(b"1\t2\n") + frame(b"\n") + b"d")
    octets = np.frombuffer(data, np.uint8)
    starts, end = row_starts(octets, 0, len(data))

    blank_headers(octets, starts)

    assert bytes(data[:end]) == LEAD + b"1\t2\n" + LEAD + b"\n"
