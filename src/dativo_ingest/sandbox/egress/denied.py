"""The error for a plugin that failed after it was denied a host: whom it wanted, and the line that would allow it."""

from __future__ import annotations

from collections.abc import Sequence

from dativo_ingest.sandbox.egress.record import EGRESS_DENIED, Denial
from dativo_ingest.sandbox.endings import KNOBS
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

_OF_AN_ANSWER = (AuthenticationError, DataError, RateLimitError)
_OF_A_PROCESS = frozenset({"PLUGIN_CRASHED", "PLUGIN_LOAD_ERROR"})
_OF_A_COMMIT = (CommitStateUnknownError, ConcurrencyError, DatabaseLockError, FencedError)


def explains(error: DativoError) -> bool:
    """Say whether a denial may be what an error came of.

    An error that somebody's answer was behind has another cause, though the plugin was denied another host; and what
    the engine must know of a commit stays.
    """
    if isinstance(error, (*_OF_AN_ANSWER, *_OF_A_COMMIT, SandboxError)):
        return False
    is_of_process = error.error_code in _OF_A_PROCESS
    return error.details.get("exit_code") is not None if is_of_process else error.error_code not in KNOBS


def explained(spec: RunSpec, error: DativoError, denials: Sequence[Denial]) -> DativoError:
    """Give the error that says what an error came of; that one, with the denials in its details, where another did."""
    if explains(error):
        denied = denied_error(spec, denials, error.message)
        denied.details = {**error.details, **denied.details}
        denied.__cause__ = error
        return denied
    error.details.setdefault("denied", [each.document() for each in denials])
    return error


def denied_error(spec: RunSpec, denials: Sequence[Denial], said: str) -> SandboxError:
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
