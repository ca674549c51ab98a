"""The engine of plugins that take too much, as a process of its own: ``python host.py ORDER``.

To be started within ``unshare --mount``, since an ordinary user may need a way to what the engine is made of. It starts
the plugin as the engine does, once for each group of acts, and prints a line of JSON: what became of each act, and what
was left of the process.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "escape"))

from docker import DockerClient  # noqa: E402
from scene import _become, _confinement, without_manifest  # noqa: E402  it lies beside the tests of escapes

from dativo_ingest.plugin_process.conversation import Conversation  # noqa: E402
from dativo_ingest.plugin_process.records import PluginRecord  # noqa: E402
from dativo_ingest.plugin_process.starting import Hosted, Starter  # noqa: E402
from dativo_ingest.sandbox.grant import Grant  # noqa: E402
from dativo_plugin_sdk.config import SourceConfig  # noqa: E402
from dativo_plugin_sdk.errors import DativoError, PluginExecutionError  # noqa: E402

MIB = 2**20
GRANT = Grant(subprocess=True, memory_bytes=192 * MIB, pids=40, tmp_bytes=16 * MIB, log_bytes=MIB)
TOGETHER = (
    "no_such_memory",
    "no_such_arrow_memory",
    "processes",
    "threads",
    "files",
    "disk",
    "one_file",
    "write_elsewhere",
)
"""What a plugin lives on after: in one process."""
ALONE = ("memory", "memory_of_children", "print_out", "log", "trace", "crash")
GROUPS_AT = Path("/sys/fs/cgroup")


def main(order: Mapping[str, Any]) -> None:
    """Have every act done."""
    folder = Path(order["folder"])
    (folder / "tmp").mkdir()
    groups = _delegated(order["user"]) if order["delegated"] else []
    if order["user"] is not None:
        _become(order["user"], folder)
    tempfile.tempdir = str(folder / "tmp")
    host = Host(order, folder)
    acts = [*TOGETHER, *ALONE]
    if order["backend"] == "none":  # what is not held there would go on for ever, or harm the machine
        acts = [each for each in acts if each not in {"print_out", "log", "write_elsewhere"}]
    host.do([each for each in acts if each in TOGETHER], GRANT)
    for act in (each for each in acts if each in ALONE):
        host.do([act], GRANT)
    host.do(["spin"], replace(GRANT, cpu=0.25))
    for wall_s in (2.0, 10.0, 60.0):  # a busy machine takes long to start one
        with suppress(PluginExecutionError):
            host.do(["hide"], replace(GRANT, wall_s=wall_s))
            break
    sys.stdout.write(json.dumps({"acts": host.found, "groups": groups}) + "\n")


def _delegated(user: int) -> list[str]:
    """Go into groups that belong to a user, as systemd would have made them."""
    name = f"dativo-test-{os.getpid()}"
    made = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, names, own = line.split(":", maxsplit=2)
        if set(names.split(",")) & {"memory", "pids", "cpu", "cpuacct"}:
            group = GROUPS_AT / names / own.lstrip("/") / name
            group.mkdir()
            (group / "cgroup.procs").write_text("0")
            for path in (group, *group.iterdir()):
                os.chown(path, user, user)
            made.append(str(group))
    return made


class Host:
    """Starts the plugin, and looks what becomes of it.

    Attributes:
        found: What became of each act.
    """

    def __init__(self, order: Mapping[str, Any], folder: Path) -> None:
        self.found: dict[str, Any] = {}
        self._confinement = _confinement(order)
        self._folder = folder
        self._plugin = without_manifest(HERE / "plugin" / "greedy.py", "Greedy")

    def do(self, acts: list[str], grant: Grant) -> None:
        """Have acts done in one process, which is ended then."""
        mounts, began_s, rss = _mounts(), time.monotonic(), _rss()
        record = PluginRecord("source", "greedy", "1.0.0", self._plugin.sha256, grant)
        hosted = Hosted(record, confinement=self._confinement)
        process = Starter(self._plugin, SourceConfig(type="greedy", connection={"acts": acts}), hosted)()
        process.ask("check", {"streams": []}, within="check")
        for number, act in enumerate(acts):
            self.found[act] = _done(process, number)
        token = process.session.token
        process.close()
        self.found[acts[-1]] |= {
            "usage": asdict(process.session.usage()),
            "killed": process.killed,
            "seconds": time.monotonic() - began_s,
            "grown": _rss() - rss,
            "left": _left(process, token, self._folder) + [line for line in _mounts() if line not in mounts],
        }


def _done(process: Conversation, number: int) -> dict[str, Any]:
    try:
        return {"code": None, "said": process.ask("check_step", {"step": number}, within="check")["message"]}
    except DativoError as error:
        return {
            "code": error.error_code,
            "said": error.message,
            "type": type(error).__name__,
            "hint": error.hint,
            "details": {key: value for key, value in error.details.items() if key != "log"},
            "retryable": error.retryable,
        }


def _left(process: Conversation, token: str, folder: Path) -> list[str]:
    """Tell what a process has left: other processes, its folder, its groups."""
    plan = process.session._prepared.plan
    groups = plan.get("cgroup", {"folders": []})["folders"]
    found = [group for group in groups if Path(group).exists()]
    found += map(str, (folder / "tmp").iterdir())
    if "create" in plan:
        with closing(DockerClient(base_url=f"unix://{plan['socket']}")) as client:
            found += [each["Id"] for each in client.api.containers(all=True, filters={"name": plan["name"]})]
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and token.encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text())
    return found


def _mounts() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def _rss() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
