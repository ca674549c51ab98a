"""The writer side of the engine's interface: open, write, and one fenced commit of rows, quarantine and state.

`BaseWriter` is all that a simple plugin needs; `StreamWriter` is what the engine talks to, and what built-in connectors
implement. `dativo_plugin_sdk.simple_writer` turns the first into the second.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

import pyarrow as pa

from dativo_plugin_sdk.config import TargetConfig
from dativo_plugin_sdk.errors import DataError, DataFormatError, PluginExecutionError
from dativo_plugin_sdk.results import Check
from dativo_plugin_sdk.streams import State
from dativo_plugin_sdk.versioned import VersionedPlugin

if TYPE_CHECKING:
    from dativo_plugin_sdk.table_care import TableCare

WriteMode: TypeAlias = Literal["append", "overwrite", "merge"]
Delivery: TypeAlias = Literal["exactly_once", "at_least_once"]

MAX_STATE_BYTES = 1 << 20
"""The most a committed state may take as JSON: it is rewritten with every commit."""
_STATE_VERSION = 1


@dataclass(frozen=True)
class TableSpec:
    """One table as a job writes it."""

    name: str
    namespace: str | None
    job: str
    stream: str
    run_id: str
    write: WriteMode = "append"
    primary_key: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    """The writer's own options of this table (partitioning, sort order, properties); they go before the target's."""
    buffer_bytes: int = 128 * 2**20
    """How many bytes of Arrow data the writer may hold before it must put them into a file."""

    @property
    def state_key(self) -> str:
        """The name under which the target keeps this stream's state."""
        return f"dativo.state.{self.job}/{self.stream}"

    @property
    def quarantine_name(self) -> str:
        """The table beside this one that takes its rejected rows."""
        return f"{self.name}__quarantine"


@dataclass(frozen=True)
class CommittedState:
    """What a target remembers of a stream: the generation is 0 and the rest empty before the first commit."""

    generation: int = 0
    state: State | None = None
    commit_id: str | None = None
    run_id: str | None = None
    committed_at: str | None = None
    quarantine: Mapping[str, Any] | None = None
    """Where the rejected rows of this commit lie, in the writer's own terms."""
    source_fingerprint: str | None = None
    """What `StreamReader.fingerprint` said of the source that the state is about."""
    schema_fingerprint: str | None = None
    """The `schema_fingerprint` of the rows that landed last."""
    schema_version: int = 0
    """How many schemas the stream's rows have had; 0 before any landed."""
    keys_compared_at: str | None = None
    """When the table's keys were compared with the source's last."""

    def to_json(self) -> str:
        """Write the state for the target to keep.

        Raises:
            DataError: It is larger than `MAX_STATE_BYTES`.
        """
        document = {"version": _STATE_VERSION, **asdict(self)}
        if self.keys_compared_at is None:
            del document["keys_compared_at"]  # releases that do not know it can read the others
        text = json.dumps(document, separators=(",", ":"), sort_keys=True)
        if len(text.encode()) > MAX_STATE_BYTES:
            raise DataError(
                f"the stream's state takes {len(text.encode())} bytes, at most {MAX_STATE_BYTES} can be committed",
                hint="for file sources, split the stream by folder or pattern so that each follows fewer files",
            )
        return text

    @classmethod
    def from_json(cls, text: str | None) -> CommittedState:
        """Read what `to_json` wrote; None gives the state before the first commit.

        Raises:
            DataFormatError: A release wrote it that this one does not know.
        """
        if text is None:
            return cls()
        document = json.loads(text)
        version = document.pop("version", _STATE_VERSION)
        if version != _STATE_VERSION:
            raise DataFormatError(
                f"the committed state has version {version!r}, this release reads {_STATE_VERSION}",
                hint="use the release that wrote it, or a newer one",
            )
        return cls(**document)


@dataclass(frozen=True)
class PastCommit(CommittedState):
    """A commit of a stream, as its table's history tells; what it does not tell is None."""

    rows: int | None = None
    """How many rows the commit added; rows that it merged count too."""


@dataclass(frozen=True)
class CommitRequest:
    """What one commit must carry beside the rows written since `TableWriter.open`."""

    commit_id: str
    expected_generation: int
    state: State | None
    committed_at: str
    source_fingerprint: str | None = None
    schema_fingerprint: str | None = None
    schema_version: int = 0
    keys_compared_at: str | None = None

    def next_state(self, run_id: str, quarantine: Mapping[str, Any] | None = None) -> CommittedState:
        """Give the state that the target must hold after this commit."""
        return CommittedState(
            generation=self.expected_generation + 1,
            state=self.state,
            commit_id=self.commit_id,
            run_id=run_id,
            committed_at=self.committed_at,
            quarantine=quarantine,
            source_fingerprint=self.source_fingerprint,
            schema_fingerprint=self.schema_fingerprint,
            schema_version=self.schema_version,
            keys_compared_at=self.keys_compared_at,
        )


@dataclass(frozen=True)
class Receipt:
    """What landed, and as which commit; the row counts are None where the target cannot tell."""

    commit_id: str
    generation: int
    snapshot_id: str | None = None
    inserted: int | None = None
    updated: int | None = None
    deleted: int | None = None
    bytes_written: int = 0
    files: int = 0


@dataclass(frozen=True)
class KeyComparison:
    """What became of comparing a table's keys with those that the source has.

    Attributes:
        source_keys: How many keys the source gave.
        table_rows: How many rows of the table have a key and are not marked as deleted.
        absent: How many of those the source has no key for.
        examples: The keys of a few of them, in the table's own types.
    """

    source_keys: int = 0
    table_rows: int = 0
    absent: int = 0
    examples: pa.RecordBatch | None = None


class TableWriter(ABC):
    """One table during one run: ``load_state``, ``open``, ``write`` and ``quarantine`` many times, ``commit`` once.

    Nothing is visible to readers of the table before ``commit``. Without ``open`` a commit moves the state alone.
    """

    keeps_history: ClassVar[bool] = False
    """Whether `history` knows commits before the newest one."""

    @abstractmethod
    def load_state(self) -> CommittedState:
        """Read what the target remembers of this stream; a table that does not exist remembers nothing."""

    def history(self) -> Sequence[CommittedState]:
        """List this stream's commits as far as the target knows them, the newest first; `PastCommit` tells more.

        The default knows the newest one alone.
        """
        newest = self.load_state()
        return [newest] if newest.generation else []

    @abstractmethod
    def open(self, schema: pa.Schema) -> Sequence[str]:
        """Prepare to write batches of exactly this schema; say which changes the table's own schema needs.

        The changes themselves are part of the commit. Missing namespaces may be created here.

        Raises:
            SchemaValidationError: The table cannot take this schema without losing something.
        """

    @abstractmethod
    def write(self, batch: pa.RecordBatch) -> None:
        """Take rows; they are buffered by bytes, never by the table."""

    def delete(self, keys: pa.RecordBatch) -> None:
        """Remove the rows with these keys at the commit; only for tables opened to merge.

        Calls are in order with those of ``write``: a key that is written after it was deleted is there, one that is
        deleted after it was written is gone. A key that the table does not have is no error.

        Args:
            keys: Exactly the columns of the primary key, with the types they have in the opened schema; no null, and no
                key twice.

        Raises:
            PluginExecutionError: The writer cannot delete, as `StreamWriter.deletes_rows` says.
        """
        raise PluginExecutionError(
            f"{type(self).__name__} cannot delete rows, {keys.num_rows} were to be deleted",
            hint="deletes: soft keeps deleted rows and marks them; a target that merges and deletes takes them away",
        )

    def compare_keys(
        self, schema: pa.Schema, keys: Iterator[pa.RecordBatch], *, marked: str | None = None
    ) -> KeyComparison:
        """Find the rows of the table, as it is committed, whose keys the source does not have; nothing is changed.

        A key is the same where a merge would take it for the same. Rows with a null in their key are left out. Where
        the table has no rows, the keys are not asked for. Memory is bounded in bytes, whatever there is on either side.
        Called once, before or after `open`, never within another call.

        Args:
            schema: The stream's columns that make the key, with the types and names that `open` is given.
            keys: Batches of this schema, in any order; none has a null. A key may come twice.
            marked: A boolean column of the table; rows in which it is true are left out.

        Raises:
            PluginExecutionError: The writer cannot compare, as `StreamWriter.compares_keys` says.
        """
        raise PluginExecutionError(
            f"{type(self).__name__} cannot compare keys",
            details={"keys": schema.names, "marked": marked, "of": str(keys)},
        )

    def delete_absent(self, marks: Mapping[str, pa.Scalar[Any]] | None = None) -> None:
        """Remove at the commit the rows that `compare_keys` found; only for tables opened to merge, and once.

        The call is in order with those of ``write``: a key that is written after it is there.

        Args:
            marks: Columns of the opened schema with the values that the rows get; they stay then, with all their other
                values.
        """
        raise PluginExecutionError(f"{type(self).__name__} cannot compare keys", details={"marks": list(marks or ())})

    @abstractmethod
    def quarantine(self, batch: pa.RecordBatch) -> None:
        """Take rejected rows: any one schema per run, all of its columns kept."""

    @abstractmethod
    def commit(self, request: CommitRequest) -> Receipt:
        """Land rows, rejected rows and state as one step, or nothing.

        Raises:
            FencedError: The target's generation is not ``request.expected_generation``.
            CommitStateUnknownError: No answer came, and looking again did not tell.
        """

    @abstractmethod
    def abort(self) -> None:
        """Drop what was written; never called after an unknown commit. May be called twice, and after ``commit``."""


class StreamWriter(VersionedPlugin, ABC):
    """A target as the engine writes it; one instance serves one run and is used from one thread at a time."""

    delivery: ClassVar[Delivery] = "exactly_once"
    write_modes: ClassVar[frozenset[WriteMode]] = frozenset({"append", "overwrite"})
    deletes_rows: ClassVar[bool] = False
    """Whether tables that are opened to merge understand `TableWriter.delete`."""
    compares_keys: ClassVar[bool] = False
    """Whether they understand `TableWriter.compare_keys` and `TableWriter.delete_absent`."""

    def __init__(self, config: TargetConfig) -> None:
        self.config = config

    @abstractmethod
    def check(self, tables: Sequence[TableSpec]) -> Sequence[Check]:
        """List the steps that show whether these tables can be written, ending with a probe that leaves nothing."""

    @abstractmethod
    def table(self, spec: TableSpec) -> TableWriter:
        """Give the writer of one table; nothing is created yet."""

    def care(self, spec: TableSpec) -> Sequence[TableCare] | None:  # noqa: ARG002  for those that can
        """Give what takes care of a table and of its quarantine table, of those that exist.

        None says that this target has no care to give: its tables need none, or somebody else sees to them.
        """
        return None

    def close(self) -> None:
        """Let go of connections; may be called twice."""
