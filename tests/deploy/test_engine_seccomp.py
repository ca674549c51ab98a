from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

from pages import ROOT

FOLDER = ROOT / "deploy" / "seccomp"
PLUGINS = ROOT / "src" / "dativo_ingest" / "sandbox" / "seccomp" / "plugin-v1.json"


def named(profile: dict[str, Any], action: str) -> set[str]:
    return {name for rule in profile["syscalls"] if rule["action"] == action for name in rule["names"]}


def read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_profile_is_what_is_written_today(tmp_path: Path) -> None:
    made = tmp_path / "engine.json"

    subprocess.run([sys.executable, FOLDER / "make_engine_profile.py", made], check=True)

    assert made.read_text(encoding="utf-8") == (FOLDER / "engine-v1.json").read_text(encoding="utf-8")


def test_of_what_ends_a_plugin_the_engine_may_only_make_namespaces_and_mounts_in_them() -> None:
    engine, plugins = read(FOLDER / "engine-v1.json"), read(PLUGINS)

    more = named(engine, "SCMP_ACT_ALLOW") & named(plugins, "SCMP_ACT_TRAP")

    assert more == {"clone", "ioctl", "mount", "pivot_root", "umount2", "unshare"}


def test_a_plugin_may_make_no_call_that_its_engine_may_not() -> None:
    engine, plugins = read(FOLDER / "engine-v1.json"), read(PLUGINS)

    assert named(plugins, "SCMP_ACT_ALLOW") <= named(engine, "SCMP_ACT_ALLOW")
    assert engine["defaultAction"] == "SCMP_ACT_ERRNO"
