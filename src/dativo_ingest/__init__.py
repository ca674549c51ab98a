"""Dativo: headless, config-driven data ingestion.

The public names of the plugin interface, looked up on first use: importing the package, as every command does, loads
neither pyarrow nor pydantic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from dativo_plugin_sdk.lazy_names import lazily

if TYPE_CHECKING:
    from dativo_ingest.errors import (
        AuthenticationError as AuthenticationError,
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
        InsufficientPermissionsError as InsufficientPermissionsError,
        InvalidConfigError as InvalidConfigError,
        InvalidCredentialsError as InvalidCredentialsError,
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
        SchemaValidationError as SchemaValidationError,
        ServiceUnavailableError as ServiceUnavailableError,
        TimeoutError as TimeoutError,
        TokenExpiredError as TokenExpiredError,
        TransientError as TransientError,
        get_error_code as get_error_code,
        is_retryable_error as is_retryable_error,
        wrap_exception as wrap_exception,
    )
    from dativo_ingest.plugins import (
        BaseReader as BaseReader,
        BaseWriter as BaseWriter,
        ConnectionTestResult as ConnectionTestResult,
        DiscoveryResult as DiscoveryResult,
        PluginLoader as PluginLoader,
    )

__version__ = "0.1.0"

__all__ = [
    "AuthenticationError",
    "BaseReader",
    "BaseWriter",
    "ConcurrencyError",
    "ConfigurationError",
    "ConnectionError",
    "ConnectionTestResult",
    "DataError",
    "DataFormatError",
    "DataNotFoundError",
    "DataValidationError",
    "DatabaseLockError",
    "DativoError",
    "DiscoveryResult",
    "DiskFullError",
    "InsufficientPermissionsError",
    "InvalidConfigError",
    "InvalidCredentialsError",
    "MissingConfigError",
    "NetworkError",
    "PluginError",
    "PluginExecutionError",
    "PluginLoadError",
    "PluginLoader",
    "PluginVersionError",
    "RateLimitError",
    "ResourceError",
    "ResourceNotFoundError",
    "ResourceUnavailableError",
    "SchemaValidationError",
    "ServiceUnavailableError",
    "TimeoutError",
    "TokenExpiredError",
    "TransientError",
    "__version__",
    "get_error_code",
    "is_retryable_error",
    "wrap_exception",
]

_PLUGIN_NAMES = frozenset({"BaseReader", "BaseWriter", "ConnectionTestResult", "DiscoveryResult", "PluginLoader"})
_HOME = {name: "plugins" if name in _PLUGIN_NAMES else "errors" for name in __all__ if name != "__version__"}

__getattr__, __dir__ = lazily(globals(), _HOME)
