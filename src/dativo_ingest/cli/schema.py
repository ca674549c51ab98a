"""``dativo schema``: JSON Schema of what is written and read."""

from __future__ import annotations

from typing import Any

import click

from dativo_ingest.cli import exit_codes
from dativo_ingest.cli.commands import Command
from dativo_ingest.cli.options import talk_options


@click.command(cls=Command, short_help="Print a JSON Schema.", examples=["dativo schema job > schemas/job.schema.json"])
@click.argument("what", type=click.Choice(["job", "contract", "report", "plugin", "policy"]))
@talk_options
def schema(*, what: str) -> int:
    """Print the JSON Schema of a file or a document, for editors and checks.

    That is a job file, a contract (ODCS), a run's report, a plugin's manifest (dativo-plugin.yaml) or an operator's
    policy for plugins (policy.yaml).
    """
    from dativo_ingest.cli.output import emit_json

    emit_json(document(what))
    return exit_codes.OK


def document(what: str) -> dict[str, Any]:
    """Give one of the schemas."""
    match what:
        case "job":
            from dativo_ingest.job.schema import job_schema
            from dativo_ingest.registry.connectors import known

            return job_schema(
                sources={name: {} for name in known("reader")}, targets={name: {} for name in known("writer")}
            )
        case "contract":
            from dativo_ingest.contracts.schema import contract_schema

            return contract_schema()
        case "plugin":
            from dativo_ingest.sandbox.manifest import Manifest
            from dativo_ingest.sandbox.written import written_schema

            return written_schema(Manifest, "plugin", "Dativo plugin manifest")
        case "policy":
            from dativo_ingest.sandbox.policy import Policy
            from dativo_ingest.sandbox.written import written_schema

            return written_schema(Policy, "policy", "Dativo plugin policy")
        case _:
            from dativo_ingest.run.documents_schema import REPORT

            return REPORT
