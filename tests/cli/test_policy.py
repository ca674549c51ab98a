from collections.abc import Iterator
from pathlib import Path

import click
from command_line import Invoke, WriteJob

from dativo_ingest.cli.program import dativo
from dativo_ingest.sandbox.process_policy import PROCESS


def commands(group: click.Group) -> Iterator[click.Command]:
    for command in group.commands.values():
        if isinstance(command, click.Group):
            yield from commands(command)
        else:
            yield command


def test_every_command_that_opens_a_job_takes_a_policy() -> None:
    options = [{option.name for option in command.params} for command in commands(dativo)]

    assert all({"policy", "mode"} <= names for names in options if "config" in names)
    assert sum("policy" in names for names in options) >= 14


def test_a_policy_that_is_wrong_stops_every_job_before_it_begins(
    write_job: WriteJob, invoke: Invoke, tmp_path: Path
) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\ndefaults: {netwrok: any}\n")

    done = invoke("run", "--config", write_job(), "--policy", tmp_path / "policy.yaml")

    assert done.exit_code == 78
    assert "policy.yaml:2:12 defaults.netwrok: unknown key, did you mean network" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_policy_that_the_environment_names_and_that_is_not_there_stops_the_command(
    write_job: WriteJob, invoke: Invoke, tmp_path: Path
) -> None:
    done = invoke("check", "--config", write_job(), env={"DATIVO_POLICY": str(tmp_path / "none.yaml")})

    assert done.exit_code == 78
    assert "no such policy" in done.stderr


def test_a_policy_beside_the_job_is_not_looked_for(write_job: WriteJob, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\ndefaults: {plugins: {deny: ['*']}}\n")

    done = invoke("run", "--config", write_job())

    assert done.exit_code == 0


def test_a_policy_is_the_commands_own(write_job: WriteJob, invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text("version: 1\n")

    invoke("check", "--config", write_job(), "--policy", tmp_path / "policy.yaml")

    assert PROCESS.policy is None


def test_a_mode_is_the_commands_own(write_job: WriteJob, invoke: Invoke) -> None:
    invoke("check", "--config", write_job(), "--mode", "cloud")

    assert PROCESS.mode == "self_hosted"
