"""The files of an image, taken from the Python that runs this: no registry, no package manager, no shell.

An image has the interpreter, the standard library, the C libraries that something in it is linked with, certificates,
time zones and the distributions that are named, with all that they require. What is not copied is not there: neither a
shell nor a package manager, and no file is setuid.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import marshal
import os
import platform
import re
import ssl
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

USER = 65532
PYTHON = f"usr/local/lib/python{sys.version_info.major}.{sys.version_info.minor}"
SITE = f"{PYTHON}/site-packages"

_NOT_NEEDED = frozenset(
    [
        "__pycache__",
        "ensurepip",
        "idlelib",
        "include",
        "lib2to3",
        "pydoc_data",
        "site-packages",
        "test",
        "tests",
        "tkinter",
        "turtledemo",
    ]
)
_NOT_NEEDED_FILES = re.compile(r"(\.(a|h|pyc|pyi|pyx|pxd)|_(test|xxtest|ctypes_test|tkinter)\w*\.[\w.-]*so)$")
# The C library opens these by name when it looks up a host or ends a thread.
_OPENED = ("libnss_files.so.2", "libnss_dns.so.2", "libresolv.so.2", "libgcc_s.so.1")
_OF_THE_INSTALLATION = frozenset({"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json"})
_LINKED = re.compile(r"(?:=> |^\s+)(/\S+)", re.MULTILINE)
_CERTIFICATES = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_ZONES = Path("/usr/share/zoneinfo")
_NOT_ZONES = frozenset({"posix", "right", "localtime", "posixrules", "leapseconds", "leap-seconds.list", "SECURITY"})
_TEXTS = {
    "etc/passwd": f"root:x:0:0::/:/sbin/nologin\nplugin:x:{USER}:{USER}::/job:/sbin/nologin\n",
    "etc/group": f"root:x:0:\nplugin:x:{USER}:\n",
    "etc/nsswitch.conf": "hosts: files dns\npasswd: files\ngroup: files\n",
    "etc/hosts": "127.0.0.1 localhost\n",
    "etc/hostname": "plugin\n",
    "etc/resolv.conf": "",
}
_FOLDERS = ("dev", "etc", "proc", "run", "sys", "tmp")
_CHECKED_NEVER = (1).to_bytes(
    4, "little"
)  # PEP 552: compiled from the source with this hash, and never looked at again


@dataclass
class ImageFiles:
    """What an image is made of; paths are relative to its root.

    Attributes:
        files: Files as they are here.
        texts: Files of this content.
        links: Links, and where they lead.
    """

    files: dict[str, Path] = field(default_factory=dict)
    texts: dict[str, bytes] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)

    def add_tree(self, source: Path, target: str) -> None:
        """Take a folder of Python code without its tests, headers and what this Python compiled."""
        for folder, folders, names in os.walk(source):
            folders[:] = sorted(set(folders) - _NOT_NEEDED)
            for name in names:
                path = Path(folder, name)
                if not _NOT_NEEDED_FILES.search(name) and path.is_file():
                    self.files[f"{target}/{path.relative_to(source).as_posix()}"] = path

    def add_python(self) -> None:
        """Take the interpreter and the standard library."""
        self.add_tree(Path(sysconfig.get_path("stdlib")), PYTHON)
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        self.files[f"usr/local/bin/{version}"] = Path(os.path.realpath(sys.executable))
        self.links |= {"usr/local/bin/python3": version, "usr/local/bin/python": version, "job": "tmp"}
        self.links[f"usr/local/lib/{version}/dist-packages"] = "site-packages"  # where Debian's Python looks
        self.texts |= {name: text.encode() for name, text in _TEXTS.items()}
        self._add_certificates()
        self._add_zones()

    def add_distribution(self, name: str) -> None:
        """Take an installed distribution's modules, without what tells of this installation.

        Raises:
            importlib.metadata.PackageNotFoundError: It is not installed.
        """
        distribution = importlib.metadata.distribution(name)
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        is_editable = origin.get("dir_info", {}).get("editable", False)
        for each in distribution.files or ():
            place = Path(str(distribution.locate_file(each)))
            is_metadata = each.parts[0].endswith(".dist-info")
            is_left_out = bool({"..", *_NOT_NEEDED} & set(each.parts)) or _NOT_NEEDED_FILES.search(each.name)
            if is_left_out or (is_metadata and each.name in _OF_THE_INSTALLATION) or (is_editable and not is_metadata):
                continue
            if place.is_file():
                self.files[f"{SITE}/{each.as_posix()}"] = place
        if is_editable:
            package = canonicalize_name(name).replace("-", "_")
            self.add_tree(_package(package), f"{SITE}/{package}")

    def add_libraries(self, *, but: frozenset[Path] = frozenset()) -> frozenset[Path]:
        """Take the C libraries that programs and modules are linked with, and give them.

        Args:
            but: Those that are in a layer below.
        """
        linked = sorted(
            path for name, path in self.files.items() if ".so" in PurePosixPath(name).name or "/bin/python" in name
        )
        said = subprocess.run(["ldd", *map(str, linked)], capture_output=True, text=True, check=False).stdout  # noqa: S603, S607
        found = {Path(each) for each in _LINKED.findall(said) if not each.endswith(":")}
        libc = next(path.parent for path in found if path.name == "libc.so.6")
        found |= {libc / name for name in _OPENED if (libc / name).exists()}
        here = {os.path.realpath(path) for path in self.files.values()}
        target = os.path.realpath(libc).lstrip("/")
        taken = {path for path in found if os.path.realpath(path) not in here} - but
        for path in taken:
            is_loader = path.name.startswith("ld-")
            place = os.path.realpath(path.parent).lstrip("/") if is_loader else target
            self.files[f"{place}/{path.name}"] = path
        for name in ("lib", "lib64"):
            if taken and Path("/", name).is_symlink():
                self.links[name] = f"usr/{name}"
        return frozenset(taken | but)

    def compile(self) -> None:
        """Compile the Python code, as the root of an image is read-only; the same code gives the same bytes."""
        for name, path in list(self.files.items()):
            if name.endswith(".py"):
                self._compile(name, path.read_bytes())

    def folders(self) -> Iterator[str]:
        """Give every folder, each after those that it is in."""
        names = [*self.files, *self.texts, *self.links]
        above = {str(folder) for name in names for folder in PurePosixPath(name).parents} - {"."}
        yield from sorted({*above, *(_FOLDERS if "etc/passwd" in self.texts else ())} - set(self.links))

    def _compile(self, name: str, source: bytes) -> None:
        try:
            code = compile(source, f"/{name}", "exec", dont_inherit=True)
        except (SyntaxError, ValueError):  # it is there for another Python
            return
        folder, _, file = name.rpartition("/")
        place = f"{folder}/__pycache__/{file.removesuffix('.py')}.{sys.implementation.cache_tag}.pyc"
        # Later formats refer to what was written before, by what else this process happens to hold.
        body = marshal.dumps(code, 2)
        head = importlib.util.MAGIC_NUMBER + _CHECKED_NEVER + importlib.util.source_hash(source)
        self.texts[place] = head + body

    def _add_certificates(self) -> None:
        found = next((place for place in _CERTIFICATES if Path(place).is_file()), None)
        if found is not None:
            self.files["etc/ssl/certs/ca-certificates.crt"] = Path(found)
            wanted = ssl.get_default_verify_paths().openssl_cafile.lstrip("/")
            if wanted != "etc/ssl/certs/ca-certificates.crt":
                self.links[wanted] = "/etc/ssl/certs/ca-certificates.crt"

    def _add_zones(self) -> None:
        for folder, folders, names in os.walk(_ZONES):
            folders[:] = sorted(set(folders) - _NOT_ZONES)
            for name in set(names) - _NOT_ZONES:
                path = Path(folder, name)
                self.files[path.as_posix().lstrip("/")] = path


def required(*names: str) -> frozenset[str]:
    """Give the names of distributions and of all that they require here; ``demo[extra]`` is with an extra."""
    left = [Requirement(name) for name in names]
    seen: set[tuple[str, frozenset[str]]] = set()
    while left:
        requirement = left.pop()
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key not in seen:
            seen.add(key)
            left += [each for each in _requirements(requirement.name) if _is_wanted(each, requirement)]
    return frozenset(name for name, _ in seen)


def _requirements(name: str) -> list[Requirement]:
    return [Requirement(text) for text in importlib.metadata.requires(name) or ()]


def _is_wanted(needed: Requirement, by: Requirement) -> bool:
    return needed.marker is None or any(needed.marker.evaluate({"extra": extra}) for extra in ("", *by.extras))


def _package(name: str) -> Path:
    found = importlib.util.find_spec(name)
    if found is None or found.origin is None:
        raise importlib.metadata.PackageNotFoundError(name)
    return Path(found.origin).parent


def labels() -> dict[str, str]:
    """Say which code the image can run."""
    return {
        "io.dativo.python": f"{sys.version_info.major}.{sys.version_info.minor}",
        "io.dativo.abi": str(sysconfig.get_config_var("SOABI")),
    }


def architecture() -> str:
    """Give the processor's name as images have it."""
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
