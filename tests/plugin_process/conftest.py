"""What the tests of plugins' processes share."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from confined import PYTHON, confined
from hostile_readers import BATCH, HOSTILE, LITTLE_LOG, MakeReader
from plugin_remains import Remains

from dativo_ingest.plugin_process.found import FoundPlugin
from dativo_ingest.plugin_process.records import PluginRecord
from dativo_ingest.plugin_process.remote_reader import RemoteReader
from dativo_ingest.plugin_process.starting import Hosted, Starter
from dativo_ingest.sandbox.grant import Grant
from dativo_plugin_sdk.config import SourceConfig
from dativo_plugin_sdk.protocol.arrow_stream import ArrowSender


@pytest.fixture
def remains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Remains]:
    """Have plugins make their folders here, and see afterwards that nothing of them is left anywhere."""
    folder = tmp_path / "tmp"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    remains = Remains(str(tmp_path), folder)
    yield remains
    remains.look()


@pytest.fixture
def hostile(remains: Remains, tmp_path: Path) -> Iterator[MakeReader]:
    """Make readers of the plugin that misbehaves at a stage; they are closed before it is looked what remains."""
    made: list[RemoteReader] = []
    sink = io.BytesIO()
    ArrowSender(sink).send(BATCH)
    data = tmp_path / "batch"
    data.write_bytes(sink.getvalue())

    def make(stage: str, act: str, grant: Grant = LITTLE_LOG, **hosted: object) -> RemoteReader:
        command = (PYTHON, "-I", "-S", str(HOSTILE), stage, act, str(data), remains.mark)
        plugin = FoundPlugin(
            kind="reader",
            name="hostile",
            file=None,
            class_name=None,
            entry_point=None,
            command=command,
            python=Path(PYTHON),
            manifest=None,
            version="1.0",
            requires_sdk=None,
            state_version=1,
            config_version=1,
            sha256="",
        )
        grant = replace(grant, read=(*grant.read, str(data)))
        record = PluginRecord("source", plugin.title, plugin.version, plugin.sha256, grant)
        config = SourceConfig(type="hostile")
        how = {"confinement": confined(), "cancel_s": 0.3, "stop_s": 0.3, **hosted}
        hosting = Hosted(record, **how)  # type: ignore[arg-type]  # what the test gives
        made.append(RemoteReader(config, Starter(plugin, config, hosting)))
        return made[-1]

    yield make
    for reader in made:
        reader.close()
