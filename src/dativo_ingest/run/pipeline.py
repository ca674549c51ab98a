"""One stream of one run, from the first byte read to the commit. Read this first.

    reader thread ──► channel (bounded in bytes) ──► conform ──► table writer ──► commit(rows + quarantine + state)
                                                        └ rejected ──► quarantine ┘

The reader runs in a thread of its own; everything else happens in the calling thread. Nothing is visible in the target
before the one commit at the end, so a failure, an interruption or a kill at any moment leaves the target as it was.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from dativo_ingest.run.channel import Channel, ChannelClosedError
from dativo_ingest.run.events import Listener, Progress, StreamStarted, Warning_
from dativo_ingest.run.key_diff import ComparedKeys, KeyDiff
from dativo_ingest.run.landing import Landing
from dativo_ingest.run.plan import Budget, StreamPlan
from dativo_ingest.run.run_ids import uuid7
from dativo_ingest.steps.batch_bytes import Merger, split
from dativo_ingest.steps.quarantine import to_quarantine
from dativo_plugin_sdk.errors import CommitStateUnknownError, DataValidationError, PluginExecutionError, wrap_exception
from dativo_plugin_sdk.fingerprints import schema_fingerprint
from dativo_plugin_sdk.streams import (
    Message,
    Partition,
    Rejected,
    Rows,
    Skipped,
    State,
    StateChanged,
    StreamReader,
    StreamSpec,
    Warned,
    Watermark,
)
from dativo_plugin_sdk.tables import CommitRequest, CommittedState, Receipt, TableWriter

_SMALL_BYTES = 2**20  # batches below this are put together: a page of an API is no batch worth a row group
_GRACE_S = 10.0  # for a reader to notice that nobody listens any more
_MOST_WARNINGS = 50  # of a stream; the rest are counted
_LOST = {"round": "were rounded", "clamp": "were clamped", "null": "did not fit and are null"}
_MESSAGE_BYTES = 256  # what a message without rows counts as in the channel


class CancelledRunError(Exception):
    """The run was asked to stop before it committed; the last commit stands."""


@dataclass
class Totals:
    """Rows counted on their way: ``read == written + quarantined + skipped`` once the stream is done."""

    read: int = 0
    written: int = 0
    quarantined: int = 0
    skipped: int = 0
    bad: int = 0
    """How many of the quarantined and skipped rows broke a rule."""
    source_bytes: int = 0
    arrow_bytes: int = 0


@dataclass
class StreamOutcome:
    """What becomes of a stream: filled in on the way, so that a failure too can say how far it came."""

    before: CommittedState = field(default_factory=CommittedState)
    totals: Totals = field(default_factory=Totals)
    receipt: Receipt | None = None
    committed: CommittedState | None = None
    """What the target remembers since the commit."""
    after: State | None = None
    schema_changes: Sequence[str] = ()
    compared: ComparedKeys | None = None
    """What comparing the table's keys with the source's found, where the run did."""
    care: list[dict[str, Any]] = field(default_factory=list)
    """What was done for the table after the commit: ``table``, ``action`` and ``result`` of each."""
    schema: pa.Schema | None = None
    """What the rows conform to; None where the stream never came to know."""
    lost: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How many values of a column were given up, in a way that the contract allows."""
    unsaid: int = 0
    """Warnings beyond those that are kept."""
    _warnings: dict[str, None] = field(default_factory=dict)

    def warn(self, message: str) -> bool:
        """Keep a warning, each once and the first ones of many; say whether it is one to tell."""
        if message in self._warnings:
            return False
        if len(self._warnings) >= _MOST_WARNINGS:
            self.unsaid += 1
            return False
        self._warnings[message] = None
        return True

    @property
    def warnings(self) -> list[str]:
        """The warnings kept, and how many there were beyond them."""
        return [*self._warnings, *([f"and {self.unsaid} more warnings"] if self.unsaid else [])]


@dataclass
class StreamRun:
    """One stream on its way; ``run`` may be called once.

    Args:
        plan: What to do.
        spec: The stream as the reader knows it, with the schema of its contract or that the reader found.
        reader: Where the rows come from.
        table: Where they go; None for a dry run.
        budget: Shares of memory, in bytes.
        run_id: The run this stream is part of.
        limit: The most rows to take; the state then stays where it was.
        emit: Told of progress.
        stop: Set from outside to end the run before its commit.
        outcome: What the target remembers of the stream, and where the run notes what becomes of it.
        compared: The table whose keys are compared with the source's, also in a dry run; None where none are.
        check_lease: Raises `FencedError` once another run is known to have taken the stream over.
        confirm_lease: The same, after a look; asked before the commit.
        left: Set while nobody takes any more what the reader reads.
    """

    plan: StreamPlan
    spec: StreamSpec
    reader: StreamReader
    table: TableWriter | None
    budget: Budget
    run_id: str
    limit: int | None
    emit: Listener
    stop: threading.Event
    outcome: StreamOutcome
    compared: TableWriter | None = None
    check_lease: Callable[[], None] = lambda: None
    confirm_lease: Callable[[], None] = lambda: None
    left: threading.Event = field(default_factory=threading.Event)
    _state: State | None = None
    _moved: bool = False
    _merger: Merger = field(default_factory=lambda: Merger(_SMALL_BYTES))
    _started_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    _landing: Landing = field(init=False)
    _diff: KeyDiff | None = None

    def __post_init__(self) -> None:
        """Find out how the stream's rows land, and so what to read."""
        assert self.spec.schema is not None  # noqa: S101  the engine finds it before it builds a StreamRun
        self._landing = Landing(self.plan, self.spec.schema, run_id=self.run_id, loaded_at=self._started_at)
        self.spec = replace(self.spec, schema=self._landing.reads)
        self.outcome.schema = self._landing.rows
        if self.compared is not None:
            marked = next(iter(self._landing.marks), None)
            self._diff = KeyDiff(self.plan, self._landing.keys, self.compared, marked=marked)

    def run(self, partitions: Sequence[Partition]) -> None:
        """Carry the stream and commit it.

        Args:
            partitions: What the reader has to read from the committed state on.

        Raises:
            DativoError: Whatever went wrong, typed; nothing landed, unless it is `CommitStateUnknownError`.
            CancelledRunError: ``stop`` was set.
        """
        state = self._state = self.plan.state_to_read_from(self.outcome.before.state)
        self.emit(_started(self.plan.name, partitions))
        try:
            self._carry(partitions, state)
            for (column, way), count in self.outcome.lost.items():
                self._warn_once(f"{column}: {count:,} value(s) {_LOST[way]}, as the contract allows")
            self._judge()
            self._raise_if_stopped()
            if self.table is not None and self._has_news():
                self.confirm_lease()
                self._commit(self.table)
        except CommitStateUnknownError:
            raise  # it may have happened: what was written stays
        except BaseException:
            if self.table is not None:
                self.table.abort()
            raise
        finally:
            if self._diff is not None:
                self._diff.close()
            if self.compared is not None and self.table is None:
                self.compared.abort()

    @property
    def totals(self) -> Totals:
        """The rows counted so far."""
        return self.outcome.totals

    @property
    def _keeps_state(self) -> bool:
        """Say whether the state stays where it was, because only a part of the rows was read."""
        return self.limit is not None or self.plan.is_backfill

    def _carry(self, partitions: Sequence[Partition], state: State | None) -> None:
        """Do everything but the commit."""
        diff = self._diff
        before, after = (None, diff) if diff is None or diff.uses_rows else (diff, None)
        if before is not None:
            self._compare(before, self._keys())
        if self.table is not None:
            self.outcome.schema_changes = self.table.open(self._landing.table)
        if before is not None:
            self._delete_absent(before)
        for message in self._messages(self.spec, partitions, state):
            self._take(message)
            if self.limit is not None and self.totals.read >= self.limit:
                break
        self._write(self._merger.flush())
        if after is not None:
            self._compare(after, after.seen())
            self._delete_absent(after)

    def _keys(self) -> Generator[Rows, None, None]:
        """Read the keys of all rows that the source has; what reading the rows warns of is left to that."""
        schema = self._landing.keys
        spec = replace(
            self.spec,
            mode="full_refresh",
            cursor=None,
            schema=schema,
            columns=tuple(schema.names),
            watermark=Watermark(),
        )
        for message in self._messages(spec, self.reader.partitions(spec, None), None):
            match message:
                case Rows():
                    yield from _parts(message, self.budget.batch_bytes)
                case Rejected() | Skipped():
                    self._note_unknown_keys(message)
                case _:
                    pass

    def _compare(self, diff: KeyDiff, keys: Generator[Rows, None, None]) -> None:
        try:
            with closing(keys):
                diff.compare(keys)
        finally:
            self.outcome.compared = diff.result
        if diff.unknown:
            self._warn_once(
                f"{diff.unknown} keys of the source cannot be read, so that nobody can say which rows are gone: none "
                "is deleted, and the next run compares again"
            )

    def _delete_absent(self, diff: KeyDiff) -> None:
        found = diff.result
        if self.table is not None and found is not None and found.is_certain and found.found.absent:
            self.table.delete_absent(self._landing.marks)

    def _note_unknown_keys(self, message: Rejected | Skipped) -> None:
        """Note rows that came without a key: any row of the table may be meant."""
        if self._diff is not None:
            self._diff.unknown += message.batch.num_rows if isinstance(message, Rejected) else message.rows

    def _messages(self, spec: StreamSpec, partitions: Sequence[Partition], state: State | None) -> Iterator[Message]:
        """Yield what the reader reads, read ahead by a thread within the channel's bytes."""
        channel: Channel[Message] = Channel(self.budget.channel_bytes, _size_bytes)
        thread = threading.Thread(
            target=self._read_into, args=(channel, spec, partitions, state), name=f"read {self.plan.name}", daemon=True
        )
        self.left.clear()
        thread.start()
        try:
            for message in channel.items(while_waiting=self._raise_if_stopped):
                self._raise_if_stopped()
                yield message
        finally:
            channel.close()
            self.left.set()
            # A reader that hangs in foreign code must not hold up the end of the run: the thread dies with the process.
            thread.join(timeout=_GRACE_S)

    def _read_into(
        self, channel: Channel[Message], spec: StreamSpec, partitions: Sequence[Partition], state: State | None
    ) -> None:
        try:
            for partition in partitions:
                # A later partition reads on from where the ones before it have come to.
                for message in self.reader.read(spec, partition, state):
                    channel.put(message)
                    if isinstance(message, StateChanged):
                        state = message.state
            channel.finish()
        except ChannelClosedError:
            pass  # nobody listens any more: the calling thread knows why
        except Exception as error:  # noqa: BLE001  it is raised in the calling thread
            channel.finish(error)
        except BaseException as error:  # noqa: BLE001  signals reach the main thread alone: the reader raised this
            channel.finish(wrap_exception(error, PluginExecutionError, f"the reader raised {type(error).__name__}"))

    def _take(self, message: Message) -> None:
        match message:
            case Rows():
                for part in _parts(message, self.budget.batch_bytes):
                    self._take_rows(part)
                self.totals.source_bytes += message.source_bytes
                self._tell_progress()
            case Rejected():
                self.totals.read += message.batch.num_rows
                self._note_unknown_keys(message)
                self._reject(message.batch)
            case Skipped():
                self._note_unknown_keys(message)
                self.totals.read += message.rows
                self.totals.skipped += message.rows
                self._warn_once(f"skipped rows: {message.reason}")
            case StateChanged():
                self._state = message.state
                self._moved = True
            case Warned():
                self._warn_once(message.message)

    def _take_rows(self, rows: Rows) -> None:
        if self.limit is not None:
            rows = _part(rows, 0, max(0, min(rows.batch.num_rows, self.limit - self.totals.read)))
        self.totals.read += rows.batch.num_rows
        self.totals.arrow_bytes += rows.batch.nbytes
        if self._diff is not None and self._diff.uses_rows:
            self._diff.see(rows)
        conformed = self._landing.conform(rows)
        if conformed.missing:
            self._warn_once(f"columns that the source lacks are null: {', '.join(conformed.missing)}")
        if conformed.extra:
            self._note_extra(conformed.extra)
        if conformed.forgiven and self.plan.keeps_deleted:
            self._warn_once(f"values of deleted rows that do not fit are null: {', '.join(conformed.forgiven)}")
        self.outcome.lost.update(conformed.lost)
        if conformed.rejected is not None:
            self._reject(conformed.rejected)
        if conformed.batch.num_rows:
            self.totals.written += conformed.batch.num_rows
            if not self._merger.takes(conformed.batch):
                self._write(self._merger.flush())
            self._write(self._merger.push(conformed.batch))

    def _write(self, batch: pa.RecordBatch | None) -> None:
        if batch is None or self.table is None:
            return
        landed = self._landing.land(batch)
        if landed.rows.num_rows:
            self.table.write(landed.rows)
        if landed.deleted is not None:
            self.table.delete(landed.deleted)

    def _note_extra(self, names: Sequence[str]) -> None:
        text = f"columns that are not in the schema: {', '.join(names)}"
        if self.plan.extra_columns == "fail":
            raise DataValidationError(
                f"{self.plan.name} has {text}", hint="add them to the contract, or set extra_columns: ignore"
            )
        self._warn_once(f"{text}; they are left out")

    def _reject(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        self.totals.bad += batch.num_rows
        if self.plan.on_bad_row == "fail":
            first = batch.slice(0, 1).to_pylist()[0]
            at = f"{first['source']}:{first['line']}: " if first["source"] and first["line"] else ""
            column = f"column {first['column']}: " if first["column"] else ""
            raise DataValidationError(
                f"{at}{column}{first['reason']}",
                details={key: first[key] for key in ("column", "rule", "source", "line")},
                hint="on_bad_row: quarantine would keep such rows beside the table and go on",
            )
        if self.plan.on_bad_row == "skip":
            self.totals.skipped += batch.num_rows
            self._warn_once("bad rows were skipped, as on_bad_row: skip asks")
            return
        self.totals.quarantined += batch.num_rows
        if self.table is not None:
            self.table.quarantine(
                to_quarantine(batch, stream=self.plan.name, run_id=self.run_id, loaded_at=self._started_at)
            )

    def _judge(self) -> None:
        """Refuse to commit a stream with more bad rows than the job allows."""
        bad = self.totals.bad
        most = self.plan.max_bad_rows
        if most is not None and bad > most:
            raise DataValidationError(
                f"{bad} of {self.totals.read} rows are bad, max_bad_rows allows {most}",
                hint="nothing was committed; dativo preview shows the rejected rows",
            )
        ratio = self.plan.max_bad_ratio
        if ratio is not None and self.totals.read and bad / self.totals.read > ratio:
            raise DataValidationError(
                f"{bad} of {self.totals.read} rows are bad, max_bad_ratio allows {ratio:.2%}",
                hint="nothing was committed; dativo preview shows the rejected rows",
            )

    def _has_news(self) -> bool:
        return bool(
            self.totals.written
            or self.totals.quarantined
            or self.plan.write == "overwrite"
            or self._keys_compared_at != self.outcome.before.keys_compared_at
            or (self._diff is not None and self._diff.result is not None and self._diff.result.found.absent)
            or (self._moved and not self._keeps_state and self._state != self.outcome.before.state)
        )

    @property
    def _keys_compared_at(self) -> str | None:
        """Say when the table's keys were last known to be those of the source."""
        if self.plan.key_diff is not None and self.plan.replaces_merge:
            return self._started_at.isoformat(timespec="milliseconds")  # it has no rows but the source's
        found = self._diff.result if self._diff is not None else None
        return found.compared_at if found is not None and found.is_certain else self.outcome.before.keys_compared_at

    def _commit(self, table: TableWriter) -> None:
        before = self.outcome.before
        state = before.state if self._keeps_state else self._state
        source = before.source_fingerprint if self._keeps_state else self.reader.fingerprint(self.spec)
        schema = schema_fingerprint(self._landing.table)
        request = CommitRequest(
            commit_id=uuid7(),
            expected_generation=before.generation,
            state=state,
            committed_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            source_fingerprint=source,
            schema_fingerprint=schema,
            schema_version=before.schema_version + (schema != before.schema_fingerprint),
            keys_compared_at=self._keys_compared_at,
        )
        self.outcome.receipt = table.commit(request)
        self.outcome.committed = request.next_state(self.run_id)
        self.outcome.after = state
        if state is not None and not self._keeps_state:
            self.reader.acknowledge(self.spec, state)

    def _tell_progress(self) -> None:
        totals = self.totals
        self.emit(
            Progress(
                self.plan.name,
                totals.read,
                totals.written,
                totals.quarantined,
                totals.source_bytes,
                totals.arrow_bytes,
            )
        )

    def _warn_once(self, message: str) -> None:
        if self.outcome.warn(message):
            self.emit(Warning_(self.plan.name, message))

    def _raise_if_stopped(self) -> None:
        if self.stop.is_set():
            raise CancelledRunError
        self.check_lease()


def _parts(rows: Rows, max_bytes: int) -> Iterator[Rows]:
    start = 0
    for batch in split(rows.batch, max_bytes):
        yield _part(rows, start, batch.num_rows)
        start += batch.num_rows


def _part(rows: Rows, start: int, length: int) -> Rows:
    if start == 0 and length == rows.batch.num_rows:
        return rows
    return replace(
        rows,
        batch=rows.batch.slice(start, length),
        first_line=None if rows.first_line is None else rows.first_line + start,
        lines=None if rows.lines is None else rows.lines.slice(start, length),
    )


def _size_bytes(message: Message) -> int:
    return message.batch.nbytes if isinstance(message, Rows | Rejected) else _MESSAGE_BYTES


def _started(stream: str, partitions: Sequence[Partition]) -> StreamStarted:
    return StreamStarted(
        stream,
        total_bytes=_total(partitions, lambda partition: partition.size_bytes),
        total_rows=_total(partitions, lambda partition: partition.rows),
    )


def _total(partitions: Sequence[Partition], number: Callable[[Partition], int | None]) -> int | None:
    known = [value for value in map(number, partitions) if value is not None]
    return sum(known) if known and len(known) == len(partitions) else None
