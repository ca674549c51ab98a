"""The example plugins pass their suites, as those who copy them will run these."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from c_programs import built
from click.testing import CliRunner
from container_engines import ContainerEngine

from dativo_ingest.cli.program import dativo

OPEN = """
import pytest

@pytest.fixture(autouse=True)
def open_to_others(tmp_path):
    tmp_path.chmod(0o755)  # a container's user is another one
"""


def checked(path: Path, *options: str) -> dict[str, str]:
    """Run the suite of a plugin; give what became of each check."""
    done = CliRunner().invoke(dativo, ["plugin", "test", str(path), "--json", *options])

    assert done.exit_code == 0, done.output
    return {each["check"]: each["outcome"] for each in json.loads(done.stdout)["checks"]}


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start pytest without the plugins of our own tests, which take their time."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


def test_the_reader_of_an_api_keeps_what_readers_promise(examples: Path) -> None:
    outcomes = checked(examples / "plugins" / "json_api_reader.py", "--in-process")

    assert [check for check, outcome in outcomes.items() if outcome == "gap"] == ["old_states"]
    assert len(outcomes) == 15


def test_the_writer_of_files_keeps_what_writers_promise(examples: Path) -> None:
    outcomes = checked(examples / "plugins" / "json_file_writer.py", "--in-process")

    assert {outcomes[check] for check in ("crash[commit]", "crash_in_commit[after]", "idempotent_commit")} == {"passed"}
    assert len(outcomes) == 39


def test_the_reader_of_an_inbox_keeps_what_readers_promise(examples: Path) -> None:
    outcomes = checked(examples / "plugins" / "meter_inbox" / "meter_inbox_reader.py", "--in-process")

    assert {outcomes[check] for check in ("resume", "old_states", "state", "cancel")} == {"passed"}
    assert len(outcomes) == 15


@pytest.fixture
def policy(docker: ContainerEngine, tmp_path: Path) -> Path:
    """Name the tests' own container engine."""
    path = tmp_path / "policy.yaml"
    path.write_text(f"version: 1\ndefaults: {{sandbox: {{engine: '{docker.url}', image: '{docker.image}'}}}}\n")
    return path


def test_the_reader_of_arrow_batches_keeps_what_readers_promise(examples: Path) -> None:
    outcomes = checked(examples / "plugins" / "csv_exports" / "csv_exports_reader.py", "--in-process")

    assert {check for check, outcome in outcomes.items() if outcome == "gap"} == {
        "bad_credentials",
        "secrets",
        "old_states",
    }
    assert len(outcomes) == 15


@pytest.mark.parametrize("isolation", ["none", "process", "container"])
def test_the_reader_in_c_keeps_what_readers_promise_however_it_is_held(
    examples: Path, tmp_path: Path, policy: Path, isolation: str
) -> None:
    folder = built(examples / "plugins" / "c_reader", tmp_path)
    (folder / "conftest.py").write_text(OPEN)

    outcomes = checked(folder, "--isolation", isolation, "--policy", str(policy))

    passed = {check for check, outcome in outcomes.items() if outcome == "passed"}
    assert passed == {
        *("spec", "check", "bad_host", "discover", "schema", "rows", "resume", "nothing_new", "state", "cancel"),
        "memory",
    }
    assert {outcomes[check] for check in outcomes.keys() - passed} == {"gap"}
