"""The steps of a check of a source: does the server let the user in, and may the user read each stream?"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, Generic

from dativo_ingest.databases.cursors import require_known
from dativo_ingest.databases.failures import DatabaseFailures
from dativo_ingest.databases.following import SelectionT, SessionT, UpperBound, open_transactions
from dativo_ingest.databases.way_in import WayIn, passed
from dativo_plugin_sdk import Check, ConnectionTestResult, StreamSpec, TimeoutError


class DatabaseChecks(ABC, Generic[SessionT, SelectionT]):
    """The steps of one check; the session that one of them opens serves those after it.

    Args:
        way_in: The steps to a session.
        streams: What is to be read.
        selected: Finds what a stream selects.

    Attributes:
        failures: What the source makes of errors.
        read_timeout_s: How long the first row may take.
        lock_timeout_s: How long to wait for those who hold the table.
    """

    failures: DatabaseFailures[Any]
    read_timeout_s: float = 30
    lock_timeout_s: float = 5

    def __init__(
        self,
        way_in: WayIn[SessionT],
        streams: Sequence[StreamSpec],
        selected: Callable[[SessionT, StreamSpec], SelectionT],
    ) -> None:
        self._way_in = way_in
        self._streams = streams
        self._selected = selected
        self._selections: dict[str, SelectionT] = {}

    def steps(self) -> list[Check]:
        """List the steps in order."""
        return [
            *self._way_in.steps(),
            Check("database", partial(self._at_the_server, self._database)),
            *self._about_streams(),
        ]

    def close(self) -> None:
        """Let go of the session; may be called twice."""
        self._way_in.close()

    def _about_streams(self) -> Iterator[Check]:
        if not self._streams:
            yield Check("permission", partial(self._at_the_server, self._anything))
        for stream in self._streams:
            yield Check(f"permission {stream.name}", partial(self._permission, stream))
            yield Check(f"read {stream.name}", partial(self._read, stream))
        if any(stream.mode == "incremental" for stream in self._streams):
            yield Check("open transactions", partial(self._at_the_server, self._open_transactions))

    def _at_the_server(self, ask: Callable[[SessionT], ConnectionTestResult]) -> ConnectionTestResult:
        session = self._way_in.session()
        with self.failures.translated(self._way_in.place):
            return ask(session)

    def _permission(self, stream: StreamSpec) -> ConnectionTestResult:
        session = self._way_in.session()
        with self.failures.translated(stream.name):
            selection = self._selected(session, stream)
        self._selections[stream.name] = selection
        if stream.mode == "incremental":
            self._require_cursor(stream, selection)
        relation = selection.relation
        if relation is None:
            return passed("the query is one that the server takes", columns=len(selection.columns))
        told = list(self._doubts(relation))
        if told:
            return passed("; ".join(told), warning=True)
        return passed(
            f"{self._way_in.user()} may read the {relation.kind}",
            columns=len(relation.columns),
            estimated_rows=relation.rows,
        )

    def _require_cursor(self, stream: StreamSpec, selection: SelectionT) -> None:
        require_known(stream, selection.title, selection.columns, selection.relation)
        selection.followed(stream)

    def _read(self, stream: StreamSpec) -> ConnectionTestResult:
        session = self._way_in.session()
        selection = self._selections[stream.name]
        select = selection.select(selection.read_as(stream.schema))
        try:
            with self.failures.translated(stream.name):
                count = self._count(session, f"{select} LIMIT 1")
        except TimeoutError:
            return passed(f"no row came within {self.read_timeout_s:g} s, which a large view may need", warning=True)
        return passed("one row was read" if count else "there are no rows")

    def _open_transactions(self, session: SessionT) -> ConnectionTestResult:
        """See whether open transactions show: incremental runs leave for later what one may still commit."""
        return open_transactions(self._upper_bound(session))

    # What each kind of database does in its own way.

    @abstractmethod
    def _database(self, session: SessionT) -> ConnectionTestResult:
        """Say what the session is in."""

    @abstractmethod
    def _anything(self, session: SessionT) -> ConnectionTestResult:
        """See that the user may read anything at all."""

    @abstractmethod
    def _doubts(self, relation: Any) -> Iterable[str]:
        """Say what reading a relation leaves out without an error."""

    @abstractmethod
    def _count(self, session: SessionT, statement: str) -> int:
        """Run a query and give the number of its rows; for as long as it may take."""

    @abstractmethod
    def _upper_bound(self, session: SessionT) -> UpperBound:
        """Find how far times may be read."""
