import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import keyring
import keyring.backend
import keyring.backends.fail
import keyring.errors
import pytest

from dativo_ingest.secrets.env import EnvSecrets
from dativo_ingest.secrets.file import MAX_BYTES, FileSecrets
from dativo_ingest.secrets.keyring import KeyringSecrets
from dativo_plugin_sdk.errors import (
    DativoError,
    InsufficientPermissionsError,
    InvalidConfigError,
    MissingConfigError,
    ResourceError,
    ResourceNotFoundError,
)

CANARY = "c4n4ry-value"


@pytest.mark.parametrize(
    ("reference", "environ"),
    [
        pytest.param("pg/password", {"PG_PASSWORD": CANARY}, id="path"),
        pytest.param("pg-main.password", {"PG_MAIN_PASSWORD": CANARY}, id="punctuation"),
        pytest.param("PGPASSWORD", {"PGPASSWORD": CANARY}, id="name"),
        pytest.param("pgPassword", {"pgPassword": CANARY, "PGPASSWORD": "other"}, id="as written goes first"),
        pytest.param("pg#password", {"PG": f'{{"password": "{CANARY}"}}'}, id="key of JSON"),
    ],
)
def test_variables_hold_secrets(reference: str, environ: dict[str, str]) -> None:
    assert EnvSecrets({}, environ).get(reference) == CANARY


def test_variables_of_secrets_may_have_a_prefix() -> None:
    secrets = EnvSecrets({"prefix": "DATIVO_SECRET_"}, {"DATIVO_SECRET_PG": CANARY, "OTHER": "x"})

    assert secrets.get("pg") == CANARY
    with pytest.raises(MissingConfigError, match=r"'other': environment variable DATIVO_SECRET_OTHER is not set"):
        secrets.get("other")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    mount = tmp_path / "mount"
    (mount / "pg").mkdir(parents=True)
    (mount / "pg/password").write_text(CANARY + "\n")
    return mount


def test_files_hold_secrets_without_their_last_line_end(folder: Path) -> None:
    (folder / "crlf").write_bytes(b"a\r\nb \r\n")
    secrets = FileSecrets({"directory": str(folder)}, {})

    assert secrets.get("pg/password") == CANARY
    assert secrets.get("./pg//password") == CANARY
    assert secrets.get("crlf") == "a\r\nb "


def test_the_folder_comes_from_the_job_then_from_the_environment_then_by_habit(folder: Path) -> None:
    environ = {"DATIVO_SECRETS_DIR": str(folder)}

    assert FileSecrets({}, environ).get("pg/password") == CANARY
    assert FileSecrets({"directory": "/elsewhere"}, environ).directory == Path("/elsewhere")
    assert FileSecrets({}, {}).directory == Path("/run/secrets")


def test_links_within_the_folder_are_followed_as_kubernetes_makes_them(folder: Path) -> None:
    (folder / "..2026").mkdir()
    (folder / "..2026/token").write_text(CANARY)
    (folder / "..data").symlink_to("..2026")
    (folder / "token").symlink_to("..data/token")

    assert FileSecrets({"directory": str(folder)}, {}).get("token") == CANARY


@pytest.mark.parametrize("path", ["../outside", "pg/../../outside", "/etc/hostname", "link", "linked/outside"])
def test_a_path_that_leads_out_of_the_folder_is_refused(folder: Path, path: str) -> None:
    (folder.parent / "outside").write_text(CANARY)
    (folder / "link").symlink_to("../outside")
    (folder / "linked").symlink_to("..")

    with pytest.raises(InvalidConfigError, match="leads out of the secrets' folder"):
        FileSecrets({"directory": str(folder)}, {}).get(path)


@pytest.mark.parametrize(
    ("reference", "error_class", "message"),
    [
        pytest.param("no", MissingConfigError, "'no': there is no file 'no' in", id="missing"),
        pytest.param("pg/password/no", MissingConfigError, "there is no file", id="below a file"),
        pytest.param("pg", MissingConfigError, "'pg' in .* is a folder", id="a folder"),
        pytest.param("binary", InvalidConfigError, "not UTF-8 text", id="binary"),
        pytest.param("large", InvalidConfigError, "larger than", id="large"),
        pytest.param("a\0b", InvalidConfigError, "cannot be read", id="impossible name"),
        pytest.param("x" * 300, InvalidConfigError, "cannot be read", id="too long a name"),
        pytest.param("", InvalidConfigError, "written path or path#key", id="no path"),
        pytest.param("pg#", InvalidConfigError, "written path or path#key", id="no key"),
        pytest.param("pg/password#key", InvalidConfigError, "it holds one value", id="no keys"),
    ],
)
def test_what_is_no_secret_is_told_by_its_reference(
    folder: Path, reference: str, error_class: type[DativoError], message: str
) -> None:
    (folder / "binary").write_bytes(CANARY.encode() + b"\xff\xfe")
    (folder / "large").write_bytes(b"x" * (MAX_BYTES + 1))

    with pytest.raises(error_class, match=message) as caught:
        FileSecrets({"directory": str(folder)}, {}).get(reference)

    assert CANARY not in str(caught.value.to_dict())


def test_a_missing_folder_says_how_to_name_it(tmp_path: Path) -> None:
    with pytest.raises(MissingConfigError) as caught:
        FileSecrets({"directory": str(tmp_path / "no")}, {}).get("x")

    assert "DATIVO_SECRETS_DIR" in str(caught.value.hint)


def test_a_secret_that_may_not_be_read_is_a_matter_of_permission(folder: Path) -> None:
    (folder / "pg/password").chmod(0)
    program = (
        "import os, sys\n"
        "from dativo_ingest.secrets.file import FileSecrets\n"
        "from dativo_plugin_sdk.errors import InsufficientPermissionsError\n"
        "if os.geteuid() == 0: os.seteuid(65534)\n"
        "try: FileSecrets({'directory': sys.argv[1]}, {}).get('pg/password')\n"
        "except InsufficientPermissionsError as error: print(error)\n"
    )

    done = subprocess.run([sys.executable, "-c", program, str(folder)], capture_output=True, text=True, check=False)

    assert done.stdout == f"secret 'pg/password': the file 'pg/password' in {folder} may not be read\n", done.stderr


@pytest.mark.parametrize(
    ("text", "key", "expected"),
    [
        pytest.param('{"a": "x", "n": 0.10, "t": true}', "a", "x", id="JSON"),
        pytest.param('{"a": "x", "n": 0.10, "t": true}', "n", "0.10", id="JSON number as written"),
        pytest.param('{"a": "x", "n": 0.10, "t": true}', "t", "true", id="JSON boolean"),
        pytest.param('{"db": {"pw": "x"}, "d.e": "y"}', "db.pw", "x", id="nested"),
        pytest.param('{"db": {"pw": "x"}, "d.e": "y"}', "d.e", "y", id="dots in a key"),
        pytest.param("pw: 0123\nflag: no\n", "pw", "0123", id="YAML as written"),
        pytest.param("db:\n  pw: 'a: b'\n", "db.pw", "a: b", id="nested YAML"),
        pytest.param("# note\nPW=a=b #c\n\nexport X='y z'\n", "PW", "a=b #c", id="variables"),
        pytest.param("# note\nPW=a=b #c\n\nexport X='y z'\n", "X", "y z", id="quoted variable"),
    ],
)
def test_a_key_is_picked_of_a_secret_that_holds_several(text: str, key: str, expected: str) -> None:
    assert EnvSecrets({}, {"S": text}).get(f"S#{key}") == expected


@pytest.mark.parametrize(
    ("text", "key", "error_class", "message"),
    [
        pytest.param(f'{{"a": "{CANARY}"}}', "b", MissingConfigError, "it has no key 'b'; it has a", id="no key"),
        pytest.param('{"a": null}', "a", MissingConfigError, "it has no key 'a'", id="null"),
        pytest.param(f'{{"a": ["{CANARY}"]}}', "a", InvalidConfigError, "holds several values", id="a list"),
        pytest.param(f'{{"a": "{CANARY}"', "a", InvalidConfigError, "holds one value, not keys", id="broken JSON"),
        pytest.param("[" * 100_000, "a", InvalidConfigError, "holds one value, not keys", id="deep YAML"),
        pytest.param('{"a":' * 100_000, "a", InvalidConfigError, "holds one value, not keys", id="deep JSON"),
        pytest.param("a: &x [*x]", "a", InvalidConfigError, "holds one value, not keys", id="aliases"),
        pytest.param(f"- {CANARY}", "a", InvalidConfigError, "holds one value, not keys", id="a YAML list"),
        pytest.param("? [a]\n: b", "a", InvalidConfigError, "holds one value, not keys", id="odd YAML keys"),
        pytest.param("", "a", InvalidConfigError, "holds one value, not keys", id="nothing"),
    ],
)
def test_a_key_that_cannot_be_picked_is_told_without_the_value(
    text: str, key: str, error_class: type[DativoError], message: str
) -> None:
    with pytest.raises(error_class, match=message) as caught:
        EnvSecrets({}, {"S": text}).get(f"S#{key}")

    assert CANARY not in str(caught.value.to_dict())


class KeyringInMemory(keyring.backend.KeyringBackend):
    priority = 1  # type: ignore[assignment]  # as the library's own do it

    def __init__(self) -> None:
        super().__init__()
        self.stored = {("dativo", "pg/password"): CANARY, ("own", "pg"): '{"password": "x"}'}

    def set_password(self, service: str, username: str, password: str) -> None:
        self.stored[service, username] = password

    def get_password(self, service: str, username: str) -> str | None:
        if username == "locked":
            raise keyring.errors.KeyringLocked(CANARY)
        if username == "broken":
            raise keyring.errors.KeyringError(CANARY)
        return self.stored.get((service, username))


@pytest.fixture
def in_memory() -> Iterator[None]:
    before = keyring.get_keyring()
    keyring.set_keyring(KeyringInMemory())
    yield
    keyring.set_keyring(before)


@pytest.mark.usefixtures("in_memory")
def test_the_keyring_holds_secrets_by_service_and_path() -> None:
    assert KeyringSecrets({}, {}).get("pg/password") == CANARY
    assert KeyringSecrets({"service": "own"}, {}).get("pg#password") == "x"


@pytest.mark.usefixtures("in_memory")
@pytest.mark.parametrize(
    ("reference", "error_class"),
    [("no", MissingConfigError), ("locked", InsufficientPermissionsError), ("broken", ResourceError)],
)
def test_a_keyring_that_gives_nothing_is_told_without_a_value(reference: str, error_class: type[DativoError]) -> None:
    with pytest.raises(error_class) as caught:
        KeyringSecrets({}, {}).get(reference)

    assert type(caught.value) is error_class
    assert CANARY not in str(caught.value.to_dict())


def test_a_machine_without_a_keyring_is_told_so() -> None:
    before = keyring.get_keyring()
    keyring.set_keyring(keyring.backends.fail.Keyring())
    try:
        with pytest.raises(ResourceNotFoundError, match="there is no keyring here"):
            KeyringSecrets({}, {}).get("x")
    finally:
        keyring.set_keyring(before)


def test_a_missing_library_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)

    with pytest.raises(ResourceNotFoundError) as caught:
        KeyringSecrets({}, {}).get("x")

    assert caught.value.hint == "pip install 'dativo-ingest[keyring]'"


@pytest.mark.parametrize("backend", [EnvSecrets, FileSecrets, KeyringSecrets])
def test_an_unknown_key_of_a_back_end_is_refused(backend: type) -> None:
    with pytest.raises(InvalidConfigError, match=r"secrets\.\w+\.nope: unknown key"):
        backend({"nope": 1}, {})
