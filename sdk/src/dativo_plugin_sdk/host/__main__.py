"""Say hello to the engine at once, and load the rest while it looks at the hello."""

from __future__ import annotations

import os
import socket
import sys

from dativo_plugin_sdk import __version__
from dativo_plugin_sdk.protocol.frames import encode
from dativo_plugin_sdk.versions import PROTOCOLS

_FOLDER, _TOKEN = "DATIVO_PLUGIN_IO", "DATIVO_PLUGIN_TOKEN"
_USAGE = 64


def main() -> int:
    """Serve one plugin until the engine says shutdown or is gone."""
    folder, token = os.environ.pop(_FOLDER, None), os.environ.pop(_TOKEN, None)
    if folder is None or token is None:
        print("the engine starts this module; dativo plugin test PATH tries a plugin", file=sys.stderr)  # noqa: T201
        return _USAGE
    control, data = _connected(folder, "control.sock"), _connected(folder, "data.sock")
    version = ".".join(map(str, sys.version_info[:3]))
    who = {"sdk": __version__, "language": f"python {version}", "pid": os.getpid(), "plugin": None}
    data.sendall(encode({"type": "hello", "token": token}))
    control.sendall(encode({"type": "hello", "protocol": list(PROTOCOLS), "token": token, **who}))

    from dativo_plugin_sdk.host.process import run  # noqa: PLC0415  it loads pyarrow: not before the hello

    return run(control, data)


def _connected(folder: str, name: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.connect(os.path.join(folder, name))  # noqa: PTH118  pathlib costs 10 ms
    return sock


if __name__ == "__main__":
    sys.exit(main())
