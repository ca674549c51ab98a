"""The error for a plugin that failed after it was denied a host: whom it wanted, and the line that would allow it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from dativo_ingest.sandbox.egress.record import Denial
from dativo_ingest.sandbox.run_spec import RunSpec
from dativo_plugin_sdk.errors import (
    AuthenticationError,
    CommitStateUnknownError,
    ConcurrencyError,
    DatabaseLockError,
    DataError,
    DativoError,
    FencedError,
    RateLimitError,
    SandboxError,
)

EGRESS_DENIED: Final = "EGRESS_DENIED"

_OF_AN_ANSWER = (AuthenticationError, DataError, RateLimitError)
_OF_A_COMMIT = (CommitStateUnknownError, ConcurrencyError, DatabaseLockError, FencedError)


def explains(error: DativoError) -> bool:
    """Say whether a denial may be what an error came of.

    An error that somebody's answer was behind has another cause, though the plugin was denied another host; and what
    the engine must know of a commit stays.
    """
    return not isinstance(error, (*_OF_AN_ANSWER, *_OF_A_COMMIT, SandboxError))


def denied(spec: RunSpec, denials: Sequence[Denial], said: str) -> SandboxError:
    """Make the error.

    Args:
        spec: What was started.
        denials: What it was denied while it did what it failed at; the first is what counts.
        said: What it said, or what became of it.
    """
    first = denials[0]
    others = sorted({each.place for each in denials} - {first.place})
    more = f"; so were {', '.join(others)}" if others else ""
    return SandboxError(
        f"the plugin {spec.plugin} was denied {first.place}: {first.why}{more}; it failed with: {said}",
        error_code=EGRESS_DENIED,
        details={"host": first.place, "denied": [each.document() for each in denials]},
        hint=way_out(spec, first),
    )


def way_out(spec: RunSpec, denial: Denial) -> str:
    """Say which line would allow what was denied."""
    match denial.kind:
        case "host":
            line = f'{denial.key}: ["{denial.value}"]  in {spec.manifest}'
            return f"{line}, as far as the operator's policy allows it"
        case "address":
            return (
                f'{denial.key}: ["{denial.value}"]  in the operator\'s policy (--policy), if such an address is meant'
            )
        case "quota":
            return spec.way_out(denial.key)
