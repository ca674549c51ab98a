from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path

from dativo_ingest.plugin_process.conversation import Conversation
from dativo_ingest.sandbox.bubblewrap import Process
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.run_spec import Code, RunSpec


def test_a_reader_answers_from_within(tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    file.write_text(SHOP)
    spec = RunSpec("shop", (), Grant(), code=Code(Path(sys.executable), tmp_path, file))

    with closing(Conversation(spec, Process())) as process:
        process.greet()
        said = process.ask("spec", {"plugin": {"file": str(file), "class": "Shop"}, "kind": "reader"}, within="start")

    assert said["version"] == "1.0.0"


SHOP = """
from dativo_plugin_sdk import BaseReader, ConnectionTestResult


class Shop(BaseReader):
    __version__ = "1.0.0"

    def check_connection(self):
        return ConnectionTestResult(success=True, message="ok")

    def discover(self):
        return None

    def extract(self, **_):
        yield [{"id": 1}]
"""
