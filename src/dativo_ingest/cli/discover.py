"""``dativo discover``: what does this source have?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dativo_ingest.cli import exit_codes
from dativo_ingest.cli.commands import Command
from dativo_ingest.cli.options import load, one_job, talk_options

if TYPE_CHECKING:
    from dativo_ingest.cli.logs import Talk


@click.command(
    cls=Command,
    short_help="List what a source has.",
    examples=[
        "dativo discover --config job.yaml --pattern 'public.*'",
        "dativo discover --config job.yaml --write-assets assets",
    ],
)
@one_job
@click.option("--pattern", metavar="GLOB", help="Only objects whose name matches.")
@click.option("--verbose", is_flag=True, help="Show every column, and all that is known.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option(
    "--write-assets", metavar="DIR", help="Write a contract for each object and a job that runs them all into DIR."
)
@click.option("--force", is_flag=True, help="Let --write-assets replace files.")
@talk_options
@click.pass_obj
def discover(
    talk: Talk,
    *,
    config: str,
    pattern: str | None,
    verbose: bool,
    as_json: bool,
    write_assets: str | None,
    force: bool,
) -> int:
    """List what a job's source has, with columns and types."""
    from dativo_ingest.cli import failures
    from dativo_ingest.cli.output import emit, emit_json
    from dativo_ingest.cli.text import discover_text
    from dativo_ingest.run.error_document import error_document

    if write_assets is not None and config == "-":
        raise click.UsageError("--write-assets needs the job as a file: its source and target are copied from there.")
    try:
        from dativo_ingest.run.discovery import discover_job

        loaded = load(config, talk)
        document = discover_job(loaded, pattern)
        for warning in document["warnings"]:
            talk.say(str(warning), "warning")
        if write_assets is not None:
            from dativo_ingest.cli.scaffold import write_assets as write

            paths, left_out = write(loaded, document, write_assets, force=force)
            for text in left_out:
                talk.say(text, "warning")
            for path in paths:
                talk.say(f"wrote {path}")
    except Exception as error:
        if not as_json:
            raise
        emit_json(
            {
                "schema": "dativo.discover/1",
                "source": None,
                "metadata": {},
                "objects": [],
                "warnings": [],
                "error": error_document(error),
            }
        )
        return failures.tell(error, talk)
    if as_json:
        emit_json(document)
    else:
        emit(discover_text(document, verbose=verbose))
    return exit_codes.OK
