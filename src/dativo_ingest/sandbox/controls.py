"""What a sandbox holds a plugin to, control by control, and what is said where one is missing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from dativo_plugin_sdk.errors import SandboxError

Control: TypeAlias = Literal[
    "files",
    "processes",
    "network",
    "system_calls",
    "privileges",
    "landlock",
    "memory",
    "pids",
    "cpu",
    "disk",
    "wall",
    "output",
]
Degradable: TypeAlias = Literal["memory", "pids", "cpu", "disk", "landlock"]
State: TypeAlias = Literal["enforced", "weaker", "absent"]

SANDBOX_UNAVAILABLE: Final = "SANDBOX_UNAVAILABLE"
CONTROLS: Final[tuple[Control, ...]] = get_args(Control)
"""Every control, in the order in which they are told of."""
DEGRADABLE: Final[tuple[Degradable, ...]] = get_args(Degradable)
"""Those that an operator may do without: what is left still keeps a plugin from what is not its own."""


@dataclass(frozen=True)
class Finding:
    """What one control comes to on this machine.

    Attributes:
        control: Which.
        state: ``weaker`` where it holds in a lesser way, which ``how`` tells.
        how: By what it is enforced, or why it is not.
        remedy: What to install or set; None where nothing is missing.
    """

    control: Control
    state: State
    how: str
    remedy: str | None = None


def states_of(findings: Iterable[Finding]) -> dict[str, State]:
    """Give each control's state by its name, as reports have it."""
    return {each.control: each.state for each in findings}


def unavailable(message: str, *, hint: str, controls: Iterable[Finding] = ()) -> SandboxError:
    """Make the error for a sandbox that cannot be had as it is wanted; there is no retry with less."""
    missing = [{"control": each.control, "state": each.state, "how": each.how} for each in controls]
    return SandboxError(message, error_code=SANDBOX_UNAVAILABLE, details={"controls": missing}, hint=hint)
