"""All that a Dativo plugin author installs: readers, writers, results, errors, state.

Names are looked up on first use, so that importing the package costs nothing that is not used: pyarrow is loaded by the
first name that needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dativo_plugin_sdk.asset import (
        AssetDefinition as AssetDefinition,
    )
    from dativo_plugin_sdk.batches import (
        infer_schema as infer_schema,
        to_batches as to_batches,
    )
    from dativo_plugin_sdk.capabilities import (
        Capability as Capability,
    )
    from dativo_plugin_sdk.config import (
        Credentials as Credentials,
        PluginConfig as PluginConfig,
        Secret as Secret,
        SourceConfig as SourceConfig,
        TargetConfig as TargetConfig,
        parse as parse,
    )
    from dativo_plugin_sdk.errors import (
        AuthenticationError as AuthenticationError,
        CommitStateUnknownError as CommitStateUnknownError,
        ConcurrencyError as ConcurrencyError,
        ConfigurationError as ConfigurationError,
        ConnectionError as ConnectionError,
        DatabaseLockError as DatabaseLockError,
        DataError as DataError,
        DataFormatError as DataFormatError,
        DataNotFoundError as DataNotFoundError,
        DataValidationError as DataValidationError,
        DativoError as DativoError,
        DiskFullError as DiskFullError,
        FencedError as FencedError,
        InsufficientPermissionsError as InsufficientPermissionsError,
        InvalidConfigError as InvalidConfigError,
        InvalidCredentialsError as InvalidCredentialsError,
        MemoryLimitError as MemoryLimitError,
        MissingConfigError as MissingConfigError,
        NetworkError as NetworkError,
        PluginError as PluginError,
        PluginExecutionError as PluginExecutionError,
        PluginLoadError as PluginLoadError,
        PluginVersionError as PluginVersionError,
        RateLimitError as RateLimitError,
        ResourceError as ResourceError,
        ResourceNotFoundError as ResourceNotFoundError,
        ResourceUnavailableError as ResourceUnavailableError,
        SandboxError as SandboxError,
        SchemaValidationError as SchemaValidationError,
        ServiceUnavailableError as ServiceUnavailableError,
        TimeoutError as TimeoutError,
        TokenExpiredError as TokenExpiredError,
        TransientError as TransientError,
        error_from_dict as error_from_dict,
        get_error_code as get_error_code,
        is_retryable_error as is_retryable_error,
        wrap_exception as wrap_exception,
    )
    from dativo_plugin_sdk.reader import (
        BaseReader as BaseReader,
    )
    from dativo_plugin_sdk.rejects import (
        REJECTED_SCHEMA as REJECTED_SCHEMA,
        rejected as rejected,
        row_json as row_json,
    )
    from dativo_plugin_sdk.results import (
        Check as Check,
        ConnectionTestResult as ConnectionTestResult,
        DiscoveryResult as DiscoveryResult,
    )
    from dativo_plugin_sdk.simple_reader import (
        SimpleReader as SimpleReader,
    )
    from dativo_plugin_sdk.simple_writer import (
        SimpleWriter as SimpleWriter,
        StateStore as StateStore,
    )
    from dativo_plugin_sdk.state import (
        IncrementalStateManager as IncrementalStateManager,
    )
    from dativo_plugin_sdk.streams import (
        Message as Message,
        Partition as Partition,
        ReadMode as ReadMode,
        Rejected as Rejected,
        Rows as Rows,
        Skipped as Skipped,
        State as State,
        StateChanged as StateChanged,
        StreamReader as StreamReader,
        StreamSpec as StreamSpec,
        Warned as Warned,
        Watermark as Watermark,
    )
    from dativo_plugin_sdk.table_care import (
        Compacted as Compacted,
        Compaction as Compaction,
        Expired as Expired,
        Expiry as Expiry,
        Sweep as Sweep,
        Swept as Swept,
        TableCare as TableCare,
        TableHealth as TableHealth,
    )
    from dativo_plugin_sdk.tables import (
        CommitRequest as CommitRequest,
        CommittedState as CommittedState,
        Delivery as Delivery,
        KeyComparison as KeyComparison,
        PastCommit as PastCommit,
        Receipt as Receipt,
        StreamWriter as StreamWriter,
        TableSpec as TableSpec,
        TableWriter as TableWriter,
        WriteMode as WriteMode,
    )
    from dativo_plugin_sdk.writer import (
        BaseWriter as BaseWriter,
    )

__version__ = "0.1.0"

_MODULES = {
    "asset": ("AssetDefinition",),
    "batches": (
        "infer_schema",
        "to_batches",
    ),
    "capabilities": ("Capability",),
    "config": (
        "Credentials",
        "PluginConfig",
        "Secret",
        "SourceConfig",
        "TargetConfig",
        "parse",
    ),
    "errors": (
        "AuthenticationError",
        "CommitStateUnknownError",
        "ConcurrencyError",
        "ConfigurationError",
        "ConnectionError",
        "DataError",
        "DataFormatError",
        "DataNotFoundError",
        "DataValidationError",
        "DatabaseLockError",
        "DativoError",
        "DiskFullError",
        "FencedError",
        "InsufficientPermissionsError",
        "InvalidConfigError",
        "InvalidCredentialsError",
        "MemoryLimitError",
        "MissingConfigError",
        "NetworkError",
        "PluginError",
        "PluginExecutionError",
        "PluginLoadError",
        "PluginVersionError",
        "RateLimitError",
        "ResourceError",
        "ResourceNotFoundError",
        "ResourceUnavailableError",
        "SandboxError",
        "SchemaValidationError",
        "ServiceUnavailableError",
        "TimeoutError",
        "TokenExpiredError",
        "TransientError",
        "error_from_dict",
        "get_error_code",
        "is_retryable_error",
        "wrap_exception",
    ),
    "reader": ("BaseReader",),
    "rejects": (
        "REJECTED_SCHEMA",
        "rejected",
        "row_json",
    ),
    "results": (
        "Check",
        "ConnectionTestResult",
        "DiscoveryResult",
    ),
    "simple_reader": ("SimpleReader",),
    "simple_writer": (
        "SimpleWriter",
        "StateStore",
    ),
    "state": ("IncrementalStateManager",),
    "streams": (
        "Message",
        "Partition",
        "ReadMode",
        "Rejected",
        "Rows",
        "Skipped",
        "State",
        "StateChanged",
        "StreamReader",
        "StreamSpec",
        "Warned",
        "Watermark",
    ),
    "table_care": (
        "Compacted",
        "Compaction",
        "Expired",
        "Expiry",
        "Sweep",
        "Swept",
        "TableCare",
        "TableHealth",
    ),
    "tables": (
        "CommitRequest",
        "CommittedState",
        "Delivery",
        "KeyComparison",
        "PastCommit",
        "Receipt",
        "StreamWriter",
        "TableSpec",
        "TableWriter",
        "WriteMode",
    ),
    "writer": ("BaseWriter",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}

__all__ = [
    "REJECTED_SCHEMA",
    "AssetDefinition",
    "AuthenticationError",
    "BaseReader",
    "BaseWriter",
    "Capability",
    "Check",
    "CommitRequest",
    "CommitStateUnknownError",
    "CommittedState",
    "Compacted",
    "Compaction",
    "ConcurrencyError",
    "ConfigurationError",
    "ConnectionError",
    "ConnectionTestResult",
    "Credentials",
    "DataError",
    "DataFormatError",
    "DataNotFoundError",
    "DataValidationError",
    "DatabaseLockError",
    "DativoError",
    "Delivery",
    "DiscoveryResult",
    "DiskFullError",
    "Expired",
    "Expiry",
    "FencedError",
    "IncrementalStateManager",
    "InsufficientPermissionsError",
    "InvalidConfigError",
    "InvalidCredentialsError",
    "KeyComparison",
    "MemoryLimitError",
    "Message",
    "MissingConfigError",
    "NetworkError",
    "Partition",
    "PastCommit",
    "PluginConfig",
    "PluginError",
    "PluginExecutionError",
    "PluginLoadError",
    "PluginVersionError",
    "RateLimitError",
    "ReadMode",
    "Receipt",
    "Rejected",
    "ResourceError",
    "ResourceNotFoundError",
    "ResourceUnavailableError",
    "Rows",
    "SandboxError",
    "SchemaValidationError",
    "Secret",
    "ServiceUnavailableError",
    "SimpleReader",
    "SimpleWriter",
    "Skipped",
    "SourceConfig",
    "State",
    "StateChanged",
    "StateStore",
    "StreamReader",
    "StreamSpec",
    "StreamWriter",
    "Sweep",
    "Swept",
    "TableCare",
    "TableHealth",
    "TableSpec",
    "TableWriter",
    "TargetConfig",
    "TimeoutError",
    "TokenExpiredError",
    "TransientError",
    "Warned",
    "Watermark",
    "WriteMode",
    "__version__",
    "error_from_dict",
    "get_error_code",
    "infer_schema",
    "is_retryable_error",
    "parse",
    "rejected",
    "row_json",
    "to_batches",
    "wrap_exception",
]


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)
