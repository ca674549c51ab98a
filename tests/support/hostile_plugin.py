"""A plugin that speaks the protocol with the standard library alone, and does one thing that it must not.

``python -I -S hostile_plugin.py STAGE ACT DATA [MARK]``: at a stage (``start``, ``hello``, ``welcome``, or a method) it
does what the act says; otherwise it is a reader of one batch, whose bytes on the data socket are in the file DATA. MARK
is for whoever looks for its processes.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import struct
import sys
import time
from pathlib import Path
from typing import Any

FOREVER_S = 3600
ROWS = 3


class Plugin:
    """One connection to the engine."""

    def __init__(self, stage: str, act: str, data: bytes) -> None:
        self.stage, self.act, self.batch = stage, act, data
        self.folder, self.token = os.environ["DATIVO_PLUGIN_IO"], os.environ["DATIVO_PLUGIN_TOKEN"]
        self.number = 0
        self.answered = False

    def run(self) -> None:
        self.misbehave("start")
        self.control, self.data = self.connected("control"), self.connected("data")
        self.misbehave("hello")
        self.data.sendall(framed({"type": "hello", "token": self.token}))
        self.say({"type": "hello", "protocol": [1], "token": self.token, "language": "hostile"})
        self.heard()
        self.misbehave("welcome")
        while True:
            request = self.heard()
            if request["type"] == "cancel":
                continue  # of a request that is answered already
            self.number, method, self.answered = request["id"], request["method"], False
            self.misbehave(method)
            if method == "read":
                self.event("batch", rows=ROWS)
                self.data.sendall(self.batch)
                self.misbehave("batch")
            if not self.answered:
                self.result(ANSWERS.get(method))
            self.misbehave(f"after {method}")
            if method == "shutdown":
                return

    def connected(self, name: str) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(f"{self.folder}/{name}.sock")
        return sock

    def say(self, message: dict[str, Any]) -> None:
        self.control.sendall(framed(message))

    def event(self, name: str, /, **values: Any) -> None:
        self.say({"type": "event", "id": self.number, "event": name, **values})

    def result(self, value: Any) -> None:
        self.say({"type": "result", "id": self.number, "ok": True, "value": value})

    def heard(self) -> dict[str, Any]:
        (length,) = struct.unpack("<I", self.taken(4))
        message: dict[str, Any] = json.loads(self.taken(length))
        return message

    def taken(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self.control.recv(count - len(data))
            if not piece:
                sys.exit(75)
            data += piece
        return data

    def misbehave(self, stage: str) -> None:
        if stage == self.stage:
            getattr(self, f"act_{self.act}")()

    # -- what it does

    def act_nothing(self) -> None:
        """Be good."""

    def act_exit(self) -> None:
        os._exit(0)

    def act_crash(self) -> None:
        os.write(1, b"about to crash\n")
        os._exit(7)

    def act_segfault(self) -> None:
        os.kill(os.getpid(), signal.SIGSEGV)

    def act_hang(self) -> None:
        time.sleep(FOREVER_S)

    def act_hang_deaf(self) -> None:
        for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
            with contextlib.suppress(OSError):
                signal.signal(number, signal.SIG_IGN)
        time.sleep(FOREVER_S)

    def act_fork(self) -> None:
        for _ in range(5):
            if os.fork() == 0:
                time.sleep(FOREVER_S)
        os._exit(7)

    def act_daemon(self) -> None:
        """Leave a process in a session of its own, with no parent, no environment and no standard streams."""
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for number in range(3):
                    os.close(number)
                arguments = [sys.executable, "-I", "-S", "-c", f"import time; time.sleep({FOREVER_S})", sys.argv[-1]]
                os.execve(sys.executable, arguments, {})  # noqa: S606  this Python
            os._exit(0)
        os.wait()
        os._exit(7)

    def act_fork_on(self) -> None:
        """Have children that go on forking while they are killed."""
        for _ in range(3):
            if os.fork() == 0:
                while True:
                    if os.fork():
                        time.sleep(0.001)
                        os._exit(0)
        time.sleep(0.05)
        os._exit(7)

    def act_print(self) -> None:
        line = b"x" * 1023 + b"\n"
        for _ in range(2**20):  # 1 GB
            os.write(1, line)

    def act_print_one_line(self) -> None:
        while True:
            os.write(2, b"x" * 65536)

    def act_print_frames(self) -> None:
        os.write(1, framed({"type": "result", "id": self.number, "ok": True, "value": {"forged": True}}))
        os.write(2, b"\x1b[2J\x1b]0;owned\x07\xff\xfe\0\n")

    def act_log_flood(self) -> None:
        while True:
            self.event("log", level="info", message="x" * 1000)

    def act_metric_flood(self) -> None:
        while True:
            self.event("metric", name="m", value=1)

    def act_log(self) -> None:
        self.event("log", level="warning", message="\x1b[31mred\x1b[0m and\nmore", logger="its\nown")

    def act_more_rows(self) -> None:
        self.event("batch", rows=ROWS + 1)
        self.data.sendall(self.batch)

    def act_no_batch(self) -> None:
        self.event("batch", rows=ROWS)
        self.event("batch", rows=ROWS)

    def act_half_a_batch(self) -> None:
        self.event("batch", rows=ROWS)
        self.data.sendall(self.batch[: len(self.batch) // 2])
        self.data.close()
        self.act_hang()

    def act_other_token(self) -> None:
        self.token = "0" * 32

    def act_other_token_of_data(self) -> None:
        self.data.sendall(framed({"type": "hello", "token": "0" * 32}))

    def act_no_hello(self) -> None:
        time.sleep(FOREVER_S)

    def act_other_hello(self) -> None:
        self.say({"type": "result", "id": 1, "ok": True})

    def act_protocol_2(self) -> None:
        self.data.sendall(framed({"type": "hello", "token": self.token}))
        self.say({"type": "hello", "protocol": [2, 3], "token": self.token, "sdk": "9.9.0"})
        sys.exit(0 if self.heard()["type"] == "reject" else 1)

    def act_connect_again(self) -> None:
        self.others = [self.connected("control"), self.connected("data")]
        self.act_hang()

    def act_garbage(self) -> None:
        self.control.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        self.act_hang()

    def act_no_json(self) -> None:
        self.control.sendall(struct.pack("<I", 5) + b"hello")
        self.act_hang()

    def act_half_a_frame(self) -> None:
        self.control.sendall(struct.pack("<I", 500) + b"{")
        os._exit(0)

    def act_close_control(self) -> None:
        self.control.close()
        self.act_hang()

    def act_close_data(self) -> None:
        self.event("batch", rows=ROWS)
        self.data.close()
        self.act_hang()

    def act_other_id(self) -> None:
        self.number += 1

    def act_stray_event(self) -> None:
        self.event("batch", rows=ROWS)

    def act_unknown_event(self) -> None:
        self.event("surprise")

    def act_unknown_message(self) -> None:
        self.say({"type": "surprise", "id": self.number})

    def act_two_results(self) -> None:
        self.result({})

    def act_wrong_value(self) -> None:
        self.result([{"no": "such thing"}])
        self.act_hang()

    def act_endless_result(self) -> None:
        while True:
            self.say({"type": "part", "id": self.number, "text": "x" * 500_000})

    def act_endless_state(self) -> None:
        self.event("state", state={"at": "x" * 2_000_000})

    def act_error(self) -> None:
        error = {
            "type": "InvalidCredentialsError",
            "error_code": "INVALID_CREDENTIALS",
            "message": "no\x1b[2J such key",
        }
        error |= {"details": {"key": "\x1b[31mred"}, "traceback": "Traceback of the plugin\n  line 1"}
        self.say({"type": "result", "id": self.number, "ok": False, "error": error})
        self.answered = True

    def act_locked_folder(self) -> None:
        """Leave folders in its home that nobody may look into."""
        folder = Path(os.environ["HOME"], "mine", "within")
        folder.mkdir(parents=True)
        (folder / "file").touch()
        folder.chmod(0)
        folder.parent.chmod(0)
        os._exit(7)

    def act_deep_folders(self) -> None:
        """Leave folders nested deeper than a path may be long."""
        os.chdir(os.environ["HOME"])
        for _ in range(1200):
            Path("deep").mkdir()
            os.chdir("deep")
        Path("file").touch()
        os._exit(7)

    def act_environment(self) -> None:
        """Print the names of what it was given."""
        os.write(1, f"given {' '.join(sorted(os.environ))}\n".encode())
        os._exit(7)


ANSWERS: dict[str, Any] = {
    "spec": {
        "kind": "reader",
        "level": "stream",
        "class": "Hostile",
        "version": "1.0",
        "capabilities": [],
        "methods": ["partitions"],
        "state_version": 1,
        "config_version": 1,
    },
    "check": {"steps": ["connection"]},
    "check_step": {"success": True, "message": "fine"},
    "discover": {"objects": []},
    "partitions": [{"id": "all"}],
    "read": {},
}


def framed(message: dict[str, Any]) -> bytes:
    body = json.dumps(message).encode()
    return struct.pack("<I", len(body)) + body


if __name__ == "__main__":
    Plugin(sys.argv[1], sys.argv[2], Path(sys.argv[3]).read_bytes()).run()
