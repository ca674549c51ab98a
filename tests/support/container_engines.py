"""Docker and Podman of the tests' own, out of Debian's packages: no registry, no bridge, nothing installed.

Each is started by the first test that asks for it and shared by all workers of the test run; see `engine_keeper` for how
it ends. What was loaded into it stays in ``.tools``. That takes root and cgroups of version 1, as CI has them.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from debian import unpacked

Name = Literal["docker", "podman"]

_TOOLS = Path(__file__).parents[2] / ".tools"
_KEEPER = Path(__file__).with_name("engine_keeper.py")
_DOCKER = ("docker.io", "containerd", "runc", "tini")
_PODMAN = (
    "podman",
    "conmon",
    "crun",
    "golang-github-containers-common",
    "golang-github-containers-image",
    "libgpgme11",
    "libassuan0",
    "libyajl2",
    "libsubid4",
    "libseccomp2",
    "libglib2.0-0",
)
_GVISOR = ("runsc",)
_END_S = 30.0
# gVisor's other platform needs the machine's own virtualisation.
_RUNSC = '#!/bin/sh\nexec {program} --platform=ptrace --network=none "$@"\n'


@dataclass(frozen=True)
class ContainerEngine:
    """An engine that listens on a socket; beside its default runtime it has ``runc`` and ``runsc``.

    Attributes:
        name: Which it is.
        socket: Where its API is.
    """

    name: Name
    socket: Path

    @property
    def url(self) -> str:
        """Give the address as a policy and ``DOCKER_HOST`` write it."""
        return f"unix://{self.socket}"


@contextmanager
def running(name: Name) -> Iterator[ContainerEngine]:
    """Use an engine; it is started where nobody else of this working tree uses it.

    Raises:
        RuntimeError: It does not start; the message has the end of its log.
    """
    folder = _folder() / name
    folder.mkdir(mode=0o711, exist_ok=True)
    prepare = {"docker": _docker, "podman": _podman}[name]
    engine = ContainerEngine(name, folder / "api")
    with _locked(name):
        user = _joined(folder) or _started(engine, folder, prepare)
    try:
        yield engine
    finally:
        user.shutdown(socket.SHUT_WR)
        user.settimeout(_END_S)
        user.recv(1)  # it closes when the engine has ended, or at once where somebody else uses it
        user.close()


def _folder() -> Path:
    """Give the folder of this working tree's sockets: a socket's path has to be short."""
    folder = Path("/tmp", f"dativo-engines-{hashlib.sha256(os.fsencode(_TOOLS)).hexdigest()[:12]}")
    folder.mkdir(mode=0o711, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise RuntimeError(f"{folder} is somebody else's")
    return folder


@contextmanager
def _locked(name: Name) -> Iterator[None]:
    place = _TOOLS / "engines" / name
    place.mkdir(parents=True, exist_ok=True)
    with (place / "lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _joined(folder: Path) -> socket.socket | None:
    user = socket.socket(socket.AF_UNIX)
    try:
        user.connect(str(folder / "users"))
    except OSError:
        user.close()
        return None
    return user


def _started(engine: ContainerEngine, folder: Path, prepare: Callable[[ContainerEngine], list[str]]) -> socket.socket:
    if os.geteuid() != 0:
        raise RuntimeError(f"{engine.name} of the tests' own takes root")
    engine.socket.unlink(missing_ok=True)
    log = _TOOLS / "engines" / engine.name / "log.txt"
    command = [_KEEPER, folder, f"{folder.parent.name}-{engine.name}", engine.socket, *prepare(engine)]
    with log.open("wb") as written:
        keeper = subprocess.Popen(
            [sys.executable, "-I", *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=written,
            start_new_session=True,
        )
    assert keeper.stdout is not None
    with keeper.stdout:
        is_ready = keeper.stdout.readline() == b"ready\n"
    user = _joined(folder) if is_ready else None
    if user is None:
        keeper.send_signal(signal.SIGKILL)
        keeper.wait()
        raise RuntimeError(f"{engine.name} does not start:\n{log.read_text(errors='replace')[-3000:]}")
    return user


def _docker(engine: ContainerEngine) -> list[str]:
    software = unpacked(*_DOCKER)
    place = _TOOLS / "engines" / "docker"
    (place / "daemon.json").write_text("{}")  # and not the machine's
    return [
        *_environment(software),
        str(software / "usr/bin/tini-static"),
        "--",
        "dockerd",
        f"--config-file={place / 'daemon.json'}",
        f"--data-root={place / 'data'}",
        "--exec-root=/run/docker",
        "--pidfile=/run/docker.pid",
        f"--host={engine.url}",
        "--iptables=false",
        "--ip6tables=false",
        "--ip-forward=false",
        "--ip-masq=false",
        "--bridge=none",
        "--storage-driver=overlay2",
        "--exec-opt=native.cgroupdriver=cgroupfs",
        "--shutdown-timeout=2",
        f"--add-runtime=runsc={_runsc()}",
    ]


def _podman(engine: ContainerEngine) -> list[str]:
    """Give the command; what Podman starts later looks for its parts where Debian has them, and there they are."""
    software, docker = unpacked(*_PODMAN), unpacked(*_DOCKER)
    place = _TOOLS / "engines" / "podman"
    (place / "storage.conf").write_text(
        '[storage]\ndriver = "overlay"\nrunroot = "/run/containers"\n'
        f"graphroot = {json.dumps(str(place / 'data'))}\n"
    )
    (place / "containers.conf").write_text(
        '[engine]\nruntime = "crun"\n[engine.runtimes]\n'
        f"runc = [{json.dumps(str(docker / 'usr/sbin/runc'))}]\n"
        f"runsc = [{json.dumps(str(_runsc()))}]\n"
    )
    overlays = " && ".join(
        f'mount -t overlay -o lowerdir="{software}/{part}":/{part} overlay /{part}' for part in ("usr", "etc")
    )
    return [
        *_environment(software),
        f"CONTAINERS_CONF={place / 'containers.conf'}",
        f"CONTAINERS_STORAGE_CONF={place / 'storage.conf'}",
        "sh",
        "-c",
        f'{overlays} && exec "$@"',
        "sh",
        str(docker / "usr/bin/tini-static"),
        "--",
        "podman",
        "--tmpdir=/run/libpod",
        "--cgroup-manager=cgroupfs",
        "--events-backend=file",
        "system",
        "service",
        "--time=0",
        engine.url,
    ]


def _runsc() -> Path:
    program = _TOOLS / "engines" / "runsc"
    program.write_text(_RUNSC.format(program=unpacked(*_GVISOR) / "usr/bin/runsc"))
    program.chmod(0o755)
    return program


def _environment(software: Path) -> list[str]:
    return ["env", "-i", f"PATH={software}/usr/sbin:{software}/usr/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/run"]
