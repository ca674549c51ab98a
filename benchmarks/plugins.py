"""Benchmarks of the border between the engine and a plugin's process."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from contenders import Benchmark, Case
from environments import HERE, WORK, lineitem_csv, python_of, rows_arrow

_PEERS = HERE / "peers"
_READERS = _PEERS / "plugin_readers.py"
_Command = Callable[[Path], Sequence[str | Path]]


def _job(
    folder: Path, connector: str, connection: Mapping[str, object], options: Mapping[str, object] | None = None
) -> Path:
    job = {
        "version": 1,
        "name": "bench",
        "source": {"connector": connector, "connection": connection, "options": options or {}},
        "target": {"connector": "parquet", "connection": {"path": str(folder / "out")}},
        "streams": {"rows": {"mode": "full_refresh", "write": "overwrite"}},
        "limits": {"memory_mb": 512},
    }
    path = folder / "job.yaml"
    path.write_text(json.dumps(job, indent=2), encoding="utf-8")
    return path


def run_of(
    connector: str,
    connection: Mapping[str, object] | None = None,
    options: Mapping[str, object] | None = None,
    *,
    in_process: bool = False,
) -> _Command:
    """Give what runs a job from a connector into Parquet."""
    ours = python_of("dativo")
    program = [ours, _PEERS / "plugin_in_process.py"] if in_process else [ours.parent / "dativo", "run", "--config"]

    def command(folder: Path) -> Sequence[str | Path]:
        job = _job(folder, connector, connection or {}, options)
        return [*program, job] if in_process else [*program, job, "--progress", "none"]

    return command


def _both(name: str, plugin: str, rows: int, *arguments: Mapping[str, object] | None) -> list[Case]:
    connector = f"{_READERS}:{plugin}"
    return [
        Case(f"{name}, in process", run_of(connector, *arguments, in_process=True), rows=rows),
        Case(name, run_of(connector, *arguments), rows=rows),
    ]


def _arrow(scale: float) -> list[Case]:
    rows = round(6_000_000 * scale)
    file = {"path": str(rows_arrow(scale, "random"))}
    native = {"rows": rows, "library": str(_library())}
    return [
        Case("built-in connector", run_of("arrow", file), rows=rows),
        *_both("Arrow plugin", "ArrowPlugin", rows, file),
        *_both("StreamReader plugin", "StreamPlugin", rows, file),
        *_both("native plugin", "NativePlugin", rows, None, native),
    ]


def _csv(scale: float) -> list[Case]:
    rows = round(6_001_215 * scale)
    return _both("Arrow plugin that parses a CSV", "CsvPlugin", rows, {"path": str(lineitem_csv(scale))})


def _dicts(scale: float) -> list[Case]:
    rows = round(600_000 * scale)
    tap = [python_of("singer"), _PEERS / "singer_tap.py", str(rows)]
    return [
        *_both("dict plugin", "DictPlugin", rows, None, {"rows": rows}),
        Case("Singer SDK tap, its lines thrown away", lambda _folder: _into_nothing(tap), rows=rows),
    ]


def _into_nothing(command: Sequence[str | Path]) -> Sequence[str | Path]:
    return ["sh", "-c", 'exec "$@" >/dev/null 2>&1', "sh", *command]


def _start(_scale: float) -> list[Case]:
    ten = WORK / "data" / "ten.jsonl"
    ten.parent.mkdir(parents=True, exist_ok=True)
    ten.write_text("".join(f'{{"id": {at}}}\n' for at in range(10)), encoding="utf-8")
    return [
        Case("built-in connector", run_of("jsonl", {"path": str(ten)})),
        Case("dict plugin", run_of(f"{_PEERS / 'ten_rows.py'}:TenRows")),
    ]


def _plane(scale: float) -> list[Case]:
    rows = rows_arrow(scale, "random")
    return [Case("one process to another", lambda _folder: [python_of("dativo"), _PEERS / "data_plane.py", rows])]


def _library() -> Path:
    """Compile the C library that a plugin hands rows over from."""
    path, source = WORK / "native_rows.so", _PEERS / "native_rows.c"
    if not path.exists() or path.stat().st_mtime < source.stat().st_mtime:
        WORK.mkdir(parents=True, exist_ok=True)
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", path, source], check=True)
    return path


PLUGINS = {
    "plugin-data-plane": Benchmark(
        "6,000,000 rows of ten columns over the data socket, validated",
        "one process to another",
        "cpu",
        {},
        _plane,
        inside=True,
        at_least={"one process to another": {"GB/s": 0.5, "M rows/s": 5}},
    ),
    "plugin-arrow": Benchmark(
        "6,000,000 rows of ten columns, mapped into memory by the plugin → Parquet",
        "built-in connector",
        "cpu",
        {},
        _arrow,
        floors={name: f"{name}, in process" for name in ("Arrow plugin", "StreamReader plugin", "native plugin")},
    ),
    "plugin-csv": Benchmark(
        "TPC-H lineitem, CSV parsed by the plugin → Parquet",
        "Arrow plugin that parses a CSV, in process",
        "cpu",
        {"Arrow plugin that parses a CSV": 1.1},
        _csv,
    ),
    "plugin-dicts": Benchmark(
        "600,000 rows of ten columns as dicts → Parquet",
        "dict plugin, in process",
        "cpu",
        {},
        _dicts,
        at_least={"dict plugin": {"rows/s": 150_000}},
    ),
    "plugin-start": Benchmark(
        "A job of 10 rows → Parquet",
        "built-in connector",
        "wall",
        {},
        _start,
        limits_above_floor_s={"dict plugin": 0.5},
    ),
}
