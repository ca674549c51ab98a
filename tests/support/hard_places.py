"""Code run where the disk is full, or where its user may not write: in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

_PREAMBLE = """\
import json, os, sys
import pyarrow.dataset, pyarrow.parquet, duckdb
from pathlib import Path
import dativo_ingest.targets.duckdb, dativo_ingest.targets.parquet, dativo_ingest.targets.delta.table
from dativo_plugin_sdk import *
import pyarrow as pa

REQUEST = CommitRequest("commit", 0, {"at": 1}, "2026-01-01T00:00:00Z")

def writer_of(kind, path, **options):
    config = TargetConfig(type=kind, connection={"path": str(path)}, options=options)
    if kind == "duckdb":
        return dativo_ingest.targets.duckdb.DuckDBWriter(config)
    if kind == "delta":
        return dativo_ingest.targets.delta.DeltaWriter(config)
    return dativo_ingest.targets.parquet.ParquetWriter(config)

def table_of(writer, generation=0, **spec):
    return writer.table(TableSpec(**{
        "name": "orders", "namespace": "raw", "job": "j", "stream": "s", "run_id": f"run-{generation}", **spec}))

def load(writer, batches, generation=0):
    table = table_of(writer, generation)
    try:
        table.open(pa.schema({"id": pa.int64(), "noise": pa.binary()}))
        for number in range(batches):
            noise = pa.array([os.urandom(1000) for _ in range(1000)])
            table.write(pa.record_batch({"id": pa.array(range(1000)), "noise": noise}))
        table.commit(CommitRequest(f"commit-{generation}", generation, None, "2026-01-01T00:00:00Z"))
    except BaseException:
        table.abort()
        raise

def caught(work):
    try:
        work()
    except DativoError as error:
        return error.error_code
    return None

def become_nobody():
    if os.geteuid() == 0:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)

def answer(**values):
    print(json.dumps(values))
"""


def run(script: str, *arguments: object) -> dict[str, Any]:
    """Run a script that ends with ``answer(...)``; ``sys.argv[1:]`` are the arguments."""
    return _answer([sys.executable, "-c", _PREAMBLE + script, *map(str, arguments)])


def run_on_small_disk(script: str, *, size_mb: int) -> dict[str, Any]:
    """Run a script whose ``sys.argv[1]`` is a disk of that size, which nobody else sees."""
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    mount = f'mount -t tmpfs -o size={size_mb}m none /mnt && exec "$@"'
    return _answer([*unshare, "sh", "-c", mount, "sh", sys.executable, "-c", _PREAMBLE + script, "/mnt"])


def _answer(command: list[str]) -> dict[str, Any]:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer
