"""The command line: one command a file, each parses, calls, renders and exits."""

from __future__ import annotations

import os

# Numpy's linear algebra, which nothing here uses, would start threads that spin while a run begins.
_NO_THREADS = {"OPENBLAS_NUM_THREADS": "1"}


def main() -> None:
    """Run ``dativo`` with the process's arguments and exit with its code."""
    for name, value in _NO_THREADS.items():
        os.environ.setdefault(name, value)

    from dativo_ingest.cli.program import dativo
    from dativo_ingest.secrets.redaction import install_excepthooks

    install_excepthooks()
    dativo()
