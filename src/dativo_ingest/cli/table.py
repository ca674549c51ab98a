"""``dativo table``: the health of a job's tables, and what mends it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dativo_ingest.cli.commands import Command, Group
from dativo_ingest.cli.options import load, one_job, stream_option, talk_options

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import timedelta

    from dativo_ingest.cli.logs import Talk

_MIB = 2**20


def _duration(_context: click.Context, _option: click.Parameter, value: str) -> timedelta:
    from dativo_ingest.job.durations import parse_duration

    try:
        return parse_duration(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _care_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add what every command of the group takes."""
    for option in (
        talk_options,
        click.option("--json", "as_json", is_flag=True, help="Print one JSON document."),
        stream_option,
        one_job,
    ):
        command = option(command)
    return command


_dry_run = click.option("--dry-run", is_flag=True, help="Say what would be done, change nothing.")


@click.group(
    cls=Group,
    short_help="Look at the health of tables, and mend it.",
    examples=[
        "dativo table health --config job.yaml",
        "dativo table compact --config job.yaml --stream orders --dry-run",
        "dativo table expire --config job.yaml --older-than 7d --retain-last 10",
        "dativo table orphans --config job.yaml --older-than 3d",
    ],
)
def table() -> None:
    """Look at the health of a job's tables, and mend it: fewer files, fewer old versions, no orphans.

    No command changes a table's rows or where its streams stopped, and all may be used while runs are at work. A
    table's quarantine table is taken care of with it. The targets iceberg and delta have this care.
    """


@table.command(cls=Command, examples=["dativo table health --config job.yaml --stream orders"])
@_care_options
@click.pass_obj
def health(talk: Talk, *, config: str, stream: tuple[str, ...] | None, as_json: bool) -> int:
    """Count files, deletes, versions and rows, and say what would do good; only metadata is read."""
    from dativo_ingest.run.table_care import look

    return _show(look(load(config, talk), stream), talk, as_json=as_json)


@table.command(cls=Command, examples=["dativo table compact --config job.yaml --stream orders"])
@click.option("--target-file-mb", type=click.IntRange(1, 4096), metavar="MB", help="[default: what the table says]")
@click.option(
    "--min-input-files",
    type=click.IntRange(min=2),
    default=5,
    show_default=True,
    metavar="N",
    help="So many small files of a partition are worth it.",
)
@click.option(
    "--min-delete-files",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Data files with so many delete files are written anew.",
)
@_dry_run
@_care_options
@click.pass_obj
def compact(
    talk: Talk,
    *,
    config: str,
    stream: tuple[str, ...] | None,
    target_file_mb: int | None,
    min_input_files: int,
    min_delete_files: int,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Write small files, and files with deleted rows, anew as few files without them.

    It is one commit, which no run ever loses against: files that a run changes meanwhile are tried again, and left in
    the end.
    """
    from dativo_ingest.run import table_care
    from dativo_plugin_sdk import Compaction

    asked = Compaction(
        target_file_bytes=None if target_file_mb is None else target_file_mb * _MIB,
        min_input_files=min_input_files,
        min_delete_files=min_delete_files,
    )
    document = table_care.compact(load(config, talk), stream, asked, dry_run=dry_run)
    return _show(document, talk, as_json=as_json)


@table.command(cls=Command, examples=["dativo table expire --config job.yaml --older-than 30d --dry-run"])
@click.option(
    "--older-than",
    default="7d",
    show_default=True,
    metavar="TIME",
    callback=_duration,
    help="How old a version must be to go: 24h, 7d.",
)
@click.option(
    "--retain-last",
    type=click.IntRange(min=1),
    default=10,
    show_default=True,
    metavar="N",
    help="So many stay however old they are.",
)
@_dry_run
@_care_options
@click.pass_obj
def expire(
    talk: Talk,
    *,
    config: str,
    stream: tuple[str, ...] | None,
    older_than: timedelta,
    retain_last: int,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Forget old versions of tables, and delete the files that only they needed.

    What branches and tags name stays. dativo state history and time travel go back to the oldest version that is left.
    """
    from dativo_ingest.run import table_care
    from dativo_plugin_sdk import Expiry

    asked = Expiry(older_than, retain_last)
    return _show(table_care.expire(load(config, talk), stream, asked, dry_run=dry_run), talk, as_json=as_json)


@table.command(cls=Command, examples=["dativo table orphans --config job.yaml --dry-run"])
@click.option(
    "--older-than",
    default="3d",
    show_default=True,
    metavar="TIME",
    callback=_duration,
    help="How old a file, and all files of its run, must be to go.",
)
@click.option("--allow-recent", is_flag=True, help="Allow less than a day: no run may be at work on the tables.")
@_dry_run
@_care_options
@click.pass_obj
def orphans(
    talk: Talk,
    *,
    config: str,
    stream: tuple[str, ...] | None,
    older_than: timedelta,
    allow_recent: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Delete files in the tables' folders that nothing refers to, such as those of a run that was killed.

    Nothing goes that is younger than twice the longest run of the table took. Where what lies there does not agree with
    what the table refers to, nothing is deleted at all.
    """
    from dativo_ingest.run import table_care

    document = table_care.orphans(load(config, talk), stream, older_than, dry_run=dry_run, allow_recent=allow_recent)
    return _show(document, talk, as_json=as_json)


def _show(document: dict[str, Any], talk: Talk, *, as_json: bool) -> int:
    from dativo_ingest.cli.output import emit, emit_json
    from dativo_ingest.cli.table_text import table_text

    if as_json:
        emit_json(document)
    else:
        emit(table_text(document))
    for each in document["tables"]:
        if each["error"] is not None:
            talk.error(each["error"])
    code: int = document["exit_code"]
    return code
