"""Frames of pandas, which is installed apart: pyarrow imports it wherever it finds it, and that costs every process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PANDAS = Path(sys.prefix) / "apart"
FRAME = """
import pandas as pd
import pyarrow as pa

from dativo_ingest.steps.conform import conform
from dativo_plugin_sdk import infer_schema, to_batches

value = pd.DataFrame({"a": ["x", None], "b": [1, 2]})
"""
TAKEN = """
wanted = pa.schema([("a", pa.string()), ("b", pa.int64())])
rows = [row for message in to_batches(value, None) for row in conform(message, wanted).batch.to_pylist()]
assert rows == [{"a": "x", "b": 1}, {"a": None, "b": 2}], rows
"""
NOT_USED_UP = """
schema = infer_schema(value)
assert schema.names == ["a", "b"], schema
assert not any(pa.types.is_string_view(kind) for kind in schema.types), schema
assert sum(message.batch.num_rows for message in to_batches(value, schema)) == 2
"""


@pytest.mark.parametrize("steps", [TAKEN, NOT_USED_UP], ids=["is taken", "its schema is found without using it up"])
def test_a_frame_of_pandas_is_like_any_other(steps):
    environ = {**os.environ, "PYTHONPATH": str(PANDAS)}

    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", FRAME + steps], env=environ, capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stderr) == (0, "")
