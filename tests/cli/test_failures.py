import pytest

from dativo_ingest.cli import failures
from dativo_ingest.cli.logs import Talk
from dativo_ingest.run.error_document import error_document
from dativo_plugin_sdk.errors import ConnectionError, DatabaseLockError


def test_an_error_shows_message_details_code_and_hint(capsys: pytest.CaptureFixture[str]) -> None:
    error = DatabaseLockError("the catalog is locked", details={"file": "catalog.db"}, hint="wait for the other run")

    code = failures.tell(error, Talk())

    captured = capsys.readouterr()
    assert (code, captured.out) == (75, "")
    assert captured.err.splitlines() == [
        "✗ the catalog is locked",
        "  Details: {'file': 'catalog.db'}",
        "  Error code: DATABASE_LOCK",
        "  Hint: wait for the other run",
    ]


def test_an_unknown_exception_is_called_a_bug_without_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    code = failures.tell(ZeroDivisionError("division by zero"), Talk())

    told = capsys.readouterr().err
    assert code == 1
    assert "internal error: ZeroDivisionError: division by zero" in told
    assert "this is a bug" in told
    assert "Traceback" not in told


def test_debug_shows_the_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    talk = Talk()
    talk.debug = True
    with pytest.raises(ZeroDivisionError) as caught:
        _ = 1 / 0

    failures.tell(caught.value, talk)

    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_an_error_document_has_every_key() -> None:
    document = error_document(ConnectionError("refused", retry_after_s=3.0))

    assert document == {
        "error_code": "CONNECTION_ERROR",
        "message": "refused",
        "retryable": True,
        "retry_after_s": 3.0,
        "hint": None,
        "type": "ConnectionError",
        "details": {},
        "stage": None,
        "stream": None,
        "plugin": None,
    }
