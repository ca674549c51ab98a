"""The imports of the public contract: exact, sorted, and cheap."""

import subprocess
import sys

import pytest

import dativo_ingest
import dativo_ingest.config
import dativo_ingest.errors
import dativo_ingest.plugins
import dativo_ingest.validator
import dativo_plugin_sdk

NAMES = """
    __version__ BaseReader BaseWriter ConnectionTestResult DiscoveryResult PluginLoader
    DativoError ConnectionError NetworkError TimeoutError RateLimitError
    AuthenticationError InvalidCredentialsError TokenExpiredError InsufficientPermissionsError
    ConfigurationError InvalidConfigError MissingConfigError SchemaValidationError
    DataError DataNotFoundError DataFormatError DataValidationError
    ResourceError ResourceNotFoundError ResourceUnavailableError DiskFullError
    PluginError PluginLoadError PluginVersionError PluginExecutionError
    TransientError ServiceUnavailableError DatabaseLockError ConcurrencyError
    is_retryable_error get_error_code wrap_exception
""".split()  # noqa: SIM905  as the contract lists them


def test_the_package_offers_exactly_the_names_of_the_contract() -> None:
    assert dativo_ingest.__all__ == sorted(NAMES)
    assert all(getattr(dativo_ingest, name) is not None for name in NAMES)


@pytest.mark.parametrize("module", [dativo_ingest.errors, dativo_ingest.plugins, dativo_plugin_sdk])
def test_every_module_lists_its_names_sorted_and_has_them(module: object) -> None:
    names = module.__all__  # type: ignore[attr-defined]

    assert list(names) == sorted(names, key=lambda name: (not name.isupper(), name))  # constants first
    assert all(hasattr(module, name) for name in names)


def test_errors_and_plugins_are_one_and_the_same_wherever_they_are_imported_from() -> None:
    for name in set(NAMES) - {"__version__", "PluginLoader"}:
        assert getattr(dativo_ingest, name) is getattr(dativo_plugin_sdk, name)
    assert dativo_ingest.plugins.PluginLoader is dativo_ingest.PluginLoader
    assert dativo_ingest.config.SourceConfig is dativo_plugin_sdk.SourceConfig
    assert dativo_ingest.config.TargetConfig is dativo_plugin_sdk.TargetConfig
    assert dativo_ingest.validator.IncrementalStateManager is dativo_plugin_sdk.IncrementalStateManager


@pytest.mark.parametrize("command", ["import dativo_ingest", "import dativo_plugin_sdk, dativo_plugin_sdk.errors"])
def test_importing_a_package_loads_nothing_heavy(command: str) -> None:
    script = f"{command}; import sys; print([m for m in ('pyarrow', 'pyiceberg', 'pydantic') if m in sys.modules])"

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
