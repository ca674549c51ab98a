"""``dativo init``: a job to start from, which runs at once."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from dativo_ingest.cli import exit_codes
from dativo_ingest.cli.commands import Command
from dativo_ingest.cli.options import talk_options

if TYPE_CHECKING:
    from dativo_ingest.cli.logs import Talk

_SOURCES = ("csv", "json", "jsonl", "parquet", "arrow")
_TARGETS = ("iceberg", "parquet", "delta", "duckdb")


@click.command(
    cls=Command,
    short_help="Write a job to start from.",
    examples=[
        "dativo init",
        "dativo init --name shop --path 'data/*.csv' --target iceberg --warehouse ./warehouse",
    ],
)
@click.option("--name", metavar="NAME", help="The job's name; by default the folder's.")
@click.option("--source", type=click.Choice(_SOURCES), help="The files' format; by default what the path ends with.")
@click.option("--path", metavar="GLOB|URI", help="The files to load, relative to --dir; by default a small sample.")
@click.option("--target", type=click.Choice(_TARGETS), help="Where the tables go; by default iceberg.")
@click.option("--warehouse", metavar="DIR|FILE|URI", help="Where the target keeps them, relative to --dir.")
@click.option("--dir", "folder", default=".", show_default=True, metavar="DIR", help="The folder to write into.")
@click.option("--force", is_flag=True, help="Replace files that are there.")
@talk_options
@click.pass_obj
def init(
    talk: Talk,
    *,
    name: str | None,
    source: str | None,
    path: str | None,
    target: str | None,
    warehouse: str | None,
    folder: str,
    force: bool,
) -> int:
    """Write a job, a contract for each stream found in the data, .env.example and the job's schema for editors.

    On a terminal it asks what the flags leave open. What it writes passes dativo check and dativo run as it is.
    """
    from dativo_ingest.cli.new_job import Answers, guessed_name, guessed_source, guessed_warehouse, new_job
    from dativo_ingest.cli.output import emit
    from dativo_ingest.job.model import NAME_PATTERN

    asking = sys.stdin.isatty() and sys.stderr.isatty()

    def settled(given: str | None, question: str, default: str, choices: tuple[str, ...] | None = None) -> str:
        if given is not None or not asking:
            return default if given is None else given
        return str(click.prompt(question, default=default, type=click.Choice(choices) if choices else str, err=True))

    path = settled(path, "Files to load (nothing: a small sample)", "")
    source = settled(source, "Their format", guessed_source(path), _SOURCES)
    if not path and source != "csv":
        raise click.UsageError(f"Say with --path which {source} files to load; the sample is csv.")
    target = settled(target, "Target", "iceberg", _TARGETS)
    warehouse = settled(warehouse, "Where it keeps its tables", guessed_warehouse(target))
    name = settled(name, "Name of the job", guessed_name(folder))
    if re.fullmatch(NAME_PATTERN, name) is None:
        raise click.BadParameter(f"{name!r} is no job name: letters, digits, . _ and - (first a letter or digit).")

    talk.listen_to_libraries()
    made = new_job(Answers(name, source, path, target, warehouse, Path(folder)))
    for note in made.notes:
        talk.say(note, "warning")
    in_the_way = made.files.in_the_way()
    if in_the_way and asking and not force:
        force = click.confirm(f"Replace {', '.join(in_the_way)}?", err=True)
    for written in made.files.write(force=force):
        emit(f"wrote {written}")
    job = made.files.folder / "job.yaml"
    emit(f"\nNext:\n  dativo check --config {job}\n  dativo run --config {job}")
    return exit_codes.OK
