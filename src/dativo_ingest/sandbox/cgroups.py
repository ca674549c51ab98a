"""Control groups: where this process may make some, and how one holds a plugin's memory, processes and processors.

`find_place` looks once; what it finds makes the part of a plan by which the warden keeps a group for one plugin
(`dativo_ingest.sandbox.warden_cgroup`). Version 1, version 2 and both at once are known: see ``cgroups(7)`` and the
kernel's ``admin-guide/cgroup-v2.rst``.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal, TypeAlias

from dativo_ingest.sandbox.controls import Finding
from dativo_ingest.sandbox.grant import Grant

Controller: TypeAlias = Literal["memory", "pids", "cpu"]

CONTROLLERS: Final[tuple[Controller, ...]] = ("memory", "pids", "cpu")
"""What a plugin is held to by a group."""
GROUP_PREFIX: Final = "dativo-plugin-"
PIDS_BESIDE: Final = 3
"""Processes of the sandbox's own, which a plugin's limit does not count: bubblewrap's two, and the way out."""
ENGINE_GROUP: Final = "dativo-engine"
"""Where the processes of a delegated group go, so that it may have groups with limits beside them."""

_ACCOUNTING = "cpuacct"  # version 1 has it beside cpu
_PERIOD_US = 100_000
_LEAST_QUOTA_US = 1_000  # what the kernel takes
_REMEDY = (
    "run as root where the groups are writable, or in a delegated one: systemd-run --user --scope -p Delegate=yes "
    "dativo …, or Delegate=yes in the service's unit"
)


@dataclass(frozen=True)
class Place:
    """Where groups can be made.

    Attributes:
        first: The folders of version 1, by controller; ``cpuacct`` may be one of them.
        second: The folder of version 2.
        second_controllers: What it has.
        why_not: Why the others are missing.
    """

    first: Mapping[str, Path] = field(default_factory=dict)
    second: Path | None = None
    second_controllers: frozenset[str] = frozenset()
    why_not: str = "no control group can be written"

    def version(self, controller: str) -> int | None:
        """Say which version has a controller here; None where none has."""
        if controller in self.first:
            return 1
        return 2 if controller in self.second_controllers else None

    @property
    def controllers(self) -> frozenset[Controller]:
        """What can be limited here."""
        return frozenset(each for each in CONTROLLERS if self.version(each) is not None)

    def plan(self, grant: Grant, *, name: str | None = None) -> dict[str, Any] | None:
        """Say how a group for one plugin is made, joined, read and removed; None where nothing can be limited."""
        if not self.controllers:
            return None
        name = name or GROUP_PREFIX + secrets.token_hex(8)
        ways = [
            *(_first(controller, folder / name, grant) for controller, folder in sorted(self.first.items())),
            *([] if self.second is None else [_second(self.second / name, self.second_controllers, grant)]),
        ]
        return {
            "folders": list(dict.fromkeys(way.folder for way in ways)),
            "settings": [setting for way in ways for setting in way.settings],
            "counters": {key: where for way in ways for key, where in way.counters.items()},
            "kill": next((way.kill for way in ways if way.kill is not None), None),
            "no_more": next((way.no_more for way in ways if way.no_more is not None), None),
        }


@dataclass(frozen=True)
class _Way:
    """What a group of one hierarchy is made of; plain values, for a plan."""

    folder: str
    settings: list[list[Any]] = field(default_factory=list)
    """File, what is written into it, and the errors that are as good as success."""
    counters: dict[str, list[Any]] = field(default_factory=dict)
    """File, the word before the number (None: the file is a number), and what to multiply it by."""
    kill: str | None = None
    no_more: str | None = None
    """The file that keeps its processes from starting others, with a 0."""


def _pids(grant: Grant) -> int:
    return grant.pids + PIDS_BESIDE


def _quota_us(cpu: float) -> int:
    return max(_LEAST_QUOTA_US, int(cpu * _PERIOD_US))


def _first(controller: str, group: Path, grant: Grant) -> _Way:
    """Version 1."""
    folder = str(group)
    match controller:
        case "memory":
            return _Way(
                folder,
                [
                    [f"{folder}/memory.limit_in_bytes", str(grant.memory_bytes), []],
                    [f"{folder}/memory.swappiness", "0", _MISSING],
                    [f"{folder}/memory.memsw.limit_in_bytes", str(grant.memory_bytes), _MISSING],
                ],
                {
                    "oom_kills": [f"{folder}/memory.oom_control", "oom_kill", 1],
                    "peak_memory_bytes": [f"{folder}/memory.max_usage_in_bytes", None, 1],
                },
            )
        case "pids":
            return _Way(
                folder,
                [[f"{folder}/pids.max", str(_pids(grant)), []]],
                {"refused_processes": [f"{folder}/pids.events", "max", 1]},
                no_more=f"{folder}/pids.max",
            )
        case "cpu":
            return _Way(
                folder,
                [
                    [f"{folder}/cpu.cfs_period_us", str(_PERIOD_US), []],
                    # EINVAL: the group above has less, which holds as well.
                    [f"{folder}/cpu.cfs_quota_us", str(_quota_us(grant.cpu)), [errno.EINVAL]],
                ],
                {
                    "throttled": [f"{folder}/cpu.stat", "nr_throttled", 1],
                    "throttled_s": [f"{folder}/cpu.stat", "throttled_time", 1e-9],
                },
            )
        case _:
            return _Way(folder, counters={"cpu_s": [f"{folder}/cpuacct.usage", None, 1e-9]})


def _second(group: Path, controllers: frozenset[str], grant: Grant) -> _Way:
    """Version 2."""
    folder = str(group)
    settings: list[list[Any]] = []
    counters: dict[str, list[Any]] = {"cpu_s": [f"{folder}/cpu.stat", "usage_usec", 1e-6]}
    if "memory" in controllers:
        settings += [
            [f"{folder}/memory.max", str(grant.memory_bytes), []],
            [f"{folder}/memory.swap.max", "0", _MISSING],
            [f"{folder}/memory.oom.group", "1", _MISSING],
        ]
        counters["oom_kills"] = [f"{folder}/memory.events", "oom_kill", 1]
        counters["peak_memory_bytes"] = [f"{folder}/memory.peak", None, 1]
    if "pids" in controllers:
        settings.append([f"{folder}/pids.max", str(_pids(grant)), []])
        counters["refused_processes"] = [f"{folder}/pids.events", "max", 1]
    if "cpu" in controllers:
        settings.append([f"{folder}/cpu.max", f"{_quota_us(grant.cpu)} {_PERIOD_US}", []])
        counters["throttled"] = [f"{folder}/cpu.stat", "nr_throttled", 1]
        counters["throttled_s"] = [f"{folder}/cpu.stat", "throttled_usec", 1e-6]
    return _Way(
        folder,
        settings,
        counters,
        kill=f"{folder}/cgroup.kill",
        no_more=f"{folder}/pids.max" if "pids" in controllers else None,
    )


_MISSING = [errno.ENOENT, errno.EACCES, errno.EOPNOTSUPP]
"""What comes of a file that this kernel does not have: without swap, or too old."""


@functools.cache
def find_place() -> Place:
    """Look where this process may make groups; the answer stays."""
    return search(Path("/proc/self/mountinfo").read_text(), Path("/proc/self/cgroup").read_text())


def limit_findings(place: Place) -> tuple[Finding, ...]:
    """Say what memory, pids and cpu come to where a process is held by a group here, or by lesser means."""
    lesser: dict[Controller, str] = {
        "memory": "no group: the warden sums what its processes have, ten times a second",
        "pids": "no group: RLIMIT_NPROC, in a user namespace of its own",
        "cpu": "no group: as many processors as may be used at once",
    }
    return tuple(
        Finding(each, "enforced", f"cgroup v{version}")
        if (version := place.version(each)) is not None
        else Finding(each, "weaker", f"{lesser[each]} ({place.why_not})", _REMEDY)
        for each in CONTROLLERS
    )


def limits_plan(grant: Grant, place: Place | None = None) -> dict[str, Any]:
    """Give what the warden needs to hold one plugin: entries of its plan.

    ``cgroup`` where a group can be made, ``watch`` where no group holds the memory.
    """
    place = find_place() if place is None else place
    plan: dict[str, Any] = {}
    group = place.plan(grant)
    if group is not None:
        plan["cgroup"] = group
    if "memory" not in place.controllers:
        plan["watch"] = {"memory_bytes": grant.memory_bytes}
    return plan


def search(mounts: str, own: str) -> Place:
    """Look for groups that can be written.

    Args:
        mounts: What ``/proc/self/mountinfo`` says.
        own: What ``/proc/self/cgroup`` says.
    """
    groups = {
        name: path for number, names, path in _own_groups(own) for name in (names.split(",") if names else [number])
    }
    first: dict[str, Path] = {}
    second: Path | None = None
    controllers: frozenset[str] = frozenset()
    why: list[str] = []
    for mount in _cgroup_mounts(mounts):
        if mount.is_second:
            second, controllers = _place_of_second(mount, groups.get("0", "/"), why)
            continue
        for name in {*CONTROLLERS, _ACCOUNTING} & mount.names:
            folder = mount.folder(groups.get(name, "/"))
            if _can_make(folder, why):
                first[name] = folder
    if not first.keys() & set(CONTROLLERS):
        first = {}
    controllers = frozenset(controllers - first.keys())
    reason = "; ".join(dict.fromkeys(why)) or "no control groups are mounted"
    return Place(first, second if controllers else None, controllers, reason)


@dataclass(frozen=True)
class _Mount:
    root: PurePosixPath
    at: Path
    is_second: bool
    names: frozenset[str]

    def folder(self, group: str) -> Path:
        """Give a group's folder; the mount's own where the group does not lie in it."""
        with contextlib.suppress(ValueError):
            return self.at / PurePosixPath(group).relative_to(self.root)
        return self.at


def _cgroup_mounts(mounts: str) -> Iterator[_Mount]:
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        _, _, _, root, at, *_ = before.split()
        kind, _, options, *_ = [*after.split(), "", ""]
        if kind in {"cgroup", "cgroup2"}:
            yield _Mount(PurePosixPath(root), Path(at), kind == "cgroup2", frozenset(options.split(",")))


def _own_groups(own: str) -> Iterator[tuple[str, str, str]]:
    for line in own.splitlines():
        number, names, path = line.split(":", maxsplit=2)
        yield number, names, path


def _place_of_second(mount: _Mount, own: str, why: list[str]) -> tuple[Path | None, frozenset[str]]:
    """Find the group below which others can be made, with the most controllers; the nearest one of these.

    A group has either processes or groups with controllers, but for the topmost ("no internal processes"). So a
    delegated group, which the engine is alone in, has its processes moved into one below.
    """
    here = mount.folder(own)
    if here.name == ENGINE_GROUP:
        here = here.parent
    if not (_words(here / "cgroup.controllers") & set(CONTROLLERS)):
        why.append(f"{here} has no controllers")
        return None, frozenset()
    if _is_ours(here, mount.at) and _can_make(here, why) and _share(here):
        return here, _shared(here)
    places = [each for each in (here, *here.parents) if each.is_relative_to(mount.at) and _shared(each)]
    if not places:
        why.append(f"{here} is not delegated")
    usable = [each for each in places if _can_make(each, why) and _can_move(each, why)]
    best = max(usable, key=lambda each: len(_shared(each)), default=None)
    return best, frozenset() if best is None else _shared(best)


def _shared(group: Path) -> frozenset[str]:
    """Give the controllers that groups below one have."""
    return frozenset(_words(group / "cgroup.subtree_control") & set(CONTROLLERS))


def _is_ours(group: Path, top: Path) -> bool:
    """Say whether a group was given to us: by systemd, by its owner, or as the root of a container."""
    if group == top:
        return (group / "cgroup.type").exists()  # the root of the machine has none, and needs no sharing
    with contextlib.suppress(OSError):
        if os.geteuid() != 0 and group.stat().st_uid == os.geteuid():
            return True
    for name in ("user.delegate", "trusted.delegate"):
        with contextlib.suppress(OSError):
            if os.getxattr(group, name) == b"1":
                return True
    return False


def _share(group: Path) -> bool:
    """Have the groups below a delegated one have its controllers; say whether that went well."""
    wanted = _words(group / "cgroup.controllers") & set(CONTROLLERS)
    if wanted <= _shared(group):
        return True
    inner = group / ENGINE_GROUP
    try:
        inner.mkdir(exist_ok=True)
        for _ in range(8):  # another one may have been started meanwhile
            pids = _words(group / "cgroup.procs")
            for pid in sorted(pids):
                with contextlib.suppress(ProcessLookupError):
                    (inner / "cgroup.procs").write_text(pid)
            if not pids:
                break
        (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(wanted)))
    except OSError:
        return False
    return wanted <= _shared(group)


def _words(file: Path) -> set[str]:
    try:
        return set(file.read_text().replace("+", " ").split())
    except OSError:
        return set()


def _can_make(folder: Path, why: list[str]) -> bool:
    """Try it: permissions, a read-only mount and a namespace each have their own ways to refuse."""
    trial = folder / f"dativo-try-{secrets.token_hex(8)}"
    try:
        trial.mkdir()
        trial.rmdir()
    except OSError as error:
        why.append(f"{folder}: {error.strerror}")
        return False
    return True


def _can_move(folder: Path, why: list[str]) -> bool:
    """Say whether processes may be moved below a group from another one below it."""
    if os.access(folder / "cgroup.procs", os.W_OK):
        return True
    why.append(f"{folder}/cgroup.procs cannot be written")
    return False
