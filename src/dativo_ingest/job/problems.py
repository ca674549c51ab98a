"""What is wrong with a job or a contract, collected so that one error can list everything at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from dativo_plugin_sdk.errors import ConfigurationError, InvalidConfigError

Loc: TypeAlias = tuple[str | int, ...]
"""The way to a value: keys and list indexes from the top of the file."""


@dataclass(frozen=True)
class Position:
    """A place in a file; both numbers count from 1, columns in characters."""

    line: int
    column: int


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, without any value: it may be a secret."""

    loc: Loc
    message: str
    position: Position
    hint: str | None = None
    error_class: type[ConfigurationError] = InvalidConfigError


def dotted(loc: Iterable[str | int]) -> str:
    """Write a way as messages show it: ``streams.orders.sort_by[0]``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).removeprefix(".")


def error_of(problems: Iterable[Problem], file: str) -> ConfigurationError:
    """Build one error of everything that is wrong, in the order of the file.

    Its class is the problems' own where they agree, else `InvalidConfigError`. Its ``details["problems"]`` lists
    ``{"loc", "message", "file", "line", "column"}``.
    """
    ordered = sorted(dict.fromkeys(problems), key=lambda problem: (problem.position.line, problem.position.column))
    classes = {problem.error_class for problem in ordered}
    error_class = classes.pop() if len(classes) == 1 else InvalidConfigError
    hints = dict.fromkeys(problem.hint for problem in ordered if problem.hint)
    return error_class(
        "\n".join(_line(problem, file) for problem in ordered),
        details={
            "file": file,
            "problems": [
                {
                    "loc": list(problem.loc),
                    "message": problem.message,
                    "file": file,
                    "line": problem.position.line,
                    "column": problem.position.column,
                }
                for problem in ordered
            ],
        },
        hint="; ".join(hints) or None,
    )


def _line(problem: Problem, file: str) -> str:
    place = f"{file}:{problem.position.line}:{problem.position.column}"
    return f"{place} {dotted(problem.loc)}: {problem.message}" if problem.loc else f"{place} {problem.message}"
