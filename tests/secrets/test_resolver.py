import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from desk import SMALL_JOB

from dativo_ingest.job.load import load_job
from dativo_ingest.secrets.redaction import REDACTED, Redactor
from dativo_ingest.secrets.resolver import SecretResolver
from dativo_plugin_sdk.errors import (
    InvalidConfigError,
    MissingConfigError,
    PluginExecutionError,
    PluginLoadError,
    TimeoutError,
)

CANARY = "c4n4ry-value"
PLUGINS = f"""
from dativo_plugin_sdk.errors import TimeoutError

class Vault:
    def __init__(self, config, environ):
        if "bad" in config:
            raise ValueError("{CANARY}")
        self.url = config.get("url", environ.get("VAULT_URL"))

    def get(self, reference):
        if reference == "slow":
            raise TimeoutError("no answer from the vault")
        if reference == "crash":
            raise ValueError("{CANARY}")
        return None if reference == "none" else f"{{self.url}}/{{reference}}"
"""


@pytest.fixture
def vault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a distribution that offers the back ends vault and broken."""
    site = tmp_path / "site"
    info = site / "dativo_test_vault-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dativo-test-vault\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[dativo.secrets]\nvault = dativo_test_vault:Vault\nbroken = dativo_test_vault:NoSuchClass\n"
    )
    (site / "dativo_test_vault.py").write_text(PLUGINS)
    monkeypatch.syspath_prepend(str(site))
    yield
    sys.modules.pop("dativo_test_vault", None)


def resolver(**environ: str) -> SecretResolver:
    return SecretResolver({"DATIVO_SECRETS_DIR": "/nowhere", **environ}, Redactor())


def test_without_configuration_files_are_asked_and_then_variables(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("from a file")
    resolve = resolver(DATIVO_SECRETS_DIR=str(tmp_path), A="from a variable", B="from a variable")

    assert resolve("a", {}) == "from a file"
    assert resolve("b", {}) == "from a variable"


def test_a_secret_that_is_nowhere_is_told_with_every_place_that_was_asked() -> None:
    with pytest.raises(MissingConfigError) as caught:
        resolver()("pg/password", {})

    assert "there is no file 'pg/password' in /nowhere" in caught.value.message
    assert "environment variable PG_PASSWORD is not set" in caught.value.message
    assert "set PG_PASSWORD" in str(caught.value.hint)


def test_the_first_back_end_of_the_job_is_asked_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("from a file")
    resolve = resolver(A="from a variable", B="from a variable")
    backends = {"file": {"directory": str(tmp_path)}, "env": {}}

    assert resolve("a", backends) == "from a file"
    with pytest.raises(MissingConfigError, match="there is no file 'b'"):
        resolve("b", backends)
    assert resolve("env:b", backends) == "from a variable"


def test_a_colon_that_follows_no_back_end_belongs_to_the_path() -> None:
    assert resolver(ARN_AWS_X="value")("arn:aws:x", {"env": {}}) == "value"


def test_a_back_end_may_be_named_without_being_configured() -> None:
    assert resolver(A="value")("env:a", {"file": {}}) == "value"


@pytest.mark.usefixtures("vault")
def test_a_package_can_bring_a_back_end() -> None:
    resolve = resolver(VAULT_URL="environ")

    assert resolve("x", {"vault": {"url": "configured"}}) == "configured/x"
    assert resolve("vault:x", {}) == "environ/x"


@pytest.mark.usefixtures("vault")
def test_what_a_back_end_raises_on_purpose_keeps_its_class() -> None:
    with pytest.raises(TimeoutError, match="no answer from the vault"):
        resolver()("vault:slow", {})


@pytest.mark.usefixtures("vault")
@pytest.mark.parametrize(("reference", "config"), [("crash", {}), ("x", {"bad": 1}), ("none", {})])
def test_a_back_end_that_crashes_is_told_by_name_without_its_words(reference: str, config: dict[str, object]) -> None:
    with pytest.raises(PluginExecutionError, match="the secret back end 'vault'") as caught:
        resolver()(reference, {"vault": config})

    assert CANARY not in str(caught.value.to_dict())
    assert caught.value.__cause__ is None


@pytest.mark.usefixtures("vault")
def test_a_back_end_that_cannot_be_loaded_is_told_by_name() -> None:
    with pytest.raises(PluginLoadError, match=r"'broken' \(dativo_test_vault:NoSuchClass\) cannot be loaded"):
        resolver()("broken:x", {})


def test_a_back_end_that_is_not_installed_is_told_with_those_that_are() -> None:
    with pytest.raises(InvalidConfigError) as caught:
        resolver()("x", {"keyrin": {}})

    assert caught.value.message == "there is no secret back end 'keyrin', did you mean keyring"
    assert caught.value.hint == "installed are env, file, keyring"


def test_what_was_resolved_is_redacted() -> None:
    redactor = Redactor()

    SecretResolver({"A": CANARY}, redactor)("env:a", {})

    assert redactor.redact(f"<{CANARY}>") == f"<{REDACTED}>"


def test_a_job_is_loaded_with_its_secrets_and_they_are_redacted(tmp_path: Path) -> None:
    redactor = Redactor()
    (tmp_path / "mounted").mkdir()
    (tmp_path / "mounted/pg").write_text(f"password: {CANARY}\n")
    (tmp_path / "job.yaml").write_text(
        SMALL_JOB.replace("connection: {path: data}", "credentials: {password: '${secret:pg#password}', user: '${U}'}")
        + "secrets: {file: {directory: mounted}}\n"
    )

    loaded = load_job(tmp_path / "job.yaml", environ={"U": "user-name"}, resolve_secret=SecretResolver({}, redactor))

    assert loaded.job.source.credentials == {"password": CANARY, "user": "user-name"}
    assert redactor.redact(f"{CANARY} user-name") == f"{REDACTED} {REDACTED}"
    assert CANARY not in repr(loaded)


def test_a_misspelt_back_end_is_told_with_the_place_of_the_reference(tmp_path: Path) -> None:
    (tmp_path / "job.yaml").write_text(SMALL_JOB + "secrets: {fil: {}}\n" + "tenant: ${secret:x}\n")

    with pytest.raises(InvalidConfigError, match=r"job\.yaml:12:9 tenant: there is no secret back end 'fil', did you"):
        load_job(tmp_path / "job.yaml", environ={}, resolve_secret=resolver())
