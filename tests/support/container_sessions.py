"""Plugins' processes in containers, as the tests start them, and what an engine has of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from container_engines import ContainerEngine
from docker import DockerClient
from docker.errors import NotFound

from dativo_ingest.sandbox.confinement import Confinement
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.launch import Session
from dativo_ingest.sandbox.run_spec import Code, RunSpec


def spec_of(folder: Path, grant: Grant | None = None, *, code: str = "") -> RunSpec:
    """Describe a plugin of one file in a folder, which is called as the folder."""
    file = folder / "plugin.py"
    file.write_text(code)
    return RunSpec(str(folder), (), grant or Grant(), code=Code(Path(sys.executable), folder, file))


@contextmanager
def started(folder: Path, confinement: Confinement, grant: Grant | None = None) -> Iterator[Session]:
    """Start a plugin's process, which waits to be asked."""
    with closing(Session(spec_of(folder, grant), confinement)) as session:
        assert session.connect(lambda: None), session.output.last_lines
        yield session


def containers(engine: ContainerEngine, folder: Path) -> list[dict[str, Any]]:
    """Give the containers of the plugin in a folder, whether they run or not."""
    found = []
    with closing(DockerClient(base_url=engine.url)) as client:
        for each in client.api.containers(all=True, filters={"label": f"io.dativo.plugin={folder}"}):
            try:
                found.append(client.api.inspect_container(each["Id"]))
            except NotFound:  # it has gone meanwhile
                continue
    return found
