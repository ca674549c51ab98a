"""What a plugin gets: what its manifest asks for, as far as the operator's policy allows it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Deadlines:
    """How long a plugin may take, in seconds.

    Attributes:
        start: From its start to its first word.
        check: A step of a check.
        discover: Finding out what there is.
        idle: Between two signs of life within any other request.
    """

    start_s: float = 60.0
    check_s: float = 120.0
    discover_s: float = 600.0
    idle_s: float = 900.0


@dataclass(frozen=True)
class Grant:
    """What one plugin may do in one run. As it stands here, it is what a plugin without a manifest gets.

    Attributes:
        network: Hosts with ports, as text, in order.
        read: Files and folders that it may read, absolute, in order.
        write: Files and folders that it may write, absolute, in order.
        secrets: The keys of its end's credentials that it is given, in order.
        subprocess: Whether it may start other programs.
        memory_bytes: The most memory of all its processes.
        cpu: The most processors.
        pids: The most processes and threads at once.
        wall_s: How long one of its processes may run.
        tmp_bytes: The most that it may keep in its temporary folder.
        log_bytes: The most that one of its processes may print and log.
        deadlines: How long it may take.
        environment: Variables of the engine's environment that it is given, by name, in order.
    """

    network: tuple[str, ...] = ()
    read: tuple[str, ...] = ()
    write: tuple[str, ...] = ()
    secrets: tuple[str, ...] = ()
    subprocess: bool = False
    memory_bytes: int = 2**30
    cpu: float = 1.0
    pids: int = 128
    wall_s: float = 24 * 3600.0
    tmp_bytes: int = 2**30
    log_bytes: int = 16 * 2**20
    deadlines: Deadlines = Deadlines()
    environment: tuple[str, ...] = ()

    def document(self) -> dict[str, Any]:
        """Give it as plain JSON."""
        document = {field.name: getattr(self, field.name) for field in fields(self)}
        document |= {key: list(value) for key, value in document.items() if isinstance(value, tuple)}
        document["deadlines"] = {field.name: getattr(self.deadlines, field.name) for field in fields(self.deadlines)}
        return document

    @property
    def sha256(self) -> str:
        """Hash what it says: the same for the same grant, wherever and whenever it is made."""
        text = json.dumps(self.document(), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()
