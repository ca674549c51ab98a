"""What a process of Dativo exits with; whether trying again helps is a function of the code."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dativo_plugin_sdk import errors

if TYPE_CHECKING:
    from collections.abc import Iterable

OK = 0
INTERNAL = 1
USAGE = 2
PARTIAL = 3
DATA = 65
NOT_FOUND = 66
UNAVAILABLE = 69
PLUGIN = 70
REFUSED = 73
TEMPORARY = 75
PERMISSION = 77
CONFIG = 78
FENCED = 79
INTERRUPTED = 130
TERMINATED = 143

MEANINGS: dict[int, str] = {
    OK: "every stream committed, or there was nothing new",
    INTERNAL: "internal error: a bug in Dativo",
    USAGE: "bad command line",
    PARTIAL: "partial: some streams committed, some failed; the report says which and whether trying again helps",
    DATA: "data: a contract or quality gate above its threshold",
    NOT_FOUND: "the source object does not exist",
    UNAVAILABLE: "a needed component is missing or unsupported here (plugin, version, sandbox control)",
    PLUGIN: "a plugin crashed or broke its protocol",
    REFUSED: "the target refuses (destructive change blocked, cannot create, disk full, commit outcome unknown)",
    TEMPORARY: "temporary: network, timeout, rate limit, lock, unavailable service, exhausted commit conflict",
    PERMISSION: "authentication or permission",
    CONFIG: "configuration, contract or secret reference invalid",
    FENCED: "fenced: another run owns a newer generation",
    INTERRUPTED: "interrupted by SIGINT; the last commit is consistent",
    TERMINATED: "interrupted by SIGTERM; the last commit is consistent",
}

RETRYABLE = frozenset({TEMPORARY, INTERRUPTED, TERMINATED})
"""Codes after which the same command may succeed without anybody changing anything; `PARTIAL` asks the report."""

_BY_CLASS: dict[type[errors.DativoError], int] = {
    errors.ConnectionError: TEMPORARY,
    errors.TransientError: TEMPORARY,
    errors.ResourceUnavailableError: TEMPORARY,
    errors.AuthenticationError: PERMISSION,
    errors.ConfigurationError: CONFIG,
    errors.MemoryLimitError: CONFIG,  # the way out is a larger limits.memory_mb
    errors.DataNotFoundError: NOT_FOUND,
    errors.DataError: DATA,
    errors.DiskFullError: REFUSED,
    errors.ResourceError: UNAVAILABLE,
    errors.PluginLoadError: UNAVAILABLE,
    errors.PluginVersionError: UNAVAILABLE,
    errors.PluginError: PLUGIN,
    # It may have landed: nobody retries blindly, somebody looks at the target.
    errors.CommitStateUnknownError: REFUSED,
    errors.FencedError: FENCED,
    errors.DativoError: INTERNAL,
}

_SAID_BY_CLASS = frozenset({PERMISSION, FENCED})
"""Codes that stand whatever the instance's flag says: an expired token is retried after a refresh, not by itself."""

_WORST_FIRST = (
    TERMINATED,
    INTERRUPTED,
    INTERNAL,
    PLUGIN,
    CONFIG,
    PERMISSION,
    REFUSED,
    UNAVAILABLE,
    NOT_FOUND,
    DATA,
    FENCED,
    PARTIAL,
    TEMPORARY,
    OK,
)


def of(error: BaseException) -> int:
    """Give the exit code of an error: that of its nearest class, unless its own ``retryable`` flag says otherwise.

    An instance declared retryable exits `TEMPORARY` whatever its class, and one of a temporary class declared not
    retryable exits `UNAVAILABLE`, so that the code always tells whether to try again.
    """
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if not isinstance(error, errors.DativoError):
        return TEMPORARY if errors.is_retryable_error(error) else INTERNAL
    if isinstance(error, errors.SandboxError) and error.error_code == "SANDBOX_UNAVAILABLE":
        return UNAVAILABLE
    code = next(_BY_CLASS[kind] for kind in type(error).__mro__ if kind in _BY_CLASS)
    if code in _SAID_BY_CLASS:
        return code
    if error.retryable:
        return TEMPORARY
    return UNAVAILABLE if code == TEMPORARY else code


def worst(codes: Iterable[int]) -> int:
    """Give the one code for several jobs: the first of them in the order of `_WORST_FIRST`, 0 where there are none.

    A failure that trying again cannot mend goes before one that it can: an orchestrator that retried forever would
    hide it.
    """
    return min(codes, key=_rank, default=OK)


def of_streams(codes: Iterable[int]) -> int:
    """Give the one code for the streams of a job: `PARTIAL` where some went well and some did not, else the worst."""
    known = list(codes)
    return PARTIAL if OK in known and any(code != OK for code in known) else worst(known)


def _rank(code: int) -> int:
    return _WORST_FIRST.index(code) if code in _WORST_FIRST else _WORST_FIRST.index(INTERNAL)
