"""What gets out of each kind of sandbox, attempt by attempt: what matrix.md says, and nothing else.

The column ``none`` is the control: without a sandbox, most attempts are through. Every column is made by plugins that
are started as the engine starts them (`scene`), one after the other; a cell that changes, either way, is a failure.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import bubblewrap
import container_engines
import pytest

HERE = Path(__file__).parent
MATRIX = HERE / "matrix.md"
OUT_OF_SIGHT = ("unshare", "--mount", "--net", "--uts", "--ipc", "--propagation", "private")
USER = 12345
COLUMNS: dict[str, dict[str, Any]] = {
    "none": {"backend": "none"},
    "process, as root": {"backend": "process"},
    "process, as a user": {"backend": "process", "user": USER},
    "Docker": {"backend": "container", "engine": "docker"},
    "Podman": {"backend": "container", "engine": "podman"},
    "gVisor": {"backend": "container", "engine": "docker", "runtime": "runsc"},
}
THROUGH, HELD = "**through**", "·"
AT_LEAST_THROUGH = 100
NOT_COUNTED = {("process, as a user", "limits: memory, in the buffers of sockets")}
"""What takes a control group: an ordinary user's engine sees what processes have mapped, not the kernel's."""
LONGEST_S = 400


def expected() -> dict[str, dict[str, str]]:
    """Read the matrix: its columns, each with the cells of the attempts that are made there."""
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in MATRIX.read_text().splitlines()
        if line.startswith("|")
    ]
    header, _, *attempts = rows
    return {
        title: {row[0]: row[number] for row in attempts if row[number]} for number, title in enumerate(header) if number
    }


def made(column: str) -> dict[str, tuple[bool, str]]:
    """Make the attempts of a column; give whether each was through, and what stopped it."""
    secret = secrets.token_hex(16)
    order = {"user": None, "runtime": None, **COLUMNS[column], "secret": secret}
    with contextlib.ExitStack() as using:
        order["folder"] = using.enter_context(tempfile.TemporaryDirectory(dir="/tmp", prefix="dativo-escape-"))
        Path(order["folder"]).chmod(0o755)
        if "engine" in order:
            engine = using.enter_context(container_engines.running(order["engine"]))
            order |= {"engine": engine.url, "image": engine.image}
        environment = {
            "PATH": f"{bubblewrap.programs()}:{os.environ['PATH']}",
            "PYTHONDONTWRITEBYTECODE": "1",
            "DATIVO_ESCAPE_SECRET": secret,
        }
        command = [*OUT_OF_SIGHT, sys.executable, HERE / "scene.py", json.dumps(order)]
        done = subprocess.run(command, env=environment, capture_output=True, timeout=LONGEST_S, check=False)
    assert done.returncode == 0, done.stderr.decode(errors="replace")[-5000:]
    found: dict[str, tuple[bool, str]] = json.loads(done.stdout)
    return found


@pytest.mark.timeout(600)  # with the building of an image
@pytest.mark.parametrize("column", COLUMNS)
def test_what_gets_through_is_what_the_matrix_says(column: str) -> None:
    wanted = expected()[column]

    found = made(column)

    mistakes = {name: why for name, (_, why) in found.items() if why.startswith("MISTAKE")}
    cells = {name: THROUGH if is_through else HELD for name, (is_through, _) in found.items()}
    changed = {name: (cell, found[name][1]) for name, cell in cells.items() if wanted.get(name) != cell}
    assert not mistakes
    assert not changed
    assert cells == wanted


def test_most_attempts_are_through_without_a_sandbox() -> None:
    assert list(expected()["none"].values()).count(THROUGH) >= AT_LEAST_THROUGH


def test_nothing_is_through_in_a_sandbox_but_what_takes_a_control_group() -> None:
    through = {
        (title, name)
        for title, cells in expected().items()
        for name, cell in cells.items()
        if title != "none" and cell != HELD
    }

    assert through == NOT_COUNTED
