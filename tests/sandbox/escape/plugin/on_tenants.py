"""A neighbour: another tenant's plugin at the same time, in the same kind of sandbox, and the attempts on it."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
from pathlib import Path
from typing import Any

from attempts import Places, See, attempt, call
from on_network import tell
from on_others import PROCESS_VM_READV, Part

PORT = 8124


class Neighbour:
    """Has a file, sockets, shared memory and a secret in its memory, and notes who reaches them."""

    def __init__(self, secret: str) -> None:
        self._heard: list[str] = []
        self.secret = ctypes.create_string_buffer(secret.encode())
        self._file = Path(os.environ["TMPDIR"], "neighbours-secret")
        self._file.write_text(secret)
        self._listeners: list[socket.socket] = []
        self._listen(socket.AF_INET, ("127.0.0.1", PORT))
        self._listen(socket.AF_UNIX, "\0dativo-neighbour")
        self._listen(socket.AF_UNIX, str(self._file.with_name("neighbour.sock")))
        signal.signal(signal.SIGUSR1, lambda *_: self._heard.append("signal"))
        self.places: dict[str, Any] = {
            "neighbour_address": ctypes.addressof(self.secret),
            "neighbour_length": len(secret),
            "neighbour_file": str(self._file),
        }

    def _listen(self, family: socket.AddressFamily, address: object) -> None:
        """Listen, where a plugin may."""
        link = socket.socket(family)
        try:
            link.bind(address)
            link.listen()
        except PermissionError:
            link.close()
            return
        link.setblocking(False)
        self._listeners.append(link)

    def met(self) -> str:
        """Tell who came."""
        for link in self._listeners:
            while True:
                try:
                    peer, _ = link.accept()
                except BlockingIOError:
                    break
                peer.setblocking(True)
                self._heard.append(peer.recv(1000).decode())
                peer.close()
        return " ".join(self._heard)


@attempt("tenants: read the neighbour's file by its path")
def _(places: Places) -> object:
    return Path(places["neighbour_file"]).read_text()


@attempt("tenants: read the neighbour's file by way of /proc/PID/root")
def _(places: Places) -> object:
    return Path(f"/proc/{places['neighbour_pid']}/root{places['neighbour_file']}").read_text()


@attempt("tenants: see the neighbour's process")
def _(places: Places) -> object:
    for path in Path("/proc").iterdir():
        try:
            if path.name.isdigit() and places["neighbour_mark"].encode() in (path / "environ").read_bytes():
                return True
        except OSError:
            continue
    return False


@attempt("tenants: read the neighbour's memory")
def _(places: Places) -> object:
    length = places["neighbour_length"]
    buffer = ctypes.create_string_buffer(length)
    here, there = Part(ctypes.addressof(buffer), length), Part(places["neighbour_address"], length)
    call(PROCESS_VM_READV, places["neighbour_pid"], ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    return buffer.raw.decode()


@attempt("tenants: signal the neighbour")
def _(places: Places) -> object:
    os.kill(places["neighbour_pid"], signal.SIGUSR1)
    return See("signal")


@attempt("tenants: the neighbour's TCP port")
def _(places: Places) -> object:
    return tell(socket.SOCK_STREAM, socket.AF_INET, ("127.0.0.1", PORT), "neighbour-tcp")


@attempt("tenants: the neighbour's abstract socket")
def _(places: Places) -> object:
    return tell(socket.SOCK_STREAM, socket.AF_UNIX, "\0dativo-neighbour", "neighbour-abstract")


@attempt("tenants: the neighbour's socket file")
def _(places: Places) -> object:
    path = str(Path(places["neighbour_file"]).with_name("neighbour.sock"))
    return tell(socket.SOCK_STREAM, socket.AF_UNIX, path, "neighbour-path")


@attempt("tenants: the folder of the neighbour's sockets")
def _(places: Places) -> object:
    return "control.sock" in os.listdir(places["neighbour_run"])


@attempt("tenants: the neighbour's egress socket")
def _(places: Places) -> object:
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(f"{places['neighbour_run']}/egress.sock")
    return True


@attempt("tenants: the neighbour's control and data sockets")
def _(places: Places) -> object:
    """Without connecting, for which the engine would end the neighbour."""
    return any(os.access(f"{places['neighbour_run']}/{name}.sock", os.W_OK) for name in ("control", "data"))
