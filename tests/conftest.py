"""Fixtures of all tests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from bubblewrap import put_on_path
from container_engines import ContainerEngine, running as running_engine
from hypothesis import settings
from mariadb_service import MariaDB, running as running_mariadb
from postgres_service import Postgres, running as running_postgres
from s3_service import S3, running

settings.register_profile("dativo", deadline=None)  # machines are shared: a slow example is no defect
settings.load_profile("dativo")

SLOW = (
    "tests/crash/test_any_order",
    "tests/crash/test_every_step",
    "tests/acceptance/test_memory",
    "tests/crash",
    "tests/docs",
    "tests/acceptance",
    "tests/packaging",
    "tests/plugin_process",
    "tests/conformance",
    "tests/sources/postgres",
    "tests/sources/mysql",
    "tests/targets",
)
"""Where the tests are that take long, the longest first."""


def pytest_configure() -> None:
    """Let every test, and every program that it starts, find what makes sandboxes."""
    put_on_path()


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long: at the end no worker waits for another. Among each kind the order stays random."""
    items.sort(key=lambda item: next((at for at, path in enumerate(SLOW) if item.nodeid.startswith(path)), len(SLOW)))


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """Give this test worker's own S3 service, started by the first test that asks for it."""
    with running(tmp_path_factory.mktemp("seaweedfs")) as service:
        yield service


@pytest.fixture(scope="session")
def postgres_18() -> Iterator[Postgres]:
    """Give this test worker's own Postgres server, started by the first test that asks for it."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="session")
def postgres(postgres_18: Postgres) -> Postgres:
    """Give the server of the newest release."""
    return postgres_18


@pytest.fixture(scope="session")
def postgres_15() -> Iterator[Postgres]:
    """Give this test worker's own server of the oldest release that is promised to work, with PostGIS."""
    with running_postgres(release=15) as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """Give this test worker's own MariaDB server, started by the first test that asks for it."""
    with running_mariadb() as server:
        yield server


@pytest.fixture(scope="session")
def docker() -> Iterator[ContainerEngine]:
    """Give the tests' own Docker, which the test run's workers share."""
    with running_engine("docker") as engine:
        yield engine


@pytest.fixture(scope="session")
def podman() -> Iterator[ContainerEngine]:
    """Give the tests' own Podman, which the test run's workers share."""
    with running_engine("podman") as engine:
        yield engine


@pytest.fixture(scope="session")
def zygote() -> Iterator[Any]:
    """Give this test worker's own process to fork runs from, a `crash_runs.Zygote`."""
    from crash_runs import hatched

    with hatched() as process:
        yield process
