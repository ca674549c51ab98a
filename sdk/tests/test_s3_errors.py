import pytest

from dativo_plugin_sdk.errors import (
    DataNotFoundError,
    InsufficientPermissionsError,
    InvalidConfigError,
    InvalidCredentialsError,
    ResourceNotFoundError,
    ServiceUnavailableError,
)
from dativo_plugin_sdk.s3_errors import is_s3_error, s3_failure


@pytest.mark.parametrize(
    ("text", "end", "code", "expected", "said"),
    [
        pytest.param("NO_SUCH_BUCKET", "source", "NO_SUCH_BUCKET", DataNotFoundError, "bucket", id="missing data"),
        pytest.param("NO_SUCH_BUCKET", "target", "NO_SUCH_BUCKET", ResourceNotFoundError, "bucket", id="no target"),
        pytest.param(
            "SIGNATURE_DOES_NOT_MATCH (HTTP status 403)",
            "target",
            "SIGNATURE_DOES_NOT_MATCH",
            InvalidCredentialsError,
            "target.credentials.secret_access_key",
            id="a name says more than a status",
        ),
        pytest.param(
            "UNKNOWN (HTTP status 403)", "source", "UNKNOWN", InsufficientPermissionsError, "GetObject", id="a status"
        ),
        pytest.param(
            "UNKNOWN (HTTP status 301)",
            "source",
            "UNKNOWN",
            InvalidConfigError,
            "source.connection.region",
            id="another region",
        ),
        pytest.param("INTERNAL_FAILURE", "source", "INTERNAL_FAILURE", ServiceUnavailableError, "later", id="passing"),
    ],
)
def test_what_s3_says_has_a_class_and_a_hint_for_its_end(text, end, code, expected, said) -> None:
    failure = s3_failure(OSError(f"When reading 'x': AWS Error {text} during HeadObject operation: no"), end)

    assert failure is not None
    assert (failure.code, failure.error_class) == (code, expected)
    assert said in str(failure.hint)


def test_a_name_that_tells_nothing_has_no_class() -> None:
    failure = s3_failure(OSError("AWS Error UNKNOWN during HeadObject operation: no"), "source")

    assert failure is not None
    assert failure.error_class is None


def test_what_is_not_about_s3_is_left_to_others() -> None:
    error = FileNotFoundError(2, "No such file or directory")

    assert s3_failure(error, "source") is None
    assert not is_s3_error(error)
