from datetime import UTC, datetime

import pyarrow as pa

from dativo_ingest.steps.quarantine import QUARANTINE_SCHEMA, to_quarantine
from dativo_ingest.steps.system_columns import add_system_columns, with_system_fields
from dativo_plugin_sdk import rejected

AT = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def test_system_columns_come_last_and_say_when_and_by_which_run():
    batch = pa.record_batch({"id": [1, 2]})

    result = add_system_columns(batch, ["loaded_at", "run_id"], loaded_at=AT, run_id="r1")

    assert result.schema == with_system_fields(batch.schema, ["loaded_at", "run_id"])
    assert result.schema.field("_dativo_loaded_at").type == pa.timestamp("us", tz="UTC")
    assert result.to_pylist() == [{"id": n, "_dativo_loaded_at": AT, "_dativo_run_id": "r1"} for n in (1, 2)]


def test_without_system_columns_nothing_changes():
    batch = pa.record_batch({"id": [1]})

    assert add_system_columns(batch, [], loaded_at=AT, run_id="r1").equals(batch)


def test_a_system_column_that_the_source_has_is_kept_as_it_is():
    batch = pa.record_batch({"_dativo_run_id": ["theirs"]})

    result = add_system_columns(batch, ["run_id"], loaded_at=AT, run_id="r1")

    assert result["_dativo_run_id"].to_pylist() == ["theirs"]


def test_rejected_rows_get_their_run_time_and_stream():
    rows = rejected([{"rule": "type", "reason": "why", "row": "{}"}, {"rule": "required", "reason": "w", "row": "{}"}])

    result = to_quarantine(rows, stream="orders", run_id="r1", loaded_at=AT)

    assert result.schema == QUARANTINE_SCHEMA
    assert result.schema.names[:3] == ["run_id", "loaded_at", "stream"]
    assert result.select(rows.schema.names).to_pylist() == rows.to_pylist()
    assert {(row["run_id"], row["loaded_at"], row["stream"]) for row in result.to_pylist()} == {("r1", AT, "orders")}
