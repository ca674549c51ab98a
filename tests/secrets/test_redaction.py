import base64
import json
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings, strategies as st

from dativo_ingest.secrets.redaction import (
    MIN_CHARACTERS,
    REDACTED,
    Redactor,
)

CANARY = 'c4n4ry/+"key"\\ &ü? 100%'


def base64_of(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


FORMS: dict[str, Callable[[str], str]] = {
    "plain": lambda value: value,
    "quote": quote,
    "quote without safe characters": lambda value: quote(value, safe=""),
    "quote in lower case": lambda value: re.sub("%..", lambda found: found[0].lower(), quote(value, safe="")),
    "quote_plus": quote_plus,
    "JSON": lambda value: json.dumps(value)[1:-1],
    "JSON without ASCII escapes": lambda value: json.dumps(value, ensure_ascii=False)[1:-1],
    "JSON with escaped slashes": lambda value: json.dumps(value)[1:-1].replace("/", "\\/"),
    "JSON within JSON": lambda value: json.dumps(json.dumps(value))[3:-3],
    "repr": lambda value: repr(value)[1:-1],
    "ascii": lambda value: ascii(value)[1:-1],
    "repr of bytes": lambda value: repr(value.encode())[2:-1],
    "Base64": base64_of,
    "Base64 without padding": lambda value: base64_of(value).rstrip("="),
    "URL-safe Base64": lambda value: base64.urlsafe_b64encode(value.encode()).decode(),
    "URL-safe Base64 without padding": lambda value: base64.urlsafe_b64encode(value.encode()).decode().rstrip("="),
    "Base64 after one byte": lambda value: base64_of("u" + value),
    "Base64 after two bytes": lambda value: base64_of("u:" + value),
    "Base64 after three bytes": lambda value: base64_of("us:" + value),
    "Base64 before others": lambda value: base64_of(value + ":x"),
    "URL-safe Base64 between others": lambda value: base64.urlsafe_b64encode(f"user:{value}@host".encode()).decode(),
}


@pytest.fixture
def redactor() -> Redactor:
    made = Redactor()
    made.register(CANARY)
    return made


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_value_is_hidden_in_every_form(redactor: Redactor, form: Callable[[str], str]) -> None:
    assert redactor.redact(f"<{form(CANARY)}>") == f"<{REDACTED}>"


SECRETS = st.text(st.characters(codec="utf-8"), min_size=MIN_CHARACTERS, max_size=40).filter(
    lambda value: len(value.strip()) >= MIN_CHARACTERS and set(value.strip()) - set("*<>")
)


@settings(max_examples=200)
@given(SECRETS, st.sampled_from(sorted(FORMS)))
def test_no_value_shows_in_any_form(value: str, form: str) -> None:
    redactor = Redactor()
    redactor.register(value)
    written = FORMS[form](value)

    shown = redactor.redact(f"<{written}>")

    assert REDACTED in shown
    assert written not in shown.replace(REDACTED, "")


@given(SECRETS, st.binary(max_size=8), st.binary(max_size=8), st.booleans())
def test_no_value_shows_anywhere_within_base64(value: str, before: bytes, after: bytes, urlsafe: bool) -> None:
    redactor = Redactor()
    redactor.register(value.strip())
    encode = base64.urlsafe_b64encode if urlsafe else base64.b64encode
    written = encode(before + value.strip().encode() + after).decode()

    assert redactor.redact(f"<{written}>") == f"<{REDACTED}>"


@given(st.text("ab", max_size=30), st.lists(st.text("ab", min_size=4, max_size=6), max_size=3))
def test_text_without_a_value_stays_and_text_with_one_never_shows_it(text: str, values: list[str]) -> None:
    redactor = Redactor()
    for value in values:
        redactor.register(value)

    shown = redactor.redact(text)

    assert not any(value in shown for value in values)
    if not any(value in text for value in values):
        assert shown == text


def test_the_longer_value_goes_first_and_the_text_around_stays() -> None:
    redactor = Redactor()
    redactor.register("secret")
    redactor.register("secret-and-more")

    assert redactor.redact("a secret-and-more b secret c") == f"a {REDACTED} b {REDACTED} c"


def test_values_shorter_than_four_characters_are_not_hidden() -> None:
    redactor = Redactor()
    redactor.register("abc")
    redactor.register("  x\n")
    redactor.register("")

    assert redactor.redact("abc x") == "abc x"


def test_a_value_is_hidden_without_the_blanks_around_it_too() -> None:
    redactor = Redactor()
    redactor.register("t0ken\n")

    assert redactor.redact("Bearer t0ken.") == f"Bearer {REDACTED}."


def test_the_lines_of_a_key_are_hidden_one_by_one() -> None:
    redactor = Redactor()
    redactor.register("-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n")

    assert redactor.redact("near hkiG9w0BAQEFAASC") == f"near {REDACTED}"
    assert redactor.redact("-----BEGIN PRIVATE KEY-----") == "-----BEGIN PRIVATE KEY-----"


def test_the_secret_members_of_a_json_secret_are_hidden_and_the_others_are_not() -> None:
    redactor = Redactor()
    account = {
        "type": "service_account",
        "private_key": "-----BEGIN-----\nMIIEvQIBADANBgkq\n-----END-----\n",
        "token_uri": "https://host/token",
        "nested": [{"client_secret": "0123456789"}],
    }
    redactor.register(json.dumps(account, indent=1))

    shown = redactor.redact("service_account https://host/token MIIEvQIBADANBgkq 0123456789")

    assert shown == f"service_account https://host/token {REDACTED} {REDACTED}"


def test_a_document_is_redacted_in_keys_values_and_numbers(redactor: Redactor) -> None:
    redactor.register("12345")
    document = {
        f"key {CANARY}": [1, 12345, True, None, 1.5, {"deep": (f"a {CANARY}",)}],
        "plain": "text",
    }

    shown = redactor.redact_document(document)

    assert shown == {
        f"key {REDACTED}": [1, REDACTED, True, None, 1.5, {"deep": [f"a {REDACTED}"]}],
        "plain": "text",
    }
    assert CANARY in next(iter(document))


def test_nothing_registered_changes_nothing() -> None:
    text = "some text"

    assert Redactor().redact(text) is text


LEAKING = """
import sys, threading
from dativo_ingest.secrets.redaction import install_excepthooks, register
canary = sys.stdin.read()
register(canary)
install_excepthooks()
def fail():
    raise RuntimeError("in a thread: " + canary)
class Unraisable:
    def __del__(self):
        raise RuntimeError("in a finalizer: " + canary)
thread = threading.Thread(target=fail, name=canary)
thread.start()
thread.join()
Unraisable()
try:
    raise KeyError(canary)
except KeyError as error:
    raise RuntimeError("at the end") from error
"""


def test_tracebacks_that_nobody_catches_hide_values() -> None:
    done = subprocess.run([sys.executable, "-c", LEAKING], input=CANARY.encode(), capture_output=True, check=False)

    shown = done.stderr.decode()
    assert done.returncode == 1
    assert not [name for name, form in FORMS.items() if form(CANARY) in shown]
    for part in ["in a thread", "in a finalizer", "KeyError", "at the end"]:
        assert part in shown


def test_threads_register_and_redact_at_the_same_time() -> None:
    redactor = Redactor()
    failures: list[str] = []

    def work(number: int) -> None:
        for index in range(20):
            value = f"value-{number}-{index}-end"
            redactor.register(value)
            if value in redactor.redact(f"<{value}>"):
                failures.append(value)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert failures == []
    assert redactor.redact("value-3-7-end") == REDACTED
