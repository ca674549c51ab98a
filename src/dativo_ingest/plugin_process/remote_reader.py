"""A reader plugin in processes of its own, as the engine reads it: one for each stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

import pyarrow as pa

from dativo_ingest.plugin_process.check_steps import run_step
from dativo_ingest.plugin_process.conversation import Conversation, Within
from dativo_ingest.plugin_process.processes import Processes, Seat
from dativo_ingest.plugin_process.starting import Starter
from dativo_plugin_sdk.capabilities import Capability
from dativo_plugin_sdk.config import SourceConfig
from dativo_plugin_sdk.errors import PluginError
from dativo_plugin_sdk.migrations import check_state_version
from dativo_plugin_sdk.protocol import messages
from dativo_plugin_sdk.protocol.json_values import Shape, texts
from dativo_plugin_sdk.results import Check, DiscoveryResult
from dativo_plugin_sdk.streams import Message, Partition, State, StreamReader, StreamSpec

Value = TypeVar("Value")

_STEPS = Shape("the steps of a check", {"steps": texts}, {})


class RemoteReader(StreamReader):
    """A plugin of either level: what its class leaves to `StreamReader`'s defaults is not asked for.

    A process starts at once, and gets ready while the engine does other things. It answers what is asked of no stream,
    and reads the first one; each other stream has one of its own when its turn comes.

    Args:
        config: The source, as the job has it.
        starter: Makes the processes.
    """

    def __init__(self, config: SourceConfig, starter: Starter) -> None:
        super().__init__(config)
        self._starter = starter
        self._processes = Processes(starter)
        self._seats: dict[str, Seat] = {}
        starter.begin()

    @property
    def capabilities(self) -> frozenset[Capability]:  # type: ignore[override]  # they are the plugin's
        """What the plugin says that it can do."""
        return frozenset(each for each in Capability if each in self._spec.capabilities)

    def check(self, streams: Sequence[StreamSpec]) -> Sequence[Check]:
        """List the plugin's steps; each runs in its process."""
        process = self._processes.spare()
        asked = {"streams": [messages.stream_to_json(stream) for stream in streams]}
        steps = _read(process, process.ask("check", asked, within="check"), lambda value: _STEPS.of(value)["steps"])
        return [Check(step, partial(run_step, process, number)) for number, step in enumerate(steps)]

    def discover(self, pattern: str | None = None) -> DiscoveryResult:
        """Ask the plugin."""
        asked = {"pattern": pattern}
        return self._ask(None, "discover", asked, messages.discovery_from_json, within="discover")

    def streams(self) -> Mapping[str, Mapping[str, Any]]:
        """Ask the plugin, or what it discovers."""
        if not self._has("streams"):
            return super().streams()
        return self._ask(None, "streams", {}, messages.streams_from_json, within="discover")

    def prepare(self, streams: Sequence[StreamSpec]) -> None:
        """Let the plugin look up together what it will be asked of each."""
        if self._has("prepare"):
            asked = {"streams": [messages.stream_to_json(stream) for stream in streams]}
            self._ask(None, "prepare", asked, lambda _: None, within="discover")

    def schema(self, stream: StreamSpec) -> pa.Schema:
        """Ask the plugin."""
        return self._ask(stream, "schema", {}, messages.schema_from_json)

    def source_schema(self, stream: StreamSpec) -> pa.Schema | None:
        """Ask the plugin."""
        if not self._has("source_schema"):
            return None
        return self._ask(
            stream, "source_schema", {}, lambda value: None if value is None else messages.schema_from_json(value)
        )

    def partitions(self, stream: StreamSpec, state: State | None) -> Sequence[Partition]:
        """Ask the plugin."""
        if not self._has("partitions"):
            return super().partitions(stream, state)
        asked = {"state": self._known(stream, state)}
        return self._ask(stream, "partitions", asked, messages.partitions_from_json)

    def warnings(self, stream: StreamSpec) -> Sequence[str]:
        """Ask the plugin."""
        if not self._has("warnings"):
            return ()
        return self._ask(stream, "warnings", {}, partial(messages.texts_from_json, what="warnings"))

    def fingerprint(self, stream: StreamSpec) -> str | None:
        """Ask the plugin."""
        if not self._has("fingerprint"):
            return None
        return self._ask(stream, "fingerprint", {}, partial(messages.optional_text_from_json, what="a fingerprint"))

    def read(self, stream: StreamSpec, partition: Partition, state: State | None) -> Iterator[Message]:
        """Read in the stream's own process.

        Closed before the end, it has the plugin leave off. So it does where nobody takes any more what it reads, which
        the thread that reads does not know while it waits for the plugin.

        Raises:
            PluginVersionError: A newer release of the plugin made the state; nothing was read.
        """
        asked = {
            "stream": messages.stream_to_json(stream),
            "partition": messages.partition_to_json(partition),
            "state": self._known(stream, state),
        }
        seat = self._seat(stream)
        process = seat.process
        seat.begin()
        events = process.converse("read", asked, is_left=self._starter.hosted.is_left)
        try:
            for event in events:
                yield _read(process, event, lambda value: messages.message_of(value, process.receive))
        finally:
            events.close()
            seat.rest()

    def acknowledge(self, stream: StreamSpec, state: State) -> None:
        """Let the plugin tell its source."""
        if self._has("acknowledge"):
            self._ask(stream, "acknowledge", {"state": self._known(stream, state)}, lambda _: None)

    def close(self) -> None:
        """End the processes."""
        self._starter.close()
        self._processes.close()

    @property
    def _spec(self) -> messages.PluginSpec:
        if self._starter.spec is None:
            self._processes.spare()
        assert self._starter.spec is not None  # noqa: S101  the process has said it
        return self._starter.spec

    def _known(self, stream: StreamSpec, state: State | None) -> Any:
        """Write a state for the plugin, which is never asked about one that a newer release of it made."""
        if state is not None:
            title = f"{self._starter.plugin.title} {self._starter.hosted.record.version}"
            check_state_version(state, self._spec.state_version, stream=stream.name, plugin=title)
        return messages.state_to_json(state)

    def _has(self, method: str) -> bool:
        return method in self._spec.methods

    def _seat(self, stream: StreamSpec) -> Seat:
        if stream.name not in self._seats:
            self._seats[stream.name] = self._processes.seat()
        return self._seats[stream.name]

    def _ask(
        self,
        stream: StreamSpec | None,
        method: str,
        params: Mapping[str, Any],
        as_value: Callable[[Any], Value],
        *,
        within: Within = "idle",
    ) -> Value:
        process = self._processes.spare() if stream is None else self._seat(stream).process
        about = {} if stream is None else {"stream": messages.stream_to_json(stream)}
        return _read(process, process.ask(method, {**about, **params}, within=within), as_value)


def _read(process: Conversation, answer: Any, as_value: Callable[[Any], Value]) -> Value:
    """Take an answer; one that is not what was asked for ends the process."""
    try:
        return as_value(answer)
    except PluginError as error:
        process.refuse(error)
