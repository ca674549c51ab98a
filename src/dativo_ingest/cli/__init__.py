"""The command line: one command a file, each parses, calls, renders and exits."""

from __future__ import annotations


def main() -> None:
    """Run ``dativo`` with the process's arguments and exit with its code."""
    from dativo_ingest.cli.program import dativo
    from dativo_ingest.secrets.redaction import install_excepthooks

    install_excepthooks()
    dativo()
