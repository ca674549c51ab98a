"""The command line: one command a file, each parses, calls, renders and exits."""

from __future__ import annotations


def main() -> None:
    """Run ``dativo`` with the process's arguments and exit with its code."""
    from dativo_ingest.cli.program import dativo

    dativo()
