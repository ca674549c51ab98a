"""``dativo run``: carry a job's streams."""

from __future__ import annotations

import math
import os
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
    from collections.abc import Sequence
    from pathlib import Path

    from dativo_ingest.cli.logs import Talk
    from dativo_ingest.cli.ran_job import RanJob
    from dativo_ingest.cli.signals import Stop
    from dativo_ingest.run.events import Event
    from dativo_ingest.run.plan import RunOptions


_FOREVER = "forever"


def _seconds(_context: click.Context, _option: click.Parameter, value: str | None) -> float | None:
    """Give how long ``--wait`` waits: None without it."""
    if value is None:
        return None
    if value == _FOREVER:
        return math.inf
    try:
        seconds = float(value)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise click.BadParameter(f"{value!r} is no number of seconds")
    return seconds


@click.command(
    cls=Command,
    short_help="Carry the streams of jobs.",
    examples=[
        "dativo run --config job.yaml",
        "dativo run --job-dir jobs --report - --progress json",
        "dativo run --config job.yaml --stream orders --limit 100 --dry-run",
        "dativo run --config job.yaml --stream orders --from 2026-01-01 --to 2026-02-01",
    ],
)
@several_jobs
@stream_option
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most N rows a stream; state does not move.")
@click.option("--dry-run", is_flag=True, help="Read and apply the contract, write nothing.")
@click.option("--full-refresh", is_flag=True, help="Forget the state and load everything again.")
@click.option(
    "--from",
    "cursor_from",
    envvar="DATIVO_FROM",
    metavar="VALUE",
    help="Only rows whose cursor is this or more; no state moves.",
)
@click.option(
    "--to",
    "cursor_to",
    envvar="DATIVO_TO",
    metavar="VALUE",
    help="Only rows whose cursor is below this; no state moves.",
)
@click.option(
    "--wait",
    is_flag=False,
    flag_value=_FOREVER,
    callback=_seconds,
    metavar="[SECONDS]",
    help="Wait this long for another run of the same streams, then end with 75: 0 is not at all, no SECONDS as long as "
    "it takes; left out, the job's lease.wait_s, an hour.",
)
@click.option("--steal", is_flag=True, help="Take the streams over from another run, which then lands nothing.")
@click.option("--report", metavar="PATH|-", help="Write the report as JSON, one line a job; - is stdout.")
@click.option(
    "--progress",
    type=click.Choice(["auto", "plain", "json", "none"]),
    default="auto",
    show_default=True,
    help="How stderr shows progress; auto is a bar on a terminal.",
)
@talk_options
@click.pass_obj
def run(
    talk: Talk,
    *,
    config: tuple[str, ...],
    job_dir: str | None,
    stream: tuple[str, ...] | None,
    limit: int | None,
    dry_run: bool,
    full_refresh: bool,
    cursor_from: str | None,
    cursor_to: str | None,
    wait: float | None,
    steal: bool,
    report: str | None,
    progress: Any,
) -> int:
    """Run jobs in order: read, apply contracts, commit each stream's rows and state as one step.

    The report ends on stdout as text, or with --report - as JSON alone. The exit code is the job's; of several jobs,
    the worst. Ctrl-C stops before the next commit, twice at once.

    A run waits for another one that is at work on the same streams, and goes on from where that one stopped.
    """
    from dativo_ingest.run.collector import resting
    from dativo_ingest.run.switching import quick_switching

    if full_refresh and limit is not None and not dry_run:
        raise click.UsageError(
            "--full-refresh with --limit would replace tables by their first rows, while the state says that all are "
            "loaded; add --dry-run, or leave one of them out."
        )
    paths = job_paths(config, job_dir)
    with resting(), quick_switching():
        from dativo_ingest.run.plan import RunOptions

        options = RunOptions(
            streams=stream,
            limit=limit,
            dry_run=dry_run,
            full_refresh=full_refresh,
            cursor_from=cursor_from,
            cursor_to=cursor_to,
            wait_s=wait,
            steal=steal,
        )
        return _run_all(paths, options, report, progress, talk)


def _run_all(paths: Sequence[Path], options: RunOptions, report: str | None, progress: Any, talk: Talk) -> int:
    """Run jobs one after the other."""
    from dativo_ingest.cli.reports import Reports
    from dativo_ingest.cli.signals import stoppable

    codes: list[int] = []
    with Reports(report, talk) as reports, stoppable(talk) as stop:
        for path in paths:
            ran = _run(path, options, progress, talk, stop)
            reports.tell(ran)
            codes.append(ran.report["exit_code"])
            if stop.event.is_set():
                break
    if stop.event.is_set() and len(codes) < len(paths):
        talk.say(f"jobs not begun: {', '.join(map(str, paths[len(codes) :]))}", "warning")
        codes.append(stop.exit_code)
    return exit_codes.worst(codes)


def _run(path: Path, options: RunOptions, progress: Any, talk: Talk, stop: Stop) -> RanJob:
    """Run one job; one that cannot even be read has a report too."""
    from dativo_ingest.cli import failures
    from dativo_ingest.cli.progress import shown
    from dativo_ingest.cli.ran_job import RanJob, not_begun
    from dativo_ingest.run.engine import run_job

    try:
        loaded = load(path, talk)
    except Exception as error:  # noqa: BLE001  a whole job is called here, the other jobs go on
        failures.tell(error, talk)
        return RanJob(not_begun(path, error), options)
    ran = RanJob({}, options, loaded.job)
    with shown(progress, talk, os.environ) as listener:

        def listen(event: Event) -> None:
            ran.time(event)
            listener(event)

        ran.report = run_job(loaded, options, listen, stop.event)
    if ran.report["status"] == "cancelled":
        ran.report["exit_code"] = stop.exit_code
    return ran
