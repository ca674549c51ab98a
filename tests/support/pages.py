"""Pages of documentation as programs: every Python block, every file with a title, every console block."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown.lexers import RawFencedCodeBlockLexer

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    ROOT / "README.md",
    ROOT / "ARCHITECTURE.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "sdk" / "README.md",
]

_INFO = re.compile(r'(?P<language>\w+)(?: title="(?P<title>[^"]+)")?[ ]*$\n', re.MULTILINE)
_RUN = frozenset({"python", "console"})
_ANYTHING = "…"
_COMMAND_TIMEOUT_S = 120


class PageParser:
    """Finds the blocks of a page that do something."""

    def __call__(self, document: Document) -> Iterable[Region]:
        for region in RawFencedCodeBlockLexer(_INFO)(document):
            if region.lexemes["title"] or region.lexemes["language"] in _RUN:
                region.parsed = str(region.lexemes["source"])
                region.evaluator = _evaluate
                yield region


def run_page(path: Path, folder: Path) -> int:
    """Run a page's blocks in order in one folder, Python blocks in one namespace; say how many blocks there were.

    The folder has a copy of ``examples/``. A block with a title becomes the file of that name. A console block is
    commands after ``$`` and what they print, stdout and stderr together; in it, ``…`` stands for anything, and alone in
    a line for any number of lines.
    """
    shutil.copytree(ROOT / "examples", folder / "examples", ignore=shutil.ignore_patterns("__pycache__", "warehouse"))
    document = Sybil(parsers=[PageParser()]).parse(path)
    document.namespace["__name__"] = f"page_{path.stem.replace('-', '_')}"
    before = Path.cwd()
    os.chdir(folder)
    try:
        examples = list(document.examples())
        for example in examples:
            example.evaluate()
    finally:
        os.chdir(before)
    return len(examples)


def _evaluate(example: Example) -> None:
    lexemes = example.region.lexemes
    if lexemes["title"]:
        file = Path(lexemes["title"])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(example.parsed, encoding="utf-8")
    if lexemes["language"] == "python":
        source = "\n" * example.line + example.parsed
        exec(compile(source, example.path, "exec", dont_inherit=True), example.namespace)  # noqa: S102  our own pages
    elif lexemes["language"] == "console":
        for command, expected in _commands(example.parsed):
            _run(command, expected, where=f"{example.path}:{example.line}")


def _commands(source: str) -> Iterator[tuple[str, list[str]]]:
    command, expected = "", []
    for line in source.splitlines():
        if line.startswith("$ "):
            if command:
                yield command, expected
            command, expected = line[2:], []
        elif command.endswith("\\"):
            command = f"{command[:-1]} {line.strip()}"
        else:
            expected.append(line)
    if command:
        yield command, expected


def _run(command: str, expected: list[str], *, where: str) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("DATIVO_")}
    environ |= {"PATH": f"{Path(sys.executable).parent}:{environ['PATH']}", "NO_COLOR": "1", "COLUMNS": "200"}
    done = subprocess.run(
        ["sh", "-c", command],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=_COMMAND_TIMEOUT_S,
    )
    assert done.returncode == 0, f"{where}: {command!r} exited with {done.returncode}:\n{done.stdout}"
    lines = [line.rstrip() for line in done.stdout.splitlines() if line.strip()]
    wanted = [line.rstrip() for line in expected if line.strip()]
    if wanted:
        pattern = "".join(r"(?:.*\n)*" if line.strip() == _ANYTHING else f"{_line_pattern(line)}\n" for line in wanted)
        printed = "".join(f"{line}\n" for line in lines)
        assert re.fullmatch(pattern, printed), f"{where}: {command!r} printed\n{printed}\ninstead of\n" + "\n".join(
            wanted
        )


def _line_pattern(line: str) -> str:
    return ".*".join(re.sub(r"(?:\\ )+", r"\\s+", re.escape(part)) for part in line.split(_ANYTHING))


def load_json(path: Path) -> object:
    """Read a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))
