"""The name server of a sandbox, without its sockets."""

import socket
import struct

import pytest
from hypothesis import example, given, strategies as st

from dativo_ingest.sandbox.inside.names import MOST_OF_WILDCARDS, Names, Query

_A, _AAAA, _SRV = 1, 28, 33


def question(name: str, kind: int = _A, *, number: int = 7, flags: int = 0x0100) -> bytes:
    labels = b"".join(bytes([len(each)]) + each.encode() for each in name.split(".") if each)
    return struct.pack("!6H", number, flags, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", kind, 1)


def code(answer: bytes) -> int:
    return answer[3] & 0x0F


def test_a_granted_name_has_an_address_of_loopback_of_its_own() -> None:
    names = Names([("api.example.com", 443), ("db.example.com", 5432), ("localhost", 80), ("10.0.0.1", 1)])

    assert names.address("api.example.com") == "127.77.1.1"
    assert names.address("db.example.com") == "127.77.1.2"
    assert names.address("localhost") == "127.0.0.1"
    assert names.address("10.0.0.1") is None
    assert names.address("evil.com") is None
    assert names.name_of("127.77.1.2") == "db.example.com"


def test_a_wildcard_grants_names_of_one_label_more() -> None:
    names = Names([("*.example.com", 443), ("api.example.com", 8443)])

    assert names.address("lake.example.com") == names.address("lake.example.com") is not None
    assert names.address("a.lake.example.com") is None
    assert names.address("example.com") is None
    assert names.ports_of("api.example.com") == [443, 8443]


def test_names_of_a_wildcard_are_bounded_and_the_oldest_loses_its_address() -> None:
    names = Names([("*.example.com", 443)])

    given_ = {names.address(f"host{number}.example.com") for number in range(MOST_OF_WILDCARDS)}
    names.address("host0.example.com")
    taken = names.address("one-more.example.com")

    assert len(given_) == MOST_OF_WILDCARDS
    assert taken in given_
    assert names.name_of(str(taken)) == "one-more.example.com"
    assert names.address("host0.example.com") != taken


def test_an_answer_has_the_address_and_the_question() -> None:
    asked = question("API.Example.com")

    query = Query(asked)
    answer = query.answer("127.77.1.1")

    assert (query.name, query.is_a_name) == ("api.example.com", True)
    assert answer[:2] == asked[:2]
    assert answer[12 : len(asked)] == asked[12:]
    assert (code(answer), answer[-4:]) == (0, socket.inet_aton("127.77.1.1"))


@pytest.mark.parametrize("kind", [pytest.param(_AAAA, id="version 6"), pytest.param(_SRV, id="a service")])
def test_a_granted_name_has_nothing_but_an_address_of_version_4(kind: int) -> None:
    answer = Query(question("api.example.com", kind)).answer("127.77.1.1")

    assert code(answer) == 0
    assert answer[6:8] == b"\0\0"


def test_other_names_do_not_exist() -> None:
    assert code(Query(question("evil.com")).answer(None)) == 3


@pytest.mark.parametrize("name", ["4.3.2.1.in-addr.arpa", "b.ip6.arpa", "a b.com", "a\x01.com", "[::1].com"])
def test_what_is_no_name_of_a_host_is_told_to_nobody(name: str) -> None:
    query = Query(question(name))

    assert not query.is_a_name
    assert code(query.answer(None)) == 3


def test_other_operations_are_not_known_here() -> None:
    assert code(Query(question("api.example.com", flags=0x2800)).answer(None)) == 4


@given(st.binary(max_size=300))
@example(b"\0" * 12)
@example(question("a.com")[:-1])
@example(question("a.com")[:12] + b"\xc0\x0c\0\1\0\1")
@example(struct.pack("!6H", 1, 0, 1, 0, 0, 0) + b"\x3f" + b"x" * 62)
def test_any_bytes_are_answered_or_dropped(message: bytes) -> None:
    try:
        query = Query(message)
    except ValueError:
        return

    answer = query.answer(None)

    assert answer[:2] == message[:2]
    assert answer[2] & 0x80
    assert code(answer) in {1, 3, 4}
    assert "\r" not in query.name or not query.is_a_name
