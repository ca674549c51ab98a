"""A reader plugin that tries to get out: every step of its check is an attempt."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

import attempts
import on_files  # noqa: F401  it adds its own, as the next ones do
import on_kernel  # noqa: F401
import on_limits  # noqa: F401
import on_network  # noqa: F401
import on_others  # noqa: F401
import on_tenants
import pyarrow as pa

from dativo_plugin_sdk import DiscoveryResult, Message, Partition, State, StreamReader, StreamSpec
from dativo_plugin_sdk.results import Check, ConnectionTestResult


class Escaping(StreamReader):
    """Makes the attempts that ``connection.attempts`` names, or is a neighbour for others' attempts."""

    def check(self, streams: Sequence[StreamSpec]) -> Sequence[Check]:
        """Make an attempt in each step."""
        if self.config.connection.get("neighbour"):
            return [Check("neighbour", self._be_neighbour), Check("met", self._met)]
        return [Check(name, partial(self._make, name)) for name in self.config.connection["attempts"]]

    def _make(self, name: str) -> ConnectionTestResult:
        outcome = attempts.made(name, self.config.connection)
        return ConnectionTestResult(success=outcome.through, message=outcome.why, details=outcome.__dict__)

    def _be_neighbour(self) -> ConnectionTestResult:
        self._neighbour = on_tenants.Neighbour(self.config.connection["secret"])
        return ConnectionTestResult(success=True, message="", details=self._neighbour.places)

    def _met(self) -> ConnectionTestResult:
        return ConnectionTestResult(success=True, message="", details={"met": self._neighbour.met()})

    def discover(self, pattern: str | None = None) -> DiscoveryResult:
        """Offer nothing."""
        return DiscoveryResult([])

    def schema(self, stream: StreamSpec) -> pa.Schema:
        """Have no columns."""
        return pa.schema([])

    def partitions(self, stream: StreamSpec, state: State | None) -> Sequence[Partition]:
        """Have no rows."""
        return []

    def read(self, stream: StreamSpec, partition: Partition, state: State | None) -> Iterator[Message]:
        """Have no rows."""
        return iter(())
