"""The proxy asked directly, as a plugin that has its socket can ask it: with whatever bytes it likes."""

import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

import pytest
from egress_bench import READING_S, Bench, bench, connect, reach, read_all, read_head, server

from dativo_ingest.sandbox.egress.proxy import Proxy
from dativo_ingest.sandbox.egress.reach import Reach
from dativo_ingest.sandbox.egress.record import Record
from dativo_ingest.sandbox.hosts import Host, read_host


@pytest.fixture
def echo_port() -> Iterator[int]:
    with server() as port:
        yield port


def test_a_granted_host_is_reached_and_what_moves_is_counted(tmp_path: Path, echo_port: int) -> None:
    place = f"api.example.com:{echo_port}"
    with bench(tmp_path, reach(place)) as at, at.tunnel(place) as peer:
        peer.sendall(b"hello")
        peer.shutdown(socket.SHUT_WR)
        said = read_all(peer)

        assert said == b"hello"
        assert at.proxy.record.document() == {
            "hosts": [{"host": place, "addresses": ["127.0.0.1"], "connections": 1, "upload": 5, "download": 5}],
            "denied": [],
        }


@pytest.mark.parametrize(
    ("granted", "asked", "answer"),
    [
        pytest.param("api.example.com", "API.Example.COM", 200, id="capitals mean the same host"),
        pytest.param("api.example.com", "api.example.com.", 200, id="a dot at the end means the same host"),
        pytest.param("*.example.com", "api.example.com", 200, id="a wildcard grants one label"),
        pytest.param("*.example.com", "a.b.example.com", 403, id="and not two"),
        pytest.param("*.example.com", "example.com", 403, id="nor none"),
        pytest.param("api.example.com", "api.example.com..", 400, id="two dots are no name"),
        pytest.param("api.example.com", "api.example.com.evil.org", 403, id="a name that begins alike"),
        pytest.param("api.example.com", "evil-api.example.com", 403, id="a name that ends alike"),
        pytest.param("api.example.com", "user@api.example.com", 400, id="userinfo is refused"),
        pytest.param("api.example.com", "api.example.com:1@evil.org", 400, id="userinfo that looks like the host"),
        pytest.param("api.example.com", "xn--pi-bja.example.com", 403, id="a name of look-alike letters"),
        pytest.param("api.example.com", "api.example.com%00.evil.org", 400, id="a name with an escape"),
        pytest.param("api.example.com", "https://api.example.com", 400, id="a URL"),
        pytest.param("127.0.0.1", "127.0.0.1", 200, id="an address that is granted"),
        pytest.param("127.0.0.1", "[::ffff:127.0.0.1]", 403, id="and not in another spelling"),
        pytest.param("api.example.com", "127.0.0.1", 403, id="an address of a granted name"),
        pytest.param("api.example.com", "2130706433", 400, id="an address as one number"),
        pytest.param("api.example.com", "0x7f.1", 400, id="an address in hexadecimal"),
        pytest.param("api.example.com", "0177.0.0.1", 400, id="an address in octal"),
        pytest.param("api.example.com", "127.1", 400, id="a short address"),
        pytest.param("api.example.com", "[::1]", 403, id="loopback of version 6"),
        pytest.param("api.example.com", "[fe80::1%25eth0]", 400, id="an address with a zone"),
        pytest.param("api.example.com", "169.254.169.254", 403, id="the metadata service"),
        pytest.param("api.example.com", "localhost", 403, id="this machine"),
    ],
)
def test_a_host_means_one_thing_however_it_is_spelled(
    tmp_path: Path, echo_port: int, granted: str, asked: str, answer: int
) -> None:
    with bench(tmp_path, reach(f"{granted}:{echo_port}")) as at:
        said = at.asks(f"{asked}:{echo_port}")

        assert said.startswith(f"HTTP/1.1 {answer} ".encode())


def test_a_port_that_is_not_granted_is_denied_by_name(tmp_path: Path) -> None:
    with bench(tmp_path, reach("api.example.com:443")) as at:
        said = at.asks("api.example.com:22")

        assert said == b"HTTP/1.1 403 Forbidden: api.example.com:22: it is not granted, as api.example.com:443 is"
        assert at.asked == []


_OTHERS = b"CONNECT api.example.com:443 HTTP/1.1\r\nHost: api.example.com\r\n"


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        pytest.param(
            b"GET https://api.example.com/ HTTP/1.1\r\nHost: api.example.com\r\n\r\n", 405, id="another method"
        ),
        pytest.param(b"connect api.example.com:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="a method in small letters"),
        pytest.param(b"CONNECT api.example.com:443 HTTP/2.0\r\nHost: a\r\n\r\n", 400, id="another protocol"),
        pytest.param(b"CONNECT  api.example.com:443 HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="two spaces"),
        pytest.param(b"CONNECT api.example.com:443\tHTTP/1.1\r\nHost: a\r\n\r\n", 400, id="a tabulator"),
        pytest.param(b"CONNECT api.example.com HTTP/1.1\r\nHost: api.example.com\r\n\r\n", 400, id="no port"),
        pytest.param(b"CONNECT api.example.com:99999 HTTP/1.1\r\nHost: a\r\n\r\n", 400, id="a port too large"),
        pytest.param(b"CONNECT api.example.com:443 HTTP/1.1\r\n\r\n", 400, id="no Host"),
        pytest.param(_OTHERS + b"Host: evil.org\r\n\r\n", 400, id="two Hosts"),
        pytest.param(_OTHERS + b"host: api.example.com\r\n\r\n", 400, id="two Hosts that agree"),
        pytest.param(_OTHERS.replace(b"Host: api", b"Host: evil") + b"\r\n", 400, id="another Host"),
        pytest.param(_OTHERS.replace(b".com\r", b".com:80\r") + b"\r\n", 400, id="a Host with another port"),
        pytest.param(_OTHERS + b"Host : evil.org\r\n\r\n", 400, id="a space before the colon"),
        pytest.param(_OTHERS + b" folded: yes\r\n\r\n", 400, id="a folded line"),
        pytest.param(_OTHERS + b"X: a\nHost: evil.org\r\n\r\n", 400, id="a line feed alone"),
        pytest.param(_OTHERS + b"X: a\rHost: evil.org\r\n\r\n", 400, id="a carriage return alone"),
        pytest.param(_OTHERS + b"X: a\0b\r\n\r\n", 400, id="a null byte"),
        pytest.param(_OTHERS + b"no field\r\n\r\n", 400, id="no colon"),
        pytest.param(_OTHERS + b"Transfer-Encoding: chunked\r\n\r\n", 400, id="a chunked body"),
        pytest.param(_OTHERS + b"Content-Length: 5\r\n\r\n", 400, id="a length"),
        pytest.param(_OTHERS + b"\r\nGET / HTTP/1.1\r\nHost: evil.org\r\n\r\n", 400, id="a second request behind it"),
        pytest.param(_OTHERS + b"\r\nhello", 400, id="bytes before the answer"),
        pytest.param(_OTHERS + b"X: 1\r\n" * 65 + b"\r\n", 431, id="too many fields"),
        pytest.param(_OTHERS + b"X: " + b"x" * 2**16 + b"\r\n\r\n", 431, id="a head of 64 KiB"),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, id="TLS"),
        pytest.param("CONNECT \N{KELVIN SIGN}api.com:443 HTTP/1.1\r\nHost: a\r\n\r\n".encode(), 400, id="no ASCII"),
    ],
)
def test_what_is_no_single_connect_request_is_refused(tmp_path: Path, request_: bytes, answer: int) -> None:
    with bench(tmp_path, reach("api.example.com:443", "evil.org:443", "evil.org:80", "kapi.com:443")) as at:
        said = at.says(request_)

        assert said.startswith(f"HTTP/1.1 {answer} ".encode())
        assert at.asked == []


def test_clients_that_say_no_port_in_host_or_speak_http_1_0_are_taken(tmp_path: Path, echo_port: int) -> None:
    place = f"api.example.com:{echo_port}"
    with bench(tmp_path, reach(place)) as at:
        said = [
            at.says(f"CONNECT {place} HTTP/1.1\r\nHost: api.example.com\r\nUser-Agent: x\r\n\r\n".encode()),
            at.says(f"CONNECT {place} HTTP/1.0\r\n\r\n".encode()),
            at.says(f"CONNECT {place} HTTP/1.1\r\nHost: {place.upper()}\r\nContent-Length: 0\r\n\r\n".encode()),
        ]

        assert said == [b"HTTP/1.1 200 Connection Established"] * 3


def test_a_plain_request_through_the_proxy_is_known_by_its_host(tmp_path: Path) -> None:
    with bench(tmp_path, reach("api.example.com:443")) as at:
        said = at.says(b"GET http://169.254.169.254/latest/meta-data/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n")

        assert said == b"HTTP/1.1 403 Forbidden: 169.254.169.254:80: it is not granted"
        assert at.denied == ["169.254.169.254:80: it is not granted"]


def test_a_name_that_was_only_looked_up_is_known_and_not_resolved(tmp_path: Path) -> None:
    with bench(tmp_path, reach("api.example.com:443")) as at:
        said = [at.asks("evil.org:0"), at.asks("api.example.com:0")]

        assert all(each.startswith(b"HTTP/1.1 403 ") for each in said)
        assert at.denied == ["evil.org: it is not granted", "api.example.com: it is not granted"]
        assert at.asked == []


@pytest.mark.parametrize(
    ("address", "why"),
    [
        pytest.param("127.0.0.1", "a loopback address", id="loopback"),
        pytest.param("10.1.2.3", "a private address", id="private"),
        pytest.param("169.254.169.254", "an address of a metadata service", id="metadata"),
        pytest.param("::ffff:a9fe:a9fe", "an address of a metadata service", id="IPv4-mapped"),
        pytest.param("64:ff9b::a01:203", "a private address", id="NAT64"),
        pytest.param("2002:7f00:1::1", "a loopback address", id="6to4"),
        pytest.param("::1", "a loopback address", id="loopback of version 6"),
        pytest.param("fe80::1", "a link-local address", id="link-local"),
        pytest.param("::", "an unspecified address", id="unspecified"),
    ],
)
def test_a_granted_name_that_resolves_to_no_address_of_the_internet_is_denied(
    tmp_path: Path, address: str, why: str
) -> None:
    granted = Reach((read_host("api.example.com:443"),))
    with bench(tmp_path, granted, {"api.example.com": [address]}) as at:
        said = at.asks("api.example.com:443")

        assert said.startswith(b"HTTP/1.1 403 ")
        assert at.denied == [f"api.example.com:443: it resolves to {ip_address(address)}, {why}"]


def test_a_name_is_resolved_once_and_what_was_judged_is_connected_to(tmp_path: Path, echo_port: int) -> None:
    place = f"rebinding.example.com:{echo_port}"
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])
    with bench(tmp_path, reach(place), lambda _: next(answers)) as at:
        first, second = at.asks(place), at.asks(place)

        assert first.startswith(b"HTTP/1.1 200 ")
        assert second.startswith(b"HTTP/1.1 403 ")
        assert at.asked == ["rebinding.example.com"] * 2


def test_of_several_addresses_only_those_are_tried_that_may_be_reached(tmp_path: Path, echo_port: int) -> None:
    place = f"api.example.com:{echo_port}"
    answers = {"api.example.com": ["169.254.169.254", "::ffff:169.254.169.254", "127.0.0.1"]}
    with bench(tmp_path, reach(place), answers) as at, at.tunnel(place):
        assert at.proxy.record.document()["hosts"][0]["addresses"] == ["127.0.0.1"]


def test_a_name_that_is_not_resolved_is_no_denial(tmp_path: Path) -> None:
    def fails(name: str) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, f"{name} is not known")

    with bench(tmp_path, reach("api.example.com:443"), fails) as at:
        said = at.asks("api.example.com:443")

        assert said.startswith(b"HTTP/1.1 502 ")
        assert at.denied == []


def test_a_host_that_refuses_is_no_denial(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        place = f"api.example.com:{taken.getsockname()[1]}"
        with bench(tmp_path, reach(place)) as at:
            said = [at.asks(place) for _ in range(3)]

            assert all(each.startswith(b"HTTP/1.1 502 Bad Gateway: Connection refused") for each in said)
            assert at.denied == []
    assert caplog.messages == [f"the plugin crm-reader cannot reach {place}: Connection refused"]


def test_a_request_that_comes_slowly_is_ended_and_keeps_nobody_waiting(tmp_path: Path, echo_port: int) -> None:
    place = f"api.example.com:{echo_port}"
    with bench(tmp_path, reach(place), head_s=0.5) as at, at.connected() as slow:
        over = threading.Event()

        def drip() -> None:
            with suppress(OSError):
                for byte in connect(place) * 10:
                    slow.sendall(bytes([byte]))
                    if over.wait(0.05):
                        return

        dripping = threading.Thread(target=drip)
        dripping.start()
        meanwhile = at.asks(place)
        said = read_head(slow)
        over.set()
        dripping.join()

        assert meanwhile.startswith(b"HTTP/1.1 200 ")
        assert said.startswith(b"HTTP/1.1 408 ")


def test_requests_that_never_end_are_bounded_in_number(tmp_path: Path) -> None:
    with bench(tmp_path, reach("api.example.com:443", connections=1)) as at:
        peers = [at.connected() for _ in range(80)]
        for peer in peers:
            with suppress(BrokenPipeError):
                peer.sendall(b"CONNECT")
        time.sleep(0.2)
        closed = 0
        for peer in peers:
            peer.setblocking(False)
            with peer, suppress(BlockingIOError):
                closed += read_head(peer) == b""

        assert closed == 80 - 65


def test_either_side_may_end_first_and_still_be_told_the_rest(tmp_path: Path) -> None:
    def answers_at_the_end(peer: socket.socket) -> None:
        said = read_all(peer)
        peer.sendall(b"%d bytes" % len(said))

    def ends_at_once(peer: socket.socket) -> None:
        peer.sendall(b"bye")
        peer.shutdown(socket.SHUT_WR)
        heard.append(read_all(peer))

    heard: list[bytes] = []
    with server(answers_at_the_end) as first, server(ends_at_once) as second:
        places = f"a.example.com:{first}", f"b.example.com:{second}"
        with bench(tmp_path, reach(*places)) as at, at.tunnel(places[0]) as one, at.tunnel(places[1]) as other:
            one.sendall(b"x" * 300_000)
            one.shutdown(socket.SHUT_WR)
            told = read_all(one)
            bye = read_all(other)
            other.sendall(b"still here")
            other.close()
            until_s = time.monotonic() + READING_S
            while not heard and time.monotonic() < until_s:
                time.sleep(0.01)

    assert told == b"300000 bytes"
    assert bye == b"bye"


def test_a_connection_that_is_reset_is_no_end_of_data(tmp_path: Path) -> None:
    def resets(peer: socket.socket) -> None:
        peer.sendall(b"half of it")
        peer.recv(1)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()

    def hears(peer: socket.socket) -> None:
        try:
            heard.append(read_all(peer))
        except ConnectionResetError:
            heard.append(b"reset")

    heard: list[bytes] = []
    with server(resets) as first, server(hears) as second:
        places = f"a.example.com:{first}", f"b.example.com:{second}"
        with bench(tmp_path, reach(*places)) as at, at.tunnel(places[0]) as one, at.tunnel(places[1]) as other:
            one.sendall(b"go")
            with suppress(ConnectionResetError):
                read_all(one)
            with pytest.raises(BrokenPipeError):  # closed for both directions, and not ended for one
                one.sendall(b"more")
            other.sendall(b"half of it")
            other.close()
            until_s = time.monotonic() + READING_S
            while not heard and time.monotonic() < until_s:
                time.sleep(0.01)

    assert heard == [b"reset"]


def test_what_a_process_sends_is_bounded_over_all_connections(tmp_path: Path) -> None:
    heard: list[int] = []

    def counts(peer: socket.socket) -> None:
        with suppress(ConnectionResetError):
            while data := peer.recv(2**16):
                heard.append(len(data))

    with server(counts) as port:
        place = f"api.example.com:{port}"
        with bench(tmp_path, reach(place, upload=100_000)) as at:
            with at.tunnel(place) as first:
                first.sendall(b"x" * 60_000)
                with at.tunnel(place) as second, suppress(ConnectionError):
                    second.sendall(b"x" * 60_000)
                    read_all(second)
            after = at.asks(place)

            assert at.denied == [f"{place}: its limit of upload is reached: 100000"]
            assert after.startswith(b"HTTP/1.1 429 ")
            assert at.proxy.record.totals.upload == 100_000
    assert sum(heard) <= 100_000


def test_what_a_process_is_sent_is_bounded(tmp_path: Path) -> None:
    with server(lambda peer: peer.sendall(b"x" * 1_000_000)) as port:
        place = f"api.example.com:{port}"
        with bench(tmp_path, reach(place, download=2**16)) as at:
            with at.tunnel(place) as peer:
                got = read_all(peer)

            assert len(got) == 2**16
            assert at.denied == [f"{place}: its limit of download is reached: 64Ki"]


def test_connections_at_once_are_bounded_and_come_free_again(tmp_path: Path, echo_port: int) -> None:
    place = f"api.example.com:{echo_port}"
    with bench(tmp_path, reach(place, connections=2)) as at:
        with at.tunnel(place), at.tunnel(place):
            third = at.asks(place)
        until_s = time.monotonic() + READING_S
        while not (later := at.asks(place)).startswith(b"HTTP/1.1 200 ") and time.monotonic() < until_s:
            time.sleep(0.01)

        assert third.startswith(b"HTTP/1.1 429 ")
        assert later.startswith(b"HTTP/1.1 200 ")
        assert at.denied == [f"{place}: its limit of connections is reached: 2 at once"]


def test_closing_the_proxy_ends_what_goes_through_it_and_its_thread(tmp_path: Path, echo_port: int) -> None:
    place = f"api.example.com:{echo_port}"
    with bench(tmp_path, reach(place)) as at:
        peer = at.tunnel(place)
        waiting = at.connected()
    at.proxy.close()

    with peer, waiting:
        assert read_head(peer) == read_head(waiting) == b""
    assert at.proxy._thread not in threading.enumerate()


def test_another_users_process_is_not_answered(tmp_path: Path) -> None:
    path = str(tmp_path / "egress.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        proxy = Proxy(listener, reach("api.example.com:443"), Record(), plugin="crm-reader", uids={4_000_000})
        try:
            said = Bench(proxy, path).asks("api.example.com:443")
        finally:
            proxy.close()

    assert said == b""


def test_denials_are_counted_and_bounded(tmp_path: Path) -> None:
    with bench(tmp_path, reach("api.example.com:443")) as at:
        mark = at.proxy.record.mark
        for number in range(150):
            at.asks(f"host{number}.evil.org:443")
        for _ in range(3):
            at.asks("host0.evil.org:443")

        assert at.proxy.record.mark - mark == 153
        assert len(at.proxy.record.since(mark)) == 100
        assert at.proxy.record.since(at.proxy.record.mark) == ()
        assert at.proxy.record.document()["denied"][0]["times"] == 4
        assert at.proxy.record.since(150)[0].host == Host("host0.evil.org", 443)
