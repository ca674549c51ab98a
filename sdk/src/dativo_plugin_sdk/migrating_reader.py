"""A reader whose states carry their version: what stands between the engine, or the wire, and a reader's own states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from dativo_plugin_sdk.migrations import stamped, state_for
from dativo_plugin_sdk.results import Check, DiscoveryResult
from dativo_plugin_sdk.streams import Message, Partition, State, StateChanged, StreamReader, StreamSpec
from dativo_plugin_sdk.versioned import VersionedReader


class MigratingReader(StreamReader):
    """A reader as it is, but for states: those it is given are checked and migrated, those it makes are stamped.

    Args:
        reader: The reader.
        plugin: The class that knows the states' version: the reader's own, or the simple plugin's that it adapts.
    """

    def __init__(self, reader: StreamReader, plugin: type[VersionedReader]) -> None:
        super().__init__(reader.config)
        self.capabilities = reader.capabilities  # type: ignore[misc]  # what it can do is the reader's
        self._reader = reader
        self._plugin = plugin
        self._last: tuple[State, State] | None = None

    def check(self, streams: Sequence[StreamSpec]) -> Sequence[Check]:
        """Pass on."""
        return self._reader.check(streams)

    def discover(self, pattern: str | None = None) -> DiscoveryResult:
        """Pass on."""
        return self._reader.discover(pattern)

    def schema(self, stream: StreamSpec) -> pa.Schema:
        """Pass on."""
        return self._reader.schema(stream)

    def source_schema(self, stream: StreamSpec) -> pa.Schema | None:
        """Pass on."""
        return self._reader.source_schema(stream)

    def read(self, stream: StreamSpec, partition: Partition, state: State | None) -> Iterator[Message]:
        """Read from the state as the reader knows it.

        Raises:
            PluginVersionError: The state cannot be taken over; nothing was read.
        """
        for message in self._reader.read(stream, partition, self._state(stream, state)):
            yield StateChanged(stamped(self._plugin, message.state)) if isinstance(message, StateChanged) else message

    def streams(self) -> Mapping[str, Mapping[str, Any]]:
        """Pass on."""
        return self._reader.streams()

    def prepare(self, streams: Sequence[StreamSpec]) -> None:
        """Pass on."""
        self._reader.prepare(streams)

    def partitions(self, stream: StreamSpec, state: State | None) -> Sequence[Partition]:
        """Split what is to be read from the state as the reader knows it.

        Raises:
            PluginVersionError: The state cannot be taken over; nothing was read.
        """
        return self._reader.partitions(stream, self._state(stream, state))

    def warnings(self, stream: StreamSpec) -> Sequence[str]:
        """Pass on."""
        return self._reader.warnings(stream)

    def fingerprint(self, stream: StreamSpec) -> str | None:
        """Pass on."""
        return self._reader.fingerprint(stream)

    def acknowledge(self, stream: StreamSpec, state: State) -> None:
        """Tell the source of the state as the reader knows it."""
        self._reader.acknowledge(stream, self._known(stream, state))

    def close(self) -> None:
        """Pass on."""
        self._reader.close()

    def _state(self, stream: StreamSpec, state: State | None) -> State | None:
        return None if state is None else self._known(stream, state)

    def _known(self, stream: StreamSpec, state: State) -> State:
        """Migrate a state once, however often it is handed in."""
        if self._last is None or self._last[0] != state:
            self._last = (state, state_for(self._plugin, state, stream=stream.name))
        return self._last[1]
