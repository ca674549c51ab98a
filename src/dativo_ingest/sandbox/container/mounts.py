"""Which of the host's files a plugin in a container sees: its own code, its packages, and its grant."""

from __future__ import annotations

import os
import stat
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dativo_ingest.sandbox.controls import unavailable
from dativo_ingest.sandbox.root_view import RootView, edited_folders, plugin_view
from dativo_ingest.sandbox.run_spec import Code, RunSpec
from dativo_plugin_sdk.errors import SandboxError

PYTHON_LABEL: Final = "io.dativo.python"
ABI_LABEL: Final = "io.dativo.abi"

_BUILD = "build the image with the Python that the plugin's packages are for: python deploy/images/plugin_runner.py"


@dataclass(frozen=True)
class Binding:
    """A file or folder of the host's that is shown within.

    Attributes:
        source: Where it is, without links.
        target: Where it is within.
        is_writable: Whether it may be written.
    """

    source: str
    target: str
    is_writable: bool = False


@dataclass
class Shown:
    """What is shown.

    Attributes:
        bindings: Files and folders.
        empty: Folders within these that are shown empty.
        granted: Device and number of each granted path, to make sure that it is what was granted.
    """

    bindings: list[Binding] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)
    granted: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def shown(spec: RunSpec, labels: Mapping[str, str], user: int) -> Shown:
    """Decide what a plugin sees.

    Args:
        spec: What is started.
        labels: What the image says of itself.
        user: Who the plugin is.

    Raises:
        SandboxError: Something that it needs cannot be shown, or is for another Python.
    """
    view = plugin_view(spec)
    found = Shown(granted=view.granted)
    for mount in view.mounts:
        found.bindings.append(Binding(str(mount.path), str(mount.path), mount.access == "write"))
    found.bindings += _under_other_names(spec, view)
    for path in view.hidden:
        if path.is_dir():
            found.empty.append(str(path))
        else:
            found.bindings.append(Binding("/dev/null", str(path)))
    found.bindings += _packages(spec.code, labels)
    for text in (*spec.grant.read, *spec.grant.write):
        _check_rights(Path(text), user, is_written=text in spec.grant.write)
    return found


def _under_other_names(spec: RunSpec, view: RootView) -> Iterator[Binding]:
    """Show what is known by a path with links at that path, too."""
    own = [str(spec.code.folder)] if spec.code.folder is not None else []
    known = {str(mount.path): mount for mount in view.mounts}
    for text in dict.fromkeys((*own, *spec.grant.read, *spec.grant.write)):
        path, real = os.path.abspath(text), os.path.realpath(text)  # noqa: PTH100  links stay
        if path != real and real in known:
            yield Binding(real, path, known[real].access == "write")


def _packages(code: Code, labels: Mapping[str, str]) -> Iterator[Binding]:
    """Show the packages of the environment that a plugin is installed in, or has beside it, in place of the image's."""
    version = labels[PYTHON_LABEL]
    target = f"/usr/local/lib/python{version}/site-packages"
    if code.python is None:
        return
    if os.path.abspath(code.python) != os.path.abspath(sys.executable):  # noqa: PTH100  links stay
        yield Binding(str(_of_own(code, code.python, version)), target)
    elif code.file is None:
        packages = Path(sysconfig.get_path("purelib"))
        if labels.get(ABI_LABEL) != sysconfig.get_config_var("SOABI"):
            raise _for_another(str(packages), str(sysconfig.get_config_var("SOABI")), labels.get(ABI_LABEL, "no ABI"))
        yield Binding(str(packages.resolve()), target)
        for folder in edited_folders(packages):
            if folder.is_dir():
                yield Binding(str(folder.resolve()), str(folder))


def _of_own(code: Code, python: Path, version: str) -> Path:
    """Find the packages of the environment beside a plugin."""
    environment = python.parent.parent
    packages = (environment / f"lib/python{version}/site-packages").resolve()
    if not packages.is_dir():
        versions = sorted(path.name.removeprefix("python") for path in environment.glob("lib/python3.*"))
        raise _for_another(str(environment), ", ".join(versions) or "no version", version)
    if code.folder is None or not packages.is_relative_to(code.folder.resolve()):
        raise unavailable(
            f"the packages of {environment} are not in the plugin's folder: they are at {packages}",
            hint="make the environment in the plugin's folder: python3 -m venv .venv",
        )
    return packages


def _for_another(what: str, have: str, image: str) -> SandboxError:
    return unavailable(f"{what} is for Python {have}, and the image that plugins run in has {image}", hint=_BUILD)


def _check_rights(path: Path, user: int, *, is_written: bool) -> None:
    """See that the plugin's user may do what is granted; what it may do with what is in a folder, it finds out."""
    try:
        found = path.stat()
    except OSError:
        return  # the plugin finds that it is not there
    wanted = 0o7 if is_written and stat.S_ISDIR(found.st_mode) else 0o6 if is_written else 0o4
    shift = 6 if found.st_uid == user else 3 if found.st_gid == user else 0
    if (found.st_mode >> shift) & wanted != wanted:
        verb = "write" if is_written else "read"
        raise unavailable(
            f"{path} is granted, and the user of plugins in containers ({user}) may not {verb} it",
            hint=f"let that user {verb} it (chown {user} {path}), or run dativo as the user that owns it",
        )
