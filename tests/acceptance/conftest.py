"""What the acceptance tests share."""

from pathlib import Path

import pytest
from workshop import Workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """A folder with a job, its target the embedded Iceberg catalog."""
    return Workshop(tmp_path)


@pytest.fixture(params=["iceberg", "parquet", "delta", "duckdb"])
def each_target(request: pytest.FixtureRequest, tmp_path: Path) -> Workshop:
    """A folder with a job, once for each target."""
    return Workshop(tmp_path, target=request.param)
