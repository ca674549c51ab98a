"""Postgres arrays as text."""

from __future__ import annotations

import pyarrow as pa
from hypothesis import given, strategies as st

from dativo_ingest.sources.postgres.array_texts import split_arrays

ELEMENTS = (
    st.none()
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6)
    | (st.sampled_from(["NULL", "null", "", '"', "\\", '\\"', "{", "}", "{}", ",", "a b", "\x01\x02"]))
)


def as_postgres(elements: list[str | None]) -> str:
    def spelt(element: str | None) -> str:
        if element is None:
            return "NULL"
        special = set('{}",\\') | {" ", "\t", "\n", "\r", "\v", "\f"}
        if element == "" or element.upper() == "NULL" or set(element) & special:
            return '"' + element.replace("\\", "\\\\").replace('"', '\\"') + '"'
        return element

    return "{" + ",".join(map(spelt, elements)) + "}"


@given(st.lists(st.none() | st.lists(ELEMENTS, max_size=5), max_size=8))
def test_elements_come_back_whatever_they_hold(rows: list[list[str | None] | None]) -> None:
    texts = pa.array([None if row is None else as_postgres(row) for row in rows], pa.string())

    lists, nested = split_arrays(texts)

    assert lists.to_pylist() == rows
    assert not nested.any()


def test_arrays_of_arrays_are_marked_and_not_flattened() -> None:
    texts = pa.array(["{{1,2},{3,4}}", "{5}", '{"{6}"}'])

    lists, nested = split_arrays(texts)

    assert lists.to_pylist() == [None, ["5"], ["{6}"]]
    assert nested.tolist() == [True, False, False]


def test_an_array_that_does_not_count_from_one_is_marked() -> None:
    lists, misfits = split_arrays(pa.array(["[0:1]={7,8}", "{NULL}", "[0:0][1:1]={{1}}"]))

    assert lists.to_pylist() == [None, [None], None]
    assert misfits.tolist() == [True, False, True]


def test_bounds_are_left_out_where_that_is_asked_for() -> None:
    lists, misfits = split_arrays(pa.array(["[0:1]={7,8}", "[5:5]={NULL}", "[0:0][1:1]={{1}}"]), drop_bounds=True)

    assert lists.to_pylist() == [["7", "8"], [None], None]
    assert misfits.tolist() == [False, False, True]


def test_a_part_of_a_larger_array_is_taken_apart_alone() -> None:
    texts = pa.array(["{1}", "{2,3}", None, "{4}"]).slice(1, 2)

    lists, _ = split_arrays(texts)

    assert lists.to_pylist() == [["2", "3"], None]
