"""Benchmarks that read databases: TPC-H lineitem out of Postgres and MariaDB, whole and what is new of it."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import servers
from contenders import Benchmark, Case
from environments import HERE, python_of
from lineitem import COLUMNS
from results import expected, verified
from servers import Served

# What follows is at scale 1: 600,000 rows are there, 60,000 more come.
_CHANGING_SCALE = 0.2
_FIRST_KEY, _LAST_KEY = 600_000, 660_000
_SLOW_SHARE = 0.1
_PEAK_MB = 600

_DLT_PARQUET = ("dlt, connectorx → parquet", "dlt, adbc → parquet")
_DLT_ICEBERG = ("dlt, connectorx → iceberg", "dlt, adbc → iceberg")


def _dativo(
    served: Served, connector: str, parallelism: int = 1, *, codec: str | None = None, **stream: str
) -> Callable[[Path], Sequence[Path | str]]:
    table = f"{served.schema}.changing" if stream else served.table

    def command(folder: Path) -> Sequence[Path | str]:
        key = "warehouse" if connector == "iceberg" else "path"
        job = {
            "version": 1,
            "name": "bench",
            "source": {
                "connector": served.connector,
                "connection": served.connection,
                "credentials": served.credentials,
            },
            "target": {
                "connector": connector,
                "connection": {key: str(folder / "out")},
                "namespace": "raw",
                "options": {} if codec is None else {"compression": codec},
            },
            "streams": {table: stream or {"mode": "full_refresh", "write": "append"}},
            "limits": {"memory_mb": 512, "parallelism": parallelism},
        }
        (folder / "job.yaml").write_text(json.dumps(job, indent=2), encoding="utf-8")
        return [python_of("dativo").parent / "dativo", "run", "--config", folder / "job.yaml", "--progress", "none"]

    return command


def _dlt(served: Served, backend: str, table_format: str, *cursor: str) -> Callable[[Path], Sequence[Path | str]]:
    scheme = {"postgres": "postgresql", "mysql": "mysql+pymysql"}[served.connector]
    table = f"{served.schema}.changing" if cursor else served.table
    program = HERE / "peers" / "dlt_sql.py"
    return lambda folder: [
        *(python_of("dlt-sql"), program, served.url(scheme), table, backend, table_format, folder),
        *cursor,
    ]


def _drained(served: Served, statement: str) -> Callable[[Path], Sequence[Path | str]]:
    def command(_folder: Path) -> Sequence[Path | str]:
        variables = [f"{name}={value}" for name, value in served.client_environment.items()]
        return ["sh", "-c", 'exec "$@" > /dev/null', "sh", "env", *variables, *served.client, statement]

    return command


def _connectorx(served: Served) -> Callable[[Path], Sequence[Path | str]]:
    scheme = {"postgres": "postgresql", "mysql": "mysql"}[served.connector]
    query = f"SELECT * FROM {served.table}"  # noqa: S608  our own name
    program = HERE / "peers" / "connectorx_sql.py"
    return lambda folder: [python_of("arrow-sql"), program, served.url(scheme), query, folder / "out.parquet"]


def _adbc(served: Served) -> Callable[[Path], Sequence[Path | str]]:
    program, url = HERE / "peers" / "adbc_postgres.py", served.url("postgresql")
    return lambda folder: [
        *(python_of("arrow-sql"), program, url, served.table, ",".join(COLUMNS), folder / "out.parquet")
    ]


def _duckdb(served: Served) -> Callable[[Path], Sequence[Path | str]]:
    program, url = HERE / "peers" / "duckdb_postgres.py", served.url("postgresql")
    return lambda folder: [python_of("duckdb-sql"), program, url, served.table, folder / "out.parquet"]


def _sling(served: Served) -> Callable[[Path], Sequence[Path | str]]:
    """Write CSV: for Parquet sling downloads a DuckDB."""
    scheme = {"postgres": "postgresql", "mysql": "mysql"}[served.connector]

    def command(folder: Path) -> Sequence[Path | str]:
        packages = python_of("sling").parents[1]
        program = next(packages.rglob("sling_linux_amd64/bin/sling-linux-amd64"))
        environment = [
            f"SOURCE={served.url(scheme)}?sslmode=disable"
            if scheme == "postgresql"
            else f"SOURCE={served.url(scheme)}",
            f"SLING_HOME_DIR={folder / 'state'}",
            "SLING_DISABLE_TELEMETRY=true",
        ]
        target = (folder / "out" / "lineitem.csv").as_uri()
        read = ["--src-conn", "SOURCE", "--src-stream", served.table]
        return ["env", *environment, program, "run", *read, "--tgt-object", target]

    return command


def _postgres_parquet(scale: float, served: Served) -> list[Case]:
    exact, wide = verified(*expected(scale)), verified(*expected(scale), exact_types=False)
    return [
        Case("COPY thrown away", _drained(served, f"COPY {served.table} TO STDOUT")),
        Case("dativo → parquet", _dativo(served, "parquet"), exact),
        Case("dativo, parallelism 2 → parquet", _dativo(served, "parquet", 2), exact),
        Case("the same with snappy, as dlt writes", _dativo(served, "parquet", 2, codec="snappy"), exact),
        Case("dlt, connectorx → parquet", _dlt(served, "connectorx", "parquet"), wide),
        Case("dlt, adbc → parquet", _dlt(served, "adbc", "parquet"), exact),
        Case("connectorx alone", _connectorx(served), wide),
        Case("ADBC alone", _adbc(served), exact),
        Case("DuckDB's extension", _duckdb(served), exact),
    ]


def _postgres_iceberg(scale: float, served: Served) -> list[Case]:
    exact, wide = verified(*expected(scale)), verified(*expected(scale), exact_types=False)
    return [
        Case("dativo → iceberg", _dativo(served, "iceberg"), exact),
        Case("dativo, parallelism 2 → iceberg", _dativo(served, "iceberg", 2), exact),
        Case("dlt, connectorx → iceberg", _dlt(served, "connectorx", "iceberg"), wide),
        Case("dlt, adbc → iceberg", _dlt(served, "adbc", "iceberg"), exact),
    ]


def _slow(scale: float, served: Served) -> list[Case]:
    exact, wide = (verified(*expected(scale * _SLOW_SHARE), exact_types=is_exact) for is_exact in (True, False))
    return [
        Case("dativo → parquet", _dativo(served, "parquet"), exact),
        Case("dlt, connectorx → parquet", _dlt(served, "connectorx", "parquet"), wide),
        Case("dlt, pyarrow → parquet", _dlt(served, "pyarrow", "parquet"), wide),
        Case("sling → csv", _sling(served)),
    ]


def _mysql(scale: float, served: Served) -> list[Case]:
    exact, wide = verified(*expected(scale)), verified(*expected(scale), exact_types=False)
    return [
        Case("client's rows thrown away", _drained(served, f"SELECT * FROM {served.table}")),  # noqa: S608  our own name
        Case("dativo → parquet", _dativo(served, "parquet"), exact),
        Case("dativo, parallelism 2 → parquet", _dativo(served, "parquet", 2), exact),
        Case("dlt, connectorx → parquet", _dlt(served, "connectorx", "parquet"), wide),
        Case("connectorx alone", _connectorx(served), wide),
    ]


@contextlib.contextmanager
def _changing(scale: float) -> Iterator[Served]:
    """Serve a table that grows by a tenth."""
    with servers.postgres(scale * _CHANGING_SCALE) as served:
        first, _ = _keys(scale)
        table = f"{served.schema}.changing"
        served.run(
            f"CREATE TABLE {table} AS SELECT * FROM {served.table} WHERE l_orderkey <= {first}",  # noqa: S608
            f"ALTER TABLE {table} ADD PRIMARY KEY (l_orderkey, l_linenumber)",
        )
        yield served


def _keys(scale: float) -> tuple[int, int]:
    return round(_FIRST_KEY * scale), round(_LAST_KEY * scale)


def _second_run(
    served: Served, scale: float, contender: Callable[[Path], Sequence[Path | str]]
) -> Callable[[Path], Sequence[Path | str]]:
    """Let a contender read the table, and let rows come: its next run is the one that counts."""
    first, last = _keys(scale)
    table = f"{served.schema}.changing"

    def command(folder: Path) -> Sequence[Path | str]:
        served.run(f"DELETE FROM {table} WHERE l_orderkey > {first}", f"VACUUM (ANALYZE) {table}")  # noqa: S608
        own = contender(folder)
        subprocess.run([str(part) for part in own], cwd=folder, check=True, capture_output=True)
        served.run(
            f"INSERT INTO {table} SELECT * FROM {served.table} WHERE l_orderkey > {first} AND l_orderkey <= {last}",  # noqa: S608
            f"VACUUM (ANALYZE) {table}",
        )
        return own

    return command


def _incremental(scale: float, served: Served) -> list[Case]:
    found = expected(scale * _CHANGING_SCALE, _keys(scale)[1])
    exact, wide = verified(*found), verified(*found, exact_types=False)

    def second(contender: Callable[[Path], Sequence[Path | str]]) -> Callable[[Path], Sequence[Path | str]]:
        return _second_run(served, scale, contender)

    follow = {"mode": "incremental", "cursor": "l_orderkey", "write": "append"}
    return [
        case
        for kind in ("parquet", "iceberg")
        for case in (
            Case(f"dlt, connectorx → {kind}", second(_dlt(served, "connectorx", kind, "l_orderkey")), wide),
            Case(f"dlt, adbc → {kind}", second(_dlt(served, "adbc", kind, "l_orderkey")), exact),
            Case(f"dativo → {kind}", second(_dativo(served, kind, **follow)), exact),
        )
    ]


DATABASES = {
    "postgres": Benchmark(
        "TPC-H lineitem, Postgres → Parquet",
        _DLT_PARQUET,
        "cpu",
        {"dativo → parquet": 0.8, "dativo, parallelism 2 → parquet": 0.8},
        _postgres_parquet,
        serve=servers.postgres,
        limits_of_wall={"dativo, parallelism 2 → parquet": 0.55},
        limits_of_peak_mb={"dativo → parquet": _PEAK_MB, "dativo, parallelism 2 → parquet": _PEAK_MB},
    ),
    "postgres-iceberg": Benchmark(
        "TPC-H lineitem, Postgres → Iceberg",
        _DLT_ICEBERG,
        "cpu",
        {"dativo → iceberg": 0.6, "dativo, parallelism 2 → iceberg": 0.6},
        _postgres_iceberg,
        serve=servers.postgres,
        limits_of_wall={"dativo, parallelism 2 → iceberg": 0.55},
        limits_of_peak_mb={"dativo → iceberg": _PEAK_MB, "dativo, parallelism 2 → iceberg": _PEAK_MB},
    ),
    "postgres-slow": Benchmark(
        "A tenth of TPC-H lineitem, Postgres → Parquet, beside peers that take their time",
        "dativo → parquet",
        "cpu",
        {},
        _slow,
        serve=lambda scale: servers.postgres(scale * _SLOW_SHARE),
    ),
    "postgres-incremental": Benchmark(
        "60,000 new rows of a Postgres table of 600,000",
        _DLT_PARQUET,
        "cpu",
        {"dativo → parquet": 0.35, "dativo → iceberg": 0.35},
        _incremental,
        serve=_changing,
        floors={f"{name} → iceberg": _DLT_ICEBERG for name in ("dativo", "dlt, connectorx", "dlt, adbc")},
    ),
    "mysql": Benchmark(
        "TPC-H lineitem, MariaDB → Parquet",
        "dlt, connectorx → parquet",
        "cpu",
        {"dativo → parquet": 0.85, "dativo, parallelism 2 → parquet": 0.85},
        _mysql,
        serve=servers.mariadb,
        limits_of_peak_mb={"dativo → parquet": _PEAK_MB, "dativo, parallelism 2 → parquet": _PEAK_MB},
    ),
}
