"""What gets out of a sandbox, as the escape suite's matrix has it: kind by kind, and attempt by attempt."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

MATRIX = Path(__file__).parents[1] / "tests" / "sandbox" / "escape" / "matrix.md"
_THROUGH = "**through**"


def every_escape() -> str:
    """Give the whole table."""
    return "\n".join(line for line in MATRIX.read_text(encoding="utf-8").splitlines() if line.startswith("|"))


def escapes_by_kind() -> str:
    """Count what was through of how many attempts: of each kind, in each sandbox."""
    header, _, *attempts = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in every_escape().splitlines()
    ]
    kinds: dict[str, list[list[str]]] = defaultdict(list)
    for name, *cells in attempts:
        kinds[name.partition(":")[0]].append(cells)
    lines = [f"| attempts | {' | '.join(header[1:])} |", f"| --- |{' --- |' * len(header[1:])}"]
    lines += [f"| {kind} | {' | '.join(map(_counted, zip(*rows, strict=True)))} |" for kind, rows in kinds.items()]
    every = [row for rows in kinds.values() for row in rows]
    return "\n".join([*lines, f"| **all** | {' | '.join(map(_counted, zip(*every, strict=True)))} |"])


def _counted(cells: tuple[str, ...]) -> str:
    tried = [cell for cell in cells if cell]
    return f"{tried.count(_THROUGH)} of {len(tried)}" if tried else ""
