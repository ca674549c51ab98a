"""Options that several commands share, and the jobs that they name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from dativo_ingest.cli.logs import Talk

if TYPE_CHECKING:
    from collections.abc import Callable

    from dativo_ingest.job.load import LoadedJob

_Command = TypeVar("_Command", bound="Callable[..., Any]")


def _set_on_talk(context: click.Context, option: click.Parameter, value: Any) -> None:
    talk = context.ensure_object(Talk)
    if value is not None and option.name is not None:
        setattr(talk, option.name, value)


def talk_options(command: _Command) -> _Command:
    """Add ``--log-format`` and ``--debug``, which set the command's `Talk`."""
    command = click.option(
        "--debug", is_flag=True, is_eager=True, expose_value=False, callback=_set_on_talk, help="Show tracebacks."
    )(command)
    return click.option(
        "--log-format",
        type=click.Choice(["text", "json"]),
        default="text",
        is_eager=True,
        expose_value=False,
        callback=_set_on_talk,
        help="How stderr talks.",
    )(command)


def one_job(command: _Command) -> _Command:
    """Add ``--config`` for a single job, and the mode and the policy that its plugins obey."""
    command = plugin_options(command)
    return click.option("-c", "--config", required=True, metavar="JOB", help="The job file.")(command)


def several_jobs(command: _Command) -> _Command:
    """Add ``--config``, any number of times, ``--job-dir``, and the mode and the policy that the plugins obey."""
    command = plugin_options(command)
    command = click.option("--job-dir", metavar="DIR", help="All job files (*.yaml) of a folder, by name.")(command)
    return click.option("-c", "--config", multiple=True, metavar="JOB", help="A job file; may be repeated.")(command)


def plugin_options(command: _Command) -> _Command:
    """Add the mode and the policy that plugins obey."""
    return _policy_option(_mode_option(command))


def _policy_option(command: _Command) -> _Command:
    """Add ``--policy``: every command that opens a job has it, and no code on the way to a plugin can leave it out."""
    return click.option(
        "--policy",
        envvar="DATIVO_POLICY",
        metavar="PATH",
        expose_value=False,
        callback=_obey,
        help="What plugins may have (policy.yaml); without one, whatever they ask for.",
    )(command)


def _obey(context: click.Context, _option: click.Parameter, value: str | None) -> None:
    from dativo_ingest.sandbox.process_policy import PROCESS

    def forget() -> None:
        PROCESS.policy, PROCESS.command = None, "run"

    context.call_on_close(forget)
    PROCESS.command = context.command_path.partition(" ")[2]
    if value is not None:
        from dativo_ingest.sandbox.policy import load_policy

        PROCESS.policy = load_policy(Path(value))


def _mode_option(command: _Command) -> _Command:
    """Add ``--mode``, which goes the same way."""
    return click.option(
        "--mode",
        type=click.Choice(["self_hosted", "cloud"]),
        default="self_hosted",
        show_default=True,
        expose_value=False,
        callback=_run_as,
        help="cloud runs plugins in containers alone, with every control.",
    )(command)


def _run_as(context: click.Context, _option: click.Parameter, value: Any) -> None:
    from dativo_ingest.sandbox.process_policy import PROCESS

    def forget() -> None:
        PROCESS.mode = "self_hosted"

    context.call_on_close(forget)
    PROCESS.mode = value


def stream_option(command: _Command) -> _Command:
    """Add ``--stream``, names or globs, comma separated or repeated."""
    return click.option(
        "--stream",
        multiple=True,
        metavar="NAME[,NAME]",
        callback=lambda _context, _option, values: _names(values),
        help="Only these streams; globs allowed, comma separated.",
    )(command)


def _names(values: tuple[str, ...]) -> tuple[str, ...] | None:
    names = tuple(name.strip() for value in values for name in value.split(",") if name.strip())
    return names or None


def job_paths(config: tuple[str, ...], job_dir: str | None) -> list[Path]:
    """Give the job files that ``--config`` and ``--job-dir`` name, each once, those of a folder sorted by name.

    Raises:
        click.UsageError: Neither is given.
        ConfigurationError: The folder is none, or holds no job.
    """
    if not config and job_dir is None:
        raise click.UsageError("Say which job: --config JOB (may be repeated) or --job-dir DIR.")
    paths = [Path(name) for name in config]
    if job_dir is None:
        return paths
    from dativo_ingest.job.load import find_jobs

    named = {path.resolve() for path in paths}
    return paths + [path for path in find_jobs(job_dir) if path.resolve() not in named]


def load(path: str | Path, talk: Talk) -> LoadedJob:
    """Open a job with the process's environment."""
    from dativo_ingest.run.open_job import open_job

    talk.listen_to_libraries()
    return open_job(path, os.environ)
