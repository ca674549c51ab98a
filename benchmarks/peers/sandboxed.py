"""A plugin's process at a level of isolation, without the rest of a job: sandboxed.py start|read LEVEL FILE.

``start`` tells how long a process takes until its plugin is imported and configured; the level ``bare`` is a subprocess
that imports the same and says so. ``read`` tells how fast the rows of an Arrow file come from the plugin, received as
hostile and dropped.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from clock import clock

from dativo_ingest.plugin_process.finding import plugin_of_file
from dativo_ingest.plugin_process.found import FoundPlugin
from dativo_ingest.plugin_process.records import PluginRecord
from dativo_ingest.plugin_process.remote_reader import RemoteReader
from dativo_ingest.plugin_process.starting import Hosted, Starter
from dativo_ingest.sandbox.bubblewrap import Process
from dativo_ingest.sandbox.confinement import Confinement
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.unconfined import Unconfined
from dativo_plugin_sdk import Partition, Rows, SourceConfig, StreamSpec

_READERS = Path(__file__).with_name("plugin_readers.py")
_IMPORTS = "import sys, dativo_plugin_sdk.host.process; sys.path.insert(0, {folder!r}); import plugin_readers; print(1)"


def _confinement(level: str) -> Confinement:
    return {"none": Unconfined, "process": Process}[level]()


def _starter(level: str, plugin: FoundPlugin, file: Path) -> Starter:
    grant = Grant(read=(str(file),), memory_bytes=2**30)
    record = PluginRecord("source", plugin.title, plugin.version, plugin.sha256, grant)
    config = SourceConfig(type="bench", connection={"path": str(file)})
    return Starter(plugin, config, Hosted(record, confinement=_confinement(level)))


def start(level: str, file: Path) -> None:
    """Start one, and tell how long it took."""
    plugin = plugin_of_file("reader", f"{_READERS}:ArrowPlugin")
    with clock() as measured:
        if level == "bare":
            command = [sys.executable, "-P", "-X", "faulthandler", "-c", _IMPORTS.format(folder=str(_READERS.parent))]
            with subprocess.Popen(command, stdout=subprocess.PIPE, env=_environment()) as child:
                child.stdout.readline()  # type: ignore[union-attr]  # it is a pipe
                ended_s = time.perf_counter()
        else:
            starter = _starter(level, plugin, file)
            process = starter()
            ended_s = time.perf_counter()
            process.close()
            starter.close()
        left_s = time.perf_counter() - ended_s
    measured.wall_s -= left_s  # what it takes to end is not what it takes to start
    measured.show()


def read(level: str, file: Path) -> None:
    """Read all rows, and tell how fast they came."""
    starter = _starter(level, plugin_of_file("reader", f"{_READERS}:ArrowPlugin"), file)
    reader = RemoteReader(starter.config, starter)  # type: ignore[arg-type]  # it is a source's
    stream = StreamSpec("rows")
    reader.partitions(stream, None)  # the process is ready
    rows = size_bytes = 0
    with clock() as measured:
        for message in reader.read(stream, Partition("rows"), None):
            if isinstance(message, Rows):
                rows += message.batch.num_rows
                size_bytes += message.batch.nbytes
        reader_ended_s = time.perf_counter()
        reader.close()  # its CPU time counts once it is gone
        left_s = time.perf_counter() - reader_ended_s
    measured.wall_s -= left_s
    measured.show(**{"GB/s": size_bytes / measured.wall_s / 1e9, "M rows/s": rows / measured.wall_s / 1e6})


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key in {"PATH", "LANG", "TZ"}}


if __name__ == "__main__":
    {"start": start, "read": read}[sys.argv[1]](sys.argv[2], Path(sys.argv[3]))
