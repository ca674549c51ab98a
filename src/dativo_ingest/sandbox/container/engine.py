"""A container engine: found, asked what it is and what it can hold, and asked for the image that plugins run in."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

from dativo_ingest.sandbox.controls import unavailable
from dativo_plugin_sdk.errors import SandboxError

if TYPE_CHECKING:
    from docker import APIClient

Kind: TypeAlias = Literal["Docker", "Podman"]

INSTALL: Final = "install Docker 20.10 or Podman 4.3, or newer, and let this user open its socket"
EXTRA: Final = "pip install 'dativo-ingest[container]'"

_UNIX = "unix://"
_PODMAN = "Podman Engine"
_ASK_S = 15
_ROOTLESS, _REMAPPED, _FILTERS = "name=rootless", "name=userns", "name=seccomp"


@dataclass(frozen=True)
class ContainerEngine:
    """What an engine says of itself.

    Attributes:
        socket: Where it listens.
        kind: Which it is.
        version: As it says it.
        api: The version of Docker's API that is spoken with it.
        runtimes: What it can run containers with.
        default_runtime: What it does run them with.
        options: What it says of its security.
        limits: What it can limit.
    """

    socket: Path
    kind: Kind
    version: str
    api: str
    runtimes: tuple[str, ...]
    default_runtime: str
    options: tuple[str, ...]
    limits: Mapping[Literal["memory", "pids", "cpu"], bool]

    @property
    def title(self) -> str:
        """Name it: ``Docker 20.10.24 at /run/docker.sock``."""
        return f"{self.kind} {self.version} at {self.socket}"

    @property
    def is_rootless(self) -> bool:
        """Whether it runs as an ordinary user."""
        return any(option.startswith(_ROOTLESS) for option in self.options)

    @property
    def is_remapped(self) -> bool:
        """Whether users within a container are others without."""
        return any(option.startswith(_REMAPPED) for option in self.options)

    @property
    def has_filters(self) -> bool:
        """Whether it can limit system calls."""
        return any(option.startswith(_FILTERS) for option in self.options)


@dataclass(frozen=True)
class Image:
    """An image, as the engine has it.

    Attributes:
        id: What never changes.
        labels: What it says of itself.
    """

    id: str
    labels: Mapping[str, str]


def find(address: str | None) -> Path:
    """Find the engine's socket.

    Args:
        address: ``unix:///run/docker.sock``, as a policy has it; None is to look for one.

    Raises:
        SandboxError: There is none, or it is not on this machine.
    """
    said = address or os.environ.get("DOCKER_HOST")
    if said is not None:
        if not said.startswith(_UNIX):
            raise unavailable(
                f"the container engine {said} is reached over a network, and plugins talk to Dativo over sockets of "
                "this machine",
                hint="name the socket of an engine on this machine: unix:///run/docker.sock",
            )
        return Path(said.removeprefix(_UNIX))
    for path in _usual():
        if path.is_socket():
            return path
    looked = ", ".join(map(str, _usual()))
    raise unavailable(f"there is no container engine: none of {looked} is a socket", hint=INSTALL)


def _usual() -> Iterator[Path]:
    yield Path("/run/docker.sock")
    yield Path("/run/podman/podman.sock")
    own = os.environ.get("XDG_RUNTIME_DIR", f"/run/user/{os.geteuid()}")
    yield Path(own, "docker.sock")
    yield Path(own, "podman/podman.sock")


@contextmanager
def connected(path: Path) -> Iterator[APIClient]:
    """Talk with an engine; what goes wrong is told in our terms.

    Raises:
        SandboxError: The library is not there, nobody listens, this user may not, or the answer is none.
    """
    try:
        from docker import APIClient  # noqa: PLC0415  heavy, and an extra
        from docker.errors import DockerException  # noqa: PLC0415
        from requests.exceptions import RequestException  # noqa: PLC0415
    except ImportError as error:
        raise unavailable(f"containers need a library that is not there: {error.name}", hint=EXTRA) from error
    _check_socket(path)
    client = None
    try:
        client = APIClient(base_url=f"{_UNIX}{path}", version="auto", timeout=_ASK_S)
        yield client
    except (DockerException, RequestException) as error:
        raise _no_answer(path, error) from error
    finally:
        if client is not None:
            client.close()


def _check_socket(path: Path) -> None:
    """Try whether somebody listens, which says more than the library does."""
    try:
        with socket.socket(socket.AF_UNIX) as tried:
            tried.settimeout(_ASK_S)
            tried.connect(str(path))
    except PermissionError as error:
        raise unavailable(
            f"this user (uid {os.geteuid()}) may not open the container engine's socket {path}",
            hint="add the user to the socket's group, which makes it as good as root, or use an engine of its own: "
            "systemctl --user start podman.socket",
        ) from error
    except FileNotFoundError as error:
        raise unavailable(
            f"there is no container engine at {path}", hint=f"{INSTALL}; or set sandbox.engine"
        ) from error
    except OSError as error:
        raise _no_answer(path, error) from error


def _no_answer(path: Path, error: Exception) -> SandboxError:
    return unavailable(f"the container engine at {path} does not answer: {error}", hint=f"start it, or {INSTALL}")


def described(client: APIClient, path: Path) -> ContainerEngine:
    """Ask an engine what it is."""
    said: dict[str, Any] = client.version()
    info: dict[str, Any] = client.info()
    components = {each.get("Name"): each.get("Version", "") for each in said.get("Components") or ()}
    is_podman = _PODMAN in components
    return ContainerEngine(
        socket=path,
        kind="Podman" if is_podman else "Docker",
        version=str(components[_PODMAN] if is_podman else said.get("Version", "")),
        api=str(client.api_version),
        runtimes=tuple(sorted(info.get("Runtimes") or ())),
        default_runtime=str(info.get("DefaultRuntime") or ""),
        options=tuple(info.get("SecurityOptions") or ()),
        limits={
            "memory": bool(info.get("MemoryLimit")),
            "pids": bool(info.get("PidsLimit")),
            "cpu": bool(info.get("CpuCfsQuota")),
        },
    )


def image_of(client: APIClient, name: str) -> Image:
    """Ask an engine for an image that is named by its id or its digest, and make sure that it is that one.

    Raises:
        SandboxError: It has none, or another one.
    """
    from docker.errors import ImageNotFound  # noqa: PLC0415  heavy, and an extra

    try:
        said: dict[str, Any] = client.inspect_image(name)
    except ImageNotFound as error:
        raise unavailable(
            f"the container engine does not have the image {name}",
            hint="load it (docker load -i plugin-runner.tar, made by deploy/images/plugin_runner.py), or pull it",
        ) from error
    found = {_prefixed(str(said["Id"])), *(each.partition("@")[2] for each in said.get("RepoDigests") or ())}
    wanted = name.rpartition("@")[2]
    if wanted not in found:
        raise unavailable(
            f"the image {name} is not what the container engine has under that name: {', '.join(sorted(found))}",
            hint="set sandbox.image to the digest or the id of the image that plugins are to run in",
        )
    return Image(_prefixed(str(said["Id"])), dict((said.get("Config") or {}).get("Labels") or {}))


def _prefixed(digest: str) -> str:
    return digest if digest.startswith("sha256:") else f"sha256:{digest}"
