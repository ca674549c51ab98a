"""What the tests of containers share."""

from __future__ import annotations

from pathlib import Path

import pytest
from container_engines import ContainerEngine

from dativo_ingest.sandbox.container.back_end import Container, container


@pytest.fixture(params=["docker", "podman"])
def engine(request: pytest.FixtureRequest) -> ContainerEngine:
    """Give each of the engines, one after the other."""
    return request.getfixturevalue(request.param)


@pytest.fixture
def back_end(engine: ContainerEngine) -> Container:
    """Give the back end with each of the engines."""
    return container(engine=engine.url, image=engine.image, runtime=None)


@pytest.fixture
def gvisor(docker: ContainerEngine) -> Container:
    """Give the back end with gVisor below Docker."""
    return container(engine=docker.url, image=docker.image, runtime="runsc")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder that the user of plugins may look into."""
    made = tmp_path / "plugin"
    made.mkdir(mode=0o755)
    return made
