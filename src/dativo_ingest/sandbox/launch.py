"""A plugin's process: started, joined by two sockets, watched, and gone with everything that it started.

`RunSpec` and `Confinement` go in, a `Session` comes out. What the two sockets carry is
`dativo_ingest.plugin_process.conversation`'s.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import selectors
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from dativo_ingest.sandbox import endings
from dativo_ingest.sandbox.confinement import Confinement
from dativo_ingest.sandbox.egress.record import Record
from dativo_ingest.sandbox.exits import MOST_STATUS_BYTES, Exit, Usage, read_status
from dativo_ingest.sandbox.output import Lines, Output
from dativo_ingest.sandbox.run_spec import RunSpec
from dativo_ingest.sandbox.warden import remove
from dativo_plugin_sdk.errors import DativoError, PluginExecutionError, ResourceUnavailableError
from dativo_plugin_sdk.protocol.breach import breach

if TYPE_CHECKING:
    from dativo_ingest.sandbox.egress.proxy import Proxy, Resolve

FOLDER_PREFIX: Final = "dativo-plugin-"

_MAX_SOCKET_PATH = 100  # of 107 bytes that unix(7) allows
_WAITING = 128  # connections to the proxy that nobody has answered yet
_PIECE_BYTES = 2**16
_LOOK_EVERY_S = 0.5
_LONGEST_WAIT_S = 3600.0  # a selector takes no longer times than some weeks
_LAST_OUTPUT_S = 1.0  # for pipes that somebody holds open who should be gone
_KILLING_S = 7.0
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid of unix(7)

End: TypeAlias = Literal["control", "data"]


class Session:
    """A process at work, from its start to its end; may be used from several threads.

    Args:
        spec: What to start. This does not wait for it.
        confinement: How it is held.
        resolve: How names of granted hosts are resolved, where not by the machine's resolver.

    Attributes:
        token: What the process must say to be believed.
        control: The socket for control frames, once `connect` has returned.
        data: The socket for Arrow data, then too.
        output: What it printed.
        egress: What it reached and was denied; None where nothing keeps it from the network.
        is_confined: Whether it is held by a sandbox.

    Raises:
        ResourceUnavailableError: No process can be started.
        SandboxError: It cannot be held as it must be.
    """

    control: socket.socket
    data: socket.socket

    def __init__(self, spec: RunSpec, confinement: Confinement, *, resolve: Resolve | None = None) -> None:
        self.spec = spec
        self._resolve = resolve
        self.token = secrets.token_hex(16)
        self.output = Output(spec.grant.log_bytes)
        self.started_s = time.monotonic()
        self._changed = threading.Condition()
        self._failure: DativoError | None = None
        self._exit: Exit | None = None
        self._usage = Usage()
        self._peers: dict[End, socket.socket] = {}
        self._folder = _name_of_folder()
        self.is_confined = confinement.isolation != "none"
        self._prepared = confinement.prepare(spec, self._folder, self.token)
        self._listeners: dict[End, socket.socket] = {}
        self._lifeline: int | None = None
        self.egress = Record() if self.is_confined else None
        self._way_out: socket.socket | None = None
        self._proxy: Proxy | None = None
        self._status = b""
        try:
            self._process, self._report = self._start()
        except OSError as error:
            self.kill()
            raise self._cannot_start(error) from error
        try:
            self._let_go_on()
        except OSError as error:
            self.kill()
            self._process.communicate()
            os.close(self._report)
            self._tidy_up()
            raise self._cannot_start(error) from error
        self._watcher = threading.Thread(target=self._watch, name=f"watch {spec.plugin}", daemon=True)
        self._watcher.start()

    @property
    def failure(self) -> DativoError | None:
        """Why the process was ended, where that was for something it did."""
        with self._changed:
            return self._failure

    def exit(self, timeout_s: float = 0.0) -> Exit | None:
        """Wait until the process and all that it started have ended, and tell how; None if that takes longer."""
        with self._changed:
            self._changed.wait_for(lambda: self._exit is not None, timeout_s)
            return self._exit

    def connect(self, while_waiting: Callable[[], None]) -> bool:
        """Wait until the process has connected to both sockets; say whether it has: in time, and before it ended.

        Args:
            while_waiting: Called twice a second; what it raises ends the waiting.
        """
        until_s = self.started_s + self.spec.grant.deadlines.start_s
        while True:
            with self._changed:
                left_s = until_s - time.monotonic()
                self._changed.wait_for(self._is_decided, timeout=max(0.0, min(left_s, _LOOK_EVERY_S)))
                if len(self._peers) == len(self._listeners) and self._failure is None:
                    self.control, self.data = self._peers["control"], self._peers["data"]
                    return True
                if self._is_decided() or left_s <= 0:
                    return False
            while_waiting()

    def kill(self, why: DativoError | None = None) -> None:
        """Have the process ended, with all that it started; this does not wait for it. May be called twice.

        Args:
            why: What it did, where it did something; the first reason stays.
        """
        with self._changed:
            if self._failure is None and self._exit is None:
                self._failure = why
            lifeline, self._lifeline = self._lifeline, None
            self._changed.notify_all()
        if lifeline is not None:
            with contextlib.suppress(OSError):  # it has ended by itself
                os.write(lifeline, b"k")
            os.close(lifeline)

    def wait(self, timeout_s: float) -> Exit | None:
        """Wait until what was kept for the process is gone, too; None if that takes longer."""
        self._watcher.join(timeout_s)
        with self._changed:
            return None if self._watcher.is_alive() else self._exit

    def usage(self) -> Usage:
        """Tell what was used; nothing before the end."""
        with self._changed:
            return self._usage

    def close(self) -> None:
        """End it, if it has not, and wait for that; afterwards nothing of it is left. May be called twice."""
        self.kill()
        if self.wait(self._prepared.ending_s) is None:
            self._process.kill()  # the warden, with whom the plugin's first process dies
            self._watcher.join(_KILLING_S)
        for peer in self._peers.values():
            peer.close()

    def _is_decided(self) -> bool:
        return len(self._peers) == len(self._listeners) or self._failure is not None or self._exit is not None

    def _start(self) -> tuple[subprocess.Popen[bytes], int]:
        alive, self._lifeline = os.pipe()
        report, status = os.pipe()
        try:
            return (
                subprocess.Popen(  # noqa: S603  the plugin that the job names
                    [*self._prepared.warden, str(alive), str(status), str(self._folder)],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.PIPE,
                    env=dict(self._prepared.environment),
                    pass_fds=(alive, status, *self._prepared.descriptors),
                    start_new_session=True,
                    bufsize=0,
                ),
                report,
            )
        except OSError:
            os.close(report)
            raise
        finally:
            for each in (alive, status, *self._prepared.descriptors):
                os.close(each)

    def _let_go_on(self) -> None:
        """Make what the plugin needs, now that the warden is there to remove it whatever happens to this process."""
        self._folder.mkdir(mode=0o700)
        for end in ("control", "data"):
            self._listeners[end] = _listen(self._folder / f"{end}.sock")
        if self.is_confined:
            self._way_out = _listen(self._folder / "egress.sock", _WAITING)
        if self._prepared.peer_uid != os.geteuid():
            for path in (*self._folder.iterdir(), self._folder):
                os.chown(path, self._prepared.peer_uid, -1)
        plan = json.dumps(self._prepared.plan).encode() + b"\n"
        assert self._lifeline is not None  # noqa: S101  it was made by `_start`
        while plan:
            plan = plan[os.write(self._lifeline, plan) :]

    def _start_proxy(self, listener: socket.socket) -> None:
        """Let somebody answer who wants out, now that somebody does."""
        from dativo_ingest.sandbox.egress import proxy  # noqa: PLC0415  many plugins talk to nobody
        from dativo_ingest.sandbox.egress.reach import Reach  # noqa: PLC0415

        assert self.egress is not None  # noqa: S101  it is there where the socket is
        self._proxy = proxy.Proxy(
            listener,
            Reach.of(self.spec.grant),
            self.egress,
            plugin=self.spec.plugin,
            uids={self._prepared.peer_uid, *self._prepared.other_peers},
            resolve=self._resolve or proxy.resolve,
        )

    def _cannot_start(self, error: OSError) -> ResourceUnavailableError:
        return ResourceUnavailableError(
            f"the process of the plugin {self.spec.plugin} cannot be started: {error.strerror}"
        )

    def _watch(self) -> None:
        """Take what is printed, see that nobody else connects, and wait for the end."""
        assert self._process.stdout is not None  # noqa: S101  both are pipes
        assert self._process.stderr is not None  # noqa: S101
        pipes = [self._process.stdout, self._process.stderr]
        lines = {pipe.fileno(): Lines(self.output) for pipe in pipes}
        try:
            with selectors.DefaultSelector() as selector:
                for end, listener in self._listeners.items():
                    selector.register(listener, selectors.EVENT_READ, end)
                if self._way_out is not None:
                    selector.register(self._way_out, selectors.EVENT_READ, self._way_out)
                for source in (*lines, self._report):
                    selector.register(source, selectors.EVENT_READ)
                self._watch_on(selector, lines)
            for each in lines.values():
                each.finish()
        finally:
            self.kill()
            self._process.wait()
            for pipe in pipes:
                pipe.close()
            os.close(self._report)
            self._tidy_up()
            self._note_end()

    def _watch_on(self, selector: selectors.BaseSelector, lines: dict[int, Lines]) -> None:
        until_s: float | None = None
        wall_s = self.started_s + self.spec.grant.wall_s
        while lines.keys() & selector.get_map().keys() or until_s is None:
            left_s = min(wall_s if until_s is None else until_s, time.monotonic() + _LONGEST_WAIT_S) - time.monotonic()
            if left_s <= 0 and until_s is not None:
                return
            if left_s <= 0:
                self.kill(endings.overtime(self.spec))
                wall_s = math.inf
                continue
            for key, _ in selector.select(left_s):
                if isinstance(key.data, socket.socket):
                    selector.unregister(key.data)
                    self._start_proxy(key.data)
                elif key.data is not None:
                    self._accept(selector, key.data)
                elif key.fd == self._report:
                    if not self._read_report():
                        selector.unregister(key.fd)
                        until_s = time.monotonic() + _LAST_OUTPUT_S
                elif not self._read_output(key.fd, lines[key.fd]):
                    selector.unregister(key.fd)

    def _accept(self, selector: selectors.BaseSelector, end: End) -> None:
        listener = self._listeners[end]
        peer, _ = listener.accept()
        _, uid, _ = _CREDENTIALS.unpack(peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        with self._changed:
            is_second = end in self._peers
            if not is_second and uid in {self._prepared.peer_uid, *self._prepared.other_peers}:
                self._peers[end] = peer
                self._changed.notify_all()
                return
        peer.close()
        selector.unregister(listener)
        self.kill(
            breach(f"it connected to the {end} socket twice" if is_second else "another user's process connected")
        )

    def _read_output(self, pipe: int, lines: Lines) -> bool:
        piece = os.read(pipe, _PIECE_BYTES)
        if not piece:
            return False
        if lines.feed(piece):
            return True
        self.kill(self.flood())
        return False

    def flood(self) -> PluginExecutionError:
        """Make the error for a plugin that prints and logs too much."""
        return endings.flood(self.spec)

    def _read_report(self) -> bool:
        piece = os.read(self._report, _PIECE_BYTES)
        self._status = (self._status + piece)[:MOST_STATUS_BYTES]
        if self._status.endswith(b"\n"):
            self._note_end()
        return bool(piece)

    def _note_end(self) -> None:
        status = read_status(self._status)
        with self._changed:
            self._exit, self._usage = status.exit, status.usage
            if self.is_confined:
                self._exit = status.exit.seen_through()
            if status.unheld is not None and self._failure is None:
                self._failure = endings.unheld(self.spec, status.unheld)
            self._changed.notify_all()

    def _tidy_up(self) -> None:
        for listener in self._listeners.values():
            listener.close()
        if self._proxy is not None:
            self._proxy.close()
        if self._way_out is not None:
            self._way_out.close()
        remove(str(self._folder))  # where the warden could not


def _name_of_folder() -> Path:
    """Give the name of a folder to be made, where a socket's path is short enough."""
    name = FOLDER_PREFIX + secrets.token_hex(8)
    folder = Path(tempfile.gettempdir(), name)
    return folder if len(os.fsencode(folder / "control.sock")) <= _MAX_SOCKET_PATH else Path("/tmp", name)  # noqa: S108  a name that nobody can guess


def _listen(path: Path, backlog: int = 8) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(backlog)
    return listener
