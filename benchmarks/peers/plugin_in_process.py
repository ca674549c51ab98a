"""Runs a job whose source is a plugin's file in the engine's own process, as no job can: plugin_in_process.py JOB.

It is there to be compared with: the same class, the same rows, no border in between.
"""

from __future__ import annotations

import sys
from typing import Any

from dativo_ingest.cli import main as dativo
from dativo_ingest.registry import connectors
from dativo_ingest.run import ends
from dativo_plugin_sdk.loading import class_from_path
from dativo_plugin_sdk.reader import BaseReader
from dativo_plugin_sdk.streams import StreamReader


def main(job: str) -> None:
    """Run it."""
    found = ends.find

    def find(kind: Any, name: str, **others: Any) -> connectors.Connector:
        if ":" not in name:
            return found(kind, name, **others)
        plugin = class_from_path(name, BaseReader, StreamReader)
        return connectors.Connector(name, plugin.__version__, built_in=True, plugin=plugin)

    ends.find = find
    sys.argv = ["dativo", "run", "--config", job, "--progress", "none"]
    dativo()


if __name__ == "__main__":
    main(sys.argv[1])
