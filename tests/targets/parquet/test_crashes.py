from __future__ import annotations

import pyarrow as pa


def test_a_live_runs_files_are_left_alone_by_another_run(table, request_of, lake):
    batch = pa.record_batch({"id": [1]})
    live = table(run_id="live", buffer_bytes=1, stream="a")
    live.open(batch.schema)
    live.write(batch)
    other = table(run_id="other", stream="b")
    other.open(batch.schema)
    other.write(batch)
    other.commit(request_of(0))

    receipt = live.commit(request_of(0))

    assert receipt.inserted == 1
    assert {path.name for path in lake.rglob("*.parquet")} == {"live-0.parquet", "other-0.parquet"}
