from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("file", "told"),
    [
        pytest.param(
            "csv_exports/csv_exports_reader.py", "second time: nothing is new", id="the reader of Arrow batches"
        ),
        pytest.param("meter_inbox/meter_inbox_reader.py", "line 2 rejected, no reading", id="the reader of an inbox"),
    ],
)
def test_an_example_runs_on_its_own(file: str, told: str, examples: Path) -> None:
    command = [sys.executable, str(examples / "plugins" / file)]

    completed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)

    assert completed.stderr == ""
    assert told in completed.stdout
