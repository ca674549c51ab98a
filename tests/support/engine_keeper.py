"""Keeps a container engine running for as long as somebody uses it, in namespaces and cgroups of its own.

Run as ``python -I engine_keeper.py FOLDER CGROUP READY COMMAND...`` by `container_engines`. Whoever connects to
``FOLDER/users`` uses the engine until that connection ends, which is also how a test run that is killed leaves it. With
the last user the engine ends, and everything that it started: it is the first process of a namespace of its own, and
what it mounts is mounted nowhere else.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

_CGROUPS = Path("/sys/fs/cgroup")
_PR_SET_PDEATHSIG = 1
_READY_S = 60.0
_END_S = 10.0
_NAMESPACES = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--cgroup")
# In the engine's cgroup namespace its own cgroup is the root; what is mounted already shows the machine's. Podman's
# crun does without the mixed hierarchy of both versions, and neither engine finds another's files in /run.
_PREPARE = """
set -e
mount -t proc proc /proc
for place in /sys/fs/cgroup/*; do
  name=${place##*/}
  mountpoint -q "$place" || continue
  umount "$place"
  case $name in
    unified) ;;
    systemd) mount -t cgroup -o none,name=systemd cgroup "$place" ;;
    *) mount -t cgroup -o "$name" cgroup "$place" ;;
  esac
done
mount -t tmpfs tmpfs /run
cd /run
exec "$@"
"""


def main(arguments: list[str]) -> int:
    """Start the engine, say on stdout that it is there, and end it when nobody uses it any more."""
    folder, cgroup, ready, *command = arguments
    users = socket.socket(socket.AF_UNIX)
    place = Path(folder, "users")
    place.unlink(missing_ok=True)
    users.bind(str(place))
    users.listen(64)
    controllers = _make_cgroups(cgroup)
    engine = subprocess.Popen(
        [*_NAMESPACES, "sh", "-c", _PREPARE, "sh", *command],
        stdin=subprocess.DEVNULL,
        stdout=2,
        preexec_fn=lambda: _join(controllers),  # noqa: PLW1509  this process has one thread
    )
    connected: list[socket.socket] = []
    try:
        if not _wait(engine, Path(ready)):
            return 1
        os.write(1, b"ready\n")
        os.close(1)
        connected = _serve(users, engine)
    finally:
        place.unlink(missing_ok=True)
        users.close()
        _end(engine)
        _remove_cgroups(controllers)
        for each in connected:  # they wait for this
            each.close()
    return 0


def _make_cgroups(name: str) -> list[Path]:
    """Make a cgroup in each hierarchy of version 1."""
    made = []
    for hierarchy in sorted(_CGROUPS.iterdir()):
        if hierarchy.is_symlink() or not (hierarchy / "cgroup.clone_children").exists():
            continue
        cgroup = hierarchy / name
        cgroup.mkdir(exist_ok=True)
        for file in ("cpuset.cpus", "cpuset.mems"):
            if (hierarchy / file).exists():
                (cgroup / file).write_text((hierarchy / file).read_text())
        made.append(cgroup)
    return made


def _join(controllers: list[Path]) -> None:
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for cgroup in controllers:
        (cgroup / "cgroup.procs").write_text("0")


def _wait(engine: subprocess.Popen[bytes], ready: Path) -> bool:
    until_s = time.monotonic() + _READY_S
    while time.monotonic() < until_s and engine.poll() is None:
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as asked:
            asked.connect(str(ready))
            return True
        time.sleep(0.02)
    return False


def _serve(users: socket.socket, engine: subprocess.Popen[bytes]) -> list[socket.socket]:
    """Take users until there is none, or the engine has ended; give those who wait for its end."""
    ended = os.pidfd_open(engine.pid)
    connected: list[socket.socket] = []
    while True:
        ready, _, _ = select.select([users, ended, *connected], [], [], None if connected else _READY_S)
        if not ready or ended in ready:  # nobody came; or nothing is left to keep
            return connected
        for each in ready:
            if each is users:
                connected.append(users.accept()[0])
            elif connected == [each]:
                return connected
            else:
                connected.remove(each)  # it says nothing: this is its end
                each.close()


def _end(engine: subprocess.Popen[bytes]) -> None:
    """End the engine in good order, so that the images it holds stay whole; then whatever is left."""
    with contextlib.suppress(OSError):
        for child in Path(f"/proc/{engine.pid}/task/{engine.pid}/children").read_text().split():
            os.kill(int(child), signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        engine.wait(_END_S)
    engine.kill()
    engine.wait()


def _remove_cgroups(cgroups: list[Path]) -> None:
    until_s = time.monotonic() + _END_S
    while any(cgroup.exists() for cgroup in cgroups) and time.monotonic() < until_s:
        for cgroup in cgroups:
            for folder, _, _ in os.walk(cgroup, topdown=False):
                with contextlib.suppress(OSError):  # a process in it is still on its way out
                    Path(folder).rmdir()
        time.sleep(0.02)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
