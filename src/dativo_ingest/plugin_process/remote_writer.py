"""A writer plugin in processes of its own, as the engine writes it: of either level, a process for each stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from dativo_ingest.plugin_process.check_steps import run_step
from dativo_ingest.plugin_process.conversation import Conversation
from dativo_ingest.plugin_process.processes import Processes, Seat
from dativo_ingest.plugin_process.starting import Starter
from dativo_ingest.sandbox.endings import UNANSWERED
from dativo_plugin_sdk.asset import AssetDefinition
from dativo_plugin_sdk.config import TargetConfig
from dativo_plugin_sdk.errors import CommitStateUnknownError, DativoError, FencedError, PluginExecutionError
from dativo_plugin_sdk.plugin_files import FileMetadata
from dativo_plugin_sdk.protocol import messages, writer_messages
from dativo_plugin_sdk.protocol.breach import breach
from dativo_plugin_sdk.results import Check, ConnectionTestResult
from dativo_plugin_sdk.simple_writer import FilesWriter, StateStore
from dativo_plugin_sdk.tables import (
    CommitRequest,
    CommittedState,
    KeyComparison,
    Receipt,
    StreamWriter,
    TableSpec,
    TableWriter,
    WriteMode,
)

_Read = TypeVar("_Read")


def remote_writer(starter: Starter, config: TargetConfig, *, states: StateStore, output_base: str) -> StreamWriter:
    """Make the engine's interface to a writer plugin, whose first process starts here.

    Args:
        starter: Makes the processes.
        config: The target, as the job has it.
        states: Where the state of a simple plugin's streams is kept.
        output_base: The folder or URI that a simple plugin's files go under.

    Raises:
        PluginError: It cannot be started, or does something else than to get ready.
        DativoError: The plugin refuses its configuration.
    """
    processes = Processes(starter)
    process = processes.spare()
    spec = starter.spec
    assert spec is not None  # noqa: S101  a process that is ready has said it
    powers = _understood(process, writer_messages.powers_from_json, starter.configured)
    if spec.level == "stream":
        return RemoteWriter(spec.class_name, powers, processes, config)
    files = RemoteFilesPlugin(spec.class_name, powers, processes, output_base)
    return FilesWriter(files, config, states=states)


class RemoteWriter(StreamWriter):
    """A `StreamWriter` plugin.

    Args:
        name: The plugin's class, for messages.
        powers: What it can do, as it says itself.
        processes: Where it runs.
        config: The target, as the job has it.
    """

    def __init__(self, name: str, powers: writer_messages.Powers, processes: Processes, config: TargetConfig) -> None:
        super().__init__(config)
        self.delivery = powers.delivery  # type: ignore[misc]  # the plugin's promise
        self.write_modes = powers.write_modes  # type: ignore[misc]  # what it can do is the plugin's
        self.deletes_rows = powers.deletes_rows  # type: ignore[misc]  # the same
        self.compares_keys = powers.compares_keys  # type: ignore[misc]  # the same
        self._name = name
        self._processes = processes

    def check(self, tables: Sequence[TableSpec]) -> Sequence[Check]:
        """List the plugin's steps; each runs in its process."""
        process = self._processes.spare()
        asked = {"tables": [messages.table_to_json(table) for table in tables]}
        answer = process.ask("check", asked, within="check")
        steps = _understood(process, writer_messages.steps_from_json, answer)
        return [Check(step, partial(run_step, process, number)) for number, step in enumerate(steps)]

    def table(self, spec: TableSpec) -> TableWriter:
        """Give the writer of one table; its process starts with the first thing it is asked."""
        return RemoteTable(self._name, spec, self._processes)

    def close(self) -> None:
        """End the processes."""
        self._processes.close()


class RemoteTable(TableWriter):
    """One table of a `StreamWriter` plugin.

    Args:
        name: The plugin's class, for messages.
        spec: The table.
        processes: Where it runs.
    """

    def __init__(self, name: str, spec: TableSpec, processes: Processes) -> None:
        self._name = name
        self._spec = spec
        self._processes = processes
        self._seat = processes.seat()
        self._made: tuple[Conversation, writer_messages.MadeTable] | None = None

    @property
    def keeps_history(self) -> bool:  # type: ignore[override]  # it is the plugin's table that knows
        """Whether `history` knows commits before the newest one."""
        return self._table(self._seat.process).keeps_history

    def load_state(self) -> CommittedState:
        """Ask the plugin."""
        return self._ask("load_state", messages.committed_state_from_json)

    def history(self) -> Sequence[CommittedState]:
        """Ask the plugin."""
        return self._ask("history", messages.history_from_json)

    def open(self, schema: pa.Schema) -> Sequence[str]:
        """Open the plugin's table; from here on its process is this stream's."""
        self._seat.begin()
        asked = {"schema": messages.schema_to_json(schema)}
        return self._ask("open", writer_messages.changes_from_json, asked, patience="a while")

    def write(self, batch: pa.RecordBatch) -> None:
        """Send rows, and wait until the plugin has taken them."""
        self._ask("write", _nothing, batch=batch, patience="a while")

    def delete(self, keys: pa.RecordBatch) -> None:
        """Send keys, and wait until the plugin has taken them."""
        self._ask("delete", _nothing, batch=keys, patience="a while")

    def quarantine(self, batch: pa.RecordBatch) -> None:
        """Send rejected rows, and wait until the plugin has taken them."""
        self._seat.begin()
        self._ask("quarantine", _nothing, batch=batch, patience="a while")

    def compare_keys(
        self, schema: pa.Schema, keys: Iterator[pa.RecordBatch], *, marked: str | None = None
    ) -> KeyComparison:
        """Let the plugin compare; it asks for each batch of keys."""
        self._seat.begin()
        process = self._seat.process

        def hand_over(event: Mapping[str, Any]) -> None:
            if event["event"] != "next":
                process.refuse(breach("an event that is none of comparing keys"))
            batch = next(keys, None)
            process.say({"type": "batch", "more": batch is not None}, batch)

        asked = {"schema": messages.schema_to_json(schema), "marked": marked}
        return self._ask("compare_keys", messages.key_comparison_from_json, asked, on_event=hand_over)

    def delete_absent(self, marks: Mapping[str, pa.Scalar[Any]] | None = None) -> None:
        """Ask the plugin."""
        self._ask("delete_absent", _nothing, {"marks": messages.marks_to_json(marks)}, patience="a while")

    def commit(self, request: CommitRequest) -> Receipt:
        """Let the plugin commit; where no answer comes, its target is asked through another process.

        Raises:
            PluginExecutionError: The plugin failed, and its target has not moved: nothing landed.
            CommitStateUnknownError: No answer came, and the target does not tell.
            FencedError: Another run has committed.
        """
        self._seat.begin()
        try:
            asked = {"request": messages.commit_request_to_json(request)}
            receipt = self._ask("commit", partial(_receipt_of, request), asked, patience="to the end")
        except UNANSWERED as error:  # it ended, hung, broke the protocol, or raised what nobody foresaw
            receipt = self._look_for(request, error)
        self._seat.rest()
        return receipt

    def abort(self) -> None:
        """Let the plugin drop what was written, and end its process; what is wrong with it then is of no interest."""
        if self._made is not None and self._seat.held is self._made[0] and self._seat.is_busy:
            process, table = self._made
            with suppress(DativoError):  # its process ends all the same
                process.ask("abort", {"table": table.number}, patience="a while")
        self._seat.leave()
        self._made = None

    def _look_for(self, request: CommitRequest, error: DativoError) -> Receipt:
        """Find out whether a commit without an answer landed."""
        other = RemoteTable(self._name, self._spec, self._processes)
        try:
            found = other.load_state()
            past = other.history() if found.generation > request.expected_generation + 1 else ()
        except DativoError as why:
            raise _unknown(
                f"{self._name} gave no answer to its commit ({error}), and looking again failed: {why}", error
            ) from error
        finally:
            other.abort()
        if request.commit_id in {found.commit_id, *(commit.commit_id for commit in past)}:
            return Receipt(request.commit_id, request.expected_generation + 1)
        at = f"{self._spec.name} is at generation {found.generation}"
        if found.generation == request.expected_generation:
            error.message = f"{error.message}; {at} as before: nothing landed"
            raise error
        if found.generation == request.expected_generation + 1:
            raise FencedError(
                f"{at}, this run began at {request.expected_generation}: another run has committed in between",
                details={"generation": found.generation, "expected": request.expected_generation},
            ) from error
        raise _unknown(f"{self._name} gave no answer to its commit ({error}), and {at}", error) from error

    def _ask(
        self, method: str, read: Callable[[Any], _Read], params: Mapping[str, Any] | None = None, **more: Any
    ) -> _Read:
        process = self._seat.process
        asked = {"table": self._table(process).number, **(params or {})}
        return _understood(process, read, process.ask(method, asked, **more))

    def _table(self, process: Conversation) -> writer_messages.MadeTable:
        """Give the table in a process, which makes it where it has not yet."""
        if self._made is None or self._made[0] is not process:
            answer = process.ask("table", {"spec": messages.table_to_json(self._spec)})
            self._made = process, _understood(process, writer_messages.made_table_from_json, answer)
        return self._made[1]


class RemoteFilesPlugin:
    """A `BaseWriter` plugin: its instances write, `FilesWriter` keeps their state.

    Args:
        name: The plugin's class, for messages.
        powers: What it can do, as it says itself.
        processes: Where it runs.
        output_base: The folder or URI that its files go under.
    """

    def __init__(self, name: str, powers: writer_messages.Powers, processes: Processes, output_base: str) -> None:
        self.name = name
        self.is_atomic = powers.delivery == "exactly_once"
        self.write_modes: frozenset[WriteMode] = powers.write_modes
        self._processes = processes
        self._output_base = output_base
        self._seats: dict[str, tuple[Seat, list[RemoteFiles]]] = {}
        """Of each stream its place, and its instances: of a table and of its quarantine."""

    def files(self, spec: TableSpec, schema: pa.Schema) -> RemoteFiles:
        """Make an instance, in the process of its stream."""
        seat, together = self._seats.get(spec.stream, (None, []))
        if seat is None or (seat.held is not None and seat.held.is_over):  # what was in that process is lost
            seat, together = self._seats[spec.stream] = (self._processes.seat(), [])
        files = RemoteFiles(self, seat.process, spec.stream)
        together.append(files)
        seat.begin()
        try:
            files.make(AssetDefinition.of(spec, schema), self._output_base, spec.buffer_bytes)
        except DativoError:
            files.close()
            raise
        return files

    def close(self) -> None:
        """End the processes."""
        self._processes.close()

    def left(self, files: RemoteFiles, stream: str) -> None:
        """Let the process go with the last of a stream's instances."""
        seat, together = self._seats.get(stream, (None, []))
        if seat is not None and files in together:
            together.remove(files)
            if not together:
                del self._seats[stream]
                seat.leave()


class RemoteFiles:
    """One instance of a `BaseWriter` plugin; `make` comes first.

    Args:
        plugin: Whose it is.
        process: Where it runs.
        stream: Which stream it is for.
    """

    def __init__(self, plugin: RemoteFilesPlugin, process: Conversation, stream: str) -> None:
        self._plugin = plugin
        self._process = process
        self._stream = stream
        self._number = 0

    def make(self, asset: AssetDefinition, output_base: str, buffer_bytes: int) -> None:
        """Have the plugin make it."""
        asked = {
            "asset": writer_messages.asset_to_json(asset),
            "output_base": output_base,
            "buffer_bytes": buffer_bytes,
        }
        answer = self._process.ask("instance", asked)
        self._number = _understood(self._process, writer_messages.made_instance_from_json, answer)

    def check_connection(self) -> ConnectionTestResult:
        """Ask the plugin."""
        return self._ask("check_connection", messages.connection_test_from_json, within="check")

    def write(self, batch: pa.RecordBatch) -> list[FileMetadata]:
        """Send rows, and wait for what the plugin says it wrote."""
        return self._ask("write_batch", writer_messages.files_from_json, batch=batch, patience="a while")

    def commit(self, metadata: list[FileMetadata]) -> str | None:
        """Let the plugin make files visible.

        Raises:
            CommitStateUnknownError: An atomic plugin gave no answer: its files are visible, all of them, or none.
        """
        try:
            asked = {"metadata": metadata}
            return self._ask("commit_files", writer_messages.snapshot_id_from_json, asked, patience="to the end")
        except UNANSWERED as error:
            if not (self._plugin.is_atomic and self._process.is_over):
                raise
            raise _unknown(
                f"{self._plugin.name} gave no answer to its commit: {error}",
                error,
                hint="run again: the next run finishes this commit before anything else",
            ) from error

    def close(self) -> None:
        """Let go of the instance, and with the last one of the process."""
        self._plugin.left(self, self._stream)

    def _ask(
        self, method: str, read: Callable[[Any], _Read], params: Mapping[str, Any] | None = None, **more: Any
    ) -> _Read:
        asked = {"instance": self._number, **(params or {})}
        return _understood(self._process, read, self._process.ask(method, asked, **more))


def _understood(process: Conversation, read: Callable[[Any], _Read], answer: Any) -> _Read:
    """Read an answer; one that is none ends the process."""
    try:
        return read(answer)
    except PluginExecutionError as error:
        process.refuse(error)


def _nothing(_answer: Any) -> None:
    """Read an answer that says no more than that it is one."""


def _receipt_of(request: CommitRequest, answer: Any) -> Receipt:
    receipt = messages.receipt_from_json(answer)
    if (receipt.commit_id, receipt.generation) != (request.commit_id, request.expected_generation + 1):
        raise breach("a receipt of another commit")
    return receipt


def _unknown(text: str, error: DativoError, hint: str | None = None) -> CommitStateUnknownError:
    return CommitStateUnknownError(
        text, details={"error_code": error.error_code, **error.details}, hint=hint or "look at the target"
    )
