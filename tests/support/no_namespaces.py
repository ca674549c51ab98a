"""Runs a command where nobody may make user namespaces: ``python no_namespaces.py COMMAND...``.

The limit is one of a user namespace, and holds in what is made within it; so the command gets one of its own, with all
users in it as they are, and nothing changes outside of it.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

_CLONE_NEWUSER = 0x10000000
_USERS = "0 0 4294967295\n"


def main(command: list[str]) -> int:
    ready, tell_ready = os.pipe()
    go, tell_go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(tell_go)
        if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWUSER):
            os._exit(1)
        os.write(tell_ready, b"r")
        os.read(go, 1)
        Path("/proc/sys/user/max_user_namespaces").write_text("0")
        os.execvp(command[0], command)  # noqa: S606  the test gives it
    os.read(ready, 1)
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{name}").write_text(_USERS)
    os.write(tell_go, b"g")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
