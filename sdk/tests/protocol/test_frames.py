"""Control frames: whole, in pieces, and damaged."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given, settings, strategies as st

from dativo_plugin_sdk.errors import PluginExecutionError
from dativo_plugin_sdk.protocol.frames import MAX_FRAME_BYTES, FrameDecoder, encode

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
MESSAGES = st.dictionaries(st.text(), JSON, max_size=5)


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


@given(st.lists(MESSAGES, max_size=4), st.integers(1, 40))
@settings(max_examples=60, deadline=None)
def test_messages_arrive_whole_in_whatever_pieces_they_come(messages: list[dict[str, object]], piece: int) -> None:
    sent = b"".join(encode(message) for message in messages)
    decoder = FrameDecoder()

    found = [
        message for at in range(0, len(sent), piece) for message in decoder.feed(memoryview(sent)[at : at + piece])
    ]
    decoder.end()

    assert found == messages


@given(
    st.lists(st.binary(max_size=40) | st.builds(framed, st.binary(min_size=1, max_size=40)), min_size=50, max_size=50)
)
@settings(max_examples=200, deadline=None)
def test_of_10_000_frames_whatever_is_none_is_a_breach_and_nothing_else(frames: list[bytes]) -> None:
    for frame in frames:
        decoder = FrameDecoder()
        found = []

        with contextlib.suppress(PluginExecutionError):
            found += decoder.feed(frame)
            decoder.end()

        assert all(isinstance(message, dict) for message in found)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"[1]", "a JSON list"),
        (b"\xff{}", "no JSON"),
        (b'{"a": NaN}', "no JSON"),
        (b'{"a": ' + b"9" * 5000 + b"}", "no JSON"),
        (b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "no JSON"),
    ],
)
def test_a_body_that_is_no_object_is_told(body: bytes, why: str) -> None:
    with pytest.raises(PluginExecutionError, match=why):
        list(FrameDecoder().feed(framed(body)))


@pytest.mark.parametrize("length", [0, MAX_FRAME_BYTES + 1, 2**32 - 1])
def test_a_length_that_is_not_allowed_is_refused_before_anything_is_kept(length: int) -> None:
    with pytest.raises(PluginExecutionError, match=f"a control frame of {length} bytes"):
        list(FrameDecoder().feed(length.to_bytes(4, "little")))


def test_an_end_within_a_frame_is_a_breach() -> None:
    decoder = FrameDecoder()

    assert list(decoder.feed(encode({"a": 1})[:-1])) == []
    with pytest.raises(PluginExecutionError, match="ended within a frame"):
        decoder.end()


def test_a_message_that_is_too_large_is_not_sent() -> None:
    with pytest.raises(ValueError, match="larger than a frame may be"):
        encode({"a": "x" * MAX_FRAME_BYTES})


def test_text_is_sent_as_utf8() -> None:
    assert json.loads(encode({"é": "日"})[4:]) == {"é": "日"}
    assert len(encode({"é": "日"})) == 4 + len('{"é":"日"}'.encode())
