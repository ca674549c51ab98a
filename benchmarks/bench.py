"""Runs the benchmarks and prints their results as a table; `--help` tells the rest.

Every case is a process of its own and is run several times; the run in the middle by CPU seconds counts, or the best. A
ratio is always to a case of the same run of this script, never to a number from another day or machine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from contenders import Benchmark, Case
from environments import HERE, WORK, lineitem_csv, python_of, rows_arrow, rows_parquet
from lineitem import contract
from measure import Measured, as_told, best, measure, median, with_rate
from plugins import PLUGINS
from sandboxes import SANDBOXES

from databases import DATABASES

OURS = python_of("dativo")
DATIVO = OURS.parent / "dativo"
_MARK = {True: "✓", False: "✗"}
_MANY = 1_000  # from here on digits behind the point say nothing


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


def _append(case: str, source: Path, *partition: str) -> Callable[[Path], Sequence[str | Path]]:
    return lambda folder: [OURS, HERE / "peers" / "append.py", case, source, folder, *partition]


def _appends(scale: float) -> list[Case]:
    source = rows_arrow(scale, "random")
    return [
        Case("pq.write_table", _append("pyarrow", source)),
        Case("dativo append", _append("dativo", source)),
        Case("pyiceberg append", _append("pyiceberg", source)),
        Case("deltalake write", _append("deltalake", source)),
    ]


def _partitions(scale: float) -> list[Case]:
    mixed, in_order = rows_arrow(scale, "random"), rows_arrow(scale, "day")
    return [
        Case("dativo append, no partitions", _append("dativo", mixed)),
        Case("dativo append, days mixed", _append("dativo", mixed, "day")),
        Case("dativo append, days in order", _append("dativo", in_order, "day")),
        Case("pyiceberg append, days mixed", _append("pyiceberg", mixed, "day")),
        Case("pyiceberg append, days in order", _append("pyiceberg", in_order, "day")),
        Case("deltalake write, days mixed", _append("deltalake", mixed, "day")),
    ]


def _parquet_job(source: Path) -> Callable[[Path], Sequence[str | Path]]:
    def command(folder: Path) -> Sequence[str | Path]:
        job = {
            "version": 1,
            "name": "bench",
            "source": {"connector": "parquet", "connection": {"path": str(source)}},
            "target": {"connector": "iceberg", "connection": {"warehouse": str(folder / "out")}, "namespace": "raw"},
            "streams": {source.stem: {"mode": "incremental", "table": "t"}},
            "limits": {"memory_mb": 512},
        }
        (folder / "job.yaml").write_text(json.dumps(job, indent=2), encoding="utf-8")
        return [DATIVO, "run", "--config", folder / "job.yaml", "--progress", "none"]

    return command


def _copies(scale: float) -> list[Case]:
    source = rows_parquet(scale)
    return [
        Case(
            "bare pyarrow",
            lambda folder: [OURS, HERE / "peers" / "bare_parquet.py", source, folder / "out.parquet"],
        ),
        Case("dativo, parquet → iceberg", _parquet_job(source)),
    ]


def _merge(what: str, scale: float, kind: str, key: str, *partition: str) -> Callable[[Path], Sequence[str | Path]]:
    program = HERE / "peers" / "merge.py"

    def command(folder: Path) -> Sequence[str | Path]:
        # Every run changes its table, and a table cannot be copied: its files know where they lie.
        count = str(round(5_000_000 * scale))
        subprocess.run([OURS, program, "make", folder, count, key, kind, *partition], check=True)
        return [OURS, program, what, folder, key]

    return command


def _merges(*partition: str) -> Callable[[float], list[Case]]:
    return lambda scale: [
        Case("pyiceberg upsert", _merge("upsert", scale, "iceberg", "id", *partition)),
        Case("deltalake merge", _merge("deltalake", scale, "delta", "id", *partition)),
        Case("dativo merge", _merge("dativo", scale, "iceberg", "id", *partition)),
    ]


def _merge_keys(scale: float) -> list[Case]:
    names = {"id": "a number", "pair": "two numbers", "text": "a text"}
    return [Case(f"key: {name}", _merge("dativo", scale, "iceberg", key)) for key, name in names.items()]


def _merge_targets(scale: float) -> list[Case]:
    return [
        Case("deltalake merge", _merge("deltalake", scale, "delta", "id")),
        Case("dativo merge → delta", _merge("dativo-delta", scale, "delta", "id")),
        Case("dativo merge → duckdb", _merge("dativo-duckdb", scale, "duckdb", "id")),
        Case("dativo merge → iceberg", _merge("dativo", scale, "iceberg", "id")),
    ]


def _scans(*partition: str) -> Callable[[float], list[Case]]:
    program = HERE / "peers" / "scan.py"

    def cases(scale: float) -> list[Case]:
        folder = WORK / "scanned"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        subprocess.run([OURS, program, "prepare", folder, str(round(5_000_000 * scale)), *partition], check=True)

        def scan(case: str, engine: str) -> Callable[[Path], Sequence[str | Path]]:
            python = OURS if engine == "pyiceberg" else python_of("duckdb-iceberg")
            return lambda _folder: [python, program, "read", folder, case, engine]

        return [
            Case(f"{engine}, {name}", scan(case, engine))
            for engine in ("pyiceberg", "duckdb")
            for case, name in (("fresh", "freshly written"), ("merged", "20 merges"), ("compacted", "and compacted"))
        ]

    return cases


BENCHMARKS = {
    "append": Benchmark(
        "6,000,000 rows appended to a table",
        "pq.write_table",
        "cpu",
        {"dativo append": 1.15},
        _appends,
        inside=True,
        limits_of_wall={"dativo append": 1.15},
    ),
    "partitions": Benchmark(
        "6,000,000 rows appended to 90 partitions by day(ts)",
        "dativo append, no partitions",
        "cpu",
        {"dativo append, days mixed": 2, "dativo append, days in order": 2},
        _partitions,
        inside=True,
        limits_of_wall={"dativo append, days mixed": 2, "dativo append, days in order": 2},
    ),
    "copy": Benchmark(
        "A job that carries 6,000,000 rows from Parquet into Iceberg",
        "bare pyarrow",
        "cpu",
        {"dativo, parquet → iceberg": 1.25},
        _copies,
    ),
    "merge": Benchmark(
        "10,000 updates and 500 inserts into 5,000,000 rows",
        "pyiceberg upsert",
        "cpu",
        {"dativo merge": 0.1},
        _merges(),
        inside=True,
        limits_of_wall={"dativo merge": 0.1},
    ),
    "merge-buckets": Benchmark(
        "10,000 updates and 500 inserts into 5,000,000 rows in 16 buckets",
        "pyiceberg upsert",
        "cpu",
        {"dativo merge": 0.1},
        _merges("bucket(16, id)"),
        inside=True,
        limits_of_wall={"dativo merge": 0.1},
    ),
    "merge-keys": Benchmark(
        "The same merge by other keys",
        "key: a number",
        "cpu",
        {},
        _merge_keys,
        inside=True,
    ),
    "merge-targets": Benchmark(
        "The same merge into other targets",
        "deltalake merge",
        "cpu",
        {},
        _merge_targets,
        inside=True,
    ),
    "scan-after-merges": Benchmark(
        "All rows of a table read after 20 merges and one compaction",
        "pyiceberg, freshly written",
        "cpu",
        {"pyiceberg, and compacted": 1.2, "duckdb, and compacted": 1.2},
        _scans(),
        inside=True,
        limits_of_wall={"pyiceberg, and compacted": 1.2, "duckdb, and compacted": 1.2},
        floors={
            f"duckdb, {name}": "duckdb, freshly written" for name in ("freshly written", "20 merges", "and compacted")
        },
    ),
    "csv": Benchmark(
        "TPC-H lineitem, CSV → Parquet and Iceberg",
        "bare pyarrow",
        "cpu",
        {"dativo → parquet": 1.25, "dativo → iceberg": 1.25},
        _csv,
    ),
    **DATABASES,
    **PLUGINS,
    **SANDBOXES,
    "ten-rows": Benchmark("A job of 10 rows → Iceberg", "dlt → iceberg", "wall", {"dativo → iceberg": 0.5}, _ten_rows),
    "help": Benchmark("dativo --help", "python -c pass", "wall", {}, _help),
}


def run(name: str, scale: float, times: int, pick: Callable[[Sequence[Measured]], Measured], only: str) -> bool:
    """Run one benchmark, print its table, and say whether our limits held."""
    benchmark = BENCHMARKS[name]
    with benchmark.serve(scale) if benchmark.serve else contextlib.nullcontext() as server:
        cases = benchmark.cases(scale) if server is None else benchmark.cases(scale, server)
        cases = [case for case in cases if fnmatchcase(case.name, only)]
        runs: dict[str, list[Measured]] = {case.name: [] for case in cases}
        for _ in range(times):
            for case in cases:  # in turns, so that a busy neighbour is nobody's alone
                folder = WORK / "run"
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                command = [str(part) for part in case.command(folder)]
                measured = measure(command, cwd=folder, server_cpu_s=None if server is None else server.cpu_s)
                if case.verify is not None:
                    case.verify(folder)
                measured = as_told(measured) if benchmark.inside else measured
                runs[case.name].append(measured if case.rows is None else with_rate(measured, case.rows))
    results = {case: pick(measured) for case, measured in runs.items()}
    print(f"\n## {benchmark.title} (scale {scale:g}, {pick.__name__} of {times})\n")
    return _show(benchmark, results)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= _MANY else f"{value:.2f}".removesuffix(".00")


def _show(benchmark: Benchmark, results: Mapping[str, Measured]) -> bool:
    """Print the table, and say whether our limits held."""
    others = list(dict.fromkeys(key for result in results.values() for key in result.others))
    print("| " + " | ".join(["case", "CPU s", "wall s", "peak MB", *others, "CPU ratio", "wall ratio", "limit"]) + " |")
    print("|" + "---|" * (7 + len(others)))
    held = True
    for case, result in results.items():
        floor = benchmark.floors.get(case, benchmark.floor)
        floors = [results[name] for name in ([floor] if isinstance(floor, str) else floor) if name in results]
        found = {
            "cpu": result.cpu_s / min((each.cpu_s for each in floors), default=result.cpu_s),
            "wall": result.wall_s / min((each.wall_s for each in floors), default=result.wall_s),
            "peak MB": result.peak_mb,
            "wall s above": result.wall_s - min((each.wall_s for each in floors), default=result.wall_s),
        }
        limits = {
            "wall": benchmark.limits_of_wall.get(case),
            "peak MB": benchmark.limits_of_peak_mb.get(case),
            "wall s above": benchmark.limits_above_floor_s.get(case),
        }
        limits = {benchmark.by: benchmark.limits.get(case), **{by: each for by, each in limits.items() if each}}
        kept = {by: found[by] <= limit for by, limit in limits.items() if limit is not None}
        said = [f"{by} ≤ {limits[by]:g} {_MARK[ok]}" for by, ok in kept.items()]
        reached = {key: result.others[key] >= least for key, least in benchmark.at_least.get(case, {}).items()}
        said += [f"{key} ≥ {benchmark.at_least[case][key]:,g} {_MARK[ok]}" for key, ok in reached.items()]
        held = held and all(kept.values()) and all(reached.values())
        told = "".join(f" {_number(result.others[key])} |" if key in result.others else " |" for key in others)
        print(
            f"| {case} | {result.cpu_s:.2f} | {result.wall_s:.2f} | {result.peak_mb:.0f} |{told}"
            f" {found['cpu']:.2f} | {found['wall']:.2f} | {', '.join(said)} |",
            flush=True,
        )
    return held


def main() -> None:
    """Run what the command line asks for; exit 1 where a limit did not hold."""
    parser = argparse.ArgumentParser(description="Dativo beside a bare loop and its peers, in one run.")
    parser.add_argument("names", nargs="*", help=f"which: {', '.join(BENCHMARKS)} (default: all)")
    parser.add_argument(
        "--scale", type=float, default=1.0, help="TPC-H scale factor, or share of the rows (default: 1)"
    )
    parser.add_argument("--times", type=int, default=3, help="runs of each case (default: 3)")
    parser.add_argument(
        "--best", action="store_true", help="count the run of the fewest CPU seconds, for a machine that others use"
    )
    parser.add_argument("--only", default="*", help="cases whose names match this pattern, such as 'dativo*'")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHMARKS)
    if unknown:
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(BENCHMARKS)}")
    pick = best if arguments.best else median
    held = [run(name, arguments.scale, arguments.times, pick, arguments.only) for name in arguments.names or BENCHMARKS]
    sys.exit(0 if all(held) else 1)


if __name__ == "__main__":
    main()
