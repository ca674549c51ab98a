"""``dativo preview``: the first rows as they would land."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import click

from dativo_ingest.cli import exit_codes
from dativo_ingest.cli.commands import Command
from dativo_ingest.cli.options import load, one_job, stream_option, talk_options

if TYPE_CHECKING:
    import pyarrow as pa

    from dativo_ingest.cli.logs import Talk
    from dativo_ingest.run.preview import Preview

_OF_THE_RUN = frozenset({"run_id", "loaded_at", "stream"})


@click.command(
    cls=Command,
    short_help="Show the first rows as they would land.",
    examples=["dativo preview --config job.yaml --stream orders --limit 20"],
)
@one_job
@stream_option
@click.option(
    "--limit", type=click.IntRange(min=1), default=10, show_default=True, metavar="N", help="Rows to read a stream."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@talk_options
@click.pass_obj
def preview(talk: Talk, *, config: str, stream: tuple[str, ...] | None, limit: int, as_json: bool) -> int:
    """Show the first rows of each stream after its contract, and what would be deleted or rejected; write nothing."""
    from dativo_ingest.cli import failures
    from dativo_ingest.cli.output import emit, emit_json
    from dativo_ingest.run.error_document import error_document

    previews: list[Preview] = []
    error: Exception | None = None
    try:
        from dativo_ingest.run.preview import preview_job

        previews.extend(preview_job(load(config, talk), stream, limit))
    except Exception as caught:  # noqa: BLE001  told below, after the streams that could be read
        error = caught
    for shown in previews:
        for warning in shown.warnings:
            talk.say(f"{shown.stream}: {warning}", "warning", stream=shown.stream)
        if not as_json:
            emit(_text(shown))
    if as_json:
        document: dict[str, Any] = {"schema": "dativo.preview/1", "streams": [_document(shown) for shown in previews]}
        emit_json(document if error is None else {**document, "error": error_document(error)})
    return exit_codes.OK if error is None else failures.tell(error, talk)


def _document(shown: Preview) -> dict[str, Any]:
    from dativo_ingest.cli.rows import rows_json

    return {
        "name": shown.stream,
        "columns": [
            {"name": field.name, "arrow_type": str(field.type), "nullable": field.nullable}
            for field in shown.rows.schema
        ],
        "rows": rows_json(shown.rows),
        "deleted": rows_json(shown.deleted),
        "rejected": rows_json(_rejected(shown)),
        "warnings": shown.warnings,
    }


def _text(shown: Preview) -> str:
    from dativo_ingest.cli.rows import rows_text
    from dativo_ingest.cli.text import counted

    width = shutil.get_terminal_size((120, 24)).columns
    lines = [f"{shown.stream}: {counted(shown.rows.num_rows, 'row')}"]
    lines += rows_text(shown.rows, width) if shown.rows.num_columns else []
    if shown.deleted.num_rows:
        lines += ["", f"{shown.stream}: {counted(shown.deleted.num_rows, 'row')} deleted"]
        lines += rows_text(shown.deleted, width)
    if shown.rejected.num_rows:
        lines += ["", f"⚠ {shown.stream}: {counted(shown.rejected.num_rows, 'row')} rejected"]
        lines += rows_text(_rejected(shown), width)
    return "\n".join(lines) + "\n"


def _rejected(shown: Preview) -> pa.Table:
    """Give the rejected rows without what a run would add to each of them."""
    return shown.rejected.select([name for name in shown.rejected.column_names if name not in _OF_THE_RUN])
