"""A whole run: every stream of a job in turn, and the report of it."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, cast

from dativo_ingest.job.load import LoadedJob
from dativo_ingest.job.model import Maintenance
from dativo_ingest.run import exit_codes
from dativo_ingest.run.collector import wake
from dativo_ingest.run.columns import with_source_types
from dativo_ingest.run.ends import (
    Source,
    Target,
    contract_of,
    open_source,
    open_target,
    plan_streams,
    stream_spec,
    table_spec,
)
from dativo_ingest.run.error_document import error_document
from dativo_ingest.run.events import Listener, RunFinished, RunStarted, StreamFinished, TableCared, Waiting, Warning_
from dativo_ingest.run.hosting import Hosting
from dativo_ingest.run.key_diff import is_due
from dativo_ingest.run.lease import Leases, lease_key
from dativo_ingest.run.lease_store import Owner, SqliteLeaseStore
from dativo_ingest.run.maintenance import maintain
from dativo_ingest.run.pipeline import CancelledRunError, StreamOutcome, StreamRun
from dativo_ingest.run.plan import Budget, RunOptions, StreamPlan
from dativo_ingest.run.report import now, report_document, stream_document
from dativo_ingest.run.run_ids import uuid7
from dativo_ingest.run.seen_states import SeenKey, SeenStates
from dativo_ingest.run.state_file import state_file
from dativo_ingest.secrets.redaction import redact_document
from dativo_plugin_sdk.errors import DativoError, InvalidConfigError, PluginExecutionError
from dativo_plugin_sdk.streams import State, StreamSpec
from dativo_plugin_sdk.tables import CommittedState, TableSpec, TableWriter


@dataclass
class _Run:
    """What a run gathers while its streams go by."""

    loaded: LoadedJob
    options: RunOptions
    emit: Listener
    stop: threading.Event
    run_id: str = field(default_factory=uuid7)
    started_at: str = field(default_factory=now)
    streams: list[dict[str, Any]] = field(default_factory=list)
    errors: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    delivery: str = "exactly_once"
    cancelled: bool = False

    def __post_init__(self) -> None:
        self.seen = SeenStates(state_file(self.loaded.folder))
        self.hosting = Hosting(self.run_id, while_waiting=self.raise_if_stopped, emit=self.emit)

    def warn(self, text: str) -> None:
        self.warnings.append(text)
        self.emit(Warning_(None, text))

    def fail(self, error: BaseException, *, stage: str, stream: str | None = None, plugin: str | None = None) -> None:
        document = error_document(error, stage=stage, stream=stream, plugin=plugin)
        if not isinstance(error, DativoError) or isinstance(error, PluginExecutionError):
            trace = "".join(traceback.format_exception(error))
            document["details"] = {**document["details"], "traceback": trace}
        self.errors.append(document)
        self.codes.append(exit_codes.of(error))

    def raise_if_stopped(self) -> None:
        if self.stop.is_set():
            raise CancelledRunError

    def lease_key(self, plan: StreamPlan) -> str:
        return lease_key(self.loaded.job.name, plan.name)

    def report(self) -> dict[str, Any]:
        job = self.loaded.job
        document = report_document(
            run_id=self.run_id,
            job=job.name,
            tenant=job.tenant,
            started_at=self.started_at,
            delivery=self.delivery,
            isolation=self.hosting.isolation,
            plugins=[record.document() for record in self.hosting.records],
            streams=self.streams,
            errors=self.errors,
            warnings=[*self.warnings, *self.hosting.warnings],
            codes=self.codes,
            cancelled=self.cancelled,
        )
        return cast("dict[str, Any]", redact_document(document))


def run_job(loaded: LoadedJob, options: RunOptions, listener: Listener, stop: threading.Event) -> dict[str, Any]:
    """Run a job and give its report; every failure is in the report, none is raised.

    One stream's failure is its own: the others go on. A stream that has committed stays committed.

    Args:
        loaded: The job.
        options: What the command line asks of this run.
        listener: Told what happens, in this thread; of plugins by whichever thread ends them.
        stop: Set it, from a signal handler or another thread, to end the run before its next commit.
    """
    run = _Run(loaded, options, listener, stop)
    try:
        with ExitStack() as ends:
            source = ends.enter_context(open_source(loaded, run.hosting))
            target = ends.enter_context(open_target(loaded, run.hosting))
            run.delivery = target.writer.delivery
            plans = plan_streams(loaded, source, target, options)
            if not plans:
                run.fail(_no_streams(loaded), stage="setup")
            listener(RunStarted(run.run_id, loaded.job.name, tuple(plan.name for plan in plans)))
            leases = ends.enter_context(_leases(run))
            _take(run, leases, plans)
            for plan in plans:
                _run_stream(run, plan, source, target, leases)
                leases.release(run.lease_key(plan))
                if run.cancelled:
                    break
            if run.seen.warning is not None and leases.warning is None:
                run.warn(run.seen.warning)
    except CancelledRunError:
        run.cancelled = True
    except Exception as error:  # noqa: BLE001  the job is called here: a bug in it must end in a report too
        run.fail(error, stage="setup")
    report = run.report()
    listener(RunFinished(report))
    return report


def _leases(run: _Run) -> Leases:
    store = SqliteLeaseStore(state_file(run.loaded.folder))
    return Leases(store, Owner.here(run.run_id), ttl_s=run.loaded.job.lease.ttl_s)


def _take(run: _Run, leases: Leases, plans: Sequence[StreamPlan]) -> None:
    """Take the leases of all streams, unless nothing will be written."""
    options = run.options
    if options.dry_run:
        return
    lease = run.loaded.job.lease
    taken = leases.take(
        [run.lease_key(plan) for plan in plans],
        wait_s=lease.wait_s if options.wait_s is None else options.wait_s,
        steal=options.steal,
        stop=run.stop,
        tell=lambda text: run.emit(Waiting(text)),
    )
    if not taken:
        raise CancelledRunError
    if leases.warning is not None:
        run.warn(leases.warning)


def _no_streams(loaded: LoadedJob) -> InvalidConfigError:
    return InvalidConfigError(
        f"{loaded.locate(('streams',))} streams: the job has none, so there is nothing to run",
        hint="name the streams to carry; dativo discover lists what the source has",
    )


def _run_stream(run: _Run, plan: StreamPlan, source: Source, target: Target, leases: Leases) -> None:
    """Carry one stream and note what became of it; its failure is its own."""
    attempt = _Attempt(run, plan, source, target, leases)
    try:
        outcome = attempt.carry()
        nothing_new = outcome.receipt is None and not run.options.dry_run
        document = stream_document(
            plan, outcome, status="no_data" if nothing_new else "succeeded", dry_run=run.options.dry_run
        )
        run.codes.append(exit_codes.OK)
    except CancelledRunError:
        run.cancelled = True
        document = stream_document(plan, attempt.outcome, status="cancelled")
    except Exception as error:  # noqa: BLE001  a stream is called here: its failure is its own
        run.fail(run.loaded.placed(error), stage=attempt.stage, stream=plan.name)
        document = stream_document(plan, attempt.outcome, status="failed", error=run.errors[-1])
    run.warnings.extend(f"{plan.name}: {text}" for text in (attempt.outcome.warnings if attempt.outcome else ()))
    run.streams.append(document)
    run.emit(StreamFinished(plan.name, document))


@dataclass
class _Attempt:
    """One stream in this run: how far it has come, for the report of its failure."""

    run: _Run
    plan: StreamPlan
    source: Source
    target: Target
    leases: Leases
    stage: str = "state"
    outcome: StreamOutcome | None = None

    def carry(self) -> StreamOutcome:
        """Find out what is new since the committed state; read, conform and commit it."""
        plan, options = self.plan, self.run.options
        limits = self.run.loaded.job.limits
        budget = Budget.of(limits.memory_mb, limits.batch_mb)
        to_write = table_spec(plan, self.run.loaded.job.name, self.run.run_id, budget)
        table = self.target.writer.table(to_write)
        outcome = self.outcome = StreamOutcome()
        self._look_back(table, outcome)

        spec = stream_spec(plan, budget, parallelism=limits.parallelism)
        of_another_source = _of_another_source(plan, outcome.before, self.source.reader.fingerprint(spec))
        if not (of_another_source or options.dry_run or options.limit is not None):
            self.stage = "acknowledge"
            self._acknowledge_again(spec, plan.state_to_read_from(outcome.before.state))

        self.stage = "plan"
        partitions = self.source.reader.partitions(spec, plan.state_to_read_from(outcome.before.state))
        self._warn(outcome, *of_another_source, *self.source.reader.warnings(spec))
        # The keys of another source say nothing of rows that came of the one before.
        compares = not of_another_source and is_due(plan, outcome.before, datetime.now(UTC), limit=options.limit)
        if not partitions and plan.write != "overwrite" and not compares:
            return outcome

        self.stage = "schema"
        contract = contract_of(plan)
        schema = contract.schema if contract else self.source.reader.schema(spec)
        schema = with_source_types(schema, self.source.reader.source_schema(spec))

        self.stage = "run"
        wake()
        key = self.run.lease_key(plan)
        try:
            StreamRun(
                plan=plan,
                spec=replace(spec, schema=schema),
                reader=self.source.reader,
                table=None if options.dry_run else table,
                budget=budget,
                run_id=self.run.run_id,
                limit=options.limit,
                emit=self.run.emit,
                stop=self.run.stop,
                outcome=outcome,
                compared=table if compares else None,
                check_lease=lambda: self.leases.check(key),
                confirm_lease=lambda: self.leases.confirm(key),
                left=self.run.hosting.left,
            ).run(partitions)
        finally:
            if outcome.committed is not None:  # also where the source could not be told
                self.run.seen.save(self._seen_key, outcome.committed)
        if outcome.receipt is not None and plan.maintenance is not None and not self.run.stop.is_set():
            self._maintain(outcome, plan.maintenance, to_write)
        return outcome

    def _maintain(self, outcome: StreamOutcome, asked: Maintenance, spec: TableSpec) -> None:
        """Take care of the table that was committed to: whatever goes wrong is a warning, for the rows have landed."""

        def note(table: str, action: str, result: dict[str, Any]) -> None:
            outcome.care.append({"table": table, "action": action, "result": result})
            self.run.emit(TableCared(self.plan.name, table, action, result))

        try:
            maintain(self.target.writer, spec, asked, note)
        except Exception as error:  # noqa: BLE001  the stream has committed: no failure may say that it has not
            self._warn(
                outcome,
                f"the rows are committed, taking care of the table failed: {str(error) or type(error).__name__}",
            )

    def _look_back(self, table: TableWriter, outcome: StreamOutcome) -> None:
        """Ask the target what it remembers, and warn where that is less than it was."""
        seen = self.run.seen.load(self._seen_key)
        outcome.before = table.load_state()
        doubt = seen.doubt(self._seen_key, outcome.before)
        if doubt is not None:
            self._warn(outcome, doubt)
        if not self.run.options.dry_run and seen.here != replace(outcome.before, quarantine=None):
            self.run.seen.save(self._seen_key, outcome.before)

    def _acknowledge_again(self, spec: StreamSpec, state: State | None) -> None:
        """Tell the source what is committed: the run that committed it may have died before it could."""
        if state is not None:
            self.source.reader.acknowledge(spec, state)

    def _warn(self, outcome: StreamOutcome, *texts: str) -> None:
        for text in texts:
            if outcome.warn(text):
                self.run.emit(Warning_(self.plan.name, text))

    @property
    def _seen_key(self) -> SeenKey:
        writer, plan = self.target.writer, self.plan
        return SeenKey.of(writer.config, plan.title, job=self.run.loaded.job.name, stream=plan.name)


def _of_another_source(plan: StreamPlan, before: CommittedState, now: str | None) -> list[str]:
    """Warn of a state that was made with another source than the one it is going to be read on from."""
    if now is None or before.source_fingerprint in {None, now} or plan.state_to_read_from(before.state) is None:
        return []
    text = (
        "the committed state was made with another source, whose path or connection was another one; reading goes on "
        f"from it. If the data is not the same: dativo state reset --stream {plan.name}"
    )
    return [text]
