"""Docker and Podman of the tests' own, out of Debian's packages: no registry, no bridge, nothing installed.

Each is started by the first test that asks for it and shared by all workers of the test run; see `engine_keeper` for
how it ends. What was loaded into it stays in ``.tools``. That takes root and cgroups of version 1, as CI has them.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.metadata
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from debian import unpacked
from docker import DockerClient
from docker.errors import APIError

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
_SOURCES = {
    "plugin_runner": ("deploy/images", "sdk/src", "src/dativo_ingest/sandbox/inside"),
    "engine": ("deploy/images", "sdk/src", "src/dativo_ingest"),
}
_END_S = 30.0
# gVisor's other platform needs the machine's own virtualisation; sockets of the host's are closed to it by default.
_RUNSC = '#!/bin/sh\nexec {program} --platform=ptrace --network=none --host-uds=open "$@"\n'


@dataclass(frozen=True)
class ContainerEngine:
    """An engine that listens on a socket; beside its default runtime it has ``runc`` and ``runsc``.

    Attributes:
        name: Which it is.
        socket: Where its API is.
        image: The id of the image that plugins run in.
    """

    name: Name
    socket: Path
    image: str = ""

    @property
    def url(self) -> str:
        """Give the address as a policy and ``DOCKER_HOST`` write it."""
        return f"unix://{self.socket}"


@contextmanager
def running(name: Name) -> Iterator[ContainerEngine]:
    """Use an engine that has the image that plugins run in.

    Raises:
        RuntimeError: It does not start; the message has the end of its log.
    """
    with without_image(name) as engine:
        yield replace(engine, image=load(engine, "plugin_runner"))


@contextmanager
def without_image(name: Name) -> Iterator[ContainerEngine]:
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


def load(engine: ContainerEngine, script: str) -> str:
    """Build the image of a script in ``deploy/images``, unless it is there, and give its id."""
    with _locked("images"):
        return _loaded(engine, archive(script))


def archive(script: str) -> Path:
    """Give the image's archive, named by its id; it is built again when something that it is made of has changed."""
    place = _TOOLS / "engines" / "images"
    hashed = hashlib.sha256(sys.version.encode())
    for each in sorted(importlib.metadata.distributions(), key=lambda each: each.name):
        hashed.update(f"{each.name} {each.version}\n".encode())
    for folder in _SOURCES[script]:
        for path in sorted((_TOOLS.parent / folder).rglob("*.py")):
            hashed.update(f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}\n".encode())
    key = f"{script}-{hashed.hexdigest()[:16]}"
    found = list(place.glob(f"{key}-*.tar"))
    if found:
        return found[0]
    for old in place.glob(f"{script}-*.tar"):
        old.unlink()
    command = [sys.executable, str(_TOOLS.parent / "deploy/images" / f"{script}.py"), str(place / "new")]
    built = subprocess.run(command, capture_output=True, text=True, check=True)
    return (place / "new").rename(place / f"{key}-{built.stdout.strip().removeprefix('sha256:')}.tar")


def _loaded(engine: ContainerEngine, built: Path) -> str:
    image = f"sha256:{built.stem.rpartition('-')[2]}"
    with closing(DockerClient(base_url=engine.url, timeout=300)) as client:
        if image not in {each.id for each in client.images.list()}:
            with built.open("rb") as content:
                client.images.load(content)
            for old in client.images.list(filters={"dangling": True}):
                with suppress(APIError):  # somebody runs it
                    client.images.remove(old.id)
    return image


def _folder() -> Path:
    """Give the folder of this working tree's sockets: a socket's path has to be short."""
    folder = Path("/tmp", f"dativo-engines-{hashlib.sha256(os.fsencode(_TOOLS)).hexdigest()[:12]}")
    folder.mkdir(mode=0o711, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.geteuid():
        raise RuntimeError(f"{folder} is somebody else's")
    return folder


@contextmanager
def _locked(name: str) -> Iterator[None]:
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
    said, say = os.pipe()
    with log.open("wb") as written, os.fdopen(said, "rb") as heard:
        try:  # it is nobody's child: whoever uses it may end before it
            fork = ["setsid", "--fork", sys.executable, "-I", *map(str, command)]
            subprocess.run(fork, stdin=subprocess.DEVNULL, stdout=say, stderr=written, check=True)
        finally:
            os.close(say)
        is_ready = heard.readline() == b"ready\n"
    user = _joined(folder) if is_ready else None
    if user is None:
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
        f'[storage]\ndriver = "overlay"\nrunroot = "/run/containers"\ngraphroot = {json.dumps(str(place / "data"))}\n'
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
