"""The program that makes sandboxes: Debian's, unpacked beside the repository's other tools."""

from __future__ import annotations

import os
from pathlib import Path

from debian import unpacked


def put_on_path() -> None:
    """Let this process, and all that it starts, find ``bwrap``, whether the machine has one or not.

    The libraries that it needs are those of apt, by which it is fetched.

    Raises:
        RuntimeError: apt does not get it.
    """
    folder = str(programs())
    path = os.environ["PATH"].split(":")
    os.environ["PATH"] = ":".join([folder, *(each for each in path if each != folder)])


def programs() -> Path:
    """Give the folder that holds ``bwrap`` and nothing else."""
    return unpacked("bubblewrap") / "usr" / "bin"
