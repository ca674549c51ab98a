"""The streams of one database, with the session that serves them: what is the same for every kind of database."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Generic, Protocol, TypeVar

import pyarrow as pa

from dativo_ingest.databases.cursor_state import CursorState
from dativo_ingest.databases.failures import DatabaseFailures
from dativo_ingest.databases.following import FollowedCursor, Following, SelectionT, SessionT
from dativo_ingest.databases.relations import DatabaseRelation
from dativo_ingest.databases.selection import RelationT
from dativo_ingest.databases.settling import Waiting
from dativo_plugin_sdk import (
    DataValidationError,
    DiscoveryResult,
    Message,
    Partition,
    Rows,
    State,
    StateChanged,
    StreamSpec,
    Warned,
)

SessionT_contra = TypeVar("SessionT_contra", contravariant=True)
RelationT_co = TypeVar("RelationT_co", bound=DatabaseRelation[Any], covariant=True)


class Discovery(Protocol[SessionT_contra, RelationT_co]):
    """What is there to read: a module of functions that are told a session with no transaction under way."""

    def discover(self, session: SessionT_contra, pattern: str | None = None) -> DiscoveryResult:
        """List the tables and views that the user may read, as discover tells of them."""

    def stream_names(self, session: SessionT_contra) -> list[str]:
        """Name the tables and views that the user may read."""

    def find_listed(self, session: SessionT_contra, names: Sequence[str]) -> Mapping[str, RelationT_co]:
        """Find what names mean; those that mean nothing that can be read are left out."""


class StreamOptions(Protocol):
    """What a job says of a stream, as far as it is the same for every kind of database."""

    @property
    def extra_columns(self) -> str:
        """Say what to do with columns that the contract does not know: ``ignore`` or ``fail``."""

    @property
    def writers_timeout_s(self) -> float:
        """Say how long to wait for those who write."""


class News(Protocol):
    """What is new of a stream, and the state that it comes to: `Following` has it, or a database's own way."""

    @property
    def conditions(self) -> Sequence[str]:
        """Give what new rows meet."""

    @property
    def warnings(self) -> Sequence[str]:
        """Give what the report must say."""

    def see(self, batch: pa.RecordBatch) -> None:
        """Take note of rows that were read."""

    def reached(self) -> State | None:
        """Give the state after the last row; None where there is nothing to know."""


class StreamReading(Protocol):
    """A stream on its way."""

    @property
    def warnings(self) -> Sequence[str]:
        """Give what the report must say, known after the last row."""

    def rows(self) -> Generator[Rows, None, None]:
        """Give the rows, in no order."""

    def cancel(self) -> None:
        """End what the sessions do."""


class DatabaseStreams(ABC, Generic[SessionT, RelationT, SelectionT]):
    """What can be read of a database, for one run and one thread.

    Args:
        options: The source's options, which a stream's own go before.

    Attributes:
        failures: What the source makes of errors.
        discovery: What there is to read.
    """

    failures: DatabaseFailures[Any]
    discovery: Discovery[SessionT, RelationT]

    def __init__(self, options: Mapping[str, Any]) -> None:
        self._written = options
        self._stop = threading.Event()
        self._shared: SessionT | None = None
        self._running: StreamReading | None = None
        self._identity: str | None = None
        self._relations: dict[str, RelationT] = {}
        self._selections: dict[str, SelectionT] = {}

    def discover(self, pattern: str | None = None) -> DiscoveryResult:
        """List the tables and views that the user may read."""
        with self.failures.translated("discover"):
            return self.discovery.discover(self._session(), pattern)

    def names(self) -> list[str]:
        """List the tables and views that the user may read."""
        with self.failures.translated("discover"):
            return self.discovery.stream_names(self._session())

    def prepare(self, streams: Sequence[StreamSpec]) -> None:
        """Look up what the streams' names mean, by a handful of queries for all of them."""
        with self.failures.translated("discover"):
            names = [stream.name for stream in streams if "query" not in stream.options]
            self._relations.update(self.discovery.find_listed(self._session(), names))

    def schema(self, stream: StreamSpec) -> pa.Schema:
        """Give the columns that the stream selects, of the types that keep every value."""
        return pa.schema([column.field for column in self._selection(stream).columns])

    def partitions(self, stream: StreamSpec, state: State | None) -> Sequence[Partition]:
        """Give one: what is read side by side shares one image, and is one message to the engine."""
        selection = self._selection(stream)
        relation = selection.relation
        if stream.mode == "incremental":
            self._require_followable(stream, selection)
            CursorState.of(stream, state)
        whole = relation is not None and not selection.conditions and stream.mode == "full_refresh"
        return [Partition(stream.name, rows=relation.rows if whole and relation is not None else None)]

    def warnings(self, stream: StreamSpec) -> Sequence[str]:
        """Say what reading leaves out without an error."""
        relation = self._selection(stream).relation
        return [] if relation is None else list(self._doubts(relation))

    def fingerprint(self) -> str:
        """Know the source by the server's own identifier, where it tells it, and the database."""
        if self._identity is None:
            self._identity = self._identify(self._session())
        return self._identity

    def read(self, stream: StreamSpec, state: State | None) -> Iterator[Message]:
        """Read the stream; the state follows its last row.

        Raises:
            DativoError: The server or the connection failed; trying again helps where the error says so.
        """
        selection = self._selection(stream)
        yield from self._note_extra_columns(stream, selection)
        news: News | None = None
        if stream.mode == "incremental":
            if stream.cursor_from is not None or stream.cursor_to is not None:
                self._require_followable(stream, selection)
                selection = selection.where(*self._range(stream, selection))
            else:
                news = self._news(stream, selection, CursorState.of(stream, state))
                yield from (Warned(text) for text in news.warnings)
                selection = selection.where(*news.conditions)
        self._running = self._reading(stream, selection)
        with closing(self._running.rows()) as found:
            for rows in found:
                if news is not None:
                    news.see(rows.batch)
                yield rows
        yield from (Warned(text) for text in self._running.warnings)
        if news is not None and (reached := news.reached()) is not None:
            yield StateChanged(reached)

    def close(self) -> None:
        """End what is being read, and let go of connections; may be called twice."""
        self._stop.set()
        if self._running is not None:
            self._running.cancel()
        if self._shared is not None:
            self._let_go(self._shared)
        self._shared = None

    def _selection(self, stream: StreamSpec) -> SelectionT:
        found = self._selections.get(stream.name)
        if found is None:
            with self.failures.translated(stream.name):
                found = self._select(self._session(), stream, self._relations.pop(stream.name, None))
            self._selections[stream.name] = found
        return found

    def _note_extra_columns(self, stream: StreamSpec, selection: SelectionT) -> Iterator[Message]:
        known = {column.name for column in selection.columns} if stream.schema is None else set(stream.schema.names)
        extra = [column.name for column in selection.columns if column.name not in known]
        if not extra or stream.columns is not None:
            return
        text = f"{selection.title} has columns that are not in the schema: {', '.join(extra)}"
        if self._options(stream).extra_columns == "fail":
            raise DataValidationError(text, hint="add them to the contract, or set extra_columns: ignore")
        yield Warned(f"{text}; they are left out")

    def _news(self, stream: StreamSpec, selection: SelectionT, state: CursorState | None) -> News:
        """Find out what is new, before the image that is read is taken."""
        with self.failures.translated(stream.name):
            followed = self._followed(self._session(), stream, selection)
            as_arrow = any(each.name == followed.name and not each.as_text for each in selection.read_as(stream.schema))
            waiting = Waiting(followed.still_open, self._stop.wait, self._options(stream).writers_timeout_s)
            return Following(followed, stream, state, as_arrow=as_arrow, waiting=waiting)

    def _require_followable(self, stream: StreamSpec, selection: SelectionT) -> None:
        """See to it that the stream has what it follows.

        Raises:
            InvalidConfigError: It has not.
        """
        selection.followed(stream)

    def _session(self) -> SessionT:
        if self._shared is None or not self._is_open(self._shared):
            self._shared = self._open()
        return self._shared

    # What each kind of database does in its own way. A session that is given has no transaction under way.

    @abstractmethod
    def _open(self) -> SessionT:
        """Open a session."""

    @abstractmethod
    def _is_open(self, session: SessionT) -> bool:
        """Say whether the session is still there."""

    @abstractmethod
    def _let_go(self, session: SessionT) -> None:
        """Close the session."""

    @abstractmethod
    def _doubts(self, relation: RelationT) -> Iterable[str]:
        """Say what reading leaves out without an error."""

    @abstractmethod
    def _identify(self, session: SessionT) -> str:
        """Tell the server and the database from all others."""

    @abstractmethod
    def _options(self, stream: StreamSpec) -> StreamOptions:
        """Merge what the source and a stream say; the stream goes first."""

    @abstractmethod
    def _select(self, session: SessionT, stream: StreamSpec, known: RelationT | None) -> SelectionT:
        """Find what a stream selects; ``known`` is what its name means, where that has been found already."""

    @abstractmethod
    def _followed(
        self, session: SessionT, stream: StreamSpec, selection: SelectionT
    ) -> FollowedCursor[Any, Any, Any]: ...

    @abstractmethod
    def _range(self, stream: StreamSpec, selection: SelectionT) -> Sequence[str]:
        """Ask for the range of the cursor that a run is limited to."""

    @abstractmethod
    def _reading(self, stream: StreamSpec, selection: SelectionT) -> StreamReading:
        """Prepare to read what is selected."""
