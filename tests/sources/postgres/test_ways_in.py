"""How a job says where the server is: fields, a URL, a service, variables; and which of them counts."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from dativo_ingest.sources.postgres import PostgresReader
from dativo_plugin_sdk import ConfigurationError, DativoError, InvalidConfigError, Rows, SourceConfig, StreamSpec

WHO = "SELECT current_user::text AS who, current_database()::text AS place, current_setting('application_name') AS name"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch, tmp_path) -> None:
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSERVICE", "PGSSLMODE", "PGAPPNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "no.pgpass"))
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "no_service.conf"))


def who(connection=None, credentials=None, *, job=None) -> dict[str, str]:
    """Ask the server who is there, by a connection that is said in this way."""
    reader = PostgresReader(
        SourceConfig(
            type="postgres",
            connection=connection or {},
            credentials=credentials or {},
            engine={} if job is None else {"job": job},
        )
    )
    stream = StreamSpec("who", options={"query": WHO})
    try:
        (rows,) = [
            each for each in reader.read(stream, reader.partitions(stream, None)[0], None) if isinstance(each, Rows)
        ]
    finally:
        reader.close()
    return rows.batch.to_pylist()[0]


@pytest.fixture
def here(postgres) -> dict[str, str]:
    return {"who": postgres.user, "place": postgres.database, "name": "dativo"}


def service_file(path, **settings) -> None:
    lines = [f"{name}={value}" for name, value in settings.items()]
    path.write_text("\n".join(["[ours]", *lines, ""]))


def test_fields_lead_to_the_server_and_the_job_is_named_there(postgres, here) -> None:
    assert who(postgres.connection, postgres.credentials) == here
    assert who(postgres.connection, postgres.credentials, job="nightly") == {**here, "name": "dativo/nightly"}
    named = who({**postgres.connection, "application_name": "mine"}, postgres.credentials, job="nightly")
    assert named == {**here, "name": "mine"}


def test_a_url_leads_to_the_server_and_more_can_be_said_in_it(postgres, here) -> None:
    at = f"{postgres.host}:{postgres.port}/{postgres.database}?application_name=by_url"
    with_password = f"postgresql://{postgres.user}:{quote(postgres.password)}@{at}"

    assert who({"url": with_password}) == {**here, "name": "by_url"}
    assert who({"url": f"postgres://{postgres.user}@{at}"}, postgres.credentials) == {**here, "name": "by_url"}
    assert who({"url": with_password, "application_name": "by_field"})["name"] == "by_field"
    assert who({"url": with_password, "parameters": {"application_name": "by_parameter"}})["name"] == "by_parameter"


def test_variables_say_what_the_job_leaves_out(postgres, here, monkeypatch) -> None:
    for name, value in (
        ("PGHOST", postgres.host),
        ("PGPORT", str(postgres.port)),
        ("PGUSER", postgres.user),
        ("PGDATABASE", postgres.database),
        ("PGPASSWORD", postgres.password),
        ("PGAPPNAME", "by_variable"),
    ):
        monkeypatch.setenv(name, value)

    assert who() == {**here, "name": "by_variable"}
    assert who(job="nightly")["name"] == "by_variable"
    assert who({"database": "postgres"})["place"] == "postgres"
    assert who({"application_name": "by_field"})["name"] == "by_field"
    monkeypatch.setenv("PGSSLMODE", "require")
    with pytest.raises(InvalidConfigError, match="SSL"):
        who()


def test_a_service_goes_before_variables_and_after_fields(postgres, here, monkeypatch, tmp_path) -> None:
    file = tmp_path / "pg_service.conf"
    service_file(
        file,
        host=postgres.host,
        port=postgres.port,
        user=postgres.user,
        dbname=postgres.database,
        application_name="by_service",
    )
    monkeypatch.setenv("PGSERVICEFILE", str(file))
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATABASE", "nowhere")

    assert who({"service": "ours"}, postgres.credentials) == {**here, "name": "by_service"}
    assert who({"service": "ours", "database": "postgres"}, postgres.credentials)["place"] == "postgres"
    monkeypatch.setenv("PGSERVICE", "ours")
    assert who(credentials=postgres.credentials)["name"] == "by_service"


def test_a_service_that_is_not_there_is_told(postgres) -> None:
    with pytest.raises(ConfigurationError, match="theirs"):
        who({"service": "theirs"}, postgres.credentials)


def test_the_password_file_is_asked_last(postgres, here, monkeypatch, tmp_path) -> None:
    file = tmp_path / ".pgpass"
    file.write_text(f"{postgres.host}:{postgres.port}:*:{postgres.user}:{postgres.password}\n")
    file.chmod(0o600)
    monkeypatch.setenv("PGPASSFILE", str(file))

    assert who(postgres.connection) == here
    monkeypatch.setenv("PGPASSWORD", "wrong")
    with pytest.raises(DativoError, match="password authentication failed"):
        who(postgres.connection)
    assert who(postgres.connection, postgres.credentials) == here


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("postgresql://{user}:s3cr3t-word@{at}", id="wrong password"),
        pytest.param("postgresql://{user}:s3cr3t-word@127.0.0.1:1/lake", id="nobody there"),
        pytest.param("postgresql://{user}:s3cr3t-word@{at}?nonsense=1", id="unknown parameter"),
        pytest.param("postgresql://{user}:s3cr3t-word@[{at}", id="no URL"),
        pytest.param("mysql://{user}:s3cr3t-word@{at}", id="another scheme"),
    ],
)
def test_a_password_in_a_url_shows_in_no_error(postgres, url) -> None:
    at = f"{postgres.host}:{postgres.port}/{postgres.database}"

    with pytest.raises(DativoError) as caught:
        who({"url": url.format(user=postgres.user, at=at)})

    error: BaseException | None = caught.value
    while error is not None:
        assert "s3cr3t" not in f"{error!r} {getattr(error, 'to_dict', dict)()}"
        error = error.__cause__


def test_a_password_that_has_expired_is_a_wrong_one(postgres) -> None:
    postgres.ask("CREATE ROLE expired LOGIN PASSWORD 'secret' VALID UNTIL '2020-01-01'")
    try:
        with pytest.raises(DativoError, match="password authentication failed") as caught:
            who({**postgres.connection, "user": "expired"}, {"password": "secret"})
    finally:
        postgres.ask("DROP ROLE expired")

    assert caught.value.error_code == "INVALID_CREDENTIALS"
    assert "expired" in (caught.value.hint or "")
