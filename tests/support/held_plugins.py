"""Everything that a plugin gives, as bytes: the same however its process is held."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pyarrow as pa

from dativo_ingest.plugin_process.records import End, PluginRecord
from dativo_ingest.plugin_process.remote_reader import RemoteReader
from dativo_ingest.plugin_process.remote_writer import remote_writer
from dativo_ingest.plugin_process.starting import Hosted, Starter
from dativo_ingest.registry.plugins import found_in_file
from dativo_ingest.sandbox.asked import EndConfig
from dativo_ingest.sandbox.confinement import Confinement
from dativo_ingest.sandbox.grant import Applicant, decide
from dativo_ingest.sandbox.manifest import Kind
from dativo_ingest.sandbox.terms import Terms
from dativo_plugin_sdk import CommitRequest, SourceConfig, StreamSpec, TableSpec, TargetConfig
from dativo_plugin_sdk.streams import Message, Rejected, Rows, StateChanged
from dativo_plugin_sdk.testing.ends import MemoryStates


def started(kind: Kind, name: str, config: SourceConfig | TargetConfig, confinement: Confinement) -> Starter:
    """Make what starts a plugin's processes, with the grant that its manifest asks for."""
    plugin = found_in_file(kind, name)
    end: End = "source" if kind == "reader" else "target"
    applicant = Applicant(plugin.title, plugin.sha256, plugin.manifest, plugin.manifest_place)
    asked = EndConfig(end, Path.cwd(), config.connection, config.options, tuple(config.credentials))
    grant = decide(applicant, Terms("tests"), asked)
    record = PluginRecord(end, plugin.title, plugin.version, plugin.sha256, grant)
    return Starter(plugin, config, Hosted(record, confinement=confinement))


def read_whole(name: str, config: SourceConfig, confinement: Confinement) -> list[bytes]:
    """Check, discover and read everything that a reader has, from the beginning and from each last state."""
    said: list[bytes] = []
    with closing(RemoteReader(config, started("reader", name, config, confinement))) as reader:
        said += [repr(check.run()).encode() for check in reader.check([])]
        found = reader.discover()
        said.append(repr(found).encode())
        for stream in (StreamSpec(each["name"], mode="incremental") for each in found.objects):
            schema = reader.schema(stream)
            said.append(schema.serialize().to_pybytes())
            state = None
            for _ in range(2):
                for partition in reader.partitions(stream, state):
                    said.append(repr(partition).encode())
                    for message in reader.read(stream, partition, state):
                        said.append(_bytes_of(message))
                        state = message.state if isinstance(message, StateChanged) else state
    return said


def _bytes_of(message: Message) -> bytes:
    if isinstance(message, Rows | Rejected):
        others = {key: value for key, value in vars(message).items() if key != "batch"}
        return (
            repr(others).encode()
            + message.batch.schema.serialize().to_pybytes()
            + message.batch.serialize().to_pybytes()
        )
    return repr(message).encode()


def write_whole(
    name: str, config: TargetConfig, folder: Path, batches: list[pa.RecordBatch], confinement: Confinement
) -> dict[str, bytes]:
    """Write batches, rejected rows and a state by a writer; give its files."""
    starter = started("writer", name, config, confinement)
    with closing(remote_writer(starter, config, states=MemoryStates(), output_base=str(folder))) as writer:
        table = writer.table(TableSpec("events", None, "job", "events", "run-1"))
        table.load_state()
        table.open(batches[0].schema)
        for batch in batches:
            table.write(batch)
        table.quarantine(pa.record_batch({"reason": ["bad"]}))
        table.commit(CommitRequest("commit-1", 0, {"at": 1}, "2026-01-01T00:00:00Z"))
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
