import pytest

from dativo_plugin_sdk.errors import (
    DataNotFoundError,
    InsufficientPermissionsError,
    InvalidConfigError,
    InvalidCredentialsError,
    RateLimitError,
    ResourceNotFoundError,
    ServiceUnavailableError,
)
from dativo_plugin_sdk.s3_errors import is_s3_error, s3_answer, s3_failure


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


@pytest.mark.parametrize(
    ("code", "status", "name", "expected"),
    [
        pytest.param("NoSuchBucket", 404, "NO_SUCH_BUCKET", ResourceNotFoundError, id="no bucket"),
        pytest.param("SlowDown", 503, "SLOW_DOWN", RateLimitError, id="a name says more than a status"),
        pytest.param("InternalError", 500, "INTERNAL_FAILURE", ServiceUnavailableError, id="another name"),
        pytest.param(
            "AuthorizationHeaderMalformed", 400, "AUTHORIZATION_HEADER_MALFORMED", InvalidConfigError, id="region"
        ),
        pytest.param("NotImplemented", 501, "NOT_IMPLEMENTED", InvalidConfigError, id="not there"),
        pytest.param("", 403, "", InsufficientPermissionsError, id="no body"),
        pytest.param("", 502, "", ServiceUnavailableError, id="something between"),
        pytest.param("Strange", 400, "STRANGE", None, id="a name that tells nothing"),
    ],
)
def test_an_answer_of_the_service_itself_has_the_same_classes(code, status, name, expected) -> None:
    failure = s3_answer(code, status, "target")

    assert (failure.code, failure.error_class) == (name, expected)
