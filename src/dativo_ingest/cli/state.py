"""``dativo state``: where each stream stopped, read from and written to the target."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import click

from dativo_ingest.cli import exit_codes
from dativo_ingest.cli.commands import Command, Group
from dativo_ingest.cli.options import load, one_job, stream_option, talk_options

if TYPE_CHECKING:
    from typing import TextIO

    from dativo_ingest.cli.logs import Talk


@click.group(
    cls=Group,
    short_help="Look at, set, forget or carry over where streams stopped.",
    examples=[
        "dativo state get --config job.yaml",
        'dativo state set --config job.yaml --stream orders \'{"cursor": "2026-01-01"}\'',
        "dativo state reset --config job.yaml --stream orders",
        "dativo state export --config job.yaml > states.json",
        "dativo state history --config job.yaml --stream orders",
    ],
)
def state() -> None:
    """Look at, set, forget or carry over where each stream stopped.

    State lives in the target, beside the rows it belongs to; every change is a commit of its own. It waits
    a few seconds for a run that is at work on the stream, then is refused with 75, and with 79 where one committed in
    between.
    """


@state.command(cls=Command, examples=["dativo state get --config job.yaml --stream orders"])
@one_job
@stream_option
@talk_options
@click.pass_obj
def get(talk: Talk, *, config: str, stream: tuple[str, ...] | None) -> int:
    """Print the committed state of each stream as JSON."""
    from dativo_ingest.run.states import get_states

    loaded = load(config, talk)
    _print(loaded.job.name, get_states(loaded, stream))
    return exit_codes.OK


@state.command(
    "set", cls=Command, examples=['dativo state set --config job.yaml --stream orders \'{"cursor": "2026-01-01"}\'']
)
@one_job
@click.option("--stream", required=True, metavar="NAME", help="The stream.")
@click.argument("value", metavar="JSON|-")
@talk_options
@click.pass_obj
def set_(talk: Talk, *, config: str, stream: str, value: str) -> int:
    """Make JSON (- reads it from stdin) the state that the stream's next run goes on from."""
    from dativo_ingest.run.states import set_state

    text = sys.stdin.read() if value == "-" else value
    try:
        wanted = json.loads(text)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="JSON") from error
    if not isinstance(wanted, dict):
        raise click.BadParameter('a state is a JSON object, such as {"cursor": 7}', param_hint="JSON")
    loaded = load(config, talk)
    _print(loaded.job.name, {stream: set_state(loaded, stream, wanted)})
    return exit_codes.OK


@state.command(cls=Command, examples=["dativo state reset --config job.yaml --stream orders --yes"])
@one_job
@stream_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@talk_options
@click.pass_obj
def reset(talk: Talk, *, config: str, stream: tuple[str, ...] | None, yes: bool) -> int:
    """Forget where streams stopped: their next incremental run reads from the beginning.

    Rows that are already there stay; with write: append they come in a second time.
    """
    from dativo_ingest.run.states import reset_states

    loaded = load(config, talk)
    if not yes:
        if not sys.stdin.isatty():
            raise click.UsageError("Forgetting state needs --yes where nobody can be asked.")
        names = ", ".join(stream) if stream else "all streams"
        if not click.confirm(f"Forget the state of {names} of {loaded.job.name}?", err=True):
            talk.say("nothing was changed")
            return exit_codes.OK
    _print(loaded.job.name, reset_states(loaded, stream))
    return exit_codes.OK


@state.command(cls=Command, examples=["dativo state export --config job.yaml > states.json"])
@one_job
@stream_option
@talk_options
@click.pass_obj
def export(talk: Talk, *, config: str, stream: tuple[str, ...] | None) -> int:
    """Print the committed states as a document that import takes."""
    import dativo_ingest
    from dativo_ingest.run.report import now
    from dativo_ingest.run.states import get_states

    loaded = load(config, talk)
    about = {"exported_at": now(), "dativo_version": dativo_ingest.__version__}
    _print(loaded.job.name, get_states(loaded, stream), **about)
    return exit_codes.OK


@state.command("import", cls=Command, examples=["dativo state import --config job.yaml --stream orders states.json"])
@one_job
@stream_option
@click.option("--force", is_flag=True, help="Take over the states of a job with another name.")
@click.argument("file", metavar="FILE|-", type=click.File("r", encoding="utf-8"))
@talk_options
@click.pass_obj
def import_(talk: Talk, *, config: str, stream: tuple[str, ...] | None, force: bool, file: TextIO) -> int:
    """Make exported states those that the next runs go on from; streams that FILE lacks stay as they are.

    Each stream's state is a commit of its own; one that is there already is left alone.
    """
    from dativo_ingest.run.states import import_states

    try:
        document = json.load(file)
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}", param_hint="FILE") from error
    loaded = load(config, talk)
    _print(loaded.job.name, import_states(loaded, document, stream, force=force))
    return exit_codes.OK


@state.command(cls=Command, examples=["dativo state history --config job.yaml --stream orders"])
@one_job
@stream_option
@talk_options
@click.pass_obj
def history(talk: Talk, *, config: str, stream: tuple[str, ...] | None) -> int:
    """Print the commits of each stream as JSON, the newest first, as far as the target keeps them.

    iceberg tells of the snapshots that are not expired, parquet of every commit, delta of those whose log is kept.
    Other targets know the newest one alone and say so: keeps_history is false.
    """
    from dativo_ingest.cli.output import emit_json
    from dativo_ingest.run.states import HISTORY, get_history

    loaded = load(config, talk)
    emit_json({"schema": HISTORY, "job": loaded.job.name, "streams": get_history(loaded, stream)})
    return exit_codes.OK


def _print(job: str, states: dict[str, dict[str, Any]], **about: str) -> None:
    from dativo_ingest.cli.output import emit_json
    from dativo_ingest.run.states import STATES

    emit_json({"schema": STATES, "job": job, **about, "streams": states})
