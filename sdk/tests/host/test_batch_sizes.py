from __future__ import annotations

import pyarrow as pa

from dativo_plugin_sdk.host.batch_sizes import fitting
from dativo_plugin_sdk.protocol.arrow_stream import Limits


def test_values_that_take_no_bytes_are_sent_in_as_many_parts_as_the_other_side_takes() -> None:
    batch = pa.record_batch({"a": pa.nulls(1000), "b": pa.nulls(1000)})

    parts = list(fitting(batch, Limits(values_without_bytes=600)))

    assert [start for start, _ in parts] == [0, 250, 500, 750]
    assert pa.Table.from_batches([part for _, part in parts]).combine_chunks().to_batches() == [batch]
