"""The class a simple writer plugin subclasses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from dativo_plugin_sdk.capabilities import Capability
from dativo_plugin_sdk.config import TargetConfig
from dativo_plugin_sdk.reader import NOT_IMPLEMENTED
from dativo_plugin_sdk.results import ConnectionTestResult
from dativo_plugin_sdk.versioned import VersionedPlugin

if TYPE_CHECKING:
    from dativo_plugin_sdk.tables import WriteMode  # importing it costs pyarrow


class BaseWriter(VersionedPlugin, ABC):
    """A writer of one target; ``write_batch`` is all it must have.

    ``__version__`` is the plugin's own (PEP 440); ``requires_sdk`` may name the SDK versions it works with.
    ``write_modes`` are those a job may ask for; the one it asked for is ``asset_definition.write``.
    ``asset_definition`` is an `AssetDefinition`: ``name``, ``schema`` (a list of ``{"name", "type", "required"}``),
    ``arrow_schema``, ``run_id`` and more; ``output_base`` is the folder or URI that files go under.
    """

    capabilities: ClassVar[frozenset[Capability]] = frozenset()
    write_modes: ClassVar[frozenset[WriteMode]] = frozenset({"append"})

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
        """Make what was written visible; called once, after the last batch.

        A class that declares ``Capability.ATOMIC_COMMIT`` promises three things: all files become visible or none; an
        exception other than `CommitStateUnknownError` says none; and a second call with the same files, after a run
        that was killed in the middle, changes nothing.
        """
        return {"status": "success", "files_added": len(file_metadata)}
