"""What a table's writer holds is bounded by ``buffer_bytes``, whatever passes through."""

import pyarrow as pa
import pytest
from iceberg_lake import Lake

BUFFER_BYTES = 8 * 2**20


@pytest.mark.parametrize(
    "options",
    [{}, {"partition_by": ["truncate(100, id)"]}, {"sort_by": ["text desc"], "partition_by": ["bucket(4, id)"]}],
    ids=["plain", "100 partitions", "sorted"],
)
def test_memory_stays_within_the_buffer(lake: Lake, options: dict[str, object]) -> None:
    rows = 20_000
    schema = pa.schema([("id", pa.int64()), ("text", pa.string())])
    peak = 0
    passed = 0

    with lake.run(schema, options=options, buffer_bytes=BUFFER_BYTES) as run:
        before = pa.total_allocated_bytes()
        for number in range(40):
            ids = pa.array(range(number * rows, (number + 1) * rows), pa.int64())
            ids = pa.array([each % 10_000 for each in ids.to_pylist()], pa.int64())
            batch = pa.record_batch(
                [ids, pa.array([f"{number} text of row {each}" * 2 for each in range(rows)])], schema
            )
            passed += batch.nbytes
            run.table.write(batch)
            held = pa.total_allocated_bytes() - before - batch.nbytes
            peak = max(peak, held)
        receipt = run.commit()

    assert receipt.inserted == 40 * rows
    assert passed > 4 * BUFFER_BYTES
    assert peak < BUFFER_BYTES
