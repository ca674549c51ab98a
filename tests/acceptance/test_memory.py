"""Memory is bounded by ``limits.memory_mb``, whatever the width of the table or of a cell."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from workshop import Workshop

MEMORY_MB = 512


def peak_mb(command: list[str]) -> tuple[int, float]:
    """Run a command and give its exit code and its peak of resident memory."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return process.returncode, usage.ru_maxrss / 1024


@pytest.fixture
def interpreter_mb() -> float:
    """What the interpreter and the libraries take before the first byte is read."""
    imports = "import pyiceberg.io.pyarrow, pyarrow.csv, pyarrow.json, pyarrow.parquet, dativo_ingest.run.engine"
    return peak_mb([sys.executable, "-c", imports])[1]


def wide_csv(path: Path) -> int:
    """1,000 columns, about 340 MB."""
    header = ",".join(f"column_{number}" for number in range(1000))
    line = ",".join(f"value {number % 17}" for number in range(1000))
    rows = 40_000
    with path.open("w", encoding="utf-8") as file:
        file.write(header + "\n")
        for _ in range(rows // 100):
            file.write((line + "\n") * 100)
    return rows


def large_cells(path: Path) -> int:
    """JSON texts of 5 MB in a CSV, about 600 MB."""
    cell = '{""items"": [' + ", ".join(["{key: 1234567}"] * 260_000) + "]}"
    rows = 120
    with path.open("w", encoding="utf-8") as file:
        file.write("id,payload\n")
        for number in range(rows):
            file.write(f'{number},"{cell.replace(chr(34) * 2, chr(34)).replace(chr(34), chr(34) * 2)}"\n')
    return rows


@pytest.mark.timeout(600)
@pytest.mark.parametrize("write", [wide_csv, large_cells])
def test_wide_tables_and_large_cells_load_within_the_limit(
    workshop: Workshop, interpreter_mb: float, write: object
) -> None:
    rows = write(workshop.folder / "rows.csv")  # type: ignore[operator]
    workshop.job(
        {"connector": "csv", "connection": {"path": "rows.csv"}},
        {"rows": {"mode": "incremental"}},
        limits={"memory_mb": MEMORY_MB},
    )

    code, used_mb = peak_mb(workshop.command("run", "--progress", "none"))

    assert code == 0
    assert used_mb <= MEMORY_MB + interpreter_mb
    assert workshop.table("rows").num_rows == rows
