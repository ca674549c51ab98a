import pytest

from dativo_ingest.sandbox.hosts import FromConfig, Host, hosts_in, read_allowed, read_asked, read_host


@pytest.mark.parametrize(
    ("text", "host"),
    [
        pytest.param("api.stripe.com:443", Host("api.stripe.com", 443), id="a name"),
        pytest.param("API.Stripe.COM.:443", Host("api.stripe.com", 443), id="capitals and a dot at the end"),
        pytest.param("localhost:8080", Host("localhost", 8080), id="one label"),
        pytest.param("*.stripe.com:443", Host("*.stripe.com", 443), id="any first label"),
        pytest.param("10.0.0.7:5432", Host("10.0.0.7", 5432), id="an address"),
        pytest.param("[2001:DB8::0:1]:443", Host("2001:db8::1", 443), id="an address of version 6"),
        pytest.param("xn--bcher-kva.example:443", Host("xn--bcher-kva.example", 443), id="a name beyond ASCII"),
        pytest.param("my_db:5432", Host("my_db", 5432), id="an underscore, as container networks have it"),
    ],
)
def test_a_host_is_read_in_one_spelling(text: str, host: Host) -> None:
    assert read_host(text) == host


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("api.stripe.com", "no host with a port", id="no port"),
        pytest.param("https://api.stripe.com:443", "no host with a port", id="a URL"),
        pytest.param("api.stripe.com:0", "no port from 1", id="port 0"),
        pytest.param("api.stripe.com:65536", "no port from 1", id="a port too large"),
        pytest.param("api.stripe.com:*", "no port from 1", id="every port"),
        pytest.param("api.stripe.com:https", "no port from 1", id="a port's name"),
        pytest.param("api.stripe.com:٤٤٣", "no port from 1", id="digits that are not ASCII"),
        pytest.param("*:443", "no other", id="every host"),
        pytest.param("*.com:443", "too many hosts", id="every host of a top-level domain"),
        pytest.param("api.*.com:443", "no other", id="a star in the middle"),
        pytest.param("*.*.stripe.com:443", "no other", id="two stars"),
        pytest.param("api*.stripe.com:443", "no other", id="a part of a label"),
        pytest.param("bücher.example:443", "as DNS has it", id="letters beyond ASCII"),
        pytest.param("a..b:443", "no name of a host", id="an empty label"),
        pytest.param("-a.b:443", "no name of a host", id="a label that begins with a hyphen"),
        pytest.param("a b.c:443", "no name of a host", id="a space"),
        pytest.param(":443", "no name of a host", id="no name"),
        pytest.param("[api.stripe.com]:443", "within brackets", id="a name in brackets"),
        pytest.param("0177.0.0.1:443", "no name of a host", id="an address in octal"),
        pytest.param("2130706433:443", "no name of a host", id="an address as one number"),
        pytest.param("10.0x7f:443", "no name of a host", id="an address in hexadecimal"),
        pytest.param(f"{'a' * 64}.com:443", "no name of a host", id="a label too long"),
        pytest.param(f"{'a.' * 130}com:443", "no name of a host", id="a name too long"),
    ],
)
def test_what_is_no_host_with_a_port_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_host(text)


@pytest.mark.parametrize(
    ("wide", "narrow", "covers"),
    [
        pytest.param("api.stripe.com:443", "api.stripe.com:443", True, id="the same"),
        pytest.param("api.stripe.com:443", "api.stripe.com:80", False, id="another port"),
        pytest.param("api.stripe.com:*", "api.stripe.com:80", True, id="every port"),
        pytest.param("*.stripe.com:443", "api.stripe.com:443", True, id="one label more"),
        pytest.param("*.stripe.com:443", "stripe.com:443", False, id="no label more"),
        pytest.param("*.stripe.com:443", "a.b.stripe.com:443", False, id="two labels more"),
        pytest.param("*.stripe.com:443", "apistripe.com:443", False, id="another domain that ends alike"),
        pytest.param("*.stripe.com:443", "*.stripe.com:443", True, id="the same star"),
        pytest.param("api.stripe.com:443", "*.stripe.com:443", False, id="a star within a name"),
    ],
)
def test_a_policys_host_covers_what_stands_for_less(wide: str, narrow: str, covers: bool) -> None:
    assert read_allowed(wide).covers(read_host(narrow)) is covers


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("config:connection.host", FromConfig(("connection", "host"), None)),
        ("config:connection.host:5432", FromConfig(("connection", "host"), 5432)),
        ("config:options.api.url:443", FromConfig(("options", "api", "url"), 443)),
        ("config:connection.host:connection.port", FromConfig(("connection", "host"), ("connection", "port"))),
    ],
)
def test_a_host_may_be_taken_from_the_jobs_configuration(text: str, asked: FromConfig) -> None:
    assert read_asked(text) == asked


@pytest.mark.parametrize(
    "text", ["config:", "config:host", "config:credentials.password", "config:connection", "config:connection.host:x"]
)
def test_nothing_else_of_a_job_can_be_taken_for_a_host(text: str) -> None:
    with pytest.raises(ValueError, match=r"config|port"):
        read_asked(text)


@pytest.mark.parametrize(
    ("value", "port", "hosts"),
    [
        pytest.param("db.internal", 5432, ["db.internal:5432"], id="a name, the port beside it"),
        pytest.param("db.internal", "5432", ["db.internal:5432"], id="a port that is text"),
        pytest.param("db.internal:6000", 5432, ["db.internal:6000"], id="its own port"),
        pytest.param("https://api.x.com/v1?a=b", None, ["api.x.com:443"], id="a URL's scheme"),
        pytest.param("https://user:pass@api.x.com:8443/v1", None, ["api.x.com:8443"], id="a URL's port"),
        pytest.param("2001:db8::1", 443, ["[2001:db8::1]:443"], id="an address of version 6"),
        pytest.param("[2001:db8::1]:80", 443, ["[2001:db8::1]:80"], id="the same with a port"),
        pytest.param(["k1:9092", "k2:9092"], None, ["k1:9092", "k2:9092"], id="a list"),
    ],
)
def test_what_a_job_names_becomes_hosts(value: object, port: object, hosts: list[str]) -> None:
    assert [str(host) for host in hosts_in(value, port)] == hosts


@pytest.mark.parametrize(
    ("value", "port"),
    [("db.internal", None), ("", 1), (7, 1), ({}, 1), ("postgres://db", None), ("a b", 1), ("h:99999", 1), ("h", "x")],
)
def test_what_a_job_names_and_is_no_host_is_told(value: object, port: object) -> None:
    with pytest.raises(ValueError, match=r"host|port"):
        list(hosts_in(value, port))
