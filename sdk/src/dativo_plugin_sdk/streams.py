"""The reader side of the engine's interface: streams, partitions, and batches interleaved with state.

`BaseReader` is all that a simple plugin needs; `StreamReader` is what the engine talks to, and what built-in connectors
implement. `dativo_plugin_sdk.simple_reader` turns the first into the second.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, ClassVar, Literal, TypeAlias

import pyarrow as pa

from dativo_plugin_sdk.capabilities import Capability
from dativo_plugin_sdk.config import SourceConfig
from dativo_plugin_sdk.results import Check, DiscoveryResult
from dativo_plugin_sdk.versioned import VersionedReader

ReadMode: TypeAlias = Literal["full_refresh", "incremental", "cdc"]
State: TypeAlias = dict[str, Any]
"""Where reading stopped: JSON values, small, with a ``version`` of the reader's own."""


@dataclass(frozen=True)
class Watermark:
    """How far a run follows the cursor of an incremental stream, and how far it goes back."""

    lag: timedelta = timedelta(0)
    """How much of the newest rows is left for later runs, beyond what the source itself finds to be unsafe."""
    lookback: timedelta | int | None = None
    """How far before the state to read again: a time, or a number where the cursor is one."""
    max_lag: timedelta | None = None
    """For how long others may hold the run back before it is an error."""


@dataclass(frozen=True)
class StreamSpec:
    """One stream as a job asks for it."""

    name: str
    mode: ReadMode = "full_refresh"
    cursor: str | None = None
    primary_key: tuple[str, ...] = ()
    schema: pa.Schema | None = None
    """What the rows must become: the contract's schema, else what `StreamReader.schema` found; None until known."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """The reader's own options of this stream, such as ``path``; they go before the source's."""
    batch_bytes: int = 32 * 2**20
    """About how large a batch should be; a single row may be larger."""
    parallelism: int = 1
    """How many threads the reader may keep busy."""
    cursor_from: str | None = None
    """Read only rows whose cursor is this or beyond, as text of the column's type; there is no state then."""
    cursor_to: str | None = None
    """Read only rows whose cursor is below this."""
    columns: tuple[str, ...] | None = None
    """Read these columns alone, which are those of ``schema``, and warn of no others; ``mode`` is full_refresh then."""
    watermark: Watermark = field(default_factory=Watermark)
    """Other than the default only for readers with ``Capability.WATERMARK``."""


@dataclass(frozen=True)
class Partition:
    """A part of a stream that can be read on its own; ``detail`` is JSON values of the reader's own."""

    id: str
    detail: Mapping[str, Any] = field(default_factory=dict)
    size_bytes: int | None = None
    rows: int | None = None


@dataclass(frozen=True)
class Rows:
    """Rows read, in whatever types the source has: the engine conforms them to the stream's schema.

    ``first_line`` is the line (from 1) of the first row where rows and lines of ``source`` go in step, else None, and
    then ``lines`` may give each row's line; ``source_bytes`` is how much of the source the batch used up.
    """

    batch: pa.RecordBatch
    source: str | None = None
    first_line: int | None = None
    source_bytes: int = 0
    lines: pa.Array[Any] | None = None


@dataclass(frozen=True)
class Rejected:
    """Rows that could not be parsed; ``batch`` has the schema `dativo_plugin_sdk.rejects.REJECTED_SCHEMA`."""

    batch: pa.RecordBatch


@dataclass(frozen=True)
class Skipped:
    """Rows read and left out on purpose, with the reason; they are counted in the report."""

    rows: int
    reason: str


@dataclass(frozen=True)
class StateChanged:
    """The stream's whole new state, true once everything yielded before it is committed."""

    state: State


@dataclass(frozen=True)
class Warned:
    """Something the report must say; reading goes on."""

    message: str


Message: TypeAlias = Rows | Rejected | Skipped | StateChanged | Warned


class StreamReader(VersionedReader, ABC):
    """A source as the engine reads it; one instance serves one run and is used from one thread at a time.

    A configuration that is wrong is refused in ``__init__`` with `InvalidConfigError`, through `parse`.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset()

    def __init__(self, config: SourceConfig) -> None:
        self.config = config

    @abstractmethod
    def check(self, streams: Sequence[StreamSpec]) -> Sequence[Check]:
        """List the steps that show whether these streams can be read, from reachability to reading a sample."""

    @abstractmethod
    def discover(self, pattern: str | None = None) -> DiscoveryResult:
        """List what there is to read, with columns and types; ``pattern`` is a glob over names."""

    @abstractmethod
    def schema(self, stream: StreamSpec) -> pa.Schema:
        """Find one stream's schema.

        Raises:
            DataNotFoundError: There is no such stream.
        """

    def source_schema(self, stream: StreamSpec) -> pa.Schema | None:  # noqa: ARG002
        """Give the columns as the source declares them, whatever a contract makes of them.

        The metadata of a field says which type the column has there, ``dativo.source_type``, and how well that comes
        over, ``dativo.fidelity``. None where the source declares no types, which is the default.
        """
        return None

    @abstractmethod
    def read(self, stream: StreamSpec, partition: Partition, state: State | None) -> Iterator[Message]:
        """Read one partition from ``state`` on; memory stays bounded by ``stream.batch_bytes``."""

    def streams(self) -> Mapping[str, Mapping[str, Any]]:
        """Give the names a job's glob can pick from, each with the stream options that it stands for."""
        return {str(item["name"]): {} for item in self.discover().objects}

    def prepare(self, streams: Sequence[StreamSpec]) -> None:
        """Look up together what `schema` will be asked of one stream after the other; the default waits for that.

        What is wrong with a stream is not told here but by `schema`.

        Raises:
            DativoError: The source cannot be asked at all.
        """

    def partitions(self, stream: StreamSpec, state: State | None) -> Sequence[Partition]:  # noqa: ARG002
        """Split what is to be read; an empty sequence says that nothing is new."""
        return [Partition(id=stream.name)]

    def warnings(self, stream: StreamSpec) -> Sequence[str]:  # noqa: ARG002
        """Give what `partitions` noticed and the report must say, also where nothing is new."""
        return ()

    def fingerprint(self, stream: StreamSpec) -> str | None:  # noqa: ARG002
        """Say which source a stream's state is about, through `dativo_plugin_sdk.fingerprints.fingerprint`.

        It is committed with the state. A run that meets another one warns that the state was made with another source,
        and goes on from it. No credentials belong in it, nor what changes without the source being another one. The
        default cannot tell.
        """
        return None

    def acknowledge(self, stream: StreamSpec, state: State) -> None:
        """Tell the source that ``state`` is committed; the default has nobody to tell.

        Called after the commit, and again by each later run that reads on from the state, before it reads: a run may
        have died between its commit and this. So it must be harmless to be told the same twice, or an older state than
        was told before, which a target restored from a copy has. ``stream.schema`` may be None.

        Raises:
            DativoError: The source could not be told. The commit stands, the run fails, and the next one tries again.
        """

    def close(self) -> None:
        """Let go of connections; may be called twice."""
