from pathlib import Path

import pytest
from iceberg_lake import Lake


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A warehouse folder that does not exist yet."""
    return Lake(tmp_path / "warehouse")
