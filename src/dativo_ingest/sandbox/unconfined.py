"""No sandbox: a process with the rights of the user who runs the engine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Final

from dativo_ingest.sandbox.confinement import Prepared
from dativo_ingest.sandbox.controls import Finding
from dativo_ingest.sandbox.environment import environment_of
from dativo_ingest.sandbox.levels import Isolation
from dativo_ingest.sandbox.run_spec import RunSpec

WARDEN: Final = (sys.executable, "-I", "-S", str(Path(__file__).with_name("warden.py")))


class Unconfined:
    """The back end ``none``."""

    isolation: Isolation = "none"
    findings: tuple[Finding, ...] = (
        Finding("wall", "enforced", "the warden"),
        Finding("output", "enforced", "the engine"),
    )

    def prepare(self, spec: RunSpec, folder: Path, token: str) -> Prepared:
        """Say how to start a process: its home is in the folder."""
        home = folder / "home"
        environment = environment_of(spec.grant, home=home, temporary=home, folder=folder, token=token)
        environment["PYTHONDONTWRITEBYTECODE"] = "1"  # beside code that is trusted by its hash there is to be no other
        return Prepared(WARDEN, {"command": list(spec.command), "home": str(home)}, environment)
