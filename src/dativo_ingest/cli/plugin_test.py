"""The run of pytest that `dativo plugin test` is, and the document that it gives."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, TypeAlias

from dativo_ingest.sandbox.levels import ISOLATIONS, weakest
from dativo_ingest.sandbox.process_policy import BACKEND_VARIABLE, ISOLATIONS_VARIABLE, POLICY_VARIABLE
from dativo_plugin_sdk.errors import MissingConfigError, PluginLoadError, ResourceNotFoundError

TestIsolation: TypeAlias = Literal["in-process", "none", "process", "container"]

CONFORMANCE = "dativo.conformance/1"

_ENGINE = "dativo_ingest.run.conformance"
_NO_TESTS = 5  # pytest's exit code where it collected nothing
_TALK_LINES = 30


def run_suites(
    path: Path, *, isolation: TestIsolation | None, only: Sequence[str] = (), policy: str | None = None
) -> dict[str, Any]:
    """Run the suites of a plugin and give the document of what became of each check.

    Args:
        path: What `tests_of` finds tests for.
        isolation: How the plugin is held, ``in-process`` in the tests' own process and without the engine; None is
            what the policy says, else what holds it in a job.
        only: The checks to make; all where there is none.
        policy: The policy that says how the plugin is held.

    Raises:
        ResourceNotFoundError: pytest is not installed here.
        MissingConfigError: There are no tests, or none of them is of a suite.
        PluginLoadError: The tests could not be run at all.
    """
    if find_spec("pytest") is None:
        raise ResourceNotFoundError(
            "the conformance suites run with pytest, which is not installed here",
            hint="pip install 'dativo-plugin-sdk[testing]'",
        )
    tests = tests_of(path)
    in_process = isolation == "in-process"
    with tempfile.TemporaryDirectory(prefix="dativo-plugin-test-") as folder:
        found, held = Path(folder) / "found.json", Path(folder) / "isolations"
        plugins = ["-p", "dativo", "-p", "no:cacheprovider", *([] if in_process else ["-p", _ENGINE])]
        # What the tests' own settings add (reports, coverage, several processes) has no say in what is found.
        options = ["-q", "-o", "addopts=", "--dativo-only", "--dativo-json", str(found)]
        options += [part for name in only for part in ("--dativo-check", name)]
        done = subprocess.run(  # noqa: S603  the user's own tests
            [sys.executable, "-m", "pytest", *plugins, *options, str(tests)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            errors="replace",
            env={
                **os.environ,
                "PYTHONDONTWRITEBYTECODE": "1",
                ISOLATIONS_VARIABLE: str(held),
                **({POLICY_VARIABLE: policy} if policy else {}),
                **({BACKEND_VARIABLE: isolation} if isolation else {}),
            },
            check=False,
        )
        checks = json.loads(found.read_text(encoding="utf-8")) if found.exists() else []
        isolations = held.read_text(encoding="utf-8").split() if held.exists() else []
    talk = "\n".join(done.stdout.splitlines()[-_TALK_LINES:])
    if not checks and done.returncode in {0, _NO_TESTS}:
        raise MissingConfigError(
            f"{tests} has no conformance suite" + (f" with a check {' or '.join(only)}" if only else ""),
            hint="subclass dativo_plugin_sdk.testing.ReaderSuite or WriterSuite; dativo plugin new writes an example",
        )
    if not checks:
        raise PluginLoadError(f"the tests in {tests} cannot be run:\n{talk}", details={"exit_code": done.returncode})
    failed = any(each["outcome"] == "failed" for each in checks)
    return {
        "schema": CONFORMANCE,
        "path": str(path),
        "isolation": "in_process"
        if in_process
        else weakest(each for each in ISOLATIONS if each in isolations) or "built_in",
        "status": "failed" if failed else "succeeded",
        "checks": checks,
    }


def tests_of(path: Path) -> Path:
    """Find the tests of a project, or of a plugin that is one file.

    Raises:
        MissingConfigError: There are none.
    """
    if path.is_dir():
        return path / "tests" if (path / "tests").is_dir() else path
    if path.name.startswith("test_") or path.name.endswith("_test.py"):
        return path
    beside = [path.with_name(f"test_{path.name}"), path.parent / "tests" / f"test_{path.name}"]
    for file in beside:
        if file.is_file():
            return file
    raise MissingConfigError(
        f"{path} has no tests; looked for {' and '.join(map(str, beside))}",
        hint="a file with a suite says in which case the plugin works; see docs/testing-a-plugin.md",
    )
