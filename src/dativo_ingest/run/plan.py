"""What a run will do, decided before anything is opened: pure."""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from dativo_ingest.job.delete_detection import DeleteDetection, KeyDiff, SoftColumn
from dativo_ingest.job.model import Deletes, Job, Maintenance, Stream
from dativo_plugin_sdk.errors import DataNotFoundError, InvalidConfigError
from dativo_plugin_sdk.streams import ReadMode, State, Watermark
from dativo_plugin_sdk.tables import WriteMode

_GLOB = frozenset("*?[")
_MIB = 2**20


@dataclass(frozen=True)
class Budget:
    """How the job's memory is shared out, in bytes of Arrow data."""

    batch_bytes: int
    channel_bytes: int
    buffer_bytes: int

    @classmethod
    def of(cls, memory_mb: int, batch_mb: int) -> Budget:
        """Share out ``memory_mb``.

        An eighth is on the way between the threads and an eighth waits in the writer; the rest is for parsing,
        conforming and compressing, which each need a few batches of room.
        """
        memory_bytes = memory_mb * _MIB
        return cls(
            batch_bytes=max(_MIB, min(batch_mb * _MIB, memory_bytes // 32)),
            channel_bytes=max(_MIB, memory_bytes // 8),
            buffer_bytes=max(_MIB, min(memory_bytes // 8, 256 * _MIB)),
        )


@dataclass(frozen=True)
class RunOptions:
    """What the command line asks of one run.

    Attributes:
        streams: Names or globs; None for all of the job's.
        limit: The most rows to read of each stream; the state then stays where it was.
        dry_run: Read and conform, write nothing.
        full_refresh: Forget the state, and replace what incremental streams have loaded.
        wait_s: How long to wait for other runs of the same streams; infinity waits for as long as it takes, None for as
            long as the job says.
        steal: Take the streams over from another run.
        cursor_from: Read only rows whose cursor is at or beyond this; the state then stays where it was.
        cursor_to: Read only rows whose cursor is below this; the state then stays where it was.
    """

    streams: tuple[str, ...] | None = None
    limit: int | None = None
    dry_run: bool = False
    full_refresh: bool = False
    wait_s: float | None = None
    steal: bool = False
    cursor_from: str | None = None
    cursor_to: str | None = None

    @property
    def is_backfill(self) -> bool:
        """Say whether only a range of the cursor is read."""
        return self.cursor_from is not None or self.cursor_to is not None


@dataclass(frozen=True)
class StreamPlan:
    """One stream, with everything that the job, its defaults and the connectors leave open decided."""

    name: str
    mode: ReadMode
    write: WriteMode
    table: str
    namespace: str | None
    cursor: str | None
    primary_key: tuple[str, ...]
    contract: str | None
    on_bad_row: str
    max_bad_rows: int | None
    max_bad_ratio: float | None
    extra_columns: str
    system_columns: tuple[str, ...]
    reader_options: Mapping[str, Any] = field(default_factory=dict)
    table_options: Mapping[str, Any] = field(default_factory=dict)
    ignore_state: bool = False
    cursor_from: str | None = None
    cursor_to: str | None = None
    watermark: Watermark = field(default_factory=Watermark)
    maintenance: Maintenance | None = None
    op_column: str | None = None
    """The column of ops that every row must have; None looks for ``_dativo_op``, which need not be there."""
    deletes: Deletes = "hard"
    changelog: bool = False
    can_delete: bool = True
    """Whether the target can delete rows by their keys."""
    replaces_merge: bool = False
    """Whether this run overwrites what others merge into."""
    delete_detection: DeleteDetection = None

    @property
    def keeps_deleted(self) -> bool:
        """Say whether rows of deleted keys land, too."""
        return self.changelog or self.deletes == "soft"

    @property
    def soft_column(self) -> SoftColumn | None:
        """The column that says which rows are deleted, if one does."""
        return self.delete_detection if isinstance(self.delete_detection, SoftColumn) else None

    @property
    def key_diff(self) -> KeyDiff | None:
        """How keys are compared, if they are."""
        return self.delete_detection if isinstance(self.delete_detection, KeyDiff) else None

    @property
    def is_backfill(self) -> bool:
        """Say whether only a range of the cursor is read, and the state stays where it was."""
        return self.cursor_from is not None or self.cursor_to is not None

    @property
    def title(self) -> str:
        """The table's name in messages."""
        return f"{self.namespace}.{self.table}" if self.namespace else self.table

    def state_to_read_from(self, committed: State | None) -> State | None:
        """Give the state that reading resumes from: none where everything is read again."""
        return None if self.ignore_state else committed


def has_glob(names: Collection[str]) -> bool:
    """Say whether any name is a pattern, so that the source must be asked what there is."""
    return any(_GLOB & set(name) for name in names)


def expand(job: Job, available: Mapping[str, Mapping[str, Any]]) -> dict[str, tuple[Stream, Mapping[str, Any]]]:
    """Replace each glob of the job's streams by the names it picks; a name written out goes before a glob.

    Args:
        job: The job.
        available: The source's names with the stream options each stands for; empty where no glob asks for it.

    Raises:
        DataNotFoundError: A glob picks nothing.
    """
    expanded: dict[str, tuple[Stream, Mapping[str, Any]]] = {}
    for pattern, stream in job.streams.items():
        if not has_glob([pattern]):
            expanded[pattern] = (stream, {})
            continue
        # A name of the source's own may look like a pattern: a file called ``orders[1].csv``.
        picked = [pattern] if pattern in available else [n for n in available if fnmatch.fnmatchcase(n, pattern)]
        if not picked:
            raise DataNotFoundError(
                f"no stream matches {pattern!r}; the source has {', '.join(sorted(available)) or 'none'}",
                details={"pattern": pattern},
            )
        for name in picked:
            if (name == pattern or name not in job.streams) and name not in expanded:
                expanded[name] = (stream, available[name])
    return expanded


def select(names: Collection[str], wanted: tuple[str, ...] | None) -> list[str]:
    """Pick the streams that a run is asked for, in the job's order.

    Raises:
        InvalidConfigError: Something asked for is not in the job.
    """
    if wanted is None:
        return list(names)
    for pattern in wanted:
        if not any(fnmatch.fnmatchcase(name, pattern) for name in names):
            raise InvalidConfigError(f"the job has no stream {pattern!r}; it has {', '.join(names)}")
    return [name for name in names if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)]


def plan_stream(  # noqa: PLR0913  the facts it decides from
    name: str,
    stream: Stream,
    job: Job,
    *,
    from_source: Mapping[str, Any],
    write_modes: Collection[WriteMode],
    can_cdc: bool,
    full_refresh: bool = False,
    can_range: bool = False,
    cursor_from: str | None = None,
    cursor_to: str | None = None,
    deletes_rows: bool = True,
    compares_keys: bool = True,
    can_read_keys: bool = True,
    can_watermark: bool = False,
) -> StreamPlan:
    """Decide what one stream does.

    Raises:
        InvalidConfigError: The source cannot read or the target cannot write in the way asked for.
    """
    is_backfill = cursor_from is not None or cursor_to is not None
    if is_backfill:
        _require_range(name, stream, job.source.connector, can_range=can_range, full_refresh=full_refresh)
    mode = stream.mode
    where = f"streams.{name}"
    if mode == "cdc" and not can_cdc:
        raise InvalidConfigError(
            f"{where}.mode: the source {job.source.connector} has no change data capture",
            hint="use incremental with a cursor, or full_refresh",
        )
    primary_key = tuple(stream.primary_key)
    write = stream.write or ("append" if stream.changelog else _default_write(mode, primary_key, write_modes))
    if write not in write_modes:
        raise InvalidConfigError(
            f"{where}.write: the target {job.target.connector} cannot {write}; it can {', '.join(sorted(write_modes))}"
        )
    if write == "merge" and not primary_key:
        raise InvalidConfigError(f"{where}.primary_key: merge needs the columns that tell rows apart")
    _require_changes_to_land(name, stream, write, job.target.connector, deletes_rows=deletes_rows)
    _require_deletes_to_be_found(
        name, stream, write, job, deletes_rows=deletes_rows, compares_keys=compares_keys, can_read_keys=can_read_keys
    )
    watermark = _watermark(name, stream, write, job.source.connector, can_watermark=can_watermark)
    ignore_state = is_backfill or full_refresh or mode == "full_refresh"
    replaces_merge = False
    if full_refresh and mode != "full_refresh" and "overwrite" in write_modes:
        replaces_merge = write == "merge"
        write = "overwrite"
    options: dict[str, Any] = {**from_source, **stream.options}
    if stream.path is not None:
        options["path"] = stream.path
    table_options = {
        key: value
        for key, value in (
            ("partition_by", stream.partition_by),
            ("sort_by", stream.sort_by),
            ("properties", stream.properties),
        )
        if value
    }
    table = stream.table or name.rsplit(".", 1)[-1]
    if not table:
        raise InvalidConfigError(
            f"stream {name}: the last part of its name is empty, so its table has none", hint="name it with table:"
        )
    return StreamPlan(
        name=name,
        mode=mode,
        write=write,
        table=table,
        namespace=stream.namespace or job.target.namespace,
        cursor=stream.cursor,
        primary_key=primary_key,
        contract=stream.contract,
        on_bad_row=stream.on_bad_row,
        max_bad_rows=stream.max_bad_rows,
        max_bad_ratio=stream.max_bad_ratio,
        extra_columns=stream.extra_columns,
        system_columns=tuple(stream.system_columns),
        reader_options=options,
        table_options=table_options,
        ignore_state=ignore_state,
        cursor_from=cursor_from,
        cursor_to=cursor_to,
        watermark=watermark,
        maintenance=stream.maintenance,
        op_column=stream.op_column,
        deletes=stream.deletes,
        changelog=stream.changelog,
        can_delete=deletes_rows,
        replaces_merge=replaces_merge,
        delete_detection=stream.delete_detection,
    )


def _require_changes_to_land(
    name: str, stream: Stream, write: WriteMode, connector: str, *, deletes_rows: bool
) -> None:
    """Refuse to read what became of rows where that could not land."""
    where = f"streams.{name}"
    if stream.changelog and write != "append":
        raise InvalidConfigError(f"{where}.write: changelog: true appends every change, this stream has write: {write}")
    if stream.deletes == "soft" and write != "merge":
        raise InvalidConfigError(
            f"{where}.deletes: soft marks the rows of keys that are deleted, which takes write: merge; this stream has "
            f"write: {write}",
            hint="name a primary_key and set write: merge, or leave deletes out",
        )
    if stream.op_column is not None and write != "merge" and not stream.changelog:
        raise InvalidConfigError(
            f"{where}.op_column: what became of a row matters where rows are merged or logged; this stream has write: "
            f"{write}, which would keep rows that are deleted",
            hint="write: merge with a primary_key applies the changes, changelog: true appends every change",
        )
    if stream.op_column is not None and write == "merge" and stream.deletes == "hard" and not deletes_rows:
        raise InvalidConfigError(
            f"{where}.op_column: the target {connector} merges but cannot delete rows",
            hint="deletes: soft keeps deleted rows and marks them; changelog: true appends every change",
        )


def _require_deletes_to_be_found(  # noqa: PLR0913  the facts it decides from
    name: str,
    stream: Stream,
    write: WriteMode,
    job: Job,
    *,
    deletes_rows: bool,
    compares_keys: bool,
    can_read_keys: bool,
) -> None:
    """Refuse to look for deletes where they could not be found, or could not land."""
    found, where = stream.delete_detection, f"streams.{name}.delete_detection"
    if found is None:
        return
    if write != "merge":
        raise InvalidConfigError(
            f"{where}: {found.mode} takes deleted rows out of a table that is merged; this stream has write: {write}",
            hint="overwrite replaces all rows anyway: leave delete_detection out"
            if write == "overwrite"
            else "name a primary_key and set write: merge",
        )
    if isinstance(found, SoftColumn):
        if stream.deletes == "hard" and not deletes_rows:
            raise InvalidConfigError(
                f"{where}: the target {job.target.connector} merges but cannot delete rows",
                hint="deletes: soft keeps deleted rows and marks them",
            )
        return
    if not compares_keys:
        raise InvalidConfigError(
            f"{where}: the target {job.target.connector} cannot compare keys",
            hint="mode: full_refresh with write: overwrite has no rows that the source deleted",
        )
    if not can_read_keys and stream.mode != "full_refresh":
        raise InvalidConfigError(
            f"{where}: the source {job.source.connector} cannot read keys alone",
            hint="mode: full_refresh with write: merge compares the keys of the rows that it reads",
        )


def _require_range(name: str, stream: Stream, connector: str, *, can_range: bool, full_refresh: bool) -> None:
    """Refuse to read a range where that would read or replace something else."""
    where = f"streams.{name}"
    if full_refresh:
        raise InvalidConfigError("--from and --to read a range, --full-refresh everything: ask for one of them")
    if stream.mode != "incremental":
        raise InvalidConfigError(
            f"{where}.mode: --from and --to need mode: incremental, this stream has {stream.mode}",
            hint="choose the streams with --stream, or run the job without a range",
        )
    if stream.cursor is None:
        raise InvalidConfigError(
            f"{where}.cursor: --from and --to are values of the cursor column, and the stream has none",
            hint="set `cursor` to a column of the stream, or choose other streams with --stream",
        )
    if not can_range:
        raise InvalidConfigError(f"{where}: the source {connector} cannot read a range (--from, --to)")


def _watermark(name: str, stream: Stream, write: WriteMode, connector: str, *, can_watermark: bool) -> Watermark:
    """Decide how far a run follows the cursor; what other modes are told of it matters to none of them."""
    told = [key for key in ("lag", "lookback", "max_watermark_lag") if getattr(stream, key) is not None]
    if stream.mode != "incremental" or not told:
        return Watermark()
    if not can_watermark:
        raise InvalidConfigError(f"streams.{name}.{told[0]}: the source {connector} cannot do that; databases can")
    if stream.lookback is not None and write != "merge":
        raise InvalidConfigError(
            f"streams.{name}.lookback: rows that are read again would be there twice with write: {write}",
            hint="name a primary_key and set write: merge, or leave lookback out",
        )
    return Watermark(stream.lag or timedelta(0), stream.lookback, stream.max_watermark_lag)


def refuse_lost_rows(plans: Sequence[StreamPlan]) -> None:
    """Refuse streams that would take each other's rows away.

    Raises:
        InvalidConfigError: A table that is overwritten, or whose keys are compared, takes another stream's rows too, or
            would be another's quarantine table.
    """
    tables: dict[str, StreamPlan] = {}
    for plan in plans:
        other = tables.setdefault(plan.title, plan)
        if other is not plan and plan.changelog != other.changelog:
            raise InvalidConfigError(
                f"streams {other.name} and {plan.name} both go into table {plan.title}, as a changelog and as rows",
                hint="give each a `table` of its own",
            )
        if other is not plan and (plan.key_diff or other.key_diff):
            raise InvalidConfigError(
                f"streams {other.name} and {plan.name} both go into table {plan.title}: key_diff would take the "
                "rows of one of them for deleted, as the other's source has no such keys",
                hint="give each a `table` of its own, or leave key_diff out",
            )
        if other is not plan and "overwrite" in (plan.write, other.write):
            raise InvalidConfigError(
                f"streams {other.name} and {plan.name} both go into table {plan.title}, and overwriting it for one "
                "removes the other's rows",
                hint="give each a `table` of its own, or write: append for both and no --full-refresh",
            )
    for plan in plans:
        quarantined = tables.get(f"{plan.title}__quarantine")
        if quarantined is not None:
            raise InvalidConfigError(
                f"stream {quarantined.name}: {quarantined.title} is where the rejected rows of {plan.name} go",
                hint="give one of them another `table`",
            )


def _default_write(mode: ReadMode, primary_key: tuple[str, ...], write_modes: Collection[WriteMode]) -> WriteMode:
    if mode == "full_refresh" and "overwrite" in write_modes:
        return "overwrite"
    if mode != "full_refresh" and primary_key and "merge" in write_modes:
        return "merge"
    return "append"
