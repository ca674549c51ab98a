"""Writes the system calls of an engine that runs in a container and makes sandboxes there.

    python deploy/seccomp/make_engine_profile.py [FILE]

A container engine's own profile lets nobody make namespaces who has no capability for it. This one lets the engine do
so, which is what bubblewrap needs, and refuses everything else that a plugin is refused: each plugin then gets the
narrower list of `plugin-v1.json` on top of it, out of which no process comes. FILE is ``engine-v1.json`` beside this
file, if none is named.
"""

from __future__ import annotations

import errno
import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
PLUGINS = HERE.parents[1] / "src" / "dativo_ingest" / "sandbox" / "seccomp" / "plugin-v1.json"

OF_SANDBOXES = """
    unshare mount umount2 pivot_root sethostname capset setuid setgid setgroups setresuid setresgid setreuid setregid
    setfsuid setfsgid"""
OF_THE_ENGINE = """
    memfd_create sched_setaffinity sched_setscheduler sched_setparam sched_setattr mlock2 mlockall munlockall shmget
    shmat shmdt shmctl semget semop semtimedop semctl sync syncfs io_setup io_destroy io_submit io_cancel io_getevents
    name_to_handle_at ioprio_get ioprio_set move_pages migrate_pages fchmodat2 futex_wait futex_wake futex_requeue"""
"""What databases and libraries use that are none of a plugin's business."""


def main() -> None:
    """Write it."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "engine-v1.json"
    plugins = json.loads(PLUGINS.read_text(encoding="utf-8"))
    of_plugins = {name for rule in plugins["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    known = {name for rule in plugins["syscalls"] for name in rule["names"]}
    allowed = of_plugins | {name for name in f"{OF_SANDBOXES} {OF_THE_ENGINE}".split() if name in known}
    # dockerd up to 20.10 knows no defaultErrnoRet, and glibc falls back from clone3 on ENOSYS alone: all are named.
    profile = {
        **{key: plugins[key] for key in ("defaultAction", "defaultErrnoRet", "architectures")},
        "syscalls": [
            {"names": sorted(allowed), "action": "SCMP_ACT_ALLOW"},
            {"names": sorted(known - allowed), "action": "SCMP_ACT_ERRNO", "errnoRet": errno.ENOSYS},
        ],
    }
    file.write_text(json.dumps(profile, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
