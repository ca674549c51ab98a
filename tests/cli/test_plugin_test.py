"""`dativo plugin test`: the suites of a plugin, and what they found."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dativo_ingest.cli import plugin_test
from dativo_ingest.cli.program import dativo

PLUGIN = '''
from dativo_plugin_sdk import BaseReader


class Silent(BaseReader):
    """Reads two rows."""

    __version__ = "1.0.0"

    def extract(self, state_manager=None):
        yield [{"id": 1}, {"id": 2}]
'''
TESTS = """
from silent import Silent

from dativo_plugin_sdk.testing import Gap, ReaderCase, ReaderSuite, StreamCase


class TestSilent(ReaderSuite):
    plugin = Silent
    case = ReaderCase(streams=[StreamCase("numbers", rows=2)])
    gaps = (
        Gap("check", "known_fault", "nobody wrote it yet"),
        *(Gap(name, "not_applicable", "it has no source")
          for name in ("bad_credentials", "bad_host", "retry_after", "secrets", "memory")),
    )
"""


@pytest.fixture(autouse=True)
def no_other_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Start pytest without the plugins of our own tests, which take their time."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")


@pytest.fixture
def silent(tmp_path: Path) -> Path:
    """A plugin of one file, with its tests beside it; nobody wrote discover, and nobody says so."""
    (tmp_path / "silent.py").write_text(PLUGIN)
    (tmp_path / "test_silent.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = --an-option-of-a-plugin-that-is-not-here\n")
    return tmp_path / "silent.py"


def told_of(*arguments: object) -> Result:
    return CliRunner().invoke(dativo, ["plugin", "test", "--in-process", *map(str, arguments)])


@pytest.mark.parametrize(
    ("name", "kind", "options", "checks"),
    [
        pytest.param("my-shop", "reader", [], 14, id="reader"),
        pytest.param("my-lake", "writer", ["--in-process"], 33, id="writer, in process"),
        pytest.param("my-lake", "writer", ["--check", "crash", "--check", "append"], 5, id="writer"),
    ],
)
def test_a_new_project_passes(tmp_path: Path, name: str, kind: str, options: list[str], checks: int) -> None:
    CliRunner().invoke(dativo, ["plugin", "new", name, "--kind", kind, "--dir", str(tmp_path)])

    done = CliRunner().invoke(dativo, ["plugin", "test", str(tmp_path / name), "--json", *options])

    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert (document["schema"], document["status"]) == ("dativo.conformance/1", "succeeded")
    assert document["isolation"] == ("in_process" if "--in-process" in options else "process")
    assert {each["outcome"] for each in document["checks"]} <= {"passed", "gap"}
    assert sum(each["outcome"] == "passed" for each in document["checks"]) == checks


def test_checks_that_fail_are_told_with_what_to_do(silent: Path) -> None:
    done = told_of(f"{silent}:Silent")

    assert done.exit_code == 70
    assert "Reader Silent 1.0.0\n" in done.stdout
    assert "✓ rows " in done.stdout
    assert (
        "⚠ check            Check succeeds where everything is right (known_fault: nobody wrote it yet)" in done.stdout
    )
    assert "✗ discover " in done.stdout
    assert "      nobody wrote discover\n" in done.stdout
    assert "1 failed" in done.stdout.splitlines()[-1]


def test_a_plugin_runs_as_in_a_job_in_a_process_of_its_own(silent: Path) -> None:
    silent.write_text("import sys\n" + PLUGIN.replace("yield", 'yield [] if "pytest" in sys.modules else'))

    apart = CliRunner().invoke(dativo, ["plugin", "test", str(silent), "--check", "rows"])
    here = told_of(silent, "--check", "rows")

    assert apart.exit_code == 0, apart.output
    assert here.exit_code == 70


FINDING = """
        import os
        yield [{"id": 1}, {"id": 2}] if os.path.exists("/run/dativo") == IS_HELD else []
"""


@pytest.mark.parametrize(("isolation", "is_held"), [("none", False), ("process", True)])
def test_a_plugin_is_held_as_it_is_asked_for(silent: Path, isolation: str, is_held: bool) -> None:
    silent.write_text(
        PLUGIN.replace('        yield [{"id": 1}, {"id": 2}]\n', FINDING.replace("IS_HELD", str(is_held)))
    )

    done = CliRunner().invoke(
        dativo, ["plugin", "test", str(silent), "--check", "rows", "--isolation", isolation, "--json"]
    )

    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["isolation"] == isolation


def test_a_policy_that_asks_for_more_is_obeyed(silent: Path) -> None:
    policy = silent.with_name("policy.yaml")
    policy.write_text("version: 1\ndefaults: {sandbox: {min: process}}\n")

    done = CliRunner().invoke(
        dativo, ["plugin", "test", str(silent), "--check", "rows", "--isolation", "none", "--policy", str(policy)]
    )

    assert done.exit_code == 70
    assert "must have at least isolation process" in " ".join(done.stdout.split())


def test_two_ways_to_be_held_are_a_wrong_command_line(silent: Path) -> None:
    assert told_of(silent, "--isolation", "process").exit_code == 2


def test_a_plugin_without_tests_is_told_where_they_belong(tmp_path: Path) -> None:
    (tmp_path / "silent.py").write_text(PLUGIN)

    done = told_of(tmp_path / "silent.py")

    assert done.exit_code == 78
    assert "test_silent.py" in done.stderr


def test_tests_without_a_suite_are_no_proof(tmp_path: Path) -> None:
    (tmp_path / "test_nothing.py").write_text("def test_nothing():\n    pass\n")

    done = told_of(tmp_path)

    assert done.exit_code == 78
    assert "has no conformance suite" in done.stderr


def test_tests_that_cannot_be_imported_are_told(silent: Path) -> None:
    silent.write_text("import nowhere_to_be_found\n")

    done = told_of(silent)

    assert done.exit_code == 69
    assert "No module named 'nowhere_to_be_found'" in done.stderr


def test_without_pytest_it_says_what_to_install(silent: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugin_test, "find_spec", lambda _: None)

    done = told_of(silent)

    assert done.exit_code == 69
    assert "pip install 'dativo-plugin-sdk[testing]'" in done.stderr


def test_a_path_that_is_not_there_is_a_wrong_command_line(tmp_path: Path) -> None:
    assert told_of(tmp_path / "nowhere").exit_code == 2
