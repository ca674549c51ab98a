"""Frames and buffers over real sockets."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Iterator
from functools import partial

import pyarrow as pa
import pytest

from dativo_plugin_sdk.errors import PluginExecutionError
from dativo_plugin_sdk.protocol import frames
from dativo_plugin_sdk.protocol.arrow_stream import ArrowReceiver, ArrowSender
from dativo_plugin_sdk.protocol.parts import Parts, to_frames
from dativo_plugin_sdk.protocol.sockets import Control, SocketSink, fill, read_frame, send_buffers, widen


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        widen(ours)
        widen(theirs)
        yield ours, theirs


def test_many_buffers_arrive_in_order_and_uncut(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    buffers = [bytes([number % 256]) * (number % 3000) for number in range(5000)]
    thread = threading.Thread(target=send_buffers, args=(ours, buffers))
    thread.start()
    received = bytearray(sum(map(len, buffers)))

    fill(theirs, memoryview(received))

    thread.join()
    assert received == b"".join(buffers)


def test_batches_larger_than_the_sockets_buffers_arrive(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    batch = pa.record_batch({"a": pa.array(range(3_000_000)), "b": ["x"] * 3_000_000})
    sink = SocketSink(ours)
    thread = threading.Thread(target=ArrowSender(sink).send, args=(batch,))
    thread.start()
    receiver = ArrowReceiver(partial(fill, theirs))

    found = receiver.batch()

    thread.join()
    assert found.batch == batch
    assert receiver.received_bytes == sink.sent_bytes


def test_a_peer_that_is_gone_is_an_end(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.sendall(b"half")
    theirs.close()

    with pytest.raises(EOFError):
        fill(ours, memoryview(bytearray(8)))
    with pytest.raises(EOFError):
        send_buffers(ours, [b"x"])
    with pytest.raises(EOFError):
        Control(ours).receive()


def test_a_time_out_of_the_socket_is_one(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    ours.settimeout(0.01)

    with pytest.raises(TimeoutError):
        fill(ours, memoryview(bytearray(8)))


def test_a_hello_is_read_and_not_a_byte_more(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ours.sendall(frames.encode({"type": "hello"}) + b"what follows")

    message = read_frame(theirs)

    assert message == {"type": "hello"}
    assert theirs.recv(100) == b"what follows"


def test_a_length_that_no_frame_has_is_a_breach(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    ours.sendall(struct.pack("<I", 2**31))

    with pytest.raises(PluginExecutionError, match="a control frame of 2147483648 bytes"):
        read_frame(theirs)


@pytest.mark.parametrize("size", [10, 2**20, 5 * 2**20], ids=str)
@pytest.mark.parametrize("text", ['"', "ü", "\x01", "x"], ids=repr)
def test_results_of_any_size_arrive_whole(pair: tuple[socket.socket, socket.socket], size: int, text: str) -> None:
    ours, theirs = pair
    message = {"type": "result", "id": 7, "ok": True, "value": text * (size // len(text.encode()))}
    sender = Control(ours)
    thread = threading.Thread(target=sender.send, args=(message,))
    thread.start()
    receiver = Control(theirs)

    found = receiver.receive()

    thread.join()
    assert found == message
    assert receiver.received_bytes == sender.sent_bytes


def test_events_come_between_the_parts_of_nothing(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    sender, receiver = Control(ours), Control(theirs)
    logs = [{"type": "event", "event": "log", "message": str(number)} for number in range(200)]
    results = [{"type": "result", "id": number, "value": "x" * 2**21} for number in range(3)]

    def send(messages: list[dict[str, object]]) -> None:
        for message in messages:
            sender.send(message)

    threads = [threading.Thread(target=send, args=(messages,)) for messages in (logs, results)]
    for thread in threads:
        thread.start()
    found = [receiver.receive() for _ in range(203)]

    for thread in threads:
        thread.join()
    assert [each for each in found if each["type"] == "event"] == logs
    assert [each for each in found if each["type"] == "result"] == results


def test_what_is_larger_than_a_message_may_be_is_not_sent() -> None:
    with pytest.raises(ValueError, match="larger than one may be"):
        list(to_frames({"type": "result", "id": 1, "value": "x" * 65 * 2**20}))
    with pytest.raises(ValueError, match="larger than a frame may be"):
        list(to_frames({"type": "event", "event": "warned", "message": "x" * 2**21}))


PART = {"type": "part", "id": 1, "text": '{"type":"result","id":1}'}


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([{"type": "result", "id": 1, "parts": 1}], "not the parts that it says"),
        ([PART, {"type": "result", "id": 1, "parts": 2}], "not the parts that it says"),
        ([PART, {"type": "result", "id": 2, "parts": 1}], "not the parts that it says"),
        ([PART, {**PART, "id": 2}], "two messages at once"),
        ([{**PART, "text": ""}], "no text"),
        ([{**PART, "text": 5}], "no text"),
        ([{**PART, "text": "["}, {"type": "result", "id": 1, "parts": 1}], "no JSON"),
        ([PART, {"type": "request", "id": 1, "parts": 1}], "another message"),
        ([{**PART, "text": '{"type":"result","id":1,"parts":1}'}, {"type": "result", "id": 1, "parts": 1}], "another"),
        ([{**PART, "text": "x" * 600}, {**PART, "text": "x" * 600}], "more than 1000 bytes"),
    ],
)
def test_parts_that_are_none_are_breaches(given: list[dict[str, object]], why: str) -> None:
    parts = Parts(most_bytes=1000)

    with pytest.raises(PluginExecutionError, match=why):
        list(map(parts.take, given))


def test_a_message_of_too_many_values_is_refused_before_it_is_parsed() -> None:
    parts = Parts()
    text = json.dumps({"type": "result", "id": 1, "value": [[]]})
    parts.take({**PART, "text": text.replace("[[]]", "[" + "[]," * 5_000_000 + "[]]")})

    with pytest.raises(PluginExecutionError, match="more than 5000000 values"):
        parts.take({"type": "result", "id": 1, "parts": 1})


def test_half_a_character_is_refused() -> None:
    body = b'{"a": "\\ud800"}'

    with pytest.raises(PluginExecutionError, match="no Unicode"):
        list(frames.FrameDecoder().feed(struct.pack("<I", len(body)) + body))
