import signal

import pytest

from dativo_ingest.cli import exit_codes
from dativo_plugin_sdk import errors

EXPECTED = {
    "AuthenticationError": 77,
    "CommitStateUnknownError": 73,
    "ConcurrencyError": 75,
    "ConfigurationError": 78,
    "ConnectionError": 75,
    "DataError": 65,
    "DataFormatError": 65,
    "DataNotFoundError": 66,
    "DataValidationError": 65,
    "DatabaseLockError": 75,
    "DativoError": 1,
    "DiskFullError": 73,
    "FencedError": 79,
    "InsufficientPermissionsError": 77,
    "InvalidConfigError": 78,
    "InvalidCredentialsError": 77,
    "MemoryLimitError": 78,
    "MissingConfigError": 78,
    "NetworkError": 75,
    "PluginError": 70,
    "PluginExecutionError": 70,
    "PluginLoadError": 69,
    "PluginVersionError": 69,
    "RateLimitError": 75,
    "ResourceError": 69,
    "ResourceNotFoundError": 69,
    "ResourceUnavailableError": 75,
    "SandboxError": 70,
    "SchemaValidationError": 78,
    "ServiceUnavailableError": 75,
    "TimeoutError": 75,
    "TokenExpiredError": 77,
    "TransientError": 75,
}


def test_the_table_names_every_error_class() -> None:
    classes = {name for name in errors.__all__ if isinstance(getattr(errors, name), type)}

    assert set(EXPECTED) == classes


@pytest.mark.parametrize(("name", "code"), EXPECTED.items())
def test_every_error_class_has_its_exit_code(name: str, code: int) -> None:
    error = getattr(errors, name)("x")

    assert exit_codes.of(error) == code


def test_a_subclass_exits_as_its_nearest_class() -> None:
    class NoSuchTable(errors.DataNotFoundError):
        pass

    assert exit_codes.of(NoSuchTable("orders")) == exit_codes.NOT_FOUND


def test_an_unavailable_sandbox_is_a_missing_component() -> None:
    error = errors.SandboxError("no user namespaces", "SANDBOX_UNAVAILABLE")

    assert exit_codes.of(error) == exit_codes.UNAVAILABLE


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(errors.DataError("half a page", retryable=True), 75, id="data declared retryable"),
        pytest.param(errors.NetworkError("bad certificate", retryable=False), 69, id="network declared final"),
        pytest.param(errors.TokenExpiredError("old"), 77, id="a token is retried after a refresh only"),
        pytest.param(errors.FencedError("newer run", retryable=True), 79, id="fenced stays fenced"),
    ],
)
def test_the_code_follows_the_flag_of_the_instance(error: errors.DativoError, code: int) -> None:
    assert exit_codes.of(error) == code


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(ZeroDivisionError(), 1, id="a bug"),
        pytest.param(ConnectionResetError(), 75, id="a builtin connection error"),
        pytest.param(KeyboardInterrupt(), 128 + signal.SIGINT, id="ctrl-c"),
    ],
)
def test_an_exception_that_is_not_ours_has_a_code_too(error: BaseException, code: int) -> None:
    assert exit_codes.of(error) == code


@pytest.mark.parametrize(
    ("codes", "code"),
    [
        pytest.param([], 0, id="no job"),
        pytest.param([0, 0], 0, id="all well"),
        pytest.param([0, 75], 75, id="one to try again"),
        pytest.param([75, 78], 78, id="what a retry cannot mend goes first"),
        pytest.param([3, 75], 3, id="a partial one asks for its report"),
        pytest.param([78, 1], 1, id="a bug before all"),
        pytest.param([0, 143], 143, id="interrupted"),
        pytest.param([75, 42], 42, id="a code nobody knows counts as a bug"),
    ],
)
def test_several_jobs_exit_with_the_worst_code(codes: list[int], code: int) -> None:
    assert exit_codes.worst(codes) == code


def test_every_code_has_a_meaning() -> None:
    constants = {value for name, value in vars(exit_codes).items() if name.isupper() and isinstance(value, int)}

    assert set(exit_codes.MEANINGS) == constants
