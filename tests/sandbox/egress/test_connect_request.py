import pytest
from hypothesis import example, given, strategies as st

from dativo_ingest.sandbox.egress.connect_request import BadRequestError, read_connect
from dativo_ingest.sandbox.hosts import Host

_TARGET = "api.example.com:443"


def _head(target: str = _TARGET, host: str = _TARGET) -> bytes:
    return f"CONNECT {target} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode("latin-1")


def test_one_request_means_one_host() -> None:
    assert read_connect(_head()) == Host("api.example.com", 443)
    assert read_connect(_head("[2606:4700::1111]:443", "[2606:4700:0::1111]:443")) == Host("2606:4700::1111", 443)
    assert read_connect(_head("evil.org:0", "evil.org:0")) == Host("evil.org", 0)


@given(st.binary(max_size=200))
@example(b"CONNECT a:1 HTTP/1.1\r\n\r\n\r\n")
@example(b"\r\n\r\n")
def test_any_bytes_are_a_request_or_none(data: bytes) -> None:
    for head in (data, data + b"\r\n\r\n"):
        try:
            host = read_connect(head)
        except BadRequestError:
            continue
        assert host.name.isascii()


@given(st.integers(0, len(_head()) - 1), st.integers(0, 255))
def test_a_request_with_one_other_byte_means_what_it_says_or_nothing(at: int, byte: int) -> None:
    head = bytearray(_head())
    head[at] = byte
    try:
        host = read_connect(bytes(head))
    except BadRequestError:
        return

    target = bytes(head).split(b" ")[1].decode().lower()
    assert str(host) in {target, target.replace(".:", ":")} or host == Host("api.example.com", 443)


@given(st.text(min_size=1, max_size=60))
@example("api.example.com@evil.org")
@example("evil.org#api.example.com")
@example("api.example.com\\.evil.org")
@example("①②⑦.0.0.1")
@example("api。example。com")
def test_a_name_is_taken_as_it_stands_or_refused(name: str) -> None:
    try:
        head = f"CONNECT {name}:443 HTTP/1.1\r\nHost: {name}:443\r\n\r\n".encode()
        host = read_connect(head)
    except BadRequestError:
        return

    assert host.name in {name.lower(), name.lower().removesuffix("."), host.name if name.startswith("[") else ""}
    assert host.port == 443


@pytest.mark.parametrize("url", ["http://10.0.0.1:8080/x", "HTTP://10.0.0.1:8080", "ftp://10.0.0.1:8080/"])
def test_of_a_request_for_a_url_it_is_known_whom_it_was_for(url: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        read_connect(f"GET {url} HTTP/1.1\r\nHost: x\r\n\r\n".encode())

    assert (caught.value.status, caught.value.host) == (405, Host("10.0.0.1", 8080))
