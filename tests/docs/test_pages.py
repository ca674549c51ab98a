from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import PAGES, ROOT, run_page


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_everything_a_page_shows_runs(page: Path, tmp_path: Path) -> None:
    run_page(page, tmp_path)


def test_pages_that_show_code_are_run_and_not_only_read(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ echo one\ntwo\n```\n", encoding="utf-8")
    folder = tmp_path / "folder"
    folder.mkdir()

    with pytest.raises(AssertionError, match="printed"):
        run_page(page, folder)


def test_generated_pages_and_schemas_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )

    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_documentation_builds_without_a_warning(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert (tmp_path / "site" / "index.html").exists()


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "SECURITY.md", "docs/PLUGIN_SANDBOXING.md"])
def test_every_check_that_a_page_names_exists(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:sdk/)?tests/[\w/]+\.py)(?:::(\w+))?`", text)

    missing = [
        f"{file}::{test}"
        for file, test in named
        if not (ROOT / file).exists() or f"def {test}" not in (ROOT / file).read_text(encoding="utf-8")
    ]

    assert named
    assert missing == []


def test_every_threat_has_a_control_and_a_test() -> None:
    text = (ROOT / "docs" / "PLUGIN_SANDBOXING.md").read_text(encoding="utf-8")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| T")
    ]

    assert [row[0] for row in rows] == [f"T{number}" for number in range(1, len(rows) + 1)]
    assert len(rows) > 10
    assert all(all(row) and "`tests/" in row[-1] for row in rows)
