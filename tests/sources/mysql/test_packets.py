from __future__ import annotations

import numpy as np
from mysql_rows import packets

from dativo_ingest.sources.mysql.packets import LONGEST, joined_end, packet_starts, without_inner_headers


def test_whole_packets_are_found_and_a_part_of_one_is_left() -> None:
    received = bytearray(b"??" + packets(b"one") + packets(b"", 1) + packets(b"three", 2)[:-1])

    starts, end = packet_starts(received, 2, len(received))

    assert starts.tolist() == [2, 9]
    assert end == 13


def test_nothing_is_found_where_a_header_is_not_whole() -> None:
    starts, end = packet_starts(bytearray(b"\x01\x00\x00"), 0, 3)

    assert starts.dtype == np.int64
    assert (starts.tolist(), end) == ([], 0)


def test_a_row_of_several_packets_is_found_when_all_of_it_is_there() -> None:
    payload = b"a" * LONGEST + b"b" * LONGEST
    received = bytearray(packets(b"first") + packets(payload, 1))
    start = 4 + len("first")

    starts, end = packet_starts(received, 0, len(received))

    assert (starts.tolist(), end) == ([0], start)
    assert joined_end(received, start, len(received)) == len(received)
    assert joined_end(received, start, len(received) - 1) > len(received) - 1
    assert without_inner_headers(received, start, len(received))[4:] == payload


def test_more_is_asked_for_where_a_row_of_several_packets_goes_on() -> None:
    received = bytearray(packets(b"a" * LONGEST))
    first = 4 + LONGEST

    assert joined_end(received, 0, first) > first
    assert joined_end(received, 0, 100) > 100
