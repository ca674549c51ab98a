"""Fakes that run in the engine's own process, found by a name of their own as built-in connectors are.

``python in_process.py NAME=MODULE:CLASS ARGUMENT...`` is the command line ``dativo ARGUMENT...`` with such a reader.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from dativo_ingest.registry import connectors
from dativo_ingest.registry.connectors import Connector
from dativo_ingest.run import ends


@contextmanager
def registered(name: str, plugin: type[Any], kind: connectors.Kind = "reader") -> Iterator[None]:
    """Let jobs name a reader's or a writer's class."""
    before = ends.find

    def find(wanted_kind: connectors.Kind, wanted: str, **how: Any) -> Connector:
        if (wanted_kind, wanted) == (kind, name):
            return Connector(name, "1.0", built_in=True, plugin=plugin)
        return before(wanted_kind, wanted, **how)

    with mock.patch.object(ends, "find", find):
        yield


def main(named: str, *arguments: str) -> None:
    """Run a command line."""
    from dativo_ingest.cli.program import dativo

    name, _, place = named.partition("=")
    module, _, attribute = place.partition(":")
    with registered(name, getattr(importlib.import_module(module), attribute)):
        dativo(list(arguments))


if __name__ == "__main__":
    sys.path.append(str(Path(__file__).parent / "plugins"))
    main(*sys.argv[1:])
