"""Every failure is of the class that says whose it is; what may have landed is neither retried nor cleaned up."""

import errno
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import requests
from iceberg_lake import NUMBERS, Lake, numbers
from pyiceberg import exceptions as iceberg
from urllib3.exceptions import MaxRetryError, NewConnectionError

from dativo_ingest.targets.iceberg import table as table_module
from dativo_ingest.targets.iceberg.embedded import EmbeddedCatalog
from dativo_ingest.targets.iceberg.failures import as_dativo_error, outcome_is_unknown
from dativo_plugin_sdk import (
    CommitStateUnknownError,
    ConcurrencyError,
    DatabaseLockError,
    DativoError,
    DiskFullError,
    FencedError,
    InsufficientPermissionsError,
    InvalidConfigError,
    InvalidCredentialsError,
    NetworkError,
    RateLimitError,
    ResourceError,
    ResourceNotFoundError,
    ServiceUnavailableError,
    TimeoutError,
    TokenExpiredError,
)


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_module, "_LOOK_AGAIN_S", 0.01)


def refused_connection() -> requests.ConnectionError:
    reason = NewConnectionError(None, "connection refused")  # type: ignore[arg-type]
    return requests.ConnectionError(MaxRetryError(None, "/", reason))  # type: ignore[arg-type]


def commit_then(monkeypatch: pytest.MonkeyPatch, error: Exception, *, land: bool, times: int = 1) -> None:
    """Let the next commits fail with an error, having landed or not."""
    commit_table = EmbeddedCatalog.commit_table
    left = [error] * times

    def failing(catalog: Any, *arguments: Any) -> Any:
        if not left:
            return commit_table(catalog, *arguments)
        if land:
            commit_table(catalog, *arguments)
        raise left.pop()

    monkeypatch.setattr(EmbeddedCatalog, "commit_table", failing)


UNKNOWN: list[Callable[[], Exception]] = [
    lambda: iceberg.CommitStateUnknownException("502: bad gateway"),
    lambda: iceberg.ServerError("500"),
    lambda: requests.ReadTimeout("no answer in 60 s"),
    lambda: requests.ConnectionError("connection reset by peer"),
    lambda: ValueError("the answer is no JSON"),
]


@pytest.mark.parametrize("error", UNKNOWN, ids=["502", "500", "time-out", "reset", "garbage"])
def test_a_commit_without_an_answer_that_landed_is_a_commit(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]
) -> None:
    lake.load(numbers(1))

    with lake.run(NUMBERS) as run:
        run.table.write(numbers(2))
        commit_then(monkeypatch, error(), land=True)
        receipt = run.commit({"at": 2})
        run.table.abort()

    assert lake.values() == [1, 2]
    with lake.table() as table:
        assert receipt.snapshot_id == str(table.current_snapshot().snapshot_id)


@pytest.mark.parametrize("error", UNKNOWN, ids=["502", "500", "time-out", "reset", "garbage"])
def test_a_commit_without_an_answer_that_is_not_there_stays_unknown_and_keeps_its_files(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, error: Callable[[], Exception]
) -> None:
    lake.load(numbers(1))

    with lake.run(NUMBERS) as run:
        run.table.write(numbers(2))
        commit_then(monkeypatch, error(), land=False)
        with pytest.raises(CommitStateUnknownError) as raised:
            run.commit()
        run.table.abort()

    assert len(lake.data_files()) == 2
    assert raised.value.details["commit_id"] in str(raised.value.hint)
    assert not raised.value.retryable


def test_a_commit_without_an_answer_that_another_run_overtook_is_fenced(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.load(numbers(1))

    with lake.run(NUMBERS) as winner, lake.run(NUMBERS) as run:
        winner.table.write(numbers(2))
        winner.commit()
        run.table.write(numbers(3))
        monkeypatch.setattr(table_module.IcebergTable, "_require_unchanged", lambda *_: None)
        require = table_module.IcebergTable._require_generation
        asked: list[int] = []

        def late(self: Any, found: Any, request: Any) -> None:
            asked.append(1)
            if len(asked) > 1:
                require(self, found, request)

        monkeypatch.setattr(table_module.IcebergTable, "_require_generation", late)
        commit_then(monkeypatch, requests.ReadTimeout("no answer"), land=False)
        with pytest.raises(FencedError):
            run.commit()
        run.table.abort()

    assert lake.values() == [1, 2]
    assert len(lake.data_files()) == 2


def test_a_catalog_that_cannot_be_looked_at_again_leaves_the_outcome_unknown(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake.load(numbers(1))

    with lake.run(NUMBERS) as run:
        run.table.write(numbers(2))
        commit_then(monkeypatch, requests.ReadTimeout("no answer"), land=True)
        load_table = EmbeddedCatalog.load_table
        calls: list[int] = []

        def dying(catalog: Any, identifier: Any) -> Any:
            calls.append(1)
            if len(calls) > 1:
                raise refused_connection()
            return load_table(catalog, identifier)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(EmbeddedCatalog, "load_table", dying)
            with pytest.raises(CommitStateUnknownError) as error:
                run.commit()
        run.table.abort()

    assert "connection refused" in error.value.details["looking_again"]
    assert lake.values() == [1, 2]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (refused_connection(), NetworkError),
        (iceberg.ForbiddenError("no"), InsufficientPermissionsError),
        (iceberg.ServiceUnavailableError("later"), ServiceUnavailableError),
        (iceberg.BadRequestError("what?"), DativoError),
        (OSError(errno.ENOSPC, "no space"), DiskFullError),
    ],
    ids=["refused", "forbidden", "unavailable", "bad request", "disk full"],
)
def test_a_commit_that_was_refused_lands_nothing_and_its_files_go(
    lake: Lake, monkeypatch: pytest.MonkeyPatch, error: Exception, expected: type[DativoError]
) -> None:
    lake.load(numbers(1))

    with lake.run(NUMBERS) as run:
        run.table.write(numbers(2))
        commit_then(monkeypatch, error, land=False)
        with pytest.raises(expected):
            run.commit()
        run.table.abort()

    assert lake.values() == [1]
    assert len(lake.data_files()) == 1
    assert len(list((lake.folder / "raw" / "t" / "metadata").glob("*.avro"))) == 2
    lake.load(numbers(2))
    assert lake.values() == [1, 2]


def test_conflicts_without_end_are_a_concurrency_error(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.load(numbers(1), options={"properties": {"commit.retry.min-wait-ms": "1", "commit.retry.num-retries": "2"}})

    with lake.run(NUMBERS) as run:
        run.table.write(numbers(2))
        commit_then(monkeypatch, iceberg.CommitFailedException("conflict"), land=False, times=99)
        with pytest.raises(ConcurrencyError) as error:
            run.commit()
        run.table.abort()

    assert error.value.retryable
    assert len(lake.data_files()) == 1


def test_a_few_conflicts_are_overcome(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.load(numbers(1), options={"properties": {"commit.retry.min-wait-ms": "1", "commit.retry.num-retries": "1"}})

    with lake.run(NUMBERS) as run:
        run.table.write(numbers(2))
        commit_then(monkeypatch, iceberg.CommitFailedException("conflict"), land=False, times=5)
        run.commit()

    assert lake.values() == [1, 2]


def test_a_lost_answer_followed_by_a_conflict_lands_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    lake.load(numbers(1), options={"properties": {"commit.retry.min-wait-ms": "1"}})

    with lake.run(NUMBERS) as run:
        run.table.write(numbers(2))
        commit_then(monkeypatch, iceberg.CommitFailedException("conflict with itself"), land=True)
        receipt = run.commit()

    assert lake.values() == [1, 2]
    assert receipt.inserted == 1


def test_a_lost_answer_of_the_creating_commit_lands_once(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    with lake.run(NUMBERS) as run:
        run.table.write(numbers(1))
        commit_then(monkeypatch, iceberg.CommitFailedException("exists already"), land=True)
        run.commit({"at": 1})
        run.table.abort()

    assert lake.values() == [1]


class WrappedError(Exception):
    """As SQLAlchemy wraps a driver's error."""

    def __init__(self, orig: Exception) -> None:
        self.orig = orig


def locked() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("database is locked")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY
    return error


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (OSError("When x: AWS Error NO_SUCH_BUCKET during CreateBucket operation"), ResourceNotFoundError),
        (OSError("AWS Error ACCESS_DENIED during PutObject operation: no"), InsufficientPermissionsError),
        (OSError("AWS Error UNKNOWN (HTTP status 403) during PutObject operation"), InsufficientPermissionsError),
        (OSError("AWS Error EXPIRED_TOKEN during PutObject operation"), TokenExpiredError),
        (OSError("AWS Error SLOW_DOWN during PutObject operation"), RateLimitError),
        (OSError("AWS Error NETWORK_CONNECTION during PutObject operation: curlCode: 7"), NetworkError),
        (OSError(errno.EROFS, "read-only file system"), InsufficientPermissionsError),
        (OSError(errno.EDQUOT, "quota"), DiskFullError),
        (PermissionError("Cannot create file, access denied: x"), InsufficientPermissionsError),
        (FileNotFoundError("gone"), ResourceNotFoundError),
        (NotADirectoryError(errno.ENOTDIR, "a file"), InvalidConfigError),
        (OSError("something else"), ResourceError),
        (locked(), DatabaseLockError),
        (WrappedError(locked()), DatabaseLockError),
        (iceberg.UnauthorizedError("who?"), InvalidCredentialsError),
        (iceberg.OAuthError("who?"), InvalidCredentialsError),
        (iceberg.TooManyRequestsError("slower"), RateLimitError),
        (iceberg.AuthorizationExpiredError("old"), TokenExpiredError),
        (iceberg.RESTError("?"), DativoError),
        (requests.ReadTimeout("slow"), TimeoutError),
        (requests.exceptions.MissingSchema("no http"), InvalidConfigError),
        (refused_connection(), NetworkError),
        (NotImplementedError("not in this catalog"), ResourceNotFoundError),
    ],
    ids=lambda value: f"{value!r:.60}" if isinstance(value, Exception) else None,
)
def test_what_libraries_say_becomes_the_class_that_fits(error: Exception, expected: type[DativoError]) -> None:
    found = as_dativo_error(error, "doing something")

    assert type(found) is expected or expected is DativoError
    assert found.message.startswith("doing something: ")
    assert found.details["original_error"] == type(error).__name__


def test_only_what_may_have_reached_a_catalog_elsewhere_is_unknown() -> None:
    assert not outcome_is_unknown(refused_connection())
    assert not outcome_is_unknown(locked())
    assert not outcome_is_unknown(OSError(errno.ENOSPC, "full"))
    assert outcome_is_unknown(requests.ReadTimeout())


FULL = """
import sys
from pathlib import Path
import pyarrow as pa
from iceberg_lake import Lake, NUMBERS
from dativo_plugin_sdk import DiskFullError

lake = Lake(Path(sys.argv[1]))
noise = pa.array([str(each * 2654435761 % 2**63) for each in range(200_000)])
batch = pa.record_batch({"id": pa.array(range(200_000), pa.int64()), "text": noise})
small = batch.slice(0, 10)
lake.load(small)
with lake.run(NUMBERS, buffer_bytes=4_000_000) as run:
    try:
        for _ in range(10):
            run.table.write(batch)
        run.commit()
    except DiskFullError as error:
        assert "No space left" in str(error), error
        run.table.abort()
    else:
        raise SystemExit("the disk was not full")
assert lake.rows().num_rows == 10
lake.load(small)
assert lake.rows().num_rows == 20
assert len(lake.data_files()) == 2
"""


def test_a_full_disk_is_told_and_the_table_stays_as_it_was(tmp_path: Path) -> None:
    support = Path(__file__).parents[2] / "support"
    code = f"import sys; sys.path.insert(0, {str(support)!r})\n{FULL}"
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f'mount -t tmpfs -o size=6m tmpfs "{disk}" && exec "$@"'
    unshare = ["unshare", "--mount"] if os.geteuid() == 0 else ["unshare", "--mount", "--map-root-user"]

    done = subprocess.run(
        [*unshare, "sh", "-c", mount, "sh", sys.executable, "-c", code, str(disk / "warehouse")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_a_warehouse_that_cannot_be_made_is_told_before_anything_is_written() -> None:
    lake = Lake(Path("/proc/dativo-warehouse"))

    with lake.run(None) as run, pytest.raises(DativoError, match="/proc/dativo-warehouse") as error:
        run.table.open(NUMBERS)

    assert not error.value.retryable


def test_a_file_where_the_warehouse_should_be_is_a_configuration_error(lake: Lake) -> None:
    lake.folder.write_text("no folder")

    with lake.run(None) as run, pytest.raises(InvalidConfigError):
        run.table.open(NUMBERS)


def test_a_table_of_a_format_version_that_cannot_be_written_is_refused(lake: Lake, monkeypatch: Any) -> None:
    from pyiceberg.table import Table

    lake.load(numbers(1))
    monkeypatch.setattr(Table, "format_version", 3)

    with lake.run(None) as run, pytest.raises(DativoError, match="format version 3"):
        run.table.open(NUMBERS)


def test_rows_of_a_wrong_schema_do_not_pass_silently(lake: Lake) -> None:
    with lake.run(NUMBERS) as run, pytest.raises((DativoError, ValueError)):
        run.table.write(pa.record_batch({"id": ["not a number"], "text": ["x"], "more": [1]}))
