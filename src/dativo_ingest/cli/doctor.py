"""``dativo doctor``: what can this machine hold plugins to?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from dativo_ingest.cli.commands import Command
from dativo_ingest.cli.options import plugin_options, talk_options

if TYPE_CHECKING:
    from dativo_ingest.cli.logs import Talk


@click.command(
    cls=Command,
    short_help="Try what this machine can hold plugins to.",
    examples=["dativo doctor", "dativo doctor --policy policy.yaml --mode cloud", "dativo doctor --json"],
)
@click.option(
    "--backend",
    type=click.Choice(["process", "container"]),
    help="Try this back end alone; it must work. Left out, all are tried, and the default one must.",
)
@click.option("--tenant", default="default", show_default=True, metavar="NAME", help="Whose terms of the policy count.")
@click.option("--verbose", is_flag=True, help="Show every attempt, and what stopped it.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@plugin_options
@talk_options
@click.pass_obj
def doctor(talk: Talk, *, backend: Any, tenant: str, verbose: bool, as_json: bool) -> int:
    """Try what this machine can hold plugins to: a plugin of Dativo's own tries to get past every control.

    It does so in a real sandbox, and once without one, to see that an attempt works at all. What it reaches for is made
    for this and removed. The exit code is 0 where the default back end holds all that it must, else 69.
    """
    from dativo_ingest.cli.doctor_text import doctor_text
    from dativo_ingest.cli.output import emit, emit_json
    from dativo_ingest.run.doctor import examine
    from dativo_ingest.sandbox.policy import terms_of
    from dativo_ingest.sandbox.process_policy import PROCESS

    if not as_json:
        talk.say("trying every control…")
    document = examine(terms_of(PROCESS.policy, tenant), PROCESS.mode, backend)
    if as_json:
        emit_json(document)
    else:
        emit(doctor_text(document, verbose=verbose))
    return int(document["exit_code"])
