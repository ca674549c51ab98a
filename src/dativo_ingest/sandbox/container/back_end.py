"""The back end ``container`` as it is set up for one plugin: the engine, the image, and each container's settings."""

from __future__ import annotations

import base64
import json
import os
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from dativo_ingest.sandbox.confinement import Prepared
from dativo_ingest.sandbox.container.engine import ContainerEngine, Image, connected, described, find, image_of
from dativo_ingest.sandbox.container.mounts import PYTHON_LABEL, Binding, Shown, shown
from dativo_ingest.sandbox.controls import Control, Finding, State, unavailable
from dativo_ingest.sandbox.environment import environment_of
from dativo_ingest.sandbox.inside.landlock import version as landlock_version
from dativo_ingest.sandbox.inside_plan import InsidePlan
from dativo_ingest.sandbox.levels import Isolation
from dativo_ingest.sandbox.run_spec import RunSpec
from dativo_ingest.sandbox.seccomp import PROFILE, profile, profile_path, program

USER: Final = 65532
"""Who a plugin is in a container of root's engine."""
CONTRACT: Final = "1"
"""What an image says that plugins can run in: the label `IMAGE_LABEL`."""
IMAGE_LABEL: Final = "io.dativo.plugin-runner"

_WARDEN = (sys.executable, "-I", "-S", str(Path(__file__).with_name("warden.py")))
_PYTHON = "/usr/local/bin/python3"
_IO = Path("/run/io")
_EMPTY = "empty"
_HOME, _TMP = Path("/job"), Path("/tmp")  # noqa: S108  the container's own
_MOST_FILES, _MOST_TASKS = 4096, 4096
_SHM_BYTES = 2**24
_OWN_TASKS = 2  # the first process of the container, and the one that carries connections to granted hosts
_GVISOR, _KATA = "runsc", "kata"
_GVISORS_TASKS = 2048
_REMOVING_S = 30.0
_NAMES = "nameserver 127.0.0.1\noptions timeout:2 attempts:2\n"
_HOSTS = "127.0.0.1 localhost\n::1 localhost\n127.0.0.1 plugin\n"
_PASSED_ON = ("LANG", "LANGUAGE", "TZ")


@dataclass(frozen=True)
class Container:
    """The back end ``container``.

    Attributes:
        engine: What runs the containers.
        image: What they are made of.
        runtime: What runs them; None is the engine's default.
    """

    engine: ContainerEngine
    image: Image
    runtime: str | None = None

    @property
    def isolation(self) -> Isolation:
        """The level that is achieved."""
        return "vm" if _has_own_kernel(self.runtime or self.engine.default_runtime) else "container"

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What each control comes to."""
        return tuple(_findings(self))

    def prepare(self, spec: RunSpec, folder: Path, token: str) -> Prepared:
        """Say how to start a process: its warden makes the container, keeps it, and removes it.

        Raises:
            SandboxError: Something that the plugin needs cannot be shown, or is for another Python.
        """
        user = _user()
        view = shown(spec, self.image.labels, user)
        plan = {
            "socket": str(self.engine.socket),
            "api": self.engine.api,
            "kind": self.engine.kind,
            "name": folder.name,
            "files": {"resolv.conf": _NAMES, "hosts": _HOSTS},
            "folders": [_EMPTY],
            "create": self._settings(spec, view, folder, token, user),
        }
        carriers = frozenset({os.geteuid()} if self.isolation == "vm" else ())  # gVisor's own process connects
        return Prepared(_WARDEN, plan, {}, user, other_peers=carriers, ending_s=_REMOVING_S)

    def _settings(self, spec: RunSpec, view: Shown, folder: Path, token: str, user: int) -> dict[str, Any]:
        """Write what the engine is asked for, in the terms of its API."""
        from docker.types import ContainerConfig  # noqa: PLC0415  heavy, and an extra

        return dict(
            ContainerConfig(
                self.engine.api,
                self.image.id,
                list(_inside(spec, view, user, has_own_kernel=self.isolation == "vm").command_line(_PYTHON)),
                hostname="plugin",
                user=f"{user}:{user}",
                working_dir=str(_HOME),
                environment=_environment(spec, token),
                network_disabled=True,
                labels={"io.dativo.plugin": spec.plugin, "io.dativo.run": folder.name},
                host_config=self._host_settings(spec, view, folder),
            )
        )

    def _host_settings(self, spec: RunSpec, view: Shown, folder: Path) -> dict[str, Any]:
        from docker.types import HostConfig, LogConfig, Mount, Ulimit  # noqa: PLC0415  heavy, and an extra

        grant = spec.grant
        bindings = [
            *view.bindings,
            *(Binding(str(folder / _EMPTY), path) for path in view.empty),
            *(Binding(str(folder / name), f"/etc/{name}") for name in ("hosts", "resolv.conf")),
            Binding(str(folder), str(_IO)),
        ]
        mounts = [
            Mount(each.target, each.source, type="bind", read_only=not each.is_writable)
            for each in sorted(bindings, key=lambda each: Path(each.target).parts)
        ]
        has_own_kernel = self.isolation == "vm"
        return dict(
            HostConfig(
                self.engine.api,
                runtime=self.runtime,
                network_mode="none",
                read_only=True,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges", f"seccomp={self._profile()}"],
                privileged=False,
                ipc_mode="private",
                cgroupns="private",
                userns_mode="keep-id" if self.engine.is_rootless else None,
                mounts=mounts,
                tmpfs={str(_TMP): f"rw,nosuid,nodev,noexec,mode=1777,size={grant.tmp_bytes}"},
                shm_size=min(_SHM_BYTES, grant.tmp_bytes),
                mem_limit=grant.memory_bytes,
                memswap_limit=grant.memory_bytes,
                mem_swappiness=None,
                pids_limit=max(grant.pids + _OWN_TASKS, _GVISORS_TASKS if has_own_kernel else 0),
                nano_cpus=round(grant.cpu * 1e9),
                ulimits=[
                    Ulimit(name=name, soft=most, hard=most)
                    for name, most in _limits(writes=bool(grant.write), spec=spec)
                ],
                sysctls={"net.ipv4.ip_unprivileged_port_start": "0"},
                log_config=LogConfig(type="none"),
                restart_policy={"Name": "no"},
            )
        )

    def _profile(self) -> str:
        """Give the list of system calls: Podman reads a file, Docker is sent what is in it."""
        content = profile()
        return str(profile_path()) if self.engine.kind == "Podman" else json.dumps(json.loads(content))


def container(*, engine: str | None, image: str | None, runtime: str | None) -> Container:
    """Set the back end up, as a policy wants it.

    Args:
        engine: The engine's socket, ``unix:///run/docker.sock``; None is to look for one.
        image: What plugins run in: an image's id, or a name with its digest.
        runtime: What runs the containers; None is the engine's default.

    Raises:
        SandboxError: There is no engine, no such image, no such runtime, or the image is none for plugins.
    """
    if image is None:
        raise unavailable(
            "nobody says which image plugins run in",
            hint="set sandbox.image in the policy to the id that deploy/images/plugin_runner.py tells, or to a digest",
        )
    socket = find(engine)
    with connected(socket) as client:
        found = described(client, socket)
        _check_engine(found, runtime)
        return Container(found, _checked(image_of(client, image), image), runtime)


def _check_engine(engine: ContainerEngine, runtime: str | None) -> None:
    if runtime is not None and runtime not in engine.runtimes:
        raise unavailable(
            f"{engine.title} has no runtime {runtime}; it has {', '.join(engine.runtimes)}",
            hint="install gVisor or Kata and have the engine know it (/etc/docker/daemon.json, containers.conf), or "
            "set sandbox.runtime",
        )
    if runtime not in {None, engine.default_runtime} and engine.kind == "Podman":
        raise unavailable(
            f"{engine.title} runs containers with {engine.default_runtime}, whatever its API is asked for",
            hint=f'set runtime = "{runtime}" below [engine] in containers.conf, and start Podman\'s service again',
        )
    if engine.is_remapped or (engine.is_rootless and engine.kind == "Docker"):
        raise unavailable(
            f"{engine.title} gives the users of a container other numbers outside: no plugin could open its sockets",
            hint="use an engine without userns-remap, or Podman for a user's own",
        )


def _checked(image: Image, name: str) -> Image:
    """Make sure that an image is one for plugins, of this release."""
    said = image.labels.get(IMAGE_LABEL)
    if said != CONTRACT or PYTHON_LABEL not in image.labels:
        about = "is none for plugins" if said is None else f"is one for plugins of another release ({said})"
        raise unavailable(
            f"the image {name} {about}",
            hint=f"build it with deploy/images/plugin_runner.py of dativo-ingest {_own_version()}",
        )
    return image


def _own_version() -> str:
    try:
        return version("dativo-ingest")
    except PackageNotFoundError:
        return "as it runs here"


def _user() -> int:
    return USER if os.geteuid() == 0 else os.geteuid()


def _has_own_kernel(runtime: str) -> bool:
    return runtime == _GVISOR or runtime.startswith(_KATA)


def _inside(spec: RunSpec, view: Shown, user: int, *, has_own_kernel: bool) -> InsidePlan:
    written = tuple(each.target for each in view.bindings if each.is_writable)
    command = None if spec.code.python is not None else spec.command
    own = () if spec.code.folder is None else (str(spec.code.folder),)
    return InsidePlan(
        uid=user,
        module=spec.code.module if command is None else None,
        command=command,
        write=(*InsidePlan.write, "/dev/shm", *written),  # noqa: S108  the container's own
        execute=("/usr", *own) if command is not None or spec.grant.subprocess else (),
        landlock=not has_own_kernel and landlock_version() > 0,
        programs=spec.grant.subprocess,
        hosts=spec.grant.network,
        filter=base64.b64encode(program()).decode() if has_own_kernel else None,  # its kernel knows no profile
        not_kernel=f"{os.uname().release} {os.uname().version}" if has_own_kernel else None,
        files={} if has_own_kernel else view.granted,
    )


def _environment(spec: RunSpec, token: str) -> Mapping[str, str]:
    said = environment_of(spec.grant, home=_HOME, temporary=_TMP, folder=_IO, token=token)
    host = {name for name in ("PATH", "SSL_CERT_FILE", "SSL_CERT_DIR") if name not in spec.grant.environment}
    kept = {name: value for name, value in said.items() if name not in host}
    return {**kept, "PATH": "/usr/local/bin", "PYTHONDONTWRITEBYTECODE": "1"}


def _limits(spec: RunSpec, *, writes: bool) -> list[tuple[str, int]]:
    """Give the limits of each process; what may be written to the host may be of any size."""
    most = {"nofile": _MOST_FILES, "nproc": _MOST_TASKS}
    held = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}
    found = [("core", 0), ("memlock", 0), ("msgqueue", 0)]
    for name, value in most.items():
        own = resource.getrlimit(held[name])[1]  # an engine without CAP_SYS_RESOURCE cannot give more
        found.append((name, value if own == resource.RLIM_INFINITY else min(value, own)))
    return found if writes else [*found, ("fsize", spec.grant.tmp_bytes)]


def _findings(back_end: Container) -> list[Finding]:
    engine, has_own_kernel = back_end.engine, back_end.isolation == "vm"
    runtime = back_end.runtime or engine.default_runtime
    kernel = f"the kernel of {runtime}"
    filters: tuple[State, str] = ("enforced", f"seccomp, {PROFILE}")
    if has_own_kernel:
        filters = ("enforced", kernel)
    elif not engine.has_filters:
        filters = ("absent", f"{engine.title} has no seccomp")
    landlock: tuple[State, str] = ("enforced", f"Landlock {landlock_version()}")
    if has_own_kernel or landlock_version() == 0:
        landlock = ("absent", f"{kernel if has_own_kernel else 'this kernel'} has no Landlock")
    found = [
        Finding("files", "enforced", f"{engine.title}: a read-only root of its own"),
        Finding("processes", "enforced", "namespaces"),
        Finding("network", "enforced", "a network without any way out"),
        Finding("system_calls", *filters, None if filters[0] == "enforced" else "use an engine that has seccomp"),
        Finding("privileges", "enforced", f"user {_user()}, no capabilities, no new privileges"),
        Finding("landlock", *landlock, None if landlock[0] == "enforced" else _LANDLOCK),
    ]
    found += [_limit(engine, control, can) for control, can in engine.limits.items()]
    return [
        *found,
        Finding("disk", "enforced", "a file system in memory"),
        Finding("wall", "enforced", "the warden"),
        Finding("output", "enforced", "the engine of Dativo"),
    ]


_LANDLOCK = "use Linux 5.13 or newer with landlock among its security modules"


def _limit(engine: ContainerEngine, control: Control, can: bool) -> Finding:  # noqa: FBT001  as the engine says it
    if can:
        return Finding(control, "enforced", f"a control group of {engine.kind}'s")
    return Finding(control, "absent", f"{engine.title} cannot limit it", "give the engine control groups to write")
