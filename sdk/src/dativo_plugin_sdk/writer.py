"""The class a simple writer plugin subclasses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from dativo_plugin_sdk.capabilities import Capability
from dativo_plugin_sdk.config import TargetConfig
from dativo_plugin_sdk.reader import NOT_IMPLEMENTED
from dativo_plugin_sdk.results import ConnectionTestResult


class BaseWriter(ABC):
    """A writer of one target; ``write_batch`` is all it must have.

    ``__version__`` is the plugin's own (PEP 440); ``requires_sdk`` may name the SDK versions it works with.
    ``asset_definition`` has ``name``, ``schema`` (a list of ``{"name", "type", "required"}``) and ``arrow_schema``;
    ``output_base`` is the folder or URI that files go under.
    """

    __version__: str = "1.0.0"
    requires_sdk: ClassVar[str | None] = None
    capabilities: ClassVar[frozenset[Capability]] = frozenset()

    def __init__(self, asset_definition: Any, target_config: TargetConfig, output_base: str) -> None:
        self.asset_definition = asset_definition
        self.target_config = target_config
        self.output_base = output_base

    def check_connection(self) -> ConnectionTestResult:
        """Say whether the target can be reached and written; the default says that nobody wrote this check."""
        return ConnectionTestResult(
            success=True, message="Connection test not implemented", details=dict(NOT_IMPLEMENTED)
        )

    @abstractmethod
    def write_batch(self, records: Any, file_counter: int) -> list[dict[str, Any]]:
        """Write rows and tell what was written: each item has ``path`` and may have ``size_bytes``.

        ``records`` is a list of dicts, or a RecordBatch for a class that declares ``Capability.ARROW_BATCHES``;
        ``file_counter`` counts the calls of this run from 0.
        """

    def commit_files(self, file_metadata: list[dict[str, Any]]) -> dict[str, Any]:
        """Make what was written visible; called once, after the last batch."""
        return {"status": "success", "files_added": len(file_metadata)}
