"""Each promise that a plugin breaks is found, by the check that is about it, and by no other."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent


def found_in(plugins: str, folder: Path) -> tuple[dict[str, str], dict[str, dict[str, dict[str, Any]]]]:
    """Run the suites of a file; give what each expects to fail, and what became of its checks."""
    text = (HERE / plugins).read_text(encoding="utf-8")
    file, found = folder / "test_broken.py", folder / "found.json"
    file.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "dativo", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    done = subprocess.run(
        [*command, "--dativo-json", str(found), str(file)],
        env=os.environ | {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.exists(), done.stdout + done.stderr
    checks: dict[str, dict[str, dict[str, Any]]] = {}
    for each in json.loads(found.read_text(encoding="utf-8")):
        checks.setdefault(each["suite"], {})[each["check"]] = each
    suites = re.findall(r"^class (Test\w+)\(.*?(?=^class |\Z)", text, re.MULTILINE | re.DOTALL)
    parts = re.split(r"^class ", text, flags=re.MULTILINE)
    expected = {part.partition("(")[0]: re.findall(r'expected = "(.*)"', part) for part in parts}
    return {name: " ".join(expected[name]) for name in suites}, checks


@pytest.mark.parametrize("plugins", ["broken_readers.txt", "broken_writers.txt"])
def test_a_broken_promise_is_found_by_the_check_that_is_about_it(plugins: str, tmp_path: Path) -> None:
    expected, checks = found_in(plugins, tmp_path)

    failed = {
        name: {each["check"]: each["message"] for each in checks[name].values() if each["outcome"] == "failed"}
        for name in expected
    }

    lost = failed.pop("TestLosing", None)
    assert {name: sorted(found) for name, found in failed.items()} == {
        name: sorted(wanted.split()) for name, wanted in expected.items() if name != "TestLosing"
    }
    assert lost is None or {"append", "crash[open]", "names"} <= lost.keys()
    assert all(message for found in failed.values() for message in found.values())
