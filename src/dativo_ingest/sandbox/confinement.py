"""What a back end is asked, and what it answers: how a plugin's process is started and held."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from dativo_ingest.sandbox.controls import Finding
from dativo_ingest.sandbox.levels import Isolation
from dativo_ingest.sandbox.run_spec import RunSpec


@dataclass(frozen=True)
class Prepared:
    """How one process is started.

    Attributes:
        warden: The program that keeps it, which is given three more arguments: the numbers of the pipes LIFELINE and
            STATUS, and the process's FOLDER.
        plan: What the warden reads from LIFELINE first, as a line of JSON, once the folder is ready.
        environment: The warden's environment, of which it hands on what the plugin gets.
        peer_uid: Whose processes connect to the sockets; the folder is given to that user.
        other_peers: Who else may connect: what carries connections out of a sandbox with a kernel of its own.
        ending_s: The longest that the warden takes to leave nothing of it.
        descriptors: Open files that the warden inherits; the session closes them once it has started.
    """

    warden: tuple[str, ...]
    plan: Mapping[str, Any]
    environment: Mapping[str, str]
    peer_uid: int = field(default_factory=os.geteuid)
    other_peers: frozenset[int] = frozenset()
    ending_s: float = 7.0
    descriptors: tuple[int, ...] = ()


class Confinement(Protocol):
    """A back end as it is set up for one run; safe to use for several processes at once."""

    @property
    def isolation(self) -> Isolation:
        """The level that is achieved."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What each control comes to."""

    def prepare(self, spec: RunSpec, folder: Path, token: str) -> Prepared:
        """Say how to start a process.

        Args:
            spec: What to start.
            folder: Where its sockets are going to be; it does not exist yet.
            token: What it must say to be believed; nothing but its own environment may show it.

        Raises:
            SandboxError: It cannot be held as it must be (``SANDBOX_UNAVAILABLE``).
        """
