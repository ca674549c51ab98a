"""What `dativo_ingest.sandbox.inside` is told to do, in the terms of both back ends that run it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

INSIDE: Final = Path(__file__).with_name("inside")
"""The folder to be shown within the sandbox."""
INSIDE_AT: Final = Path("/run/dativo/inside")
"""Where it is there."""
REFUSED: Final = 125
"""The exit code where the sandbox is not what it should be, before any code of the plugin's."""
REFUSED_PREFIX: Final = "dativo-sandbox: "
"""How the line begins that says why."""


@dataclass(frozen=True)
class InsidePlan:
    """What is done within a sandbox before the plugin's code runs.

    Attributes:
        uid: The user, and the group, that it must be.
        module: What Python runs, in this very process; None where it is a program.
        command: The program, otherwise.
        read: Files and folders that may be read.
        write: Those that may be written too.
        execute: Programs, and folders of programs, that may be executed.
        landlock: Whether Landlock must be there; without it, it is used where it is.
        programs: Whether others may be started.
        processes: The most processes and threads of its user namespace; None where another limit holds.
        hosts: What may be reached, ``host:port``.
        proxy: The socket through which that is, and which is told what others were wanted.
        filter: A filter of system calls to be put on, in base64; None where one is on already.
        not_kernel: Release and version of the kernel that it must not be; None where it may be any.
        files: Device and number of paths that must be what they were when they were granted.
    """

    uid: int
    module: str | None
    command: tuple[str, ...] | None
    read: tuple[str, ...] = ("/",)
    write: tuple[str, ...] = ("/tmp", "/dev/null", "/dev/zero", "/dev/full")  # noqa: S108  the sandbox's own
    execute: tuple[str, ...] = ()
    landlock: bool = True
    programs: bool = False
    processes: int | None = None
    hosts: tuple[str, ...] = ()
    proxy: str = "/run/io/egress.sock"
    filter: str | None = None
    not_kernel: str | None = None
    files: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def command_line(self, python: str) -> tuple[str, ...]:
        """Give the command that does it, and becomes the plugin.

        Args:
            python: The interpreter, as the sandbox has it; never one that a plugin brings.
        """
        options = ("-I", "-S", "-B", "-X", "faulthandler")
        return (python, *options, str(INSIDE_AT), json.dumps(asdict(self), separators=(",", ":")))
