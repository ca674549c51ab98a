import base64
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa

from dativo_ingest.cli.rows import rows_json, rows_text


def test_every_type_has_a_form_in_json() -> None:
    rows = pa.table(
        {
            "price": [Decimal("1.50")],
            "ratio": [float("inf")],
            "at": pa.array([datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)], pa.timestamp("us", tz="UTC")),
            "day": [date(2026, 1, 2)],
            "raw": [b"\x00\xff"],
            "took": [timedelta(seconds=90)],
            "tags": [["a", None]],
            "nested": [{"price": Decimal(2)}],
        }
    )

    [row] = json.loads(json.dumps(rows_json(rows), allow_nan=False))

    assert row == {
        "price": "1.50",
        "ratio": "inf",
        "at": "2026-01-02T03:04:05+00:00",
        "day": "2026-01-02",
        "raw": base64.b64encode(b"\x00\xff").decode(),
        "took": "0:01:30",
        "tags": ["a", None],
        "nested": {"price": "2"},
    }


def test_a_null_differs_from_empty_text_and_line_ends_stay_on_one_line() -> None:
    lines = rows_text(pa.table({"a": [None, "", "x\ny"], "b": [1, 2, 3]}), width=80)

    assert lines == ["a     b", "null  1", "      2", "x\\ny  3"]


def test_columns_that_do_not_fit_are_counted() -> None:
    lines = rows_text(pa.table({f"column_{index}": ["x" * 20] for index in range(10)}), width=60)

    assert len(lines[0].split()) == 2
    assert lines[-1] == "… 8 more columns (--json shows all)"


def test_a_long_cell_is_cut() -> None:
    lines = rows_text(pa.table({"a": ["x" * 1000]}), width=80)

    assert lines[1] == "x" * 39 + "…"
