"""The page of the plugin protocol says what the code does."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hostile_arrow import filler
from pages import ROOT

from dativo_ingest.plugin_process import conversation
from dativo_ingest.sandbox import endings, environment, run_spec
from dativo_ingest.sandbox.grant import Deadlines, Grant
from dativo_plugin_sdk.host.serve_reader import OPTIONAL_METHODS, ReaderService
from dativo_plugin_sdk.host.serve_writer import WriterService
from dativo_plugin_sdk.protocol import messages, writer_messages
from dativo_plugin_sdk.protocol.arrow_schema import MAX_FIXED_SIZE
from dativo_plugin_sdk.protocol.arrow_schema_claims import MAX_COLUMNS, MAX_DEPTH, MAX_SCHEMA_BYTES
from dativo_plugin_sdk.protocol.arrow_stream import ArrowReceiver, Limits
from dativo_plugin_sdk.protocol.breach import PROTOCOL_ERROR
from dativo_plugin_sdk.protocol.error_messages import MAX_DETAILS, MAX_MESSAGE, error_from_json
from dativo_plugin_sdk.protocol.frames import MAX_FRAME_BYTES, FrameDecoder, encode
from dativo_plugin_sdk.protocol.parts import MAX_MESSAGE_BYTES, MAX_VALUES, Parts
from dativo_plugin_sdk.rejects import REJECTED_SCHEMA
from dativo_plugin_sdk.tables import MAX_STATE_BYTES, StreamWriter
from dativo_plugin_sdk.writer import BaseWriter

PAGE = (ROOT / "docs" / "plugin-protocol.md").read_text(encoding="utf-8")
EVERY = {"spec", "configure", "shutdown"}
VALUES: dict[str, Callable[[Any], Any]] = {
    "spec": messages.spec_from_json,
    "check": writer_messages.steps_from_json,
    "check_step": messages.connection_test_from_json,
    "discover": messages.discovery_from_json,
    "schema": messages.schema_from_json,
    "table": writer_messages.made_table_from_json,
    "load_state": messages.committed_state_from_json,
    "commit": messages.receipt_from_json,
    "instance": writer_messages.made_instance_from_json,
    "write_batch": writer_messages.files_from_json,
    "commit_files": writer_messages.snapshot_id_from_json,
}
PARAMS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "configure": lambda params: messages.source_config_from_json(params["config"]),
    "check": lambda params: messages.stream_from_json(params["streams"][0]),
    "schema": lambda params: messages.stream_from_json(params["stream"]),
    "read": lambda params: (
        messages.stream_from_json(params["stream"]),
        messages.partition_from_json(params["partition"]),
        messages.state_from_json(params["state"]),
    ),
    "table": lambda params: messages.table_from_json(params["spec"]),
    "commit": lambda params: messages.commit_request_from_json(params["request"]),
    "instance": lambda params: writer_messages.asset_from_json(params["asset"]),
    "commit_files": lambda params: writer_messages.files_from_json(params["metadata"]),
}


def blocks() -> list[list[dict[str, Any]]]:
    """Give the messages of each block of JSON."""
    found = []
    for text in re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
        decoder, at, block = json.JSONDecoder(), 0, []
        while at < len(text.rstrip()):
            message, at = decoder.raw_decode(text, at)
            at += len(text[at:]) - len(text[at:].lstrip())
            block.append(message)
        found.append(block)
    return found


def every_message() -> Iterator[dict[str, Any]]:
    for block in blocks():
        yield from block


def hexdump(title: str) -> bytes:
    (text,) = re.findall(rf'^```text title="{title}"\n(.*?)^```$', PAGE, re.MULTILINE | re.DOTALL)
    rows = [line.split("  ", 1)[1].split("|")[0] for line in text.splitlines()]
    return bytes.fromhex(" ".join(rows))


def methods_in(heading: str) -> list[str]:
    """Give the methods of the table below a heading."""
    section = PAGE.split(f"{heading}\n", 1)[1]
    table = section.split("| method |", 1)[1].split("\n\n", 1)[0]
    return re.findall(r"^\| (?:\*optional:\* )?`(\w+)`", table, re.MULTILINE)


class NoExchange:
    """A plugin that is made and asked nothing."""

    def call(self, _where: str, function: Callable[..., Any], *args: Any) -> Any:
        return function(*args)


def writer_methods(plugin: type) -> set[str]:
    service = WriterService(plugin, NoExchange())  # type: ignore[arg-type]
    service.configure({"config": {"type": "t"}})
    return set(service.methods)


def test_every_message_of_the_page_crosses_as_a_frame() -> None:
    decoder = FrameDecoder()

    found = [message for sent in every_message() for message in decoder.feed(encode(sent))]

    assert found == list(every_message())
    kinds = {"hello", "welcome", "reject", "request", "result", "part", "cancel", "event", "batch"}
    assert {message["type"] for message in found} == kinds


def test_what_the_page_asks_and_answers_is_understood() -> None:
    seen = set()
    for block in blocks():
        asked: dict[int, str] = {}
        for message in block:
            if message["type"] == "request":
                method = asked[message["id"]] = message["method"]
                PARAMS.get(method, lambda _: None)(message["params"])
            elif message["type"] == "result" and message.get("ok") and message["id"] in asked:
                method = asked[message["id"]]
                VALUES.get(method, lambda _: None)(message["value"])
                seen.add(method)
    (refused,) = [message["error"] for message in every_message() if message.get("ok") is False]

    assert seen >= VALUES.keys() - {"spec"}
    assert error_from_json(refused)[0].error_code == "DATA_NOT_FOUND"


def test_the_spec_and_the_powers_of_the_page_are_understood() -> None:
    values = [message["value"] for message in every_message() if message.get("ok")]
    (spec,) = [value for value in values if "level" in value]
    (powers,) = [value for value in values if "delivery" in value]

    assert messages.spec_from_json(spec).class_name == "ReadingsReader"
    assert writer_messages.powers_from_json(powers).delivery == "exactly_once"


def test_the_parts_of_the_page_are_a_message() -> None:
    (block,) = [block for block in blocks() if block[0]["type"] == "part"]
    parts = Parts()

    *nothing, whole = [parts.take(frame) for frame in block]

    assert nothing == [None, None]
    assert whole == {"type": "result", "id": 5, "ok": True, "value": {"objects": []}}


def test_the_bytes_of_the_page_are_a_hello_and_a_batch() -> None:
    (hello,) = FrameDecoder().feed(hexdump("hello.hex"))
    data = hexdump("data.hex")
    found = ArrowReceiver(filler(data)).batch()
    (encoded,) = set(re.findall(r'"arrow_schema":\s+"([^"]+)"', PAGE))

    assert hello == {"type": "hello", "token": "00112233445566778899aabbccddeeff"}
    assert found.batch.to_pydict() == {"id": [1, 2, 3]}
    assert base64.b64decode(encoded) == data[0x10:0x90]
    assert messages.schema_from_json({"arrow_schema": encoded}).equals(found.batch.schema)
    assert data[0x90:0x94] == data[0x138:0x13C] == b"\xff\xff\xff\xff"


def test_the_methods_of_the_page_are_those_of_the_code() -> None:
    reader = methods_in("## Methods of a reader")

    assert set(reader) == set(ReaderService.methods.fget(ReaderService(object, None)))  # type: ignore[attr-defined,arg-type]
    assert set(re.findall(r"\*optional:\* `(\w+)`", PAGE)) == set(OPTIONAL_METHODS)
    assert set(methods_in("### Level `stream`")) == writer_methods(WriterOfTables)
    assert set(methods_in("### Level `simple`")) == writer_methods(WriterOfFiles)
    assert set(re.findall(r"^### `(\w+)`$", PAGE, re.MULTILINE)) == EVERY


class WriterOfTables(StreamWriter):
    def check(self, tables: Any) -> Any:
        """Not asked."""

    def table(self, spec: Any) -> Any:
        """Not asked."""


class WriterOfFiles(BaseWriter):
    def write_batch(self, records: Any, file_counter: int) -> Any:
        """Not asked."""


@pytest.mark.parametrize(
    "said",
    [
        f"{MAX_FRAME_BYTES:,}",
        f"{MAX_MESSAGE_BYTES // 2**20} MiB, and {MAX_VALUES:,} values",
        f"at most {MAX_COLUMNS:,} columns, nested {MAX_DEPTH} deep; a schema of about {MAX_SCHEMA_BYTES // 2**20} MiB",
        f"fixes their size of {MAX_FIXED_SIZE // 2**20} MiB",
        f"metadata of {Limits().metadata_bytes // 2**20} MiB",
        f"at most {Limits().values_without_bytes:,} of them",
        f'"body_bytes": {Limits().body_bytes}, "rows": {Limits().rows}',
        f"({MAX_STATE_BYTES // 2**20} MiB at most)",
        f"| `start` | {Deadlines().start_s:.0f} |",
        f"| `check` | {Deadlines().check_s:.0f} |",
        f"| `discover` | {Deadlines().discover_s:.0f} |",
        f"| `idle` | {Deadlines().idle_s:.0f} |",
        f"| cancel | {run_spec.RunSpec('p', ()).cancel_s:.0f} |",
        f"| stop | {run_spec.RunSpec('p', ()).stop_s:.0f} |",
        f"More than {Grant().log_bytes // 2**20} MiB",
        f"at most {MAX_MESSAGE // 2**10} KiB",
        f"at most {MAX_DETAILS // 2**10} KiB",
        f"`{environment.FOLDER_VARIABLE}`",
        f"`{environment.TOKEN_VARIABLE}`",
        f"`{endings.PLUGIN_CRASHED}`",
        f"`{conversation.PLUGIN_TIMEOUT}`",
        f"`{endings.RESOURCE_OUTPUT}`",
        f"`{PROTOCOL_ERROR}`",
        f"version {max(conversation.PROTOCOLS)} of the protocol",
        *(f"`{name}`" for name in REJECTED_SCHEMA.names),
    ],
)
def test_the_numbers_and_names_of_the_page_are_those_of_the_code(said: str) -> None:
    assert said in " ".join(PAGE.split())
