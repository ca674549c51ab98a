from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cli_plugins
import pytest
import yaml
from click.testing import CliRunner, Result
from command_line import PLUGINS, Invoke, WriteJob
from in_process import registered

from dativo_ingest.cli.program import dativo


@pytest.fixture
def write_job(tmp_path: Path) -> WriteJob:
    """Write a job from the tests' reader plugin into the tests' writer plugin; keywords change it."""

    def write(
        name: str = "app",
        *,
        options: dict[str, Any] | None = None,
        streams: dict[str, Any] | None = None,
        source: dict[str, Any] | None = None,
        target: dict[str, Any] | None = None,
        **more: Any,
    ) -> Path:
        job = {
            "version": 1,
            "name": name,
            "source": {"connector": f"{PLUGINS}:Reader", "options": options or {}, **(source or {})},
            "target": {
                "connector": f"{PLUGINS}:Writer",
                "connection": {"path": str(tmp_path / "out")},
                **(target or {}),
            },
            "streams": {"orders": {}} if streams is None else streams,
            **more,
        }
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(job, sort_keys=False))
        return path

    return write


@pytest.fixture
def plugins_in_process() -> Iterator[None]:
    """Run the tests' plugins in this process: for tests of something else, which need not wait for processes."""
    with (
        registered(f"{PLUGINS}:Reader", cli_plugins.Reader),
        registered(f"{PLUGINS}:Writer", cli_plugins.Writer, "writer"),
    ):
        yield


@pytest.fixture
def invoke() -> Invoke:
    """Run a command line in this process."""

    def run(*arguments: str | Path, stdin: str | None = None, env: dict[str, str] | None = None) -> Result:
        words: Sequence[str] = [str(argument) for argument in arguments]
        return CliRunner().invoke(dativo, words, input=stdin, env=env)

    return run
