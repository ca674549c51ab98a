"""Fakes that run in the engine's own process, found by a name of their own as built-in connectors are.

``python in_process.py NAME=MODULE:CLASS ARGUMENT...`` is the command line ``dativo ARGUMENT...`` with such a reader.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

from dativo_ingest.registry import connectors
from dativo_ingest.registry.connectors import Connector


@contextmanager
def registered(name: str, reader: type[Any]) -> Iterator[None]:
    """Let jobs name a reader's class."""

    def find(kind: connectors.Kind, wanted: str, **how: Any) -> Connector:
        if (kind, wanted) == ("reader", name):
            return Connector(name, "1.0", built_in=True, plugin=reader)
        return connectors.find(kind, wanted, **how)

    with mock.patch("dativo_ingest.run.ends.find", find):
        yield


def main(named: str, *arguments: str) -> None:
    """Run a command line."""
    from dativo_ingest.cli.program import dativo

    name, _, place = named.partition("=")
    module, _, attribute = place.partition(":")
    with registered(name, getattr(importlib.import_module(module), attribute)):
        dativo(list(arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
