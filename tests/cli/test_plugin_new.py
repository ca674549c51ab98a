"""What `dativo plugin new` writes."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from dativo_ingest.cli.program import dativo
from dativo_ingest.sandbox.manifest import load_manifest

ROOT = Path(__file__).parents[2]
LONGEST = "a-name-that-is-as-long-as-a-name-may-be1"


def new(folder: Path, name: str, kind: str) -> Result:
    return CliRunner().invoke(dativo, ["plugin", "new", name, "--kind", kind, "--dir", str(folder)])


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Projects of both kinds, with a short name and with the longest."""
    folder = tmp_path_factory.mktemp("projects")
    for name, kind in (
        ("my-shop", "reader"),
        ("my-lake", "writer"),
        (LONGEST, "reader"),
        (f"b{LONGEST[1:]}", "writer"),
    ):
        assert new(folder, name, kind).exit_code == 0
    return folder


def test_a_project_is_a_hundred_and_fifty_lines_or_so(projects: Path) -> None:
    for name in ("my-shop", "my-lake"):
        files = [path for path in (projects / name).rglob("*") if path.is_file()]

        assert {path.name for path in files} >= {"pyproject.toml", "README.md", ".gitignore", "dativo-plugin.yaml"}
        assert sum(len(path.read_text().splitlines()) for path in files) < 225


def test_its_code_is_pretty(projects: Path) -> None:
    for arguments in (["check"], ["format", "--check"]):
        command = [sys.executable, "-m", "ruff", *arguments, "--no-cache", str(projects)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)

        assert done.returncode == 0, done.stdout


def test_its_types_are_right(projects: Path) -> None:
    files = [str(path) for name in ("my-shop", "my-lake") for path in (projects / name).rglob("*.py")]
    environment = os.environ | {"MYPYPATH": f"{projects}/my-shop/src:{projects}/my-lake/src"}

    # Our own settings, which are as strict: what is known of libraries is in the cache already.
    done = subprocess.run(
        [sys.executable, "-m", "mypy", *files], env=environment, capture_output=True, text=True, check=False, cwd=ROOT
    )

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("name", "kind"), [("my-shop", "reader"), ("my-lake", "writer")])
def test_its_manifest_names_its_class(projects: Path, name: str, kind: str) -> None:
    package = projects / name / "src" / name.replace("-", "_")

    manifest = load_manifest(package / "dativo-plugin.yaml")

    entry = manifest.entry(kind)  # type: ignore[arg-type]
    assert entry == f"{kind}.py:My{name[3:].capitalize()}{kind.capitalize()}"
    assert f"class {str(entry).partition(':')[2]}" in (package / f"{kind}.py").read_text()


def test_a_folder_that_is_there_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()

    done = new(tmp_path, "shop", "reader")

    assert done.exit_code == 78
    assert "is there already" in done.stderr
    assert list((tmp_path / "shop").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "kind", "told"),
    [
        ("My-Shop", "reader", "small letters"),
        ("-shop", "reader", "small letters"),
        ("shop--x", "reader", "small letters"),
        ("../shop", "reader", "small letters"),
        ("x" * 41, "reader", "small letters"),
        ("json", "writer", "Python's or Dativo's own"),
        ("class", "reader", "Python's or Dativo's own"),
        ("dativo-shop", "reader", "Python's or Dativo's own"),
        ("postgres", "reader", "there is a reader 'postgres' already"),
    ],
)
def test_a_name_is_one_that_packages_and_modules_may_have(tmp_path: Path, name: str, kind: str, told: str) -> None:
    done = CliRunner().invoke(dativo, ["plugin", "new", "--kind", kind, "--dir", str(tmp_path), "--", name])

    assert done.exit_code == 2
    assert told in done.stderr.replace("\n", " ")
    assert list(tmp_path.iterdir()) == []
