"""How a job names a MySQL server, without one."""

from __future__ import annotations

from typing import Any

import pytest

from dativo_ingest.mysql.connection import Parameters, parse_access
from dativo_plugin_sdk import InvalidConfigError, MissingConfigError

_SECRET = "s3cr3t"


def _parameters(connection: dict[str, Any], **credentials: str) -> Parameters:
    return parse_access(connection, credentials, end="source").parameters


def test_fields_name_the_server_and_the_database() -> None:
    found = _parameters({"host": "db", "port": 3307, "database": "shop", "user": "me"}, password=_SECRET)

    assert found == Parameters(user="me", host="db", port=3307, database="shop", password=_SECRET)
    assert found.place == "db:3307/shop"


def test_a_url_says_the_same_in_one_line() -> None:
    found = _parameters({"url": f"mysql://me:{_SECRET}@db:3307/shop?ssl-mode=REQUIRED&connect_timeout=3"})

    assert found == Parameters(
        user="me", host="db", port=3307, database="shop", password=_SECRET, ssl_mode="required", connect_timeout_s=3
    )


def test_what_is_in_percent_form_in_a_url_is_written_out() -> None:
    found = _parameters({"url": "mariadb://us%40er:p%2F%3Aa%25@db/na%2Fme"})

    assert (found.user, found.password, found.host, found.port, found.database) == (
        "us@er",
        "p/:a%",
        "db",
        3306,
        "na/me",
    )


def test_the_credentials_password_goes_before_that_of_the_url() -> None:
    found = _parameters({"url": "mysql://me:other@db"}, password=_SECRET)

    assert found.password == _SECRET


def test_secrets_are_not_shown() -> None:
    shown = repr(_parameters({"user": "me"}, password=_SECRET, ssl_key_password=_SECRET))

    assert _SECRET not in shown


@pytest.mark.parametrize(
    ("connection", "mode"),
    [
        pytest.param({}, "preferred", id="nothing said"),
        pytest.param({"ssl_ca": "ca.pem"}, "verify_identity", id="an authority"),
        pytest.param({"ssl_cert": "me.pem"}, "required", id="a certificate of one's own"),
        pytest.param({"ssl_ca": "ca.pem", "ssl_mode": "verify_ca"}, "verify_ca", id="said"),
    ],
)
def test_tls_proves_as_much_as_it_can(connection: dict[str, Any], mode: str) -> None:
    assert _parameters({"user": "me", **connection}).ssl_mode == mode


@pytest.mark.parametrize(
    ("connection", "message"),
    [
        pytest.param({"url": "mysql://me@db", "host": "db"}, "host and url do not go together", id="twice"),
        pytest.param({"url": "postgres://me@db"}, "must begin with mysql://", id="another database"),
        pytest.param({"url": f"mysql://me:{_SECRET}/x@db"}, "no URL that can be read", id="a slash in the password"),
        pytest.param({"url": f"mysql://me:{_SECRET}#@db"}, "no URL that can be read", id="a hash in the password"),
        pytest.param({"url": "mysql://me@db:99999"}, "no URL that can be read", id="no port"),
        pytest.param({"url": "mysql://me@db?pool=3"}, "there is no pool", id="an unknown parameter"),
        pytest.param({"url": "mysql://me@db?ssl_mode=always"}, "ssl_mode", id="an unknown mode"),
        pytest.param({"user": "me", "socket": "/s", "host": "db"}, "socket does not go together", id="socket and host"),
        pytest.param({"user": "me", "ssl_ca": "x", "ssl_mode": "required"}, "ssl_ca does nothing", id="not verified"),
        pytest.param({"user": "me", "ssl_cert": "x", "ssl_mode": "disabled"}, "ssl_cert does nothing", id="no TLS"),
        pytest.param({"user": "me", "ssl_key": "x"}, "ssl_key does not go without", id="a key alone"),
        pytest.param({"user": "me", "hosst": "db"}, "hosst", id="a typing error"),
    ],
)
def test_what_does_not_go_together_is_refused(connection: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message) as caught:
        _parameters(connection)

    assert _SECRET not in str(caught.value.to_dict())


def test_a_user_has_to_be_named() -> None:
    with pytest.raises(MissingConfigError, match=r"source\.connection\.user is missing"):
        _parameters({"host": "db"})
