"""The class a simple reader plugin subclasses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar

from dativo_plugin_sdk.capabilities import Capability
from dativo_plugin_sdk.config import SourceConfig
from dativo_plugin_sdk.results import ConnectionTestResult, DiscoveryResult
from dativo_plugin_sdk.state import IncrementalStateManager
from dativo_plugin_sdk.versioned import VersionedReader

NOT_IMPLEMENTED = {"implemented": False}
"""The details by which the engine tells a default from an answer."""


class BaseReader(VersionedReader, ABC):
    """A reader of one source; ``extract`` is all it must have.

    ``__version__`` is the plugin's own (PEP 440); ``requires_sdk`` may name the SDK versions it works with.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset()

    def __init__(self, source_config: SourceConfig) -> None:
        self.source_config = source_config

    def check_connection(self) -> ConnectionTestResult:
        """Say whether the source can be reached and read; the default says that nobody wrote this check."""
        return ConnectionTestResult(
            success=True, message="Connection test not implemented", details=dict(NOT_IMPLEMENTED)
        )

    def discover(self) -> DiscoveryResult:
        """List what can be read; the default lists nothing and says so."""
        return DiscoveryResult(objects=[], metadata=dict(NOT_IMPLEMENTED))

    @abstractmethod
    def extract(self, state_manager: IncrementalStateManager | None = None) -> Iterator[Any]:
        """Yield batches: lists of dicts, RecordBatches, Tables, or anything with the Arrow PyCapsule interface.

        State set through ``state_manager`` takes effect only when the batches yielded before it are committed.
        """

    def get_total_records_estimate(self) -> int | None:
        """Guess how many rows there are, for the progress display; None where nobody knows."""
        return None
