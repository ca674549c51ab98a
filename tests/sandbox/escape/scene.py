"""The host that a plugin tries to reach from a sandbox, as a process of its own: ``python scene.py ORDER``.

To be started within ``unshare --mount --net --uts --ipc``: the addresses, the files below /etc and what is in /dev/shm
are this process's own, so that no attempt touches the machine. It has what is worth reaching: a tenant's secret file, a
process that holds the secret, servers, a folder of keys, another run. It starts the plugin as the engine does, lets it
make its attempts, and looks itself what came of them. What it prints is one line of JSON: of each attempt, whether it
was through, and what stopped it.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import secrets
import selectors
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import dativo_ingest
from dativo_ingest.plugin_process.conversation import Conversation
from dativo_ingest.plugin_process.found import FoundPlugin, sha256_of_files
from dativo_ingest.plugin_process.records import PluginRecord
from dativo_ingest.plugin_process.starting import Hosted, Starter
from dativo_ingest.sandbox.confinement import Confinement
from dativo_ingest.sandbox.grant import Grant
from dativo_plugin_sdk.config import SourceConfig
from dativo_plugin_sdk.errors import DativoError

HERE = Path(__file__).parent
OWN_ADDRESS, FAR_ADDRESS, METADATA, RESOLVER = "10.77.0.1", "192.0.2.1", "169.254.169.254", "127.53.53.53"
NAME = "host-of-another-tenant.example"
PORT = 8123
MIB = 2**20
GRANTED_HOST = "granted.example:443"
GRANT = Grant(subprocess=True, memory_bytes=384 * MIB, pids=64, tmp_bytes=32 * MIB, log_bytes=MIB)
ALONE = (
    "limits: memory, by one process",
    "limits: memory, by eight processes",
    "limits: memory, that no process has mapped",
    "limits: memory, in the buffers of sockets",
    "limits: print without end",
)
"""Each in a session of its own, which it may end."""
AGAIN = ("grants", "network", "privileges", "descriptors", "processes", "tenants")
"""Once more with a host that is granted, for which a sandbox is made in another way."""
LOOKED = "persistence: (the next run looks for it)"
HANDLE_BYTES = 128
VICTIM = """
import ctypes, os, signal, sys
secret = sys.stdin.readline().strip()
open_file = os.open(sys.argv[2], os.O_RDONLY)
held, spare = ctypes.create_string_buffer(secret.encode()), ctypes.create_string_buffer(8)
for number in (signal.SIGUSR1, signal.SIGUSR2, signal.SIGWINCH):
    signal.signal(number, lambda number, _: os.write(1, f"victim: {signal.Signals(number).name}\\n".encode()))
os.write(1, f"{ctypes.addressof(held)} {ctypes.addressof(spare)} {open_file}\\n".encode())
while True:
    signal.pause()
"""


def main(order: Mapping[str, Any]) -> None:
    """Set the scene, have the attempts made and print what came of them."""
    folder = Path(order["folder"])
    _own_network()
    _own_files(folder)
    if order["user"] is not None:
        _become(order["user"], folder)
    os.environ["HOME"] = str(folder / "home")
    tempfile.tempdir = str(folder / "tmp")
    with Scene(folder, order["secret"]) as scene:
        if order["backend"] != "none":  # or these are the machine's
            scene.places["else_writable"] = ["/dev/shm", "/job", "/run", "/dev", "/tmp", "/var/tmp"]
        attempts = Attempts(scene, _confinement(order))
        attempts.make()
    sys.stdout.write(json.dumps(attempts.found) + "\n")


def _own_network() -> None:
    """Bring up the loopback interface with addresses that look like others', and let anybody take any port."""
    Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as link:
        fcntl.ioctl(link, 0x8914, struct.pack("16sh14x", b"lo", 1))
        for number, address in enumerate((OWN_ADDRESS, FAR_ADDRESS, METADATA)):
            name = f"lo:{number}".encode()
            for request, value in ((0x8916, address), (0x891C, "255.255.255.255")):
                fcntl.ioctl(link, request, struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(value)))


def _own_files(folder: Path) -> None:
    """Make of /etc and /dev/shm what may be changed, with names in it that others have."""
    for name in ("upper", "work", "home", "tmp", "outside", "kept", "other", "granted", "readable"):
        (folder / name).mkdir()
    layers = f"lowerdir=/etc,upperdir={folder}/upper,workdir={folder}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", layers, "overlay", "/etc"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev/shm"], check=True)
    Path("/etc/hosts").write_text(
        f"127.0.0.1 localhost\n::1 localhost\n{OWN_ADDRESS} {NAME}\n{METADATA} metadata.google.internal\n"
    )
    Path("/etc/resolv.conf").unlink(missing_ok=True)
    Path("/etc/resolv.conf").write_text(f"nameserver {RESOLVER}\noptions timeout:1 attempts:1\n")


def _become(user: int, folder: Path) -> None:
    """Be an ordinary user, for whom what the engine is made of can be reached."""
    for needed in {Path(sys.base_prefix), Path(sys.prefix), Path(dativo_ingest.__file__), HERE, *_programs()}:
        _open_way(needed.resolve())
    for path in (folder, *folder.rglob("*")):
        os.chown(path, user, user, follow_symlinks=False)
    os.chmod("/dev/shm", 0o1777)
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # dumpable again, as a user's own processes are


def _programs() -> Iterator[Path]:
    found = shutil.which("bwrap")
    if found is not None:
        yield Path(found)


def _open_way(path: Path) -> None:
    """Have every folder above be one that all may pass: where one is not, put another in its place, here alone."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & 0o001:
            shown = folder / path.relative_to(folder).parts[0]
            kept = os.open(shown, os.O_PATH)
            _mount(b"tmpfs", folder, b"tmpfs", b"mode=0755")
            shown.mkdir()
            _mount(f"/proc/self/fd/{kept}".encode(), shown)
            os.close(kept)


def _mount(source: bytes, place: Path, kind: bytes | None = None, options: bytes | None = None) -> None:
    """Mount a new file system, or a folder; the command would take the folder by its name."""
    flags = 0x5000 if kind is None else 0  # MS_BIND, MS_REC
    if ctypes.CDLL(None, use_errno=True).mount(source, bytes(place), kind, ctypes.c_ulong(flags), options):
        raise OSError(ctypes.get_errno(), "mount", str(place))


def _confinement(order: Mapping[str, Any]) -> Confinement:
    match order["backend"]:
        case "none":
            from dativo_ingest.sandbox.unconfined import Unconfined

            return Unconfined()
        case "process":
            from dativo_ingest.sandbox.bubblewrap import Process

            return Process()
        case "container":
            from dativo_ingest.sandbox.container.back_end import container

            return container(engine=order["engine"], image=order["image"], runtime=order["runtime"])
    raise ValueError(order["backend"])


class Scene:
    """What is worth reaching.

    Attributes:
        places: Where it is, as the attempts are told.
        heard: What others have said or done to it.
    """

    def __init__(self, folder: Path, secret: str) -> None:
        self.folder = folder
        self.secret = secret
        self.heard: list[bytes] = []
        self._closing = contextlib.ExitStack()
        self.mark = f"dativo-escape-{secrets.token_hex(4)}"

    def __enter__(self) -> Self:
        """Set it."""
        self._selector = selectors.DefaultSelector()
        self._woken, self._waking = os.pipe()
        self._selector.register(self._woken, selectors.EVENT_READ)
        self.places: dict[str, Any] = self._files()
        self._servers()
        self.places |= self._victim()
        self.places |= {
            "engine_pid": os.getpid(),
            "engine_mark": "scene.py",
            "host_name": socket.gethostname(),
            "port": PORT,
            "own_address": OWN_ADDRESS,
            "far_address": FAR_ADDRESS,
            "name": NAME,
            "resolver": RESOLVER,
            "abstract": self.mark,
            "socket": str(self.folder / "engine.sock"),
            "much_mib": 512,
            "much_disk_mib": 80,
            "else_writable": ["/dev/shm"],
            "left": f"{self.mark}-left",
            "daemon": self.mark[-15:],
        }
        signal.signal(signal.SIGUSR1, lambda *_: self.heard.append(b"engine: SIGUSR1;"))
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Take it down."""
        os.write(self._waking, b"x")
        self._thread.join()
        self._closing.close()

    def sees(self, sign: str) -> bool:
        """Say whether something has reached it."""
        return sign.encode() in b"".join(self.heard)

    def _files(self) -> dict[str, Any]:
        folder = self.folder
        secret_file = folder / "other" / "secret"
        secret_file.write_text(self.secret)
        (folder / "home" / ".aws").mkdir()
        (folder / "home" / ".aws" / "credentials").write_text(self.secret)
        (folder / "home" / ".profile").touch()
        (folder / "kept" / "file").touch()
        (folder / "readable" / "file").touch()
        (folder / "granted").chmod(0o777)
        Path("/dev/shm", self.mark).write_text(self.secret)
        plugin = Path(shutil.copytree(HERE / "plugin", folder / "plugin", ignore=shutil.ignore_patterns("__pycache__")))
        leaked = os.open(secret_file, os.O_RDONLY)
        os.set_inheritable(leaked, True)
        other_run = folder / "tmp" / "dativo-plugin-0123456789abcdef"
        other_run.mkdir()
        return {
            "secret_file": str(secret_file),
            "handle": _handle(secret_file).hex(),
            "home": str(folder / "home"),
            "outside": str(folder / "outside"),
            "kept": str(folder / "kept"),
            "granted": str(folder / "granted"),
            "readable": str(folder / "readable" / "file"),
            "shared_name": self.mark,
            "segment": self._segment(),
            "plugin_file": str(plugin / "escaping.py"),
            "engine_file": dativo_ingest.__file__,
            "packages": next(path for path in sys.path if path.endswith("site-packages")),
            "other_run": str(other_run),
        }

    def _segment(self) -> int:
        """Share memory as System V does; it is gone with this process's own IPC namespace, or at the end."""
        libc = ctypes.CDLL(None, use_errno=True)
        libc.shmat.restype = ctypes.c_void_p
        key = 0x5EC4E7
        number = libc.shmget(key, 4096, 0o1666)
        address = libc.shmat(number, None, 0)
        ctypes.memmove(address, self.secret.encode() + b"\0", len(self.secret) + 1)
        self._closing.callback(libc.shmctl, number, 0, None)
        return key

    def _servers(self) -> None:
        listened = [
            (socket.AF_INET, socket.SOCK_STREAM, ("0.0.0.0", PORT)),
            (socket.AF_INET, socket.SOCK_DGRAM, ("0.0.0.0", PORT)),
            (socket.AF_INET6, socket.SOCK_STREAM, ("::1", PORT)),
            (socket.AF_INET6, socket.SOCK_DGRAM, ("::1", PORT)),
            (socket.AF_INET, socket.SOCK_STREAM, (METADATA, 80)),
            (socket.AF_INET, socket.SOCK_DGRAM, (RESOLVER, 53)),
            (socket.AF_UNIX, socket.SOCK_STREAM, "\0" + self.mark),
            (socket.AF_UNIX, socket.SOCK_STREAM, str(self.folder / "engine.sock")),
            (socket.AF_UNIX, socket.SOCK_STREAM, f"{self.places['other_run']}/control.sock"),
        ]
        for family, kind, address in listened:
            link = socket.socket(family, kind)
            self._closing.callback(link.close)
            link.bind(address)
            if kind == socket.SOCK_STREAM:
                link.listen()
            self._selector.register(link, selectors.EVENT_READ, link)

    def _victim(self) -> dict[str, Any]:
        """Start a process that has the secret in its memory and its environment, and an open file with it."""
        victim = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", VICTIM, self.mark, self.places["secret_file"]],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"DATIVO_ESCAPE_SECRET": self.secret},
            cwd=self.folder / "other",
            bufsize=0,
        )
        assert victim.stdin is not None
        assert victim.stdout is not None
        self._closing.enter_context(victim)
        self._closing.callback(victim.kill)
        victim.stdin.write(self.secret.encode() + b"\n")
        address, spare, open_file = map(int, victim.stdout.readline().split())
        self._selector.register(victim.stdout, selectors.EVENT_READ)
        return {
            "victim_pid": victim.pid,
            "victim_mark": self.mark,
            "victim_address": address,
            "victim_length": len(self.secret),
            "victim_spare": spare,
            "victim_descriptor": open_file,
        }

    def _listen(self) -> None:
        """Hear everybody."""
        while True:
            for key, _ in self._selector.select():
                if key.fd == self._woken:
                    return
                if isinstance(key.data, socket.socket) and key.data.type == socket.SOCK_STREAM:
                    peer, _ = key.data.accept()
                    self._closing.callback(peer.close)
                    self._selector.register(peer, selectors.EVENT_READ)
                    continue
                said = os.read(key.fd, 4096)
                self.heard.append(said)
                if not said:
                    self._selector.unregister(key.fd)


def _handle(path: Path) -> bytes:
    """Give what open_by_handle_at(2) takes for a file."""
    handle = ctypes.create_string_buffer(struct.pack("<Ii", HANDLE_BYTES, 0), 8 + HANDLE_BYTES)
    number = ctypes.c_int()
    if ctypes.CDLL(None).name_to_handle_at(-100, os.fsencode(path), handle, ctypes.byref(number), 0):
        return b""
    return handle.raw


class Attempts:
    """The attempts of one kind of confinement.

    Attributes:
        found: Of each attempt, whether it was through, and what stopped it.
    """

    def __init__(self, scene: Scene, confinement: Confinement) -> None:
        self.found: dict[str, tuple[bool, str]] = {}
        self._scene = scene
        self._confinement = confinement
        self._has_own_kernel = confinement.isolation == "vm"
        self._names = [name for name in names() if not (self._has_own_kernel and name.startswith("limits:"))]

    def make(self) -> None:
        """Make them all."""
        programs = [name for name in self._names if name == LOOKED or name.startswith("programs:")]
        granted = [name for name in self._names if name.startswith("grants:")]
        others = [name for name in self._names if name not in {*programs, *granted, *ALONE}]
        places = self._scene.places
        more = replace(GRANT, network=(GRANTED_HOST,), write=(places["granted"],), read=(places["readable"],))
        with self._session(more, neighbour=True, secret=self._scene.secret) as neighbour:
            self._scene.places |= _step(neighbour, 0) | self._found_at(neighbour)
            signs = self._make(others)
            again = [name for name in self._names if name.partition(":")[0] in AGAIN]
            signs |= self._make(again, more)
            met = _step(neighbour, 1)["met"]
        for name in () if self._has_own_kernel else ALONE:
            self._make([name])
        self._make(programs, replace(GRANT, subprocess=False))
        for name, sign in signs.items():
            self.found[name] = (self._has_come(sign, met), "it had no effect")

    def _found_at(self, neighbour: Conversation) -> dict[str, Any]:
        """Tell where the host sees the neighbour."""
        token = neighbour.session.token
        pids = [int(path.parent.name) for path in Path("/proc").glob("[0-9]*/environ") if token in _text(path)]
        return {
            "neighbour_pid": max(pids, default=neighbour.session._process.pid),
            "neighbour_mark": token,
            "neighbour_run": str(neighbour.session._folder),
        }

    def _has_come(self, sign: str, met: str) -> bool:
        match sign:
            case "outlived":
                return any(self._scene.places["daemon"] in _text(path) for path in Path("/proc").glob("[0-9]*/comm"))
            case "emptied":
                return not Path(self._scene.places["kept"], "file").exists()
            case "the next run found it":
                return self.found.pop(LOOKED)[0]
            case "a device":
                return any(path.is_char_device() for path in Path(self._scene.places["granted"]).iterdir())
        if sign.startswith("setuid: "):
            left = Path(self._scene.places["granted"], sign.removeprefix("setuid: "))
            return left.exists() and bool(left.stat().st_mode & (stat.S_ISUID | stat.S_ISGID))
        return sign in met or self._scene.sees(sign)

    def _make(self, names: list[str], grant: Grant = GRANT) -> dict[str, str]:
        """Make some in a session; give the signs by which it is known whether those that have no answer are through."""
        signs = {}
        with self._session(grant, attempts=names) as session:
            for number, name in enumerate(names):
                try:
                    came = _step(session, number)
                except DativoError as error:
                    self._note(name, is_through=False, why=f"{error.error_code}: {error}")
                    return signs
                is_secret = not came["found"] or self._scene.secret in came["found"]
                self._note(name, is_through=came["through"] and is_secret, why=came["why"])
                if came["sign"]:
                    signs[name] = came["sign"]
        return signs

    def _note(self, name: str, *, is_through: bool, why: str) -> None:
        """Note what came of an attempt; one that is made twice is through where it was so once."""
        was_through, before = self.found.get(name, (False, ""))
        self.found[name] = (is_through or was_through, before or why)

    @contextlib.contextmanager
    def _session(self, grant: Grant = GRANT, **connection: Any) -> Iterator[Conversation]:
        config = SourceConfig(type="escaping", connection={**self._scene.places, **connection})
        plugin = without_manifest(Path(self._scene.places["plugin_file"]), "Escaping")
        record = PluginRecord("source", plugin.title, plugin.version, plugin.sha256, grant)
        conversation = Starter(plugin, config, Hosted(record, confinement=self._confinement))()
        try:
            conversation.ask("check", {"streams": []}, within="check")
            yield conversation
        finally:
            conversation.close()


def names() -> list[str]:
    """Give every attempt's name, in order."""
    sys.path.insert(0, str(HERE / "plugin"))
    import escaping  # noqa: F401  it has them all
    from attempts import ATTEMPTS

    return list(ATTEMPTS)


def _step(conversation: Conversation, number: int) -> dict[str, Any]:
    details: dict[str, Any] = conversation.ask("check_step", {"step": number}, within="check")["details"]
    return details


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def without_manifest(file: Path, class_name: str) -> FoundPlugin:
    """Give a plugin of a file, whose grant is the test's to say: the manifest beside it is left out."""
    return FoundPlugin(
        kind="reader",
        name=f"{file}:{class_name}",
        file=file,
        class_name=class_name,
        entry_point=None,
        command=None,
        python=Path(sys.executable),
        manifest=None,
        version="1.0.0",
        requires_sdk=None,
        state_version=1,
        config_version=1,
        sha256=sha256_of_files(file),
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
