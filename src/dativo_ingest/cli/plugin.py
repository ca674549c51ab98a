"""``dativo plugin``: start a plugin, and prove it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from dativo_ingest.cli import exit_codes
from dativo_ingest.cli.commands import Command, Group
from dativo_ingest.cli.options import talk_options


def _path(_context: click.Context, _argument: click.Parameter, value: str) -> Path:
    """Take a path, or a plugin as a job names it: ``path/to/file.py:Class``."""
    file, separator, _ = value.rpartition(":")
    path = Path(file if separator and file.endswith(".py") else value)
    if not path.exists():
        raise click.BadParameter(f"{path} does not exist.")
    return path


@click.group(
    cls=Group,
    short_help="Start a plugin, and prove it.",
    examples=["dativo plugin new my-shop --kind reader", "dativo plugin test my-shop"],
)
def plugin() -> None:
    """Start a plugin, and prove that it keeps what readers and writers promise."""


@plugin.command(
    cls=Command,
    short_help="Write a project to start from.",
    examples=["dativo plugin new my-shop --kind reader", "dativo plugin new my-lake --kind writer --dir plugins"],
)
@click.argument("name")
@click.option("--kind", type=click.Choice(["reader", "writer"]), required=True, help="Which end it is.")
@click.option("--dir", "folder", default=".", show_default=True, metavar="DIR", help="The folder to make it in.")
@talk_options
def new(*, name: str, kind: Any, folder: str) -> int:
    """Write the project of a small plugin that works, with its manifest and its tests.

    It goes into a new folder NAME. What it writes passes dativo plugin test as it is: change it bit by bit.
    """
    from dativo_ingest.cli.new_plugin import check_name, new_plugin
    from dativo_ingest.cli.output import emit

    try:
        check_name(name, kind)
    except ValueError as error:
        raise click.BadParameter(f"{error}.", param_hint="NAME") from error
    made = new_plugin(name, kind, Path(folder) / name)
    for written in made.write(force=False):
        emit(f"wrote {written}")
    emit(f"\nNext:\n  dativo plugin test {made.folder}")
    return exit_codes.OK


@plugin.command(
    cls=Command,
    short_help="Check that a plugin keeps its promises.",
    examples=["dativo plugin test my-shop", "dativo plugin test plugins/shop.py --check resume --in-process"],
)
@click.argument("path", callback=_path)
@click.option("--check", "only", multiple=True, metavar="NAME", help="Make this check alone; may be repeated.")
@click.option(
    "--isolation",
    type=click.Choice(["in-process", "none", "process", "container"]),
    help="How the plugin is held: in-process is the tests' own process, without the engine; the others are as in a "
    "job. Left out: as the policy says, else process.",
)
@click.option("--in-process", is_flag=True, help="The same as --isolation in-process.")
@click.option(
    "--policy",
    envvar="DATIVO_POLICY",
    metavar="PATH",
    help="What holds the plugin (policy.yaml: sandbox of defaults, plugins.trusted).",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@talk_options
def test(
    *,
    path: Path,
    only: tuple[str, ...],
    isolation: Any,
    in_process: bool,
    policy: str | None,
    as_json: bool,
) -> int:
    """Run the conformance suites of a plugin: a project's folder, a file, or a file of tests.

    The suites are those that its tests subclass (see docs/testing-a-plugin.md). The plugin runs in a sandbox, as
    in a job. The exit code is 0 where each check passes or is a declared gap, and 70 where one fails.
    """
    from dativo_ingest.cli.output import emit, emit_json
    from dativo_ingest.cli.plugin_test import run_suites
    from dativo_ingest.cli.plugin_text import conformance_text

    if in_process and isolation not in {None, "in-process"}:
        raise click.UsageError("--in-process and --isolation say different things.")
    document = run_suites(path, isolation="in-process" if in_process else isolation, only=only, policy=policy)
    if as_json:
        emit_json(document)
    else:
        emit(conformance_text(document))
    return exit_codes.OK if document["status"] == "succeeded" else exit_codes.PLUGIN
