"""Where control groups can be made, told from what a machine says of itself; version 2 in a tree of plain files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from dativo_ingest.sandbox.cgroups import ENGINE_GROUP, Place, limit_findings, limits_plan, search
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.warden_cgroup import Group

GRANT = Grant(memory_bytes=2**26, pids=32, cpu=0.25)
ALL = "cpu memory pids"


def mount(at: Path, kind: str, options: str, root: str = "/") -> str:
    return f"30 23 0:26 {root} {at} rw,relatime - {kind} {kind} rw,{options}\n"


class Tree:
    """Groups of version 2, as files."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.own = top

    def group(self, path: str, *, has: str = ALL, shares: str = "", processes: str = "") -> Path:
        folder = self.top / path
        folder.mkdir(parents=True, exist_ok=True)
        content = {"controllers": has, "subtree_control": shares, "procs": processes, "type": "domain"}
        for name, text in content.items():
            (folder / f"cgroup.{name}").write_text(text)
        return folder

    def look(self, own: str) -> Place:
        return search(mount(self.top, "cgroup2", "nsdelegate"), f"0::/{own}\n")


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path / "cgroup")


def test_controllers_of_version_1_are_found_below_the_own_group_of_each(tmp_path: Path) -> None:
    mounts = ""
    for name, own in (("memory", "box/1"), ("cpu,cpuacct", "box/2"), ("pids", "")):
        (tmp_path / name / own).mkdir(parents=True)
        mounts += mount(tmp_path / name, "cgroup", name)

    place = search(mounts, "3:memory:/box/1\n2:cpu,cpuacct:/box/2\n1:pids:/\n0::/\n")

    assert place.first == {
        "memory": tmp_path / "memory" / "box" / "1",
        "cpu": tmp_path / "cpu,cpuacct" / "box" / "2",
        "cpuacct": tmp_path / "cpu,cpuacct" / "box" / "2",
        "pids": tmp_path / "pids",
    }
    assert [each.state for each in limit_findings(place)] == ["enforced"] * 3


def test_a_mount_that_shows_a_part_of_the_groups_is_read_from_that_part_on(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()

    place = search(mount(tmp_path, "cgroup", "memory", root="/docker/ab"), "1:memory:/docker/ab/inner\n")

    assert place.first == {"memory": tmp_path / "inner"}


def test_without_a_group_that_can_be_written_the_plan_has_a_watch_and_the_findings_say_why(tmp_path: Path) -> None:
    place = search(mount(tmp_path / "missing", "cgroup", "memory"), "1:memory:/\n")

    assert limits_plan(GRANT, place) == {"watch": {"memory_bytes": 2**26}}
    assert [each.state for each in limit_findings(place)] == ["weaker"] * 3
    assert all("missing" in each.how and "Delegate=yes" in str(each.remedy) for each in limit_findings(place))


def test_a_delegated_group_of_version_2_shares_its_controllers_once_its_processes_are_moved(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.group("", shares=ALL)
    service = tree.group("system.slice/dativo.service", processes="4711\n")
    tree.group(f"system.slice/dativo.service/{ENGINE_GROUP}")
    monkeypatch.setattr(os, "getxattr", lambda path, _: b"1" if path == service else b"0")

    place = tree.look("system.slice/dativo.service")

    assert place.second == service
    assert place.controllers == {"memory", "pids", "cpu"}
    assert (service / "cgroup.subtree_control").read_text().replace("+", "").split() == ALL.split()
    assert (service / ENGINE_GROUP / "cgroup.procs").read_text() == "4711"


def test_an_engine_that_was_moved_uses_the_group_above(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    tree.group("", shares=ALL)
    service = tree.group("dativo.service", shares=ALL)
    tree.group(f"dativo.service/{ENGINE_GROUP}", processes="4711\n")
    monkeypatch.setattr(os, "getxattr", lambda path, _: b"1" if path == service else b"0")

    place = tree.look(f"dativo.service/{ENGINE_GROUP}")

    assert place.second == service


def test_where_nothing_is_delegated_the_nearest_group_with_most_controllers_is_used(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree.group("", shares=ALL)
    tree.group("user.slice", shares="memory pids")
    tree.group("user.slice/session.scope", processes="1\n")
    monkeypatch.setattr(os, "getxattr", lambda *_: b"0")
    monkeypatch.setattr(os, "geteuid", lambda: 0)

    place = tree.look("user.slice/session.scope")

    assert place.second == tree.top
    assert limits_plan(GRANT, place).keys() == {"cgroup"}


def test_a_hierarchy_without_controllers_is_no_place(tree: Tree) -> None:
    tree.group("", has="")

    place = tree.look("")

    assert place.controllers == frozenset()
    assert "no controllers" in place.why_not


def test_a_group_of_version_2_is_made_with_all_limits_and_killed_as_one(tmp_path: Path) -> None:
    place = Place(second=tmp_path, second_controllers=frozenset({"memory", "pids", "cpu"}))
    plan = place.plan(GRANT, name="one")
    assert plan is not None
    folder = tmp_path / "one"
    group = Group(plan)
    files = {
        "memory.max": "",
        "memory.swap.max": "",
        "pids.max": "",
        "cpu.max": "",
        "cgroup.procs": "",
        "cgroup.kill": "",
        "memory.events": "low 0\noom 3\noom_kill 2\n",
        "memory.peak": "1000\n",
        "pids.events": "max 5\n",
        "cpu.stat": "usage_usec 2000000\nnr_throttled 4\nthrottled_usec 500000\n",
    }

    _as_a_kernel(folder, files, group)
    group.join()
    counted = group.counted()
    group.kill()

    said = {name: (folder / name).read_text() for name in ("memory.max", "memory.swap.max", "cpu.max", "cgroup.procs")}
    assert said == {"memory.max": "67108864", "memory.swap.max": "0", "cpu.max": "25000 100000", "cgroup.procs": "0"}
    assert counted == {
        "cpu_s": 2.0,
        "oom_kills": 2,
        "peak_memory_bytes": 1000,
        "refused_processes": 5,
        "throttled": 4,
        "throttled_s": 0.5,
    }
    assert group.is_out_of_memory()
    assert ((folder / "cgroup.kill").read_text(), (folder / "pids.max").read_text()) == ("1", "0")


def _as_a_kernel(folder: Path, files: dict[str, str], group: Group) -> None:
    """Have a folder's files appear with it; one that this kernel lacks, memory.oom.group, is left out."""
    real = os.mkdir

    def mkdir(path: str, *_: object) -> None:
        real(path)
        for name, content in files.items():
            Path(path, name).write_text(content)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "mkdir", mkdir)
        group.make()
    assert folder.is_dir()
