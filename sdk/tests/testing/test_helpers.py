"""What the suites are made of: a server, a front that says 429, secrets in disguise, rows that are compared."""

from __future__ import annotations

import http.client
import json
import time
from datetime import date
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from dativo_plugin_sdk.testing import Answer, Request, serving
from dativo_plugin_sdk.testing.http_server import retry_after_front
from dativo_plugin_sdk.testing.leaks import found_in, secret_values
from dativo_plugin_sdk.testing.reading import difference
from dativo_plugin_sdk.testing.type_zoo import KINDS, as_written, zoo_batch


def echo(request: Request) -> Answer:
    if request.path == "/fails":
        raise ValueError("no")
    return Answer({"method": request.method, "query": request.query, "body": request.body.decode()})


def test_a_function_gives_the_answers_of_a_server() -> None:
    with serving(echo) as server:
        connection = http.client.HTTPConnection(server.url.partition("//")[2])
        connection.request("POST", "/items?page=2", b"text")
        document = json.load(connection.getresponse())
        connection.request("GET", "/fails")
        failed = connection.getresponse().status
        connection.close()

    assert (document, failed) == ({"method": "POST", "query": {"page": "2"}, "body": "text"}, 500)
    assert [request.path for request in server.requests] == ["/items", "/fails"]


def test_a_front_refuses_until_the_time_it_says_and_counts_who_does_not_wait() -> None:
    with serving(echo) as server, retry_after_front(f"{server.url}/v1") as (front, url):
        connection = http.client.HTTPConnection(url.split("/")[2])

        def asked() -> tuple[int, str | None]:
            connection.request("GET", "/v1/items")
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.getheader("Retry-After")

        before = asked()
        front.arm(0.2)
        refused, early = asked(), asked()
        time.sleep(0.25)
        after = asked()
        connection.close()

    assert (before, refused, early, after) == ((200, None), (429, "1"), (429, "1"), (200, None))
    assert (front.refused, front.early) == (2, 1)
    assert url.endswith("/v1")


@pytest.mark.parametrize(
    "text", ["it is p@ss word!", "p%40ss%20word%21", "p%40ss+word%21", "cEBzcyB3b3JkIQ==", 'say "p@ss word!"']
)
def test_a_secret_is_found_in_the_forms_in_which_it_travels(text: str) -> None:
    assert found_in(text, ["p@ss word!"])
    assert not found_in(text, ["another"])


def test_secrets_are_the_texts_among_credentials_that_are_not_found_by_chance() -> None:
    credentials = {"token": "abcd", "pin": "123", "port": 5432, "keys": [{"inner": "efgh"}]}

    assert secret_values(credentials) == ["abcd", "efgh"]
    assert secret_values(None) == []


@pytest.mark.parametrize(
    ("found", "told"),
    [
        pytest.param([{"id": 2, "x": "b"}, {"id": 1, "x": "a"}], None, id="another order"),
        pytest.param([{"id": 1, "x": "a"}, {"id": 2, "x": "b"}, {"id": 1, "x": "a"}], None, id="again"),
        pytest.param([{"id": 1, "x": "a"}], "1 missing", id="missing"),
        pytest.param([{"id": 1, "x": "a"}, {"id": 2, "x": "b"}, {"id": 3, "x": "c"}], "1 too many", id="too many"),
        pytest.param([{"id": 1, "x": "a"}, {"id": 2, "x": "B"}], "1 changed", id="changed"),
    ],
)
def test_rows_are_compared_by_their_key(found: list[dict[str, Any]], told: str | None) -> None:
    differs = difference([{"id": 1, "x": "a"}, {"id": 2, "x": "b"}], found, ["id"])

    assert differs is None if told is None else differs is not None and differs.startswith(told)


def test_equal_values_are_equal_whatever_they_are_written_as() -> None:
    assert difference([{"a": Decimal("1.50"), "b": None}], [{"b": None, "a": Decimal("1.5")}], []) is None
    assert difference([{"a": float("nan")}], [{"a": float("nan")}], []) is None
    assert difference([{"a": 0.0}], [{"a": -0.0}], []) is not None


@pytest.mark.parametrize("kind", KINDS)
def test_a_zoo_is_what_it_is_after_a_way_through_arrow(kind: str) -> None:
    batch = zoo_batch(kind)

    found = as_written(pa.Table.from_batches([batch.slice(1), batch.slice(0, 1)]), batch.schema)

    assert [row["id"] for row in found] == list(range(batch.num_rows))
    assert str(found) == str(batch.to_pylist())
    assert any(value is None for value in found[-1].values())


def test_rows_of_text_are_read_as_what_was_written() -> None:
    rows = [{"id": 1, "money": "9.90", "day": "2026-01-02", "at": "12:00:00.000001"}, {"id": 0}]
    schema = pa.schema(
        {"id": pa.int64(), "money": pa.decimal128(5, 2), "day": pa.date32(), "at": pa.time64("us"), "more": pa.int8()}
    )

    found = as_written(rows, schema)

    assert (found[1]["money"], found[1]["day"], found[1]["more"]) == (Decimal("9.90"), date(2026, 1, 2), None)
    assert [row["at"] and row["at"].microsecond for row in found] == [None, 1]
