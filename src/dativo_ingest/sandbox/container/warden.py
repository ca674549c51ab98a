"""The process between the engine and a container: it makes it, keeps it, and removes it, whoever ends when.

Run as ``python -I -S warden.py LIFELINE STATUS FOLDER`` by `dativo_ingest.sandbox.launch`, like the warden of a process
(`dativo_ingest.sandbox.warden`, which says what the two pipes carry), with the standard library alone, because it must
be there within a moment. It speaks the few words of Docker's API that this takes; what it asks for is in the plan.

The container is removed when its program has ended, when the engine says so, and when the engine has ended, however
that came. It has a name from before it is made, so that there is none that nobody knows of.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import Any, Final, Protocol

if not __package__:  # run by its path: what it needs of ours lies above it, after all that Python brings
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))  # noqa: PTH100, PTH120  pathlib takes long to import
    __package__ = "sandbox.container"

from ..warden import read_plan, remove  # noqa: TID252  there is no package to name here

_ANSWER_S = 60.0
_KILLED_S = 10.0
_REMOVING_S = 20.0
_AWAY_S = 600.0
_LAST_OUTPUT_S = 1.0
_FIRST_LOOK_S, _LOOK_EVERY_S = 0.25, 1.0
_PAUSE_S = 0.05
# Asked as Docker is, Podman up to 4.4 looks for the end without a pause, which takes a whole processor (podman #18150).
_PODMAN_WAIT = "/v4.0.0/libpod/containers/{name}/wait?interval=25ms"
_PIECE_BYTES = 2**16
_FRAME_HEAD_BYTES = 8
_STATUS_LINE_WORDS = 2
_STDOUT, _STDERR = 1, 2
_GONE, _BAD = frozenset({200, 204, 404}), 400
_KILLED = 137
_SAYS: Final = "dativo-sandbox: "
_COUNTED: Final = b"dativo-sandbox: counted "  # as `dativo_ingest.sandbox.inside.first` has it
_MOST_LINE_BYTES = 2**12


class _EngineError(Exception):
    """The container engine refuses, or is not there any more."""


@dataclass(frozen=True)
class _Answer:
    status: int
    content: bytes

    def document(self) -> dict[str, Any]:
        try:
            said = json.loads(self.content)
        except ValueError:
            return {}
        return said if isinstance(said, dict) else {}

    def problem(self) -> str:
        said = self.document()
        return str(said.get("message") or said.get("cause") or f"status {self.status}")


class _Read(Protocol):
    def fileno(self) -> int: ...


class _Request:
    """A request to the engine, whose answer is read as it comes."""

    def __init__(self, path: str, method: str, target: str, body: object = None) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        head = (
            # The answer to the older version comes in one piece, up to the connection's end.
            f"{method} {target} HTTP/1.0\r\nHost: localhost\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        )
        self._received = bytearray()
        self._socket = socket.socket(socket.AF_UNIX)
        try:
            self._socket.settimeout(_ANSWER_S)
            self._socket.connect(path)
            self._socket.sendall(head.encode() + content)
        except OSError as error:
            self._socket.close()
            raise _EngineError(f"{path}: {error.strerror or error}") from error

    def fileno(self) -> int:
        """Give what becomes readable when there is something to take."""
        return self._socket.fileno()

    def take(self) -> bool:
        """Take what there is; say whether there may be more."""
        try:
            piece = self._socket.recv(_PIECE_BYTES)
        except OSError:
            piece = b""
        self._received += piece
        return bool(piece)

    def answer(self) -> _Answer:
        """Take all that is still to come, and give what was answered."""
        while self.take():
            pass
        self.close()
        head, _, content = bytes(self._received).partition(b"\r\n\r\n")
        words = head.split(None, 2)
        if len(words) < _STATUS_LINE_WORDS or not words[1].isdigit():
            raise _EngineError("the container engine ended in the middle of an answer")
        return _Answer(int(words[1]), content)

    def close(self) -> None:
        """Leave it. May be called twice."""
        self._socket.close()


class _Engine:
    """The container engine, as far as one container goes."""

    def __init__(self, plan: dict[str, Any]) -> None:
        self._path = plan["socket"]
        self._prefix = f"/v{plan['api']}/containers"
        self._name = plan["name"]
        self._is_podman = plan["kind"] == "Podman"

    def ask(self, method: str, what: str, body: object = None) -> _Answer:
        """Ask for something and wait for the answer."""
        return self.begin(method, what, body).answer()

    def begin(self, method: str, what: str, body: object = None) -> _Request:
        """Ask for something whose answer may take long."""
        return _Request(self._path, method, f"{self._prefix}/{self._name}{what}", body)

    def create(self, settings: dict[str, Any]) -> None:
        """Make the container."""
        asked = _Request(self._path, "POST", f"{self._prefix}/create?name={self._name}", settings)
        self._check(asked.answer(), "cannot be made")

    def start(self) -> None:
        """Start it."""
        self._check(self.ask("POST", "/start"), "cannot be started")

    def ended(self) -> _Request:
        """Ask for its exit code, which comes when it has ended."""
        if self._is_podman:
            return _Request(self._path, "POST", _PODMAN_WAIT.format(name=self._name))
        return self.begin("POST", "/wait")

    def attach(self) -> tuple[socket.socket, bytes]:
        """Join what it prints; give the connection, and what came of it already."""
        joined = socket.socket(socket.AF_UNIX)
        joined.settimeout(_ANSWER_S)
        try:
            joined.connect(self._path)
            target = f"{self._prefix}/{self._name}/attach?stream=1&stdout=1&stderr=1"
            head = "Host: localhost\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 0\r\n\r\n"
            joined.sendall(f"POST {target} HTTP/1.1\r\n{head}".encode())
            received = b""
            while b"\r\n\r\n" not in received:
                piece = joined.recv(_PIECE_BYTES)
                if not piece or len(received) > _PIECE_BYTES:
                    raise _EngineError("the container's output cannot be joined")
                received += piece
        except OSError as error:
            joined.close()
            raise _EngineError(f"the container's output cannot be joined: {error.strerror or error}") from error
        head_end, _, rest = received.partition(b"\r\n\r\n")
        if head_end.split(b" ", 2)[1] not in {b"101", b"200"}:
            joined.close()
            raise _EngineError(f"the container's output cannot be joined: {head_end.splitlines()[0].decode()}")
        return joined, rest

    def remove(self, within_s: float) -> bool:
        """Kill it, where it runs, and remove it; say whether it is gone. An engine that is away may come back."""
        until_s = time.monotonic() + within_s
        while time.monotonic() < until_s:
            with contextlib.suppress(_EngineError):
                if self.ask("DELETE", "?force=1&v=1").status in _GONE:
                    return True
            time.sleep(_PAUSE_S * 4)
        return False

    def _check(self, answer: _Answer, what: str) -> None:
        if answer.status >= _BAD:
            raise _EngineError(f"the container {what}: {answer.problem()}")


class _Output:
    """Passes on what the container prints: frames of Docker's API in, two plain streams out."""

    def __init__(self, joined: socket.socket, received: bytes) -> None:
        joined.setblocking(False)  # noqa: FBT003  the signature of the library
        for number in (_STDOUT, _STDERR):
            os.set_blocking(number, False)
        self.joined = joined
        self.is_open = True
        self.counts: dict[str, float] = {}
        self._received = bytearray(received)
        self._waiting: tuple[int, memoryview] | None = None
        self._left = (0, 0)
        self._held = b""
        self._is_line_begun = False

    @property
    def blocked(self) -> int | None:
        """Which stream has to be read before there is room for more."""
        return None if self._waiting is None else self._waiting[0]

    def take(self) -> None:
        """Take what has come and pass it on, as far as there is room."""
        try:
            piece = self.joined.recv(_PIECE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            piece = b""
        self.is_open = bool(piece)
        self._received += piece
        self.pass_on()

    def drop_blocked(self) -> None:
        """Leave what is still to come where nobody reads it: an engine waits for whoever does not take it."""
        if self._waiting is None:
            return
        self.joined.close()
        self.is_open = False
        self._waiting = None
        self._received.clear()

    def pass_on(self) -> None:
        """Pass on what has been taken, as far as there is room."""
        while self._waiting is not None or self._next():
            if self._waiting is None:
                continue
            number, content = self._waiting
            try:
                written = os.write(number, content)
            except BlockingIOError:
                return
            except OSError:  # nobody reads it any more
                written = len(content)
            self._waiting = (number, content[written:]) if written < len(content) else None

    def _next(self) -> bool:
        number, size = self._left
        if size == 0:
            if len(self._received) < _FRAME_HEAD_BYTES:
                return False
            number = _STDERR if self._received[0] == _STDERR else _STDOUT
            size = int.from_bytes(self._received[4:_FRAME_HEAD_BYTES], "big")
            del self._received[:_FRAME_HEAD_BYTES]
        content = bytes(self._received[:size])
        del self._received[:size]
        self._left = (number, size - len(content))
        has_some = bool(content)
        if number == _STDERR:
            content = self._without_counts(content)
        self._waiting = (number, memoryview(content)) if content else None
        return has_some

    def _without_counts(self, content: bytes) -> bytes:
        """Take out the line in which the container's first process tells what was counted."""
        left, kept = self._held + content, b""
        self._held = b""
        while left:
            line, end, after = left.partition(b"\n")
            may_be = not self._is_line_begun and left[: len(_COUNTED)] == _COUNTED[: len(left)]
            if may_be and not end and len(left) < _MOST_LINE_BYTES:
                self._held = left
                break
            if may_be and end and line.startswith(_COUNTED):
                self._count(line.removeprefix(_COUNTED))
            else:
                kept += line + end
                self._is_line_begun = not end
            left = after
        return kept

    def _count(self, text: bytes) -> None:
        """Take note of what was counted: a plugin may say that line too, so of nothing there is less than is known."""
        with contextlib.suppress(ValueError, AttributeError):
            for name, value in json.loads(text).items():
                if isinstance(value, int | float):
                    self.counts[name] = max(value, self.counts.get(name, 0))


class _Watch:
    """A container that runs, until it has ended or is to end."""

    def __init__(self, engine: _Engine, alive: int, output: _Output) -> None:
        self._engine = engine
        self._alive = alive
        self._output = output
        self._end = engine.ended()
        self._look: _Request | None = None
        self._kill: _Request | None = None
        self._look_at_s = time.monotonic() + _FIRST_LOOK_S
        self.exit_code: int | None = None
        self.is_killed = False
        self.cpu_s = 0.0
        self.peak_memory_bytes = 0
        self.processes = 1

    def wait(self) -> None:
        """Pass on what it prints, and look at what it uses, until it has ended."""
        until_s: float | None = None
        with contextlib.suppress(_EngineError):
            while until_s is None or time.monotonic() < until_s:
                ready = self._poll(until_s)
                if self._end.fileno() in ready and not self._end.take():
                    self.exit_code = self._code()
                    break
                if self._alive in ready and not self.is_killed:
                    self.is_killed = True
                    until_s = time.monotonic() + _KILLED_S
                    self._kill = self._engine.begin("POST", "/kill?signal=KILL")
                elif until_s is not None and until_s - time.monotonic() < _KILLED_S - _LAST_OUTPUT_S:
                    self._output.drop_blocked()
                self._take(ready)
        self._end.close()
        self._drain()
        for asked in (self._look, self._kill):
            if asked is not None:
                asked.close()

    def _code(self) -> int | None:
        answer = self._end.answer()
        code = answer.document().get("StatusCode") if not answer.content.strip().isdigit() else int(answer.content)
        return code if isinstance(code, int) else None

    def _poll(self, until_s: float | None) -> set[int]:
        poll = select.poll()
        readable: list[int | _Read] = [self._end]
        if not self.is_killed:
            readable.append(self._alive)
        if self._look is not None:
            readable.append(self._look)
        for each in readable:
            poll.register(each, select.POLLIN)
        if self._output.blocked is not None:
            poll.register(self._output.blocked, select.POLLOUT)
        elif self._output.is_open:
            poll.register(self._output.joined, select.POLLIN)
        next_s = self._look_at_s if self._look is None else time.monotonic() + _ANSWER_S
        if until_s is not None:
            next_s = min(until_s, time.monotonic() + _LAST_OUTPUT_S / 2)
        left_s = next_s - time.monotonic()
        return {number for number, _ in poll.poll(max(0.0, left_s) * 1000)}

    def _take(self, ready: set[int]) -> None:
        if self._output.blocked in ready:
            self._output.pass_on()
        elif self._output.is_open and self._output.joined.fileno() in ready:
            self._output.take()
        if self._look is None and time.monotonic() >= self._look_at_s and not self.is_killed:
            self._look = self._engine.begin("GET", "/stats?stream=false&one-shot=true")
        elif self._look is not None and self._look.fileno() in ready and not self._look.take():
            self._note(self._look.answer().document())
            self._look = None
            self._look_at_s = time.monotonic() + _LOOK_EVERY_S

    def _note(self, said: dict[str, Any]) -> None:
        memory, tasks = said.get("memory_stats") or {}, said.get("pids_stats") or {}
        used = ((said.get("cpu_stats") or {}).get("cpu_usage") or {}).get("total_usage") or 0
        self.cpu_s = max(self.cpu_s, used / 1e9)
        self.peak_memory_bytes = max(self.peak_memory_bytes, memory.get("max_usage") or 0, memory.get("usage") or 0)
        self.processes = max(self.processes, tasks.get("current") or 0)

    def _drain(self) -> None:
        """Pass on the last that it printed."""
        until_s = time.monotonic() + _LAST_OUTPUT_S
        while (self._output.is_open or self._output.blocked is not None) and time.monotonic() < until_s:
            poll = select.poll()
            if self._output.blocked is not None:
                poll.register(self._output.blocked, select.POLLOUT)
            else:
                poll.register(self._output.joined, select.POLLIN)
            poll.poll(_PAUSE_S * 1000)
            if self._output.blocked is not None:
                self._output.pass_on()
            else:
                self._output.take()
        self._output.joined.close()


def main(arguments: list[str]) -> int:
    """Make the container, keep it until it ends or is to end, and leave nothing of it."""
    lifeline, report_to, folder = arguments
    alive, status = int(lifeline), int(report_to)
    plan, is_over = read_plan(alive)
    if plan is not None and not is_over:
        _run(plan, alive, status, folder)
    remove(folder)
    return 0


def _run(plan: dict[str, Any], alive: int, status: int, folder: str) -> None:
    engine = _Engine(plan)
    watch: _Watch | None = None
    unheld: str | None = None
    counts: dict[str, float] = {}
    try:
        _write_files(plan, folder)
        engine.create(plan["create"])
        output = _Output(*engine.attach())
        engine.start()
        watch = _Watch(engine, alive, output)
        watch.wait()
        counts = _counts(engine, watch, output)
    except (_EngineError, OSError) as error:
        unheld = str(error)
    is_away = watch is not None and watch.exit_code is None
    if not is_away and not engine.remove(_REMOVING_S):
        _say(f"the container {plan['name']} could not be removed: docker rm -f {plan['name']}")
    said = {
        "exit_code": None if watch is None or watch.is_killed else watch.exit_code,
        "signal": signal.SIGKILL if watch is not None and watch.is_killed else None,
        "cpu_s": 0.0,
        "peak_memory_bytes": 0,
        "processes": 0 if watch is None else watch.processes,
        "group": counts,
        "unheld": "the container engine ended, or does not answer" if is_away else unheld,
    }
    with contextlib.suppress(OSError):  # nobody reads it any more
        os.write(status, json.dumps(said).encode() + b"\n")
    if is_away:
        _say(f"the container {plan['name']} is removed when its engine is back, within {_AWAY_S / 60:.0f} minutes")
        _remove_later(engine)


def _remove_later(engine: _Engine) -> None:
    """Have another process wait for the engine, for whom nobody waits."""
    if os.fork() == 0:
        try:
            os.setsid()
            os.closerange(0, 2**10)
            engine.remove(_AWAY_S)
        finally:
            os._exit(0)


def _write_files(plan: dict[str, Any], folder: str) -> None:
    for name in plan["folders"]:
        os.mkdir(os.path.join(folder, name))  # noqa: PTH102, PTH118  pathlib takes long to import
        os.chmod(os.path.join(folder, name), 0o755)  # noqa: PTH101, PTH118, S103  likewise; it is empty
    for name, text in plan["files"].items():
        number = os.open(os.path.join(folder, name), os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)  # noqa: PTH118  pathlib takes long to import
        os.write(number, text.encode())
        os.fchmod(number, 0o644)
        os.close(number)


def _counts(engine: _Engine, watch: _Watch, output: _Output) -> dict[str, float]:
    """Give what the container used: as it told itself, and no less than was seen."""
    counts = output.counts
    counts["cpu_s"] = max(round(watch.cpu_s, 6), counts.get("cpu_s", 0.0))
    counts["peak_memory_bytes"] = max(watch.peak_memory_bytes, counts.get("peak_memory_bytes", 0))
    if watch.exit_code is None:
        return {**counts, "oom_kills": 0}
    state = engine.ask("GET", "/json").document().get("State") or {}
    if state.get("OOMKilled"):
        counts["oom_kills"] = max(1, counts.get("oom_kills", 0))
    elif watch.is_killed or watch.exit_code != _KILLED:  # or a child of the plugin's was, and it went on
        counts["oom_kills"] = 0
    return counts


def _say(text: str) -> None:
    with contextlib.suppress(OSError):
        os.write(_STDERR, f"{_SAYS}{text}\n".encode(errors="replace"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
