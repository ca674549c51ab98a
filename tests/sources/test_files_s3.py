"""Files in a bucket of a real S3 service."""

from __future__ import annotations

import gzip
import uuid
from typing import Any

import pytest
from file_reading import Reading, read_stream
from s3_service import S3

from dativo_ingest.sources.csv import CsvReader
from dativo_plugin_sdk import (
    DataError,
    DataNotFoundError,
    InsufficientPermissionsError,
    InvalidConfigError,
    InvalidCredentialsError,
    NetworkError,
    SourceConfig,
    State,
    StreamSpec,
)


@pytest.fixture
def prefix() -> str:
    return f"files-{uuid.uuid4().hex}"


def _reader(s3: S3, path: str, credentials: dict[str, str] | None = None, **connection: Any) -> CsvReader:
    return CsvReader(
        SourceConfig(
            type="csv",
            connection={"path": path, "endpoint": s3.endpoint, "region": s3.region, **connection},
            credentials=s3.credentials if credentials is None else credentials,
        )
    )


def _run(s3: S3, path: str, state: State | None = None) -> Reading:
    return read_stream(_reader(s3, path), state, mode="incremental")


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        pytest.param("a.csv", [1], id="object"),
        pytest.param("", [1, 2, 3], id="folder"),
        pytest.param("/", [1, 2, 3], id="folder with a slash"),
        pytest.param("*.csv*", [1, 2], id="glob"),
        pytest.param("**/*.csv", [1, 3], id="two stars"),
        pytest.param("x/*.csv", [3], id="glob in a folder"),
    ],
)
def test_an_address_stands_for_objects_in_order_of_their_keys(
    s3: S3, prefix: str, pattern: str, expected: list[int]
) -> None:
    s3.write(f"{prefix}/a.csv", b"id\n1\n")
    s3.write(f"{prefix}/b.csv.gz", gzip.compress(b"id\n2\n"))
    s3.write(f"{prefix}/x/c.csv", b"id\n3\n")
    s3.write(f"{prefix}/_tmp/d.csv", b"id\n4\n")
    s3.write(f"{prefix}/notes.txt", b"x")

    reading = _run(s3, f"s3://{s3.bucket}/{prefix}/{pattern}".rstrip("/") + ("/" if pattern == "/" else ""))

    assert [row["id"] for row in reading.rows] == expected


def test_an_object_is_read_once_and_a_grown_one_from_its_old_end(s3: S3, prefix: str) -> None:
    path = s3.write(f"{prefix}/a.csv", b"id\n1\n2\n")
    first = _run(s3, path)
    again = _run(s3, path, first.state)
    s3.write(f"{prefix}/a.csv", b"id\n1\n2\n3\n")

    grown = _run(s3, path, first.state)

    assert first.state is not None
    assert "etag" in first.state["files"][path]
    assert again.messages == []
    assert [row["id"] for row in grown.rows] == [3]
    assert grown.lines == [4]


def test_an_object_written_anew_with_the_same_bytes_is_unchanged(s3: S3, prefix: str) -> None:
    path = s3.write(f"{prefix}/a.csv", b"id\n1\n")
    first = _run(s3, path)
    assert first.state is not None
    first.state["files"][path]["mtime_ns"] = 0
    s3.write(f"{prefix}/a.csv", b"id\n1\n")

    second = _run(s3, path, first.state)

    assert second.messages == []


def test_an_object_with_other_bytes_has_changed(s3: S3, prefix: str) -> None:
    path = s3.write(f"{prefix}/a.csv", b"id\n1\n")
    first = _run(s3, path)
    assert first.state is not None
    first.state["files"][path]["mtime_ns"] = 0
    s3.write(f"{prefix}/a.csv", b"id\n2\n")

    with pytest.raises(DataError, match=r"1 file\(s\) changed"):
        _run(s3, path, first.state)


def test_credentials_may_come_from_the_environment(s3: S3, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = s3.write(f"{prefix}/a.csv", b"id\n1\n")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_access_key)

    reading = read_stream(_reader(s3, path, {}))

    assert reading.rows == [{"id": 1}]


@pytest.mark.parametrize(
    ("path", "credentials", "expected"),
    [
        pytest.param("s3://nowhere/a*.csv", None, DataNotFoundError, id="no such bucket, glob"),
        pytest.param("s3://nowhere/a.csv", None, DataNotFoundError, id="no such bucket, object"),
        pytest.param("s3://lake/nothing-here.csv", None, DataNotFoundError, id="no such object"),
        pytest.param("s3://lake/nothing-here/*.csv", None, DataNotFoundError, id="no object matches"),
        pytest.param(
            "s3://lake/*.csv",
            {"access_key_id": "nobody", "secret_access_key": "x"},
            InvalidCredentialsError,
            id="unknown key",
        ),
        pytest.param(
            "s3://lake/*.csv",
            {"access_key_id": "weedadmin", "secret_access_key": "wrong"},
            InvalidCredentialsError,
            id="wrong secret",
        ),
        pytest.param(
            "s3://lake/a.csv",
            {"access_key_id": "nobody", "secret_access_key": "x"},
            InvalidCredentialsError,
            id="unknown key, object",
        ),
        pytest.param("s3://*/a.csv", None, InvalidConfigError, id="wildcard for the bucket"),
        pytest.param("s3://lake/*.csv", {"access_key_id": "weedadmin"}, InvalidConfigError, id="half a key"),
    ],
)
def test_what_s3_refuses_is_a_typed_error(
    s3: S3, path: str, credentials: dict[str, str] | None, expected: type[Exception]
) -> None:
    reader = _reader(s3, path, credentials)

    with pytest.raises(expected):
        reader.schema(StreamSpec("s"))


def test_an_object_that_may_not_be_read_is_a_permission_error(s3: S3, prefix: str) -> None:
    s3.write(f"{prefix}/a.csv", b"id\n1\n")
    lister = {"access_key_id": s3.reader_key_id, "secret_access_key": s3.reader_secret}

    with pytest.raises(InsufficientPermissionsError):
        _reader(s3, f"s3://{s3.bucket}/{prefix}/*.csv", lister).schema(StreamSpec("s"))


def test_a_service_that_is_not_there_is_a_network_error(s3: S3, unused_port: int) -> None:
    reader = _reader(s3, "s3://lake/*.csv", endpoint=f"http://127.0.0.1:{unused_port}")

    with pytest.raises(NetworkError):
        reader.schema(StreamSpec("s"))


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
