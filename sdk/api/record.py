"""Record the SDK's public names for a release: ``python sdk/api/record.py`` writes ``sdk/api/VERSION.json``.

``--check`` writes nothing and compares with the last record: breaks need a reason in ``breaks.toml`` and a version that
may break. docs/sdk-versioning.md has the rules.
"""

from __future__ import annotations

import argparse
import json
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from packaging.version import Version

import dativo_plugin_sdk
from differences import Difference, differences
from signatures import signatures

HERE = Path(__file__).parent
BREAKS = HERE / "breaks.toml"
_LINE_DEPTH = 3


def main() -> int:
    """Record or check; the exit code is 1 where the version does not allow what was changed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing, say what a release would break")
    only_checks = parser.parse_args().check
    version = dativo_plugin_sdk.__version__
    now = signatures()
    last = last_record(version, or_this=only_checks)
    if last is not None:
        found = differences(json.loads(last.read_text(encoding="utf-8")), now)
        problems = forbidden(found, last.stem, version, declared(), is_release=not only_checks)
        for problem in problems:
            print(problem, file=sys.stderr)
        if problems:
            return 1
    if not only_checks:
        path = HERE / f"{version}.json"
        path.write_text(written(now) + "\n", encoding="utf-8")
        print(f"wrote {path.name}: {len(now)} names")
    return 0


def written(value: Any, depth: int = 0) -> str:
    """Write a record as JSON with a line for each member of a class."""
    if depth == _LINE_DEPTH or not isinstance(value, dict):
        return json.dumps(value, sort_keys=True, ensure_ascii=False)
    margin = " " * depth
    items = [f"{margin} {json.dumps(key)}: {written(value[key], depth + 1)}" for key in sorted(value)]
    return "{\n" + ",\n".join(items) + f"\n{margin}}}"


def last_record(version: str, *, or_this: bool = True) -> Path | None:
    """Give the record of the newest release before a version, or of that version itself."""
    limit = Version(version)
    found = {Version(path.stem): path for path in HERE.glob("*.json")}
    return max(((v, path) for v, path in found.items() if v < limit or (or_this and v == limit)), default=(0, None))[1]


def declared(text: str | None = None) -> dict[str, tuple[str, str]]:
    """Read the breaks that are meant: each name with the version that it comes with, and why."""
    document = tomllib.loads(BREAKS.read_text(encoding="utf-8") if text is None else text)
    return {each["name"]: (each["version"], each["reason"]) for each in document.get("break", ())}


def forbidden(
    found: Sequence[Difference],
    last: str,
    version: str,
    meant: Mapping[str, tuple[str, str]],
    *,
    is_release: bool = False,
) -> list[str]:
    """Say what the version does not allow.

    Args:
        found: What changed since the last release.
        last: The last release's version.
        version: The present one.
        meant: What `declared` gives.
        is_release: Whether the present version is about to be released, which no addition may be unreleased in.
    """
    problems = []
    for each in found:
        if not each.is_break:
            if is_release and Version(version) <= Version(last):
                problems.append(f"{each.name}: {each.what}: needs a release after {last}, this is {version}")
            continue
        since, reason = meant.get(each.name, ("", ""))
        if not reason.strip():
            problems.append(f"{each.name}: {each.what}: it breaks plugins and is not declared in {BREAKS.name}")
        elif since != version or not may_break(last, version):
            problems.append(
                f"{each.name}: {each.what}: it breaks plugins and is declared for {since}; {version} after {last} "
                f"{'is not that' if may_break(last, version) else 'may not break'}: the next that may is "
                f"{next_breaking(last)}"
            )
    return problems


def may_break(last: str, version: str) -> bool:
    """Say whether plugins for one version may fail with another: a new major one, before 1.0 a new minor one."""
    return Version(version) >= Version(next_breaking(last))


def next_breaking(last: str) -> str:
    """Give the first version that may break what the last one promised."""
    release = Version(last)
    return f"{release.major + 1}.0.0" if release.major else f"0.{release.minor + 1}.0"


if __name__ == "__main__":
    sys.exit(main())
