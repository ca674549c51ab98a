"""Which connector passes which check: ``support.json``, recorded from the tests' run, and the tables made of it.

``python docs/support_table.py`` runs the conformance suites of the built-in connectors and records what they find.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RECORD = ROOT / "docs" / "support.json"
KEPT = ("kind", "connector", "check", "title", "outcome", "gap", "reason")
"""What is recorded of a check: nothing that changes with the time or the machine."""

_CELLS = {None: "✓", "not_applicable": "·", "not_supported": "no", "known_fault": "fault"}


def main() -> int:
    """Record; the exit code is 1 where a check fails, and nothing is written then."""
    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "found.json"
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "2",
            "-r",
            "fE",
            "--dativo-only",
            "--dativo-json",
            str(found),
        ]
        done = subprocess.run([*command, str(ROOT / "tests" / "conformance")], cwd=ROOT, check=False)  # noqa: S603
        checks = json.loads(found.read_text(encoding="utf-8")) if done.returncode == 0 else []
    if done.returncode != 0:
        return 1
    kept = [{key: each[key] for key in KEPT} for each in checks]
    lines = ",\n".join(json.dumps(each, ensure_ascii=False) for each in kept)
    RECORD.write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    print(f"wrote {RECORD.relative_to(ROOT)}")
    return 0


def support_tables() -> str:
    """Give a table for readers and one for writers, each with the reasons of its gaps."""
    checks = json.loads(RECORD.read_text(encoding="utf-8"))
    return "\n".join(
        part
        for kind, title in (("reader", "Sources"), ("writer", "Targets"))
        for part in _section(title, [each for each in checks if each["kind"] == kind])
    )


def _section(title: str, checks: list[dict[str, Any]]) -> Iterator[str]:
    connectors = sorted({each["connector"] for each in checks})
    yield f"## {title}\n"
    yield f"| Check | Promise | {' | '.join(f'`{name}`' for name in connectors)} |"
    yield f"| --- | --- |{' --- |' * len(connectors)}"
    titles = {each["check"]: each["title"] for each in checks if each["gap"] != "not_applicable"}
    cells = {(each["check"], each["connector"]): _CELLS[each["gap"]] for each in checks}
    for check, said in titles.items():
        row = " | ".join(cells[check, name] for name in connectors)
        yield f"| `{check}` | {said} | {row} |"
    yield "\nGaps:\n"
    reasons = sorted((each["gap"], each["reason"], each["connector"], each["check"]) for each in checks if each["gap"])
    for (gap, reason), of_it in groupby(reasons, key=lambda each: each[:2]):
        said = list(of_it)
        names = sorted({each[2] for each in said})
        about = dict.fromkeys(each[3] for each in said)
        yield f"- {gap.replace('_', ' ')}: {reason} ({', '.join(names)}: {', '.join(f'`{each}`' for each in about)})"
    yield ""


if __name__ == "__main__":
    sys.exit(main())
