"""A source hears of every commit, also of one whose run died before it could tell."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import in_process
import pytest
import told_source
from workshop import DATIVO, Workshop


@pytest.fixture
def workshop(tmp_path: Path) -> Iterator[Workshop]:
    with in_process.registered("told", told_source.Told):
        yield job(Workshop(tmp_path, "parquet", in_process=True), 2)


def job(workshop: Workshop, rows: int, connector: str = "told", **settings: Any) -> Workshop:
    (workshop.folder / "log").touch()
    connection = {"rows": rows, "log": str(workshop.folder / "log"), **settings}
    stream = {"mode": "incremental", "write": "append"}
    return workshop.job({"connector": connector, "connection": connection}, {"orders": stream})


def log(workshop: Workshop) -> list[str]:
    return (workshop.folder / "log").read_text().split("\n")[:-1]


def test_a_commit_whose_run_died_before_it_told_the_source_is_told_by_the_next_one(workshop: Workshop) -> None:
    here = [sys.executable, in_process.__file__, "told=told_source:Told"]
    arguments = workshop.command("run")[len(DATIVO) :]
    env = {**os.environ, "AT_ACKNOWLEDGE": "die"}
    died = subprocess.run([*here, *arguments], env=env, check=False, capture_output=True)

    again = workshop.run()

    assert died.returncode == 9
    assert (again.code, again.report["status"]) == (0, "no_data")
    assert log(workshop) == ["read 0", "told 2"]
    assert workshop.table("orders").num_rows == 2


def test_a_commit_whose_plugin_died_when_it_was_told_is_told_again_by_the_next_run(workshop: Workshop) -> None:
    plugin = f"{told_source.__file__}:Told"
    died = job(workshop, 2, plugin, at_acknowledge="die").run()

    again = job(workshop, 2, plugin).run()

    (error,) = died.report["errors"]
    assert (died.code, error["error_code"], error["plugin"]) == (70, "PLUGIN_CRASHED", "tests-own")
    assert died.report["streams"][0]["commit"] is not None
    assert (again.code, again.report["status"]) == (0, "no_data")
    assert log(workshop) == ["read 0", "told 2"]
    assert workshop.table("orders").num_rows == 2


def test_the_source_is_told_before_it_is_read_on(workshop: Workshop) -> None:
    workshop.run()
    job(workshop, 5)

    workshop.run()

    assert log(workshop) == ["read 0", "told 2", "told 2", "read 2", "told 5"]


def test_a_source_that_could_not_be_told_fails_its_run_and_is_told_by_the_next(workshop: Workshop) -> None:
    failed = workshop.run(env={"AT_ACKNOWLEDGE": "fail"})
    still = workshop.run(env={"AT_ACKNOWLEDGE": "fail"})
    told = workshop.run()

    assert (failed.code, still.code, told.code) == (75, 75, 0)
    assert still.report["errors"][0]["stage"] == "acknowledge"
    assert log(workshop) == ["read 0", "told 2"]
    assert workshop.table("orders").num_rows == 2


@pytest.mark.parametrize(
    ("arguments", "heard"),
    [
        pytest.param(["--dry-run"], [], id="a dry run"),
        pytest.param(["--limit", "1"], [], id="a sample"),
        pytest.param(["--full-refresh"], ["read 0", "told 2"], id="a run that forgets the state"),
    ],
)
def test_a_run_that_does_not_go_on_from_the_state_does_not_tell_it(
    arguments: list[str], heard: list[str], workshop: Workshop
) -> None:
    workshop.run()
    before = log(workshop)

    done = workshop.run(*arguments)

    assert done.code == 0
    assert log(workshop)[len(before) :] == heard


def test_another_source_is_not_told(workshop: Workshop) -> None:
    workshop.run()
    job(workshop, 2, name="another")

    done = workshop.run()

    assert "was made with another source" in done.report["warnings"][0]
    assert log(workshop) == ["read 0", "told 2"]
