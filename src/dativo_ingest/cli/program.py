"""The group of all commands, and where every failure ends."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

import dativo_ingest
from dativo_ingest.cli import exit_codes, failures
from dativo_ingest.cli.check import check
from dativo_ingest.cli.commands import Group
from dativo_ingest.cli.discover import discover
from dativo_ingest.cli.doctor import doctor
from dativo_ingest.cli.init import init
from dativo_ingest.cli.logs import Talk
from dativo_ingest.cli.plugin import plugin
from dativo_ingest.cli.preview import preview
from dativo_ingest.cli.run import run
from dativo_ingest.cli.schema import schema
from dativo_ingest.cli.state import state
from dativo_ingest.cli.table import table
from dativo_ingest.run.error_document import error_document

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn


class Program(Group):
    """A group whose commands return their exit code and whose failures are told in one place."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        """List the commands in the order in which they are used."""
        return list(self.commands)

    def main(  # type: ignore[override]  # it never returns, whatever standalone_mode says
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **_: Any
    ) -> NoReturn:
        """Run a command line and exit with the code that says whether to try again."""
        for stream in (sys.stdout, sys.stderr):
            if hasattr(stream, "reconfigure"):
                stream.reconfigure(errors="backslashreplace")  # a mark must not fail a run on an ASCII terminal
        sys.exit(self._run(args, prog_name or "dativo"))

    def _run(self, args: Sequence[str] | None, prog_name: str) -> int:
        talk = Talk()
        try:
            result = super().main(args, prog_name, standalone_mode=False, obj=talk)
        except click.UsageError as error:
            error.show()
            return exit_codes.USAGE
        except click.ClickException as error:
            talk.error(error_document(error))
            return exit_codes.USAGE
        except (click.Abort, KeyboardInterrupt):
            talk.say("interrupted", "warning")
            return exit_codes.INTERRUPTED
        except Exception as error:  # noqa: BLE001  the one place where every failure ends
            return failures.tell(error, talk)
        finally:
            talk.close()
        return result if isinstance(result, int) else exit_codes.OK


@click.group(
    cls=Program,
    examples=["dativo init --path 'data/*.csv'", "dativo check --config job.yaml", "dativo run --config job.yaml"],
)
@click.version_option(dativo_ingest.__version__, prog_name="dativo", message="%(prog)s %(version)s")
def dativo() -> None:
    """Carry streams from a source into lakehouse tables, exactly once, as a YAML job says.

    stdout is the result, stderr is talk. Every flag can be set as DATIVO_<FLAG>. The exit code says whether trying
    again helps: 75 yes, 65 to 79 otherwise no, 3 see the report.
    """


for command in (init, check, discover, preview, run, state, table, plugin, doctor, schema):
    dativo.add_command(command)
