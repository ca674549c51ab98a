"""What a plugin does not do, said aloud: a gap has a kind and a reason, and must be true."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

GapKind: TypeAlias = Literal["not_applicable", "not_supported", "known_fault"]
"""``not_applicable``: there is nothing to check, such as the credentials of a plain file. ``not_supported``: it is not
done, on purpose. ``known_fault``: it should be done, and is not yet."""

Test = TypeVar("Test", bound=Callable[..., Any])
_ATTRIBUTE = "dativo_check"


@dataclass(frozen=True)
class Gap:
    """One check that a plugin does not pass, and why.

    Attributes:
        check: The check's name, such as ``retry_after``; ``types`` stands for all of ``types[...]``.
        kind: Which sort of gap it is.
        reason: Why, for those who read the support table.
    """

    check: str
    kind: GapKind
    reason: str


class NotApplicableError(Exception):
    """The case does not give what a check needs; the message says what that is."""


class NotDeclaredError(Exception):
    """The plugin's class itself says that it does not do what a check is about, so that no `Gap` has to."""

    def __init__(self, reason: str, kind: GapKind = "not_supported") -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True)
class Verdict:
    """What became of one check.

    Attributes:
        outcome: ``gap`` is a failure that was declared, and for which the kind of gap is true.
        kind: Of a gap.
        reason: Of a gap, or what to do about a failure that the check itself does not tell.
    """

    outcome: Literal["passed", "gap", "failed"]
    kind: GapKind | None = None
    reason: str | None = None


def check(name: str) -> Callable[[Test], Test]:
    """Name the check that a test of a suite makes; the test's docstring is what it shows."""

    def named(test: Test) -> Test:
        setattr(test, _ATTRIBUTE, name)
        return test

    return named


def check_name(test: object) -> str | None:
    """Give the name that `check` gave to a test."""
    found = getattr(test, _ATTRIBUTE, None)
    return found if isinstance(found, str) else None


def declared(gaps: Sequence[Gap], name: str) -> Gap | None:
    """Find the gap that speaks of a check."""
    return next((gap for gap in gaps if gap.check in {name, name.partition("[")[0]}), None)


def judge(name: str, raised: BaseException | None, gap: Gap | None) -> Verdict:  # noqa: PLR0911  one for each case
    """Say what a check's end means: a gap that is not true is a failure, as is one that nobody declared."""
    match raised, gap:
        case None, None:
            return Verdict("passed")
        case None, Gap():
            return Verdict("failed", reason=f"{_told(gap)}, but the check passes: take the gap out")
        case NotDeclaredError(), _:
            return Verdict("gap", gap.kind if gap else raised.kind, gap.reason if gap else str(raised))
        case NotApplicableError(), None:
            return Verdict(
                "failed",
                reason=f"{raised}; or declare Gap({name!r}, 'not_applicable', reason) if there is nothing to give",
            )
        case NotApplicableError(), Gap(kind="not_applicable"):
            return Verdict("gap", gap.kind, gap.reason)
        case NotApplicableError(), Gap():
            return Verdict("failed", reason=f"{_told(gap)}, but nothing was checked: {raised}")
        case _, Gap(kind="not_applicable"):
            return Verdict("failed", reason=f"{_told(gap)}, but the check applies and fails")
        case _, Gap():
            return Verdict("gap", gap.kind, gap.reason)
    return Verdict("failed")


def _told(gap: Gap) -> str:
    return f"{gap.check} is declared {gap.kind} ({gap.reason})"
