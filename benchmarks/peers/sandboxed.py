"""A plugin's process in a sandbox, without the rest of a job: sandboxed.py start|read|hash SANDBOX FILE.

SANDBOX is what a policy says of it, as JSON; ``null`` is a bare subprocess that imports the same. ``start`` tells how
long a process takes until its plugin is imported and configured, ``read`` how fast the rows of an Arrow file come from
it, received as hostile and dropped. ``hash`` prints the hash by which a policy trusts the plugin.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from clock import clock

from dativo_ingest.plugin_process.finding import plugin_of_file
from dativo_ingest.plugin_process.holding import what_holds
from dativo_ingest.plugin_process.records import PluginRecord
from dativo_ingest.plugin_process.remote_reader import RemoteReader
from dativo_ingest.plugin_process.starting import Hosted, Starter
from dativo_ingest.plugin_process.trust import sha256_of_code
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.terms import Said, SandboxTerms
from dativo_plugin_sdk import Partition, Rows, SourceConfig, StreamSpec

_READERS = Path(__file__).with_name("plugin_readers.py")
_PLUGIN = plugin_of_file("reader", f"{_READERS}:ArrowPlugin")
_IMPORTS = (
    f"import sys, dativo_plugin_sdk.host.process; sys.path.insert(0, {str(_READERS.parent)!r}); import plugin_readers;"
    "print(1)"
)


def _config(file: Path) -> SourceConfig:
    return SourceConfig(type="bench", connection={"path": str(file)})


def _starter(sandbox: dict[str, Any], file: Path) -> Starter:
    trusted = (f"sha256:{sha256_of_code(_PLUGIN)}",)
    confinement = what_holds(
        _PLUGIN, SandboxTerms(**{key: Said(value) for key, value in sandbox.items()}, trusted=Said(trusted))
    )
    record = PluginRecord.of("source", _PLUGIN, Grant(read=(str(file),), memory_bytes=2**30), confinement)
    return Starter(_PLUGIN, _config(file), Hosted(record, confinement=confinement))


def start(sandbox: dict[str, Any] | None, file: Path) -> None:
    """Start one, and tell how long it took; not what it takes to end."""
    with clock() as measured:
        if sandbox is None:
            command = [sys.executable, "-P", "-X", "faulthandler", "-c", _IMPORTS]
            with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
                child.stdout.readline()  # type: ignore[union-attr]  # it is a pipe
                ended_s = time.perf_counter()
        else:
            process = _starter(sandbox, file)()
            ended_s = time.perf_counter()
            process.close()
        left_s = time.perf_counter() - ended_s
    measured.wall_s -= left_s
    measured.show()


def read(sandbox: dict[str, Any], file: Path) -> None:
    """Read all rows, and tell how fast they came."""
    reader, stream = RemoteReader(_config(file), _starter(sandbox, file)), StreamSpec("rows")
    reader.partitions(stream, None)  # the process is ready
    rows = size_bytes = 0
    with clock() as measured:
        for message in reader.read(stream, Partition("rows"), None):
            if isinstance(message, Rows):
                rows += message.batch.num_rows
                size_bytes += message.batch.nbytes
        ended_s = time.perf_counter()
        reader.close()  # its CPU time counts once it is gone
        left_s = time.perf_counter() - ended_s
    measured.wall_s -= left_s
    measured.show(**{"GB/s": size_bytes / measured.wall_s / 1e9, "M rows/s": rows / measured.wall_s / 1e6})


if __name__ == "__main__":
    if sys.argv[1] == "hash":
        print(sha256_of_code(_PLUGIN))
    else:
        {"start": start, "read": read}[sys.argv[1]](json.loads(sys.argv[2]), Path(sys.argv[3]))
