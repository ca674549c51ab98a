"""``dativo check``: would this job work?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dativo_ingest.cli import exit_codes
from dativo_ingest.cli.commands import Command
from dativo_ingest.cli.options import (
    job_paths,
    load,
    several_jobs,
    stream_option,
    talk_options,
)

if TYPE_CHECKING:
    from pathlib import Path

    from dativo_ingest.cli.logs import Talk


@click.command(
    cls=Command,
    short_help="Say whether a job would work.",
    examples=["dativo check --config job.yaml --verbose", "dativo check --job-dir jobs --json"],
)
@several_jobs
@stream_option
@click.option("--only", type=click.Choice(["source", "target"]), help="Check one end.")
@click.option("--verbose", is_flag=True, help="Show every step, with its time.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document; an array of them for several jobs.")
@talk_options
@click.pass_obj
def check(
    talk: Talk,
    *,
    config: tuple[str, ...],
    job_dir: str | None,
    stream: tuple[str, ...] | None,
    only: str | None,
    verbose: bool,
    as_json: bool,
) -> int:
    """Say whether a job's source can be read and its target written. Nothing is left behind.

    The exit code is that of the failure; of several jobs, the worst.
    """
    from dativo_ingest.cli.output import emit, emit_json
    from dativo_ingest.cli.text import check_text

    paths = job_paths(config, job_dir)
    several = len(config) > 1 or job_dir is not None
    documents = []
    for path in paths:
        document = _check(path, talk, only=only, streams=stream)
        documents.append(document)
        if not as_json:
            if several:
                emit(f"{document['job']} ({path})")
            emit(check_text(document, verbose=verbose))
    if as_json:
        emit_json(documents if several else documents[0])
    return exit_codes.worst(document["exit_code"] for document in documents)


def _check(path: Path, talk: Talk, *, only: Any, streams: tuple[str, ...] | None) -> dict[str, Any]:
    """Check one job; one that cannot even be read has its own document, with the error instead of steps."""
    from dativo_ingest.cli import failures
    from dativo_ingest.run.checking import check_job
    from dativo_ingest.run.error_document import error_document

    try:
        return check_job(load(path, talk), only, streams)
    except Exception as error:  # noqa: BLE001  a whole job is called here, the other jobs go on
        failures.tell(error, talk)
        return {
            "schema": "dativo.check/1",
            "job": str(path),
            "status": "failed",
            "checks": [],
            "error": error_document(error),
            "exit_code": exit_codes.of(error),
        }
