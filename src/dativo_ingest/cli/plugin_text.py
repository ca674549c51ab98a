"""What `dativo plugin test` prints for people: a pure function of the document that ``--json`` prints."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from dativo_ingest.cli.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

_MARKS = {"passed": "✓", "gap": "⚠", "failed": "✗"}


def conformance_text(document: Mapping[str, Any]) -> str:
    """Show each plugin with its checks, and what to do about those that failed."""
    checks = document["checks"]
    lines: list[str] = []
    for kind, name in dict.fromkeys((each["kind"], each["connector"]) for each in checks):
        of_it = [each for each in checks if (each["kind"], each["connector"]) == (kind, name)]
        lines += [f"{kind.capitalize()} {name} {of_it[0]['version']}".rstrip(), *_check_lines(of_it), ""]
    lines.append(_sum(checks))
    return "\n".join(lines)


def _check_lines(checks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    width = max(len(each["check"]) for each in checks)
    for each in checks:
        line = f"  {_MARKS[each['outcome']]} {each['check']:<{width}}  {each['title']}"
        yield f"{line} ({each['gap']}: {each['reason']})" if each["outcome"] == "gap" else line
        for told in (each["message"] or "").splitlines():
            yield f"      {told}"


def _sum(checks: Sequence[Mapping[str, Any]]) -> str:
    counts = Counter(each["outcome"] for each in checks)
    mark = "✗" if counts["failed"] else "✓"
    told = f"{mark} {counts['passed']} of {counted(len(checks), 'check')} passed"
    told += f", {counted(counts['gap'], 'declared gap')}" if counts["gap"] else ""
    return told + (f", {counts['failed']} failed" if counts["failed"] else "")
