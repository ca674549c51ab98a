"""The way to a connector as a tree: said once here, written as text and drawn as SVG by docs/generate.py."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from html import escape


@dataclass(frozen=True)
class Question:
    """One fork on the way: whoever says yes ends at ``answer``, all others go on."""

    asks: str
    answer: str
    because: str


TREE = (
    Question(
        "Does a built-in connector speak to the system?",
        "Built-in connector",
        "nothing to write, nothing to install",
    ),
    Question(
        "Can the system drop files, or be asked in SQL through Postgres or MySQL?",
        "Built-in connector on what it gives",
        "csv, json, jsonl, parquet, arrow; query: of a stream",
    ),
    Question(
        "Has somebody published a plugin for it?",
        "Installed plugin",
        "pin its version, read its manifest",
    ),
    Question(
        "Must it be written in C, Rust, Go, Java, or around a driver of theirs?",
        "Native plugin",
        "a program that speaks the protocol",
    ),
    Question(
        "Parallel parts, a log of changes, or a target that keeps the state itself?",
        "StreamReader, StreamWriter",
        "what the built-in connectors are made of",
    ),
    Question(
        "More than about a million rows a run, or a client that gives Arrow or frames?",
        "Arrow plugin",
        "BaseReader that yields Arrow, BaseWriter that takes it",
    ),
)
LAST = Question(
    "Otherwise",
    "Dict plugin",
    "BaseReader that yields lists of dicts: one class, one file",
)

_WIDTH, _ROW, _TOP = 910, 96, 16
_ASK_X, _ASK_WIDTH = 16, 400
_ANSWER_X, _ANSWER_WIDTH = 500, 394
_BOX = 64
_STYLE = """
  .ask rect { fill: #e8f3f1; stroke: #00796b; } .answer rect { fill: #fff8e6; stroke: #b26a00; }
  text { font: 14px system-ui, sans-serif; fill: #16302c; } .answer .name { font-weight: 600; }
  .small { font-size: 12px; fill: #51605d; } path { stroke: #51605d; fill: none; stroke-width: 1.5; }
  .page { fill: #ffffff; }
"""


def text() -> str:
    """Write the tree as text, indented by nothing but the arrows of its branches."""
    lines = []
    for number, question in enumerate(TREE, 1):
        lines += [f"{number}. {question.asks}", f"   ├─ yes ─► {question.answer}: {question.because}", "   └─ no"]
        lines += ["      ▼"]
    return "\n".join([*lines, f"{len(TREE) + 1}. {LAST.answer}: {LAST.because}"])


def svg() -> str:
    """Draw the tree: questions go down on the left, answers stand on the right."""
    height = _TOP * 2 + _ROW * len(TREE) + _BOX
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img" '
            f'aria-label="Which way to a connector">'
        ),
        f"<style>{_STYLE}</style>",
        (
            '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
            '<path d="M0 0 L8 4 L0 8" /></marker></defs>'
        ),
        f'<rect class="page" width="{_WIDTH}" height="{height}" rx="8" />',
    ]
    for row, question in enumerate(TREE):
        y = _TOP + row * _ROW
        middle, bottom = y + _BOX // 2, y + _BOX
        parts += [_box("ask", _ASK_X, y, _ASK_WIDTH, textwrap.wrap(question.asks, 50))]
        parts += [_answer(question, y)]
        parts += [
            _arrow(f"M{_ASK_X + _ASK_WIDTH} {middle} H{_ANSWER_X}"),
            _label(_ASK_X + _ASK_WIDTH + 34, middle, "yes"),
        ]
        parts += [_arrow(f"M{_ASK_X + 40} {bottom} V{y + _ROW}"), _label(_ASK_X + 52, bottom + 24, "no")]
    y = _TOP + len(TREE) * _ROW
    parts += [_answer(LAST, y, _ASK_X, _ASK_WIDTH)]
    return "\n".join([*parts, "</svg>", ""])


def _answer(question: Question, y: int, x: int = _ANSWER_X, width: int = _ANSWER_WIDTH) -> str:
    return (
        f'<g class="answer"><rect x="{x}" y="{y}" width="{width}" height="{_BOX}" rx="6" />'
        f'<text class="name" x="{x + 14}" y="{y + 27}">{escape(question.answer)}</text>'
        f'<text class="small" x="{x + 14}" y="{y + 47}">{escape(question.because)}</text></g>'
    )


def _box(kind: str, x: int, y: int, width: int, lines: list[str]) -> str:
    first = y + _BOX // 2 + 5 - 9 * (len(lines) - 1)
    texts = "".join(f'<text x="{x + 14}" y="{first + 18 * at}">{escape(line)}</text>' for at, line in enumerate(lines))
    return f'<g class="{kind}"><rect x="{x}" y="{y}" width="{width}" height="{_BOX}" rx="6" />{texts}</g>'


def _arrow(path: str) -> str:
    return f'<path d="{path}" marker-end="url(#tip)" />'


def _label(x: int, y: int, label: str) -> str:
    return f'<text class="small" x="{x}" y="{y - 6}">{label}</text>'
