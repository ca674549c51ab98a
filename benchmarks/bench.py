"""Runs the benchmarks and prints their results as a table; `--help` tells the rest.

Every case is a process of its own and is run several times; the run in the middle by CPU seconds counts. A ratio is
always to a case of the same run of this script, never to a number from another day or machine.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from environments import HERE, WORK, lineitem_csv, python_of
from lineitem import contract
from measure import Measured, measure, median

OURS = python_of("dativo")
DATIVO = OURS.parent / "dativo"


@dataclass(frozen=True)
class Case:
    """One contender: its name and what runs it, given a fresh folder."""

    name: str
    command: Callable[[Path], Sequence[str | Path]]


@dataclass(frozen=True)
class Benchmark:
    """Contenders for one piece of work; ratios are to ``floor``."""

    title: str
    floor: str
    by: str
    limits: dict[str, float]
    cases: Callable[[float], list[Case]]
    inside: bool = False
    """Whether a case prints what its work alone took; otherwise the whole process counts."""


def _job(folder: Path, source: Path, target: dict[str, object], namespace: str | None = None) -> Path:
    (folder / "lineitem.odcs.yaml").write_text(contract(), encoding="utf-8")
    job = {
        "version": 1,
        "name": "bench",
        "source": {"connector": "csv", "connection": {"path": str(source)}},
        "target": {**target, **({"namespace": namespace} if namespace else {})},
        "streams": {"lineitem": {"mode": "incremental", "contract": "lineitem.odcs.yaml"}},
        "limits": {"memory_mb": 512},
    }
    path = folder / "job.yaml"
    path.write_text(json.dumps(job, indent=2), encoding="utf-8")
    return path


def _dativo(source: Path, connector: str) -> Callable[[Path], Sequence[str | Path]]:
    def command(folder: Path) -> Sequence[str | Path]:
        key = "warehouse" if connector == "iceberg" else "path"
        place = folder / ("out.duckdb" if connector == "duckdb" else "out")
        target = {"connector": connector, "connection": {key: str(place)}}
        return [DATIVO, "run", "--config", _job(folder, source, target, "raw"), "--progress", "none"]

    return command


def _peer(peer: str, source: Path) -> Callable[[Path], Sequence[str | Path]]:
    return lambda folder: [python_of(peer), HERE / "peers" / f"{peer}_csv.py", source, folder / "out.parquet"]


def _bare(source: Path) -> Callable[[Path], Sequence[str | Path]]:
    return lambda folder: [OURS, HERE / "peers" / "bare_pyarrow.py", source, folder / "out.parquet"]


def _dlt(source: Path, table_format: str) -> Callable[[Path], Sequence[str | Path]]:
    return lambda folder: [python_of("dlt"), HERE / "peers" / "dlt_csv.py", source, folder, table_format]


def _csv(scale: float) -> list[Case]:
    source = lineitem_csv(scale)
    return [
        Case("bare pyarrow", _bare(source)),
        Case("dativo → parquet", _dativo(source, "parquet")),
        Case("dativo → iceberg", _dativo(source, "iceberg")),
        Case("polars", _peer("polars", source)),
        Case("duckdb", _peer("duckdb", source)),
        Case("dlt → parquet", _dlt(source, "parquet")),
        Case("dlt → iceberg", _dlt(source, "iceberg")),
    ]


def _ten_rows(_scale: float) -> list[Case]:
    source = WORK / "data" / "ten.csv"
    with lineitem_csv(0.01).open(encoding="utf-8") as file:
        source.write_text("".join(file.readline() for _ in range(11)), encoding="utf-8")
    return [Case("dlt → iceberg", _dlt(source, "iceberg")), Case("dativo → iceberg", _dativo(source, "iceberg"))]


def _help(_scale: float) -> list[Case]:
    return [
        Case("python -c pass", lambda _folder: [OURS, "-c", "pass"]),
        Case("dativo --help", lambda _folder: [DATIVO, "--help"]),
    ]


def _merge(what: str, scale: float, partition_by: Sequence[str]) -> Callable[[Path], Sequence[str | Path]]:
    program = HERE / "peers" / "merge_iceberg.py"

    def command(folder: Path) -> Sequence[str | Path]:
        # Every run changes its table, and a table cannot be copied: its files know where they lie.
        count = str(round(5_000_000 * scale))
        subprocess.run([OURS, program, "make", folder, count, *partition_by], check=True)
        return [OURS, program, what, folder]

    return command


def _merges(*partition_by: str) -> Callable[[float], list[Case]]:
    return lambda scale: [
        Case("pyiceberg upsert", _merge("upsert", scale, partition_by)),
        Case("dativo merge", _merge("dativo", scale, partition_by)),
    ]


BENCHMARKS = {
    "merge": Benchmark(
        "10,000 updates and 500 inserts into 5,000,000 rows of Iceberg",
        "pyiceberg upsert",
        "cpu",
        {"dativo merge": 0.1},
        _merges(),
        inside=True,
    ),
    "merge-buckets": Benchmark(
        "10,000 updates and 500 inserts into 5,000,000 rows of Iceberg in bucket(16)",
        "pyiceberg upsert",
        "cpu",
        {"dativo merge": 0.1},
        _merges("bucket(16, id)"),
        inside=True,
    ),
    "csv": Benchmark(
        "TPC-H lineitem, CSV → Parquet and Iceberg",
        "bare pyarrow",
        "cpu",
        {"dativo → parquet": 1.25, "dativo → iceberg": 1.25},
        _csv,
    ),
    "ten-rows": Benchmark("A job of 10 rows → Iceberg", "dlt → iceberg", "wall", {"dativo → iceberg": 0.5}, _ten_rows),
    "help": Benchmark("dativo --help", "python -c pass", "wall", {}, _help),
}


def run(name: str, scale: float, times: int) -> bool:
    """Run one benchmark, print its table, and say whether our limits held."""
    benchmark = BENCHMARKS[name]
    cases = benchmark.cases(scale)
    runs: dict[str, list[Measured]] = {case.name: [] for case in cases}
    for _ in range(times):
        for case in cases:  # in turns, so that a busy neighbour is nobody's alone
            folder = WORK / "run"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            measured = measure([str(part) for part in case.command(folder)], cwd=folder)
            if benchmark.inside:
                measured = replace(measured, **json.loads(measured.output.splitlines()[-1]))
            runs[case.name].append(measured)
    results = {case: median(measured) for case, measured in runs.items()}
    floor = results[benchmark.floor]
    print(f"\n## {benchmark.title} (scale {scale:g}, median of {times})\n")
    print("| case | CPU s | wall s | peak MB | CPU ratio | wall ratio | limit |")
    print("|---|---|---|---|---|---|---|")
    held = True
    for case, result in results.items():
        cpu_ratio, wall_ratio = result.cpu_s / floor.cpu_s, result.wall_s / floor.wall_s
        limit = benchmark.limits.get(case)
        ratio = cpu_ratio if benchmark.by == "cpu" else wall_ratio
        verdict = "" if limit is None else f"{benchmark.by} ≤ {limit:g} {'✓' if ratio <= limit else '✗'}"
        held = held and (limit is None or ratio <= limit)
        print(
            f"| {case} | {result.cpu_s:.2f} | {result.wall_s:.2f} | {result.peak_mb:.0f} "
            f"| {cpu_ratio:.2f} | {wall_ratio:.2f} | {verdict} |"
        )
    return held


def main() -> None:
    """Run what the command line asks for; exit 1 where a limit did not hold."""
    parser = argparse.ArgumentParser(description="Dativo beside a bare loop and its peers, in one run.")
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="TPC-H scale factor, or share of 5,000,000 rows (default: 1)"
    )
    parser.add_argument("--times", type=int, default=3, help="runs of each case (default: 3)")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    held = [run(name, arguments.scale, arguments.times) for name in arguments.names or BENCHMARKS]
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
