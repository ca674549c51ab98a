"""A plugin's process may say anything: the engine lives, in little memory, and the error says whose fault it was."""

from __future__ import annotations

import contextlib
import copy
import json
import random
import re
import struct
import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import pytest
from hostile_arrow import damaged
from hypothesis import HealthCheck, given, settings, strategies as st
from scripted_plugin import BATCH, STREAM, TOKEN, read_all, reader_of, whole_script

from dativo_plugin_sdk.errors import DativoError, PluginExecutionError, PluginVersionError
from dativo_plugin_sdk.protocol import messages, writer_messages
from dativo_plugin_sdk.protocol.error_messages import error_from_json, error_to_json
from dativo_plugin_sdk.protocol.frames import MAX_FRAME_BYTES, FrameDecoder, encode, parsed
from dativo_plugin_sdk.protocol.parts import Parts
from dativo_plugin_sdk.tables import CommitRequest, CommittedState, KeyComparison, Receipt

Said: TypeAlias = dict[str, Any] | bytes

SCRIPT = whole_script()
PLUGIN = messages.PluginSpec("reader", "stream", "Shop", "1.0", capabilities=frozenset({"incremental"}))
COMMITTED = CommittedState(3, {"after": [1]}, "c-3", "run", "2026-11-23T10:00:00Z")
REQUEST = CommitRequest("c-4", 3, {"after": [2]}, "2026-11-23T11:00:00Z")
CONVERSATIONS = 420
assert CONVERSATIONS * len(SCRIPT.said) >= 10_000
CODES = {"PLUGIN_PROTOCOL_ERROR", "PLUGIN_CRASHED", "PLUGIN_LOAD_ERROR", "PLUGIN_VERSION_ERROR", "RESOURCE_OUTPUT"}

ODD_VALUES = st.sampled_from(
    [
        *(None, True, False, 0, -1, 1, 2, 2**31, 2**53 + 1, 2**63 - 1, 2**63, -(2**63) - 1, 10**400, 0.5, 1e308, -0.0),
        *(
            "",
            "x",
            "rows",
            "rejected",
            "batch",
            "result",
            "log",
            "0" * 70_000,
            "\x00\x1b[2J",
            "\u202e",
            "é" * 9000,
            TOKEN,
        ),
        *([], [[]], {}, [None], [1, "a"], {"a": 1}, {"": {}}, [[[[]]]] * 50, {"arrow_schema": "AAAA"}),
        {"arrow_schema": "/////wAAAAA="},
        {"type": "DativoError", "message": "m", "error_code": "X", "details": {"a": [1]}, "retryable": True},
    ]
)
ODD_FRAMES = st.sampled_from(
    [
        {"type": "hello", "token": TOKEN, "protocol": [1]},
        {"type": "hello", "token": "f" * 32, "protocol": [1]},
        {"type": "welcome", "protocol": 1},
        {"type": "request", "id": 1, "method": "spec", "params": {}},
        {"type": "cancel", "id": 13},
        {"type": "part", "id": 13, "text": "{"},
        {"type": "part", "id": 13, "text": '{"type":"result","id":13,"ok":true}'},
        {"type": "result", "id": 13, "parts": 1},
        {"type": "result", "id": 13, "ok": True, "value": {}},
        {"type": "result", "id": 1, "ok": False, "error": {"type": "X", "message": "m", "error_code": "E"}},
        {"type": "result", "id": 99, "ok": True},
        {"type": "event", "id": 13, "event": "state", "state": {"version": 1}},
        {"type": "event", "id": 12, "event": "state", "state": {"version": 1}},
        {"type": "event", "id": 13, "event": "batch", "rows": 3},
        {"type": "event", "id": 13, "event": "next"},
        {"type": "event", "event": "log", "level": "info", "message": "x" * 9000},
        {"type": "event", "event": "log", "level": 7},
        {"type": "event", "event": "metric", "name": "n", "value": [[]]},
        {"type": ["event"], "event": {}},
        {},
        b"\0\0\0\0",
        b"\xff\xff\xff\xff",
        b"\x05\0\0\0[1,2]",
        b"\x02\0\0\0\xff\xfe",
        b'\x0d\0\0\0{"a":1,"a":2}',
        b'\x0e\0\0\0{"a":"\\ud800"}',
        b"GET / HTTP/1.1\r\n\r\n",
    ]
)
STEP = st.tuples(
    st.sampled_from(["value", "key", "drop", "twice", "swap", "insert", "raw", "length", "end", "parts"]),
    st.integers(0, 2**20),
    st.integers(0, 2**20),
    ODD_VALUES,
    ODD_FRAMES,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Give the path of everything in a message."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*at, key)
        yield from places(item, (*at, key))


def holder(message: Any, path: tuple[Any, ...]) -> Any:
    for key in path[:-1]:
        message = message[key]
    return message


def changed(said: list[Said], steps: list[tuple[str, int, int, Any, Said]]) -> list[Said]:  # noqa: C901  one for each
    """Change a conversation in a few places."""
    for how, one, other, value, frame in copy.deepcopy(steps):
        said = copy.deepcopy(said)  # what stands in it twice is changed once
        at = one % max(1, len(said))
        message = said[at] if said else {}
        paths = list(places(message)) if isinstance(message, dict) else []
        path = paths[other % len(paths)] if paths else ()
        if how == "insert":
            said.insert(at, frame)
        elif not said:
            continue
        elif how == "value" and path:
            holder(message, path)[path[-1]] = value
        elif how == "key" and path:
            del holder(message, path)[path[-1]]
        elif how == "drop":
            del said[at]
        elif how == "twice":
            said.insert(other % len(said), message)
        elif how == "swap":
            to = other % len(said)
            said[at], said[to] = said[to], said[at]
        elif how == "end":
            del said[at:]
        elif how == "parts" and isinstance(message, dict) and message.get("type") == "result":
            text = json.dumps(message)
            said[at : at + 1] = [
                {"type": "part", "id": message.get("id"), "text": text[: len(text) // 2]},
                {"type": "part", "id": message.get("id"), "text": text[len(text) // 2 :]},
                {"type": "result", "id": message.get("id"), "parts": 2 + other % 2},
            ]
        elif how in {"raw", "length"}:
            said[at] = bytes_of(message, how, one, other)
    return said


def bytes_of(message: Said, how: str, one: int, other: int) -> bytes:
    """Give a frame with a byte that is another, or with another length."""
    data = bytearray(written(message))
    if how == "length":
        data[:4] = struct.pack("<I", [0, 1, len(data), len(data) - 5, 2**32 - 1, 2**31, MAX_FRAME_BYTES][other % 7])
    else:
        data[one % len(data)] = other % 256
    return bytes(data)


def frame(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


def written(message: Said) -> bytes:
    """Write a frame, also one that `encode` refuses."""
    if isinstance(message, bytes):
        return message
    return frame(json.dumps(message).encode())


def outcome(control: list[bytes], data: bytes) -> DativoError | None:
    """Let the engine ask for everything; give the error that it ended with, if any.

    It is an answer of the plugin's, whose process lives on, or it says what became of the process, which is ended.
    """
    caught = None
    with reader_of(control, data) as (reader, sessions):
        try:
            read_all(reader)
        except DativoError as error:
            caught = error
    if caught is not None:
        assert caught.details.get("plugin") == "shop" or isinstance(caught, PluginVersionError)
        assert caught.error_code in CODES or sessions[0].failure is None
    return caught


@given(st.lists(STEP, min_size=1, max_size=4), st.none() | st.integers(0, 2**32))
@settings(max_examples=CONVERSATIONS, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_of_10_000_frames_of_changed_conversations_none_harms_the_engine(
    steps: list[tuple[str, int, int, Any, Said]], seed: int | None
) -> None:
    control = [written(message) for message in changed(list(SCRIPT.said), steps)]
    data = SCRIPT.data if seed is None else damaged(SCRIPT.data, random.Random(seed))

    outcome(control, data)


def test_an_unchanged_conversation_is_understood() -> None:
    assert outcome([encode(message) for message in SCRIPT.said], SCRIPT.data) is None


VALUES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "spec": (messages.spec_from_json, messages.spec_to_json(PLUGIN)),
    "stream": (messages.stream_from_json, messages.stream_to_json(STREAM)),
    "partitions": (messages.partitions_from_json, [{"id": "a", "detail": {"n": 1}, "size_bytes": 1, "rows": None}]),
    "streams": (messages.streams_from_json, {"a": {"path": "p"}}),
    "found": (messages.connection_test_from_json, {"success": True, "message": "m", "details": {"a": 1}}),
    "discovered": (messages.discovery_from_json, {"objects": [{"name": "a", "type": "t"}], "warnings": ["w"]}),
    "schema": (messages.schema_from_json, messages.schema_to_json(BATCH.schema)),
    "batch": (messages.batch_from_json, messages.batch_to_json(BATCH)),
    "table": (messages.table_from_json, {"name": "t", "namespace": None, "job": "j", "stream": "s", "run_id": "r"}),
    "committed": (messages.committed_state_from_json, messages.committed_state_to_json(COMMITTED)),
    "history": (
        messages.history_from_json,
        [messages.committed_state_to_json(COMMITTED), {"generation": 1, "rows": 2}],
    ),
    "request": (messages.commit_request_from_json, messages.commit_request_to_json(REQUEST)),
    "receipt": (messages.receipt_from_json, messages.receipt_to_json(Receipt("c", 1))),
    "compared": (
        messages.key_comparison_from_json,
        messages.key_comparison_to_json(KeyComparison(3, 2, 1, BATCH.select([0]))),
    ),
    "marks": (messages.marks_from_json, messages.batch_to_json(BATCH.slice(0, 1))),
    "error": (error_from_json, error_to_json(DativoError("m", "E", {"a": [1]}, hint="h", retry_after_s=1.5))),
    "powers": (writer_messages.powers_from_json, {"delivery": "exactly_once", "write_modes": ["append"]}),
    "made table": (writer_messages.made_table_from_json, {"table": 0, "keeps_history": True}),
    "made instance": (writer_messages.made_instance_from_json, {"instance": 0}),
    "files": (writer_messages.files_from_json, [{"path": "p", "rows": 1}]),
    "snapshot": (writer_messages.snapshot_id_from_json, {"snapshot_id": "s"}),
    "steps": (writer_messages.steps_from_json, {"steps": ["a"]}),
    "changes": (writer_messages.changes_from_json, ["add a"]),
}


@given(st.sampled_from(sorted(VALUES)), st.lists(st.tuples(st.integers(0, 2**20), ODD_VALUES), min_size=1, max_size=3))
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_value_that_is_not_what_was_asked_for_is_a_breach_and_nothing_else(
    name: str, changes: list[tuple[int, Any]]
) -> None:
    read, value = VALUES[name]
    holder_ = {"value": copy.deepcopy(value)}
    for number, odd in changes:
        paths = list(places(holder_))
        path = paths[number % len(paths)]
        holder(holder_, path)[path[-1]] = copy.deepcopy(odd)
    code = "PLUGIN_PROTOCOL_ERROR"

    try:
        read(parsed(json.dumps(holder_).encode())["value"])
    except PluginExecutionError as error:
        code = error.error_code

    assert code == "PLUGIN_PROTOCOL_ERROR"


def said_by_13(*messages_: Said) -> list[bytes]:
    """Give the conversation up to reading, and then this."""
    before = [message for message in SCRIPT.said if message.get("id", 0) < 13]
    return [written(message) for message in (*before, *messages_)]


def deep(levels: int) -> dict[str, Any]:
    value: dict[str, Any] = {}
    for _ in range(levels):
        value = {"a": value}
    return value


RESULT = {"type": "result", "id": 13, "ok": True, "value": {}}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ([{"type": "result", "id": 14, "ok": True, "value": {}}], "speaks of another request"),
        ([{"type": "result", "id": 12, "ok": True, "value": {}}], "speaks of another request"),
        ([{"type": "event", "id": 7, "event": "state", "state": {"version": 1}}], "speaks of another request"),
        ([{"type": "event", "id": True, "event": "state", "state": {}}], "a whole number"),
        ([{"type": "event", "id": 13, "event": "state", "state": [1]}], "an object is expected"),
        ([{"type": "event", "id": 13, "event": "state"}], "state is missing"),
        ([{"type": "event", "id": 13, "event": "fly"}], "an event that is none of reading"),
        ([{"type": "event", "id": 13, "event": "next"}], "an event that is none of reading"),
        ([{"type": "event", "id": 13, "event": "batch", "rows": 4}], "not the rows that its event announced"),
        ([{"type": "event", "id": 13, "event": "batch", "rows": 3, "kind": "rejected"}], "not of the kind"),
        ([{"type": "event", "id": 13, "event": "batch", "rows": 10**400}], "no JSON|64 bits"),
        ([{"type": "event", "id": 13, "event": "batch", "rows": -3}], "not negative"),
        ([{"type": "event", "id": 13, "event": "batch", "rows": 3.0}], "64 bits"),
        ([{"type": "request", "id": 1, "method": "read", "params": {}}], "a type that is not known here"),
        ([{"type": "hello", "token": TOKEN, "protocol": [1]}], "a type that is not known here"),
        ([{"type": "fly"}], "a type that is not known here"),
        ([{}], "a type that is not known here"),
        ([{"type": "part", "id": 13, "text": "{"}, RESULT | {"parts": 1}], "no JSON"),
        ([{"type": "part", "id": 13, "text": "{}"}, RESULT | {"parts": 2}], "not the parts that it says"),
        ([{"type": "part", "id": 13, "text": json.dumps(RESULT)}, RESULT | {"id": 12, "parts": 1}], "not the parts"),
        (
            [{"type": "part", "id": 13, "text": json.dumps(RESULT | {"id": 9})}, RESULT | {"parts": 1}],
            "another message",
        ),
        ([{"type": "part", "id": 1, "text": "{"}, {"type": "part", "id": 2, "text": "}"}], "parts of two messages"),
        ([b"\0\0\0\0"], "a control frame of 0 bytes"),
        ([b"\xff\xff\xff\xff"], "a control frame of 4294967295 bytes"),
        ([b"\x02\0\0\0\xff\xfe"], "no JSON"),
        ([b"\x0e\0\0\0" + b'{"a":"\\ud800"}'], "no Unicode"),
        ([frame(b'{"a":' * 100_000 + b"1" + b"}" * 100_000)], "no JSON"),
        (
            [frame(b'{"type":"event","id":13,"event":"state","state":{"a":' + b"[" * 500 + b"]" * 500 + b"}}")],
            "64 deep",
        ),
        ([b"\x10\0\0\0{}"], "ended within a frame"),
    ],
)
def test_what_is_said_out_of_turn_or_is_no_message_is_a_breach(said: list[Said], why: str) -> None:
    error = outcome(said_by_13(*said), SCRIPT.data)

    assert error is not None
    assert error.error_code == "PLUGIN_PROTOCOL_ERROR"
    assert re.search(why, str(error))


def test_of_a_key_that_comes_twice_the_last_one_counts() -> None:
    twice = b'{"type":"result","id":99,"id":13,"ok":false,"ok":true,"value":{}}'

    assert outcome([*said_by_13(frame(twice)), *map(written, SCRIPT.said[-2:])], SCRIPT.data) is None


@pytest.mark.parametrize(
    ("body", "times", "most_bytes"),
    [
        pytest.param(b'{"a":[' + b"[]," * 349_000 + b"[]]}", 1, 40 * 2**20, id="a frame full of lists"),
        pytest.param(b'{"a":' * 170_000 + b"1" + b"}" * 170_000, 4, 8 * 2**20, id="a deep frame"),
        pytest.param(b'{"type":"part","id":1,"text":"[["}', 30_000, 2**20, id="small parts"),
        pytest.param(
            b'{"type":"part","id":1,"text":"' + b"[]," * 300_000 + b'"}', 60, 200 * 2**20, id="parts full of lists"
        ),
    ],
)
def test_little_memory_is_taken_for_whatever_comes(body: bytes, times: int, most_bytes: int) -> None:
    decoder, parts, sent = FrameDecoder(), Parts(), frame(body)
    tracemalloc.start()

    with contextlib.suppress(PluginExecutionError):
        for _ in range(times):
            for message in decoder.feed(sent):
                parts.take(message)
        parts.take({"type": "result", "id": 1, "parts": times})
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert peak_bytes < most_bytes
