"""The commands that docs/PLUGIN_SANDBOXING.md shows of Docker, run as they stand there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from container_engines import ContainerEngine
from debian import unpacked
from pages import ROOT

PAGE = ROOT / "docs" / "PLUGIN_SANDBOXING.md"
FILE = re.compile(r'^```\w+ title="(?P<name>[^"]+)"\n(?P<text>.*?)^```$', re.MULTILINE | re.DOTALL)
COMMANDS = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def guide() -> str:
    return PAGE.read_text(encoding="utf-8").partition("\n## Docker\n")[2].partition("\n## ")[0]


def test_what_the_guide_shows_of_docker_runs_and_gives_what_it_says(
    guide: str, docker: ContainerEngine, tmp_path: Path
) -> None:
    for file in FILE.finditer(guide):
        (tmp_path / file["name"]).write_text(file["text"], encoding="utf-8")
    program = "\n".join(COMMANDS.findall(guide)).replace("deploy/images/", f"{ROOT}/deploy/images/")
    (tmp_path / "run.sh").write_text(f"set -eux\n{program}", encoding="utf-8")
    programs = unpacked("docker.io", "containerd", "runc", "tini") / "usr" / "bin"
    path = f"{Path(sys.executable).parent}:{programs}:{os.environ['PATH']}"

    done = subprocess.run(
        ["sh", "run.sh"],
        cwd=tmp_path,
        env={"PATH": path, "DOCKER_HOST": docker.url, "HOME": str(tmp_path), "NO_COLOR": "1"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert "container {'files': 'enforced'" in done.stdout
    isolation = {
        name: json.loads((tmp_path / f"{name}.json").read_text(encoding="utf-8"))["isolation"]
        for name in ("report", "report-of-engine")
    }
    assert isolation == {"report": "vm", "report-of-engine": "built_in"}
