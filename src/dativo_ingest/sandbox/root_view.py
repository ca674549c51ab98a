"""Which of the host's files a plugin in the process sandbox sees: what it needs to run, its own code, and its grant.

Everything lies where it lies on the host, so that tracebacks and paths of the job's stay true. What a plugin brings is
hostile: a link, or the ``home`` of a ``pyvenv.cfg``, never makes anything visible that is not a Python installation.
"""

from __future__ import annotations

import ast
import functools
import glob
import os
import re
import site
import stat
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, TypeAlias

from dativo_ingest.job.files import MANIFEST_NAME
from dativo_ingest.sandbox.controls import unavailable
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.real_paths import is_within, look_at
from dativo_ingest.sandbox.run_spec import Code, RunSpec
from dativo_plugin_sdk.errors import SandboxError

Access: TypeAlias = Literal["read", "write"]

DEVICES: Final = ("null", "zero", "full", "random", "urandom")
HIDDEN: Final = (".dativo", ".git", ".env*")
"""What of a plugin's folder it does not see."""

_CODE: Final = frozenset({MANIFEST_NAME, ".venv"})
_SYSTEM: Final = (
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/etc/mime.types",
    "/etc/protocols",
    "/etc/services",
    "/etc/ssl/certs",
    "/etc/ssl/cert.pem",
    "/etc/ssl/openssl.cnf",
    "/etc/pki/ca-trust/extracted",
    "/etc/pki/tls/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/ca-certificates/extracted",
    "/usr/lib/locale",
    "/usr/lib/ssl",
    "/usr/share/ca-certificates",
    "/usr/share/zoneinfo",
    "/usr/local/share/ca-certificates",
)
"""What libraries look for: names of services, certificates, zones."""
_CERTIFICATES: Final = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_WITH_PROGRAMS: Final = ("/usr", "/bin", "/sbin", "/etc/alternatives")
_LOADERS: Final = ("/lib/ld-*.so*", "/lib64/ld-*.so*", "/lib/*-linux-*/ld-*.so*")
KEPT: Final = ("/proc", "/sys", "/dev", "/run/io", "/run/dativo")
"""What is the sandbox's own, or the kernel's: never granted."""
_FOLDERS_OF_MANY: Final = re.compile(
    "/(bin|boot|etc|home|lib|media|mnt|opt|root|run|sbin|srv|tmp|usr|usr/local|var|var/tmp)?"
)
"""Folders that are nobody's own: of a plugin that lies in one, the plugin's files are shown and not the folder."""
_PYTHON = re.compile(r"python(?P<version>3\.\d+)t?")
_MAPPING = re.compile(r"^MAPPING(?:: [^=]+)? = (?P<mapping>\{.*\})$", re.MULTILINE)
_SHEBANG_BYTES = 256


@dataclass(frozen=True)
class Mount:
    """A file or folder of the host's, at the same path within.

    Attributes:
        path: Where it is; without links.
        access: What may be done with it.
        is_mapped: Whether root's files in it are shown as the plugin's user's, where the engine is root's.
    """

    path: Path
    access: Access = "read"
    is_mapped: bool = False


@dataclass(frozen=True)
class RootView:
    """What is visible.

    Attributes:
        mounts: In order: what is in a folder comes after the folder.
        links: Links to make, by where they are.
        hidden: Files and folders in what is mounted that are not shown.
        python: The interpreter that runs before the plugin: the engine's.
        command: What runs the plugin, where that is a program of its own.
        executable: What may be executed.
        granted: Device and number of each granted path, to make sure that it is what was granted.
    """

    mounts: tuple[Mount, ...]
    links: Mapping[Path, str]
    hidden: tuple[Path, ...]
    python: str
    command: tuple[str, ...] | None
    executable: tuple[str, ...]
    granted: Mapping[str, tuple[int, int]] = field(default_factory=dict)


def root_view(spec: RunSpec, environment: Mapping[str, str]) -> RootView:
    """Decide what a plugin sees.

    Args:
        spec: What is started; its grant is what it may do.
        environment: The variables that it gets, of which some name files.

    Raises:
        SandboxError: Something that it needs cannot be shown.
    """
    making = _Making()
    making.show_all(_system())
    making.show_all(Path(environment[name]) for name in _CERTIFICATES if environment.get(name, "").startswith("/"))
    engine = _engine()
    making.show_all(engine.needs, is_mapped=True)
    if spec.grant.subprocess:
        making.show_all(map(Path, _WITH_PROGRAMS))
    command, executable = _show_code(making, spec)
    making.show_grant(spec.grant)
    if spec.code.folder is not None:
        making.keep_code(spec.code.folder.resolve())
    if spec.grant.subprocess:
        own = [spec.code.folder] if spec.code.folder is not None else []
        executable = (*executable, *_WITH_PROGRAMS, *map(str, (engine.real, *own)))
    return making.view(command, executable)


def plugin_view(spec: RunSpec) -> RootView:
    """Decide what of the host's files a plugin sees in a root that has a Python of its own: its code and its grant.

    Raises:
        SandboxError: Something that it is granted cannot be shown.
    """
    making = _Making()
    if spec.code.folder is not None:
        _show_folder(making, spec.code.folder, spec.code)
    making.show_grant(spec.grant)
    return making.view(None, ())


@dataclass
class _Making:
    """A view that is being made."""

    mounts: dict[Path, Mount] = field(default_factory=dict)
    links: dict[Path, str] = field(default_factory=dict)
    hidden: set[Path] = field(default_factory=set)
    granted: dict[str, tuple[int, int]] = field(default_factory=dict)

    def show_all(self, paths: Iterable[Path], *, is_mapped: bool = False) -> None:
        """Show what there is of some paths."""
        for path in paths:
            self.show(path, is_mapped=is_mapped)

    def show(self, path: Path, access: Access = "read", *, is_mapped: bool = False) -> Path | None:
        """Show a file or folder, and the links on the way to it; give it without links, None where there is none."""
        try:
            found = path.resolve(strict=True)
        except (OSError, RuntimeError):
            return None
        self._link(path)
        before = self.mounts.get(found)
        if before is None or (before.access == "read" and access != "read"):
            self.mounts[found] = Mount(found, access, is_mapped or (before is not None and before.is_mapped))
        return found

    def _link(self, path: Path) -> None:
        """Make the links that lead from a path to where it really is."""
        way = Path("/")
        for part in Path(os.path.abspath(path)).parts[1:]:  # noqa: PTH100  links stay
            way /= part
            if way.is_symlink():
                found = way.resolve()
                self.links[way] = str(found)
                way = found

    def hide(self, folder: Path) -> None:
        """Leave out of a plugin's folder what is not its code; of a link, what it leads to."""
        for pattern in HIDDEN:
            found = [path.resolve() for path in folder.glob(pattern)]
            self.hidden.update(path for path in found if path.is_relative_to(folder) and path.exists())

    def hide_temporary(self, folder: Path) -> None:
        """Leave out of a folder where all processes have theirs, with their sockets."""
        temporary = Path(tempfile.gettempdir()).resolve()
        if temporary.is_relative_to(folder):
            self.hidden.add(temporary)

    def keep_code(self, folder: Path) -> None:
        """Keep a plugin from changing its code where it may write into its folder."""
        if (mount := self.mounts.get(folder)) is not None and mount.access == "write":
            for entry in folder.iterdir():
                is_code = entry.suffix == ".py" or entry.name in _CODE or (entry / "__init__.py").is_file()
                if is_code and not entry.is_symlink():
                    self.mounts[entry] = Mount(entry, "read", is_mapped=True)

    def show_grant(self, grant: Grant) -> None:
        """Show what is granted, and take note which files these are.

        Raises:
            SandboxError: Something of it is neither file nor folder, or not the host's to give.
        """
        for text in grant.read:
            self._grant(Path(text), "read", grant.read_within)
        for text in grant.write:
            self._grant(Path(text), "write", grant.write_within)

    def _grant(self, path: Path, access: Access, within: tuple[str, ...] | None) -> None:
        try:
            real = path.resolve(strict=True)
            found = look_at(real)
        except (OSError, RuntimeError):
            return  # the plugin finds that it is not there
        if not is_within(str(real), within):
            raise unavailable(f"{path} was granted and now leads to {real}, which is not", hint=_NARROWER)
        if real == Path("/") or any(real.is_relative_to(kept) or Path(kept).is_relative_to(real) for kept in KEPT):
            raise unavailable(f"{path} cannot be granted: it holds what is the sandbox's own", hint=_NARROWER)
        if not (stat.S_ISDIR(found.st_mode) or stat.S_ISREG(found.st_mode)):
            raise unavailable(f"{path} cannot be granted: it is neither a file nor a folder", hint=_NARROWER)
        self.hide_temporary(real)
        if real in self.hidden:
            raise unavailable(f"{path} cannot be granted: other plugins have their sockets there", hint=_NARROWER)
        self.show(path, access, is_mapped=True)
        self.granted[str(real)] = (found.st_dev, found.st_ino)

    def view(self, command: tuple[str, ...] | None, executable: tuple[str, ...]) -> RootView:
        """Put it together: what another mount shows already is left out."""
        kept: list[Mount] = []
        for mount in sorted(self.mounts.values(), key=lambda each: each.path.parts):
            above = next((each for each in reversed(kept) if mount.path.is_relative_to(each.path)), None)
            is_hidden = any(mount.path.is_relative_to(path) for path in self.hidden)
            if above is None or is_hidden or mount.access != above.access or (mount.is_mapped and not above.is_mapped):
                kept.append(mount)
        folders = [each.path for each in kept]
        links = {
            path: target
            for path, target in self.links.items()
            if not any(path.is_relative_to(folder) for folder in folders)
        }
        known = tuple(path for path in executable if os.path.exists(path))  # noqa: PTH110  a text stays one
        return RootView(tuple(kept), links, tuple(sorted(self.hidden)), sys.executable, command, known, self.granted)


_NARROWER = "have the manifest name the files and folders that it needs, in filesystem.read and filesystem.write"


@dataclass(frozen=True)
class _Python:
    """A Python environment: its interpreter as it is called, without links, and what must be visible for it."""

    executable: Path
    real: Path
    needs: tuple[Path, ...]


@functools.cache
def _system() -> tuple[Path, ...]:
    """Give what of the system any program needs: shared libraries, certificates, zones."""
    parted = [path for folder in ("/lib", "/usr/lib") for path in Path(folder).glob("*-linux-*")]
    libraries = [
        *parted,
        *map(Path, ("/lib64", "/usr/lib64") if parted else ("/lib", "/lib64", "/usr/lib", "/usr/lib64")),
    ]
    return (*libraries, *map(Path, _SYSTEM))


@functools.cache
def _engine() -> _Python:
    """Give the engine's own environment, which nobody but the operator makes."""
    executable = Path(sys.executable)
    real = executable.resolve()
    needs = [executable, real, Path(sys.prefix, "pyvenv.cfg"), *_installation(real)]
    for prefix in {Path(sys.base_prefix), Path(sys.prefix)}:
        needs += [Path(prefix, "bin", f"python{sys.version_info[0]}.{sys.version_info[1]}")]
    needs += [Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")]
    packages = [Path(each) for each in site.getsitepackages()]
    needs += packages
    for folder in packages:
        needs += edited_folders(folder)
    return _Python(executable, real, tuple(path for path in needs if path.exists()))


def _installation(real: Path) -> list[Path]:
    """Give what a base Python is made of, or nothing where this is none.

    Args:
        real: The interpreter, without links.
    """
    prefix = real.parent.parent
    library = prefix / "lib" / real.name
    is_one = _PYTHON.fullmatch(real.name) and real.parent.name == "bin" and (library / "os.py").is_file()
    if not is_one or library.resolve() != library:
        return []
    if prefix == Path("/usr"):
        return [real, library, prefix / "lib" / "python3"]
    if prefix == Path("/usr/local"):
        return [real, library, *(prefix / "lib").glob("libpython*.so*")]
    return [real, prefix / "lib", prefix / "lib64", prefix / "ssl"]


def edited_folders(packages: Path) -> Iterator[Path]:
    """Give the folders that an environment's packages are edited in, as ``.pth`` files and setuptools tell."""
    for path in sorted(packages.glob("*.pth")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.strip() and not line.startswith(("import ", "import\t", "#")):
                yield packages / line.strip()
    for path in sorted(packages.glob("__editable___*_finder.py")):
        found = _MAPPING.search(path.read_text(encoding="utf-8", errors="replace"))
        if found is not None:
            yield from map(Path, ast.literal_eval(found["mapping"]).values())


def _show_code(making: _Making, spec: RunSpec) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    """Show the plugin's code; give the command that runs it where that is not the engine's Python, and what it runs."""
    code = spec.code
    if code.folder is not None:
        _show_folder(making, code.folder, code)
    if code.python is None:
        program = _program(spec.command[0])
        return (str(program), *spec.command[1:]), tuple(_show_program(making, program, code.folder))
    if os.path.abspath(code.python) == os.path.abspath(sys.executable):  # noqa: PTH100  links stay
        return None, ()
    return _own_python(making, spec, code.python)


def _show_folder(making: _Making, folder: Path, code: Code) -> None:
    """Show a plugin's folder without what is not its code; of a folder of many, its files alone."""
    real = folder.resolve()
    if _is_of_many(real):
        making.show_all([path for path in (code.file, folder / MANIFEST_NAME) if path is not None])
        return
    making.show(folder, is_mapped=True)
    making.hide(real)
    making.hide_temporary(real)


def _is_of_many(folder: Path) -> bool:
    """Say whether others than a plugin have things in a folder: a system's, a home, or one that all may write into."""
    home = Path(os.path.expanduser("~")).resolve()  # noqa: PTH111  it does not fail
    if _FOLDERS_OF_MANY.fullmatch(str(folder)):
        return True
    return home.is_relative_to(folder) or bool(folder.stat().st_mode & stat.S_ISVTX)


def _own_python(making: _Making, spec: RunSpec, python: Path) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Show the environment beside a plugin, which must lie in its folder, and the base Python that it was made of."""
    environment = python.parent.parent
    folder = spec.code.folder
    if folder is None or not environment.resolve().is_relative_to(folder.resolve()):
        raise _not_shown(f"{environment} is not in the folder of {spec.plugin}")
    real, home = python.resolve(), _home_of(environment)
    is_copy = real.is_relative_to(folder.resolve())
    base = (home / real.name).resolve() if is_copy and home is not None else real
    needs = _installation(base)
    if not needs and not is_copy:
        raise _not_shown(f"{python} leads to {real}, which is no installation of Python")
    making.show_all(needs)
    if needs and home is not None:
        making.show(home / base.name)
    making.show(environment, is_mapped=True)
    return (str(python), *spec.command[1:]), tuple(_executed(making, real))


def _home_of(environment: Path) -> Path | None:
    """Read where an environment's base Python is, as its ``pyvenv.cfg`` has it."""
    try:
        lines = (environment / "pyvenv.cfg").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    said = [
        value.strip()
        for key, separator, value in (line.partition("=") for line in lines)
        if separator and key.strip() == "home"
    ]
    return Path(said[0]) if said and said[0].startswith("/") else None


def _not_shown(why: str) -> SandboxError:
    return unavailable(
        why, hint="make the environment in the plugin's folder, of a Python that is installed: python3 -m venv .venv"
    )


def _program(name: str) -> Path:
    """Find a program that a manifest names."""
    if "/" in name:
        return Path(name)
    for folder in ("/usr/local/bin", "/usr/bin", "/bin"):
        if (path := Path(folder, name)).is_file():
            return path
    return Path(name)


def _show_program(making: _Making, program: Path, folder: Path | None) -> Iterator[str]:
    """Show a program and give what is executed when it is."""
    is_mapped = folder is not None and program.resolve().is_relative_to(folder.resolve())
    if os.access(program, os.X_OK) and (real := making.show(program, is_mapped=is_mapped)) is not None:
        making.show_all(_installation(real))
        yield from _executed(making, real)


def _executed(making: _Making, real: Path) -> Iterator[str]:
    """Give what the kernel executes for a program: itself, what its first line names, and the loader."""
    yield str(real)
    with real.open("rb") as file:
        line = file.read(_SHEBANG_BYTES).partition(b"\n")[0]
    words = os.fsdecode(line.removeprefix(b"#!")).split() if line.startswith(b"#!") else []
    if words and Path(words[0]).name == "env":
        words[1:2] = [str(_program(word)) for word in words[1:2]]
    else:
        del words[1:]
    for name in words[:2]:
        if os.access(name, os.X_OK) and (found := making.show(Path(name))) is not None:
            making.show_all(_installation(found))
            yield str(found)
    yield from _loaders()


@functools.cache
def _loaders() -> tuple[str, ...]:
    """Give the programs that load programs' libraries."""
    return tuple({str(Path(path).resolve()) for pattern in _LOADERS for path in glob.glob(pattern)})  # noqa: PTH207  its patterns are absolute
