from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from debian import unpacked
from pages import ROOT

FOLDER = ROOT / "deploy" / "prometheus"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FOLDER, tmp_path / "rules"))


def promtool(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    program = unpacked("prometheus") / "usr" / "bin" / "promtool"
    return subprocess.run([program, *arguments], cwd=folder, capture_output=True, text=True, check=False)


def test_prometheus_takes_the_rules_and_each_fires_on_what_it_is_about(folder: Path) -> None:
    checked = promtool(folder, "check", "rules", "dativo.rules.yaml")
    tested = promtool(folder, "test", "rules", "dativo.rules.test.yaml")

    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert tested.returncode == 0, tested.stdout + tested.stderr


def test_a_rule_that_never_fires_is_noticed(folder: Path) -> None:
    path = folder / "dativo.rules.yaml"
    path.write_text(
        path.read_text(encoding="utf-8").replace('isolation="none"', 'isolation="nobody"'), encoding="utf-8"
    )

    done = promtool(folder, "test", "rules", "dativo.rules.test.yaml")

    assert done.returncode == 1
    assert "DativoPluginUnconfined" in done.stdout + done.stderr
