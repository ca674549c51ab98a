"""What to start, and within which bounds."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dativo_ingest.sandbox.grant import Grant

CANCEL_S: Final = 5.0
STOP_S: Final = 5.0


@dataclass(frozen=True)
class Code:
    """Where a plugin's code is, for a sandbox that shows it nothing else.

    Attributes:
        python: The interpreter that it runs with; None for a program of its own.
        folder: The folder of its file or its manifest, which it may read; None for an installed one.
        file: The file of its class, where it is one.
        module: What the interpreter runs.
    """

    python: Path | None = None
    folder: Path | None = None
    file: Path | None = None
    module: str = "dativo_plugin_sdk.host"


@dataclass(frozen=True)
class RunSpec:
    """What to start, and within which bounds."""

    plugin: str
    """Its name, for messages."""
    command: tuple[str, ...]
    """What is run where nothing confines it."""
    grant: Grant = field(default_factory=Grant)
    """What it may do; of the engine's environment, it gets the variables that are named here."""
    cancel_s: float = CANCEL_S
    """How long it may take to leave off what it is doing."""
    stop_s: float = STOP_S
    """How long it may take to close what is open and end."""
    manifest: str = "its manifest"
    """Where its manifest is, or would be."""
    code: Code = field(default_factory=Code)
    """Where its code is."""

    def way_out(self, key: str) -> str:
        """Say how a plugin that was ended at a limit gets more."""
        return f"{key} in {self.manifest} asks for more, as far as the operator's policy allows it"
