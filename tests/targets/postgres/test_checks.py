from __future__ import annotations

import socket
import threading
from contextlib import contextmanager

import pyarrow as pa
import pytest

from dativo_plugin_sdk import DativoError, InvalidConfigError, TableSpec

ROWS = pa.record_batch({"id": [1, 2]})
READER = "dativo_reader"
OWNER = "dativo_owner"


@pytest.fixture
def spec(namespace):
    return TableSpec(name="orders", namespace=namespace, job="job", stream="orders", run_id="run-1")


@pytest.fixture
def walk(target, spec):
    """Run the steps of a check until the first that fails, as the engine does."""

    def run(connection=None, credentials=None, tables=None):
        found = {}
        for check in target(connection, credentials).check(tables or [spec]):
            try:
                found[check.step] = check.run()
            except DativoError as error:
                found[check.step] = error
                break
        return found

    return run


def failed(found):
    step, error = list(found.items())[-1]
    assert isinstance(error, DativoError), found
    return step, error


def test_checking_walks_the_steps_and_leaves_nothing(walk, ask, namespace):
    found = walk()

    steps = ["dns", "tcp", "tls", "authentication", "database", f"schema {namespace}", f"table {namespace}.orders"]
    assert list(found) == [*steps, "write_probe"]
    assert all(result.success for result in found.values())
    assert found["tls"].details == {"tls": False}
    assert found["database"].details["database"] == "lake"
    assert ask(f"SELECT FROM pg_namespace WHERE nspname = '{namespace}'") == []
    assert ask("SELECT FROM pg_stat_activity WHERE application_name = 'dativo'") == []


def test_checking_a_table_tells_what_it_holds_and_changes_nothing(load, walk, ask, namespace):
    load(ROWS)
    before = ask("SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace ORDER BY 1")

    found = walk()

    assert found[f"table {namespace}.orders"].details == {"columns": 1, "generation": 1}
    assert ask("SELECT relname FROM pg_class WHERE relnamespace = current_schema()::regnamespace ORDER BY 1") == before


@pytest.mark.parametrize(
    ("connection", "step", "code", "hint"),
    [
        pytest.param({"host": "no.such.host.invalid"}, "dns", "NETWORK_ERROR", "target.connection.host", id="host"),
        pytest.param({"user": "nobody_here"}, "authentication", "INVALID_CREDENTIALS", "password", id="user"),
        pytest.param({"database": "nowhere"}, "database", "RESOURCE_NOT_FOUND", "database", id="database"),
        pytest.param({"sslmode": "require"}, "tls", "INVALID_CONFIG", "sslmode", id="no tls there"),
        pytest.param(
            {"sslrootcert": "/no/such/file", "sslmode": "verify-full"}, "tls", "INVALID_CONFIG", "ssl", id="ca"
        ),
        pytest.param({"parameters": {"channel_binding": "odd"}}, "tls", "INVALID_CONFIG", "", id="parameter"),
        pytest.param(
            {"parameters": {"options": "-c default_transaction_read_only=on"}},
            "database",
            "INSUFFICIENT_PERMISSIONS",
            "primary",
            id="read-only",
        ),
    ],
)
def test_what_is_wrong_is_told_at_its_step(walk, postgres, connection, step, code, hint):  # noqa: PLR0917
    found = walk({**postgres.connection, **connection})

    where, error = failed(found)
    assert (where, error.error_code) == (step, code)
    assert hint in str(error.hint or "")
    assert postgres.password not in str(error.to_dict())


@pytest.mark.parametrize("credentials", [{"password": "wrong"}, {}], ids=["wrong", "none"])
def test_a_password_that_is_wrong_or_missing_is_told(walk, postgres, credentials, monkeypatch, tmp_path):
    monkeypatch.setenv("PGPASSFILE", str(tmp_path / "none"))

    step, error = failed(walk(postgres.connection, credentials))

    assert (step, error.error_code, error.retryable) == ("authentication", "INVALID_CREDENTIALS", False)


def test_a_port_where_nobody_listens_is_told(walk, postgres):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        step, error = failed(walk({**postgres.connection, "port": free.getsockname()[1]}))

    assert (step, error.error_code, error.retryable) == ("tcp", "NETWORK_ERROR", True)


def test_a_server_that_never_answers_times_out(walk, postgres):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = {**postgres.connection, "port": silent.getsockname()[1], "connect_timeout_s": 1}
        step, error = failed(walk(connection))

    assert (step, error.error_code, error.retryable) == ("database", "TIMEOUT_ERROR", True)


@contextmanager
def speaking(answer: bytes):
    """Listen as a server that says one thing to whoever comes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                with client:
                    if client.recv(1000):
                        client.sendall(answer)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_something_else_that_listens_is_told(walk, postgres):
    with speaking(b"HTTP/1.1 400 Bad Request\r\n\r\n") as port:
        _, error = failed(walk({**postgres.connection, "port": port}))

    assert error.error_code in {"NETWORK_ERROR", "INVALID_CONFIG"}


@pytest.mark.parametrize(
    ("said", "code"),
    [
        pytest.param("sorry, too many clients already", "SERVICE_UNAVAILABLE", id="full"),
        pytest.param("the database system is starting up", "SERVICE_UNAVAILABLE", id="starting"),
        pytest.param('no pg_hba.conf entry for host "1.2.3.4"', "INSUFFICIENT_PERMISSIONS", id="not admitted"),
        pytest.param('role "x" is not permitted to log in', "INVALID_CREDENTIALS", id="no login"),
    ],
)
def test_what_a_server_says_before_it_lets_in_has_a_class(walk, postgres, said, code):
    fields = b"SFATAL\0VFATAL\0CXX000\0M" + said.encode() + b"\0\0"
    answer = b"E" + (len(fields) + 4).to_bytes(4, "big") + fields
    with speaking(answer) as port:
        _, error = failed(walk({**postgres.connection, "port": port, "sslmode": "disable"}))

    assert (error.error_code, said in error.message) == (code, True)


@pytest.fixture
def users(postgres, ask, namespace):
    """Make a user who may do nothing, and one who may make tables in the test's schema."""
    for user in (READER, OWNER):
        if not ask(f"SELECT FROM pg_roles WHERE rolname = '{user}'"):
            ask(f"CREATE ROLE {user} LOGIN PASSWORD 'secret'")
    ask(f'CREATE SCHEMA "{namespace}"')
    ask(f'GRANT USAGE, CREATE ON SCHEMA "{namespace}" TO {OWNER}')
    return {user: {**postgres.connection, "user": user} for user in (READER, OWNER)}


def test_a_user_who_may_not_create_is_told_which_grant_is_missing(walk, users, namespace, spec):
    step, error = failed(walk(users[READER], {"password": "secret"}))
    where, without_schema = failed(
        walk(users[READER], {"password": "secret"}, [TableSpec(**{**vars(spec), "namespace": "not_yet"})])
    )

    assert (step, error.error_code) == (f"schema {namespace}", "INSUFFICIENT_PERMISSIONS")
    assert f'ON SCHEMA "{namespace}" TO "{READER}"' in str(error.hint)
    assert (where, without_schema.error_code) == ("schema not_yet", "INSUFFICIENT_PERMISSIONS")
    assert "CREATE SCHEMA" in str(without_schema.hint)


def test_a_user_with_rights_on_the_schema_alone_can_load(target, table, users, walk, request_of, ask):  # noqa: PLR0917
    found = walk(users[OWNER], {"password": "secret"})
    made = table(writer=target(users[OWNER], {"password": "secret"}))
    made.open(ROWS.schema)
    made.write(ROWS)
    made.commit(request_of(0))

    assert all(not isinstance(result, DativoError) for result in found.values())
    assert ask("SELECT count(*) FROM orders") == [(2,)]


def test_a_table_of_somebody_else_is_found_by_the_probe_and_by_the_run(users, walk, target, table, ask, request_of):  # noqa: PLR0917
    ask("CREATE TABLE orders (id bigint)")

    step, error = failed(walk(users[OWNER], {"password": "secret"}))
    made = table(writer=target(users[OWNER], {"password": "secret"}))
    made.open(ROWS.schema)
    made.write(ROWS)
    with pytest.raises(DativoError) as caught:
        made.commit(request_of(0))

    assert (step, error.error_code) == ("write_probe", "INSUFFICIENT_PERMISSIONS")
    assert caught.value.error_code == "INSUFFICIENT_PERMISSIONS"


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        pytest.param({"url": "mysql://x/y"}, "must begin with postgresql://", id="another scheme"),
        pytest.param({"url": "postgresql+psycopg2://x/y"}, "must begin with postgresql://", id="a driver's name"),
        pytest.param({"url": "postgresql://u:p%zz@h/db"}, "no URL that libpq can read", id="percent"),
        pytest.param({"url": "postgresql://u:se/cret@h/db"}, "no URL that libpq can read", id="slash in a password"),
        pytest.param({"url": "postgresql://x/y", "host": "h"}, "host and url do not go together", id="both"),
        pytest.param({"hots": "h"}, "did you mean host", id="misspelt"),
        pytest.param({"port": 70000}, "less than or equal to 65535", id="port"),
        pytest.param({"sslmode": "yes"}, "sslmode", id="mode"),
    ],
)
def test_a_connection_that_cannot_be_is_a_configuration_error(target, connection, message):
    with pytest.raises(InvalidConfigError, match=message) as caught:
        target(connection).check([])

    assert "cret" not in str(caught.value.to_dict())
    assert "zz" not in str(caught.value.to_dict())


def test_a_url_carries_what_it_says(walk, postgres):
    url = f"postgresql://{postgres.user}:pa%20ss%27w%40rd@127.0.0.1:{postgres.port}/lake?application_name=mine"

    found = walk({"url": url}, {})

    assert all(not isinstance(result, DativoError) for result in found.values())


def test_variables_and_a_service_file_say_the_rest(walk, postgres, monkeypatch, tmp_path):
    service = tmp_path / "pg_service.conf"
    service.write_text(f"[mine]\nhost=127.0.0.1\nport={postgres.port}\ndbname=lake\nuser={postgres.user}\n")
    monkeypatch.setenv("PGSERVICEFILE", str(service))
    monkeypatch.setenv("PGPASSWORD", postgres.password)

    by_service = walk({"service": "mine"}, {})
    for name, value in {"PGHOST": "127.0.0.1", "PGPORT": str(postgres.port), "PGDATABASE": "lake"}.items():
        monkeypatch.setenv(name, value)
    by_variables = walk({"user": postgres.user}, {})

    for found in (by_service, by_variables):
        assert found["database"].details["database"] == "lake"
        assert not isinstance(found["write_probe"], DativoError)
    assert "found" in by_variables["dns"].message
