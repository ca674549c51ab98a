"""Which back end holds a plugin: by the mode, the operator's policy and the job, and never a quieter one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from dativo_ingest.sandbox.confinement import Confinement
from dativo_ingest.sandbox.controls import CONTROLS, DEGRADABLE, Control, Finding, State, unavailable
from dativo_ingest.sandbox.levels import ISOLATIONS, Backend, Isolation, Mode, is_at_least
from dativo_ingest.sandbox.terms import Said, SandboxTerms
from dativo_ingest.sandbox.unconfined import Unconfined
from dativo_plugin_sdk.errors import SandboxError

DEFAULT: Final[Backend] = "process"
"""What holds plugins where nobody says anything."""

_LOGGER = logging.getLogger("dativo.plugins")
_MODE_MIN: Final[dict[Mode, Isolation]] = {"self_hosted": "none", "cloud": "container"}
_AT_MOST: Final[dict[Backend, Isolation]] = {"none": "none", "process": "process", "container": "vm"}
_MAY_BE_WEAKER: Final[frozenset[Control]] = frozenset({"memory", "pids", "cpu"})
_OWN_KERNEL: Final[frozenset[Control]] = frozenset({"landlock"})  # gVisor has none: what it would limit is not there


@dataclass(frozen=True)
class Wanted:
    """What one plugin's sandbox must be.

    Attributes:
        plugin: What it is called.
        terms: What the operator says.
        mode: Where Dativo runs.
        least: The least that the job asks for, and where.
        code_sha256: Gives the hash of all the code that it could bring along; asked for only where nothing else keeps
            the plugin from the machine.
    """

    plugin: str
    terms: SandboxTerms
    mode: Mode
    least: Said[Isolation | None]
    code_sha256: Callable[[], str]


def choose(wanted: Wanted) -> Confinement:
    """Give the back end that holds a plugin as the mode, the policy and the job ask for, or none at all.

    Raises:
        SandboxError: It cannot be held so here (``SANDBOX_UNAVAILABLE``): the message says by which control, and the
            hint what to install or set.
    """
    least = _least(wanted)
    backend = backend_of(wanted)
    if not is_at_least(_AT_MOST[backend], least.value):
        raise _too_little(wanted, least, _AT_MOST[backend])
    chosen = BACKENDS[backend](wanted)
    if not is_at_least(chosen.isolation, least.value):
        raise _too_little(wanted, least, chosen.isolation)
    lacking = missing(chosen.isolation, chosen.findings, wanted.mode, wanted.terms)
    if lacking:
        raise _lacks(wanted, chosen, lacking)
    return chosen


def missing(isolation: Isolation, findings: Iterable[Finding], mode: Mode, terms: SandboxTerms) -> list[Finding]:
    """Give the controls that are not what they must be; weaker is enough for some of them, as the operator says."""
    if isolation == "none":
        return []
    found = {each.control: each for each in findings}
    said = terms.allow_degraded.value if mode != "cloud" else ()
    allowed: frozenset[str] = frozenset(said or ())
    weaker = _MAY_BE_WEAKER if said is None else allowed
    absent = allowed | (_OWN_KERNEL if isolation == "vm" else frozenset())
    enough: dict[State, frozenset[str]] = {"enforced": frozenset(CONTROLS), "weaker": weaker, "absent": absent}
    every = (found.get(control, Finding(control, "absent", "nothing enforces it")) for control in CONTROLS)
    return [each for each in every if each.control not in enough[each.state]]


def _least(wanted: Wanted) -> Said[Isolation]:
    """Give the strictest of what mode, policy and job ask for at least, and who asks."""
    asked = [Said(_MODE_MIN[wanted.mode], f"mode {wanted.mode}")]
    asked += [Said(each.value, each.where) for each in (wanted.terms.min, wanted.least) if each.value is not None]
    return max(asked, key=lambda each: ISOLATIONS.index(each.value))


def backend_of(wanted: Wanted) -> Backend:
    """Give the back end that the operator names, else the lightest that is as much as is asked for."""
    least = _least(wanted).value
    named = wanted.terms.backend.value
    if named is not None:
        return named
    if is_at_least("none", least):
        return DEFAULT
    return "process" if is_at_least("process", least) else "container"


def _unconfined(wanted: Wanted) -> Unconfined:
    """Let a plugin run without a sandbox, if the operator knows its code.

    Raises:
        SandboxError: Nobody does.
    """
    terms = wanted.terms
    code = f"sha256:{wanted.code_sha256()}"
    if code not in terms.trusted.value:
        raise unavailable(
            f"the plugin {wanted.plugin} would run without a sandbox ({terms.backend.where}), and its code {code} is "
            f"not trusted: {terms.trusted.where}",
            hint=f"set sandbox.backend to process; or read all of its code, and add {code} to plugins.trusted",
        )
    _LOGGER.warning(
        "the plugin %s runs without a sandbox: it may do whatever the user who runs dativo may (%s)",
        wanted.plugin,
        terms.backend.where,
    )
    return Unconfined()


def _process(_: Wanted) -> Confinement:
    from dativo_ingest.sandbox.bubblewrap import Process  # noqa: PLC0415  only where it is used

    return Process()


def _container(wanted: Wanted) -> Confinement:
    from dativo_ingest.sandbox.container.back_end import container  # noqa: PLC0415  only where it is used

    terms = wanted.terms
    return container(engine=terms.engine.value, image=terms.image.value, runtime=terms.runtime.value)


BACKENDS: Final[dict[Backend, Callable[[Wanted], Confinement]]] = {
    "none": _unconfined,
    "process": _process,
    "container": _container,
}
"""What makes each back end as one plugin needs it."""


def _lacks(wanted: Wanted, chosen: Confinement, lacking: list[Finding]) -> SandboxError:
    lines = [f"  {each.control}: {each.state}, {each.how}" for each in lacking]
    remedies = dict.fromkeys(each.remedy for each in lacking if each.remedy is not None)
    degradable = [each.control for each in lacking if each.control in DEGRADABLE]
    if degradable and wanted.mode != "cloud":
        remedies[f"or let the policy do without it: sandbox.allow_degraded: [{', '.join(degradable)}]"] = None
    return unavailable(
        f"the plugin {wanted.plugin} cannot be held as it must be in the sandbox {chosen.isolation}:\n"
        + "\n".join(lines),
        hint="; ".join((*remedies, "dativo doctor tries every control")),
        controls=lacking,
    )


def _too_little(wanted: Wanted, least: Said[Isolation], found: Isolation) -> SandboxError:
    return unavailable(
        f"the plugin {wanted.plugin} must have at least isolation {least.value} ({least.where}), and gets {found}",
        hint=_more(least.value),
    )


def _more(least: Isolation) -> str:
    match least:
        case "vm":
            return "set sandbox.backend to container and sandbox.runtime to runsc (gVisor) or kata in the policy"
        case "container":
            return "set sandbox.backend to container in the policy, or leave it out"
        case _:
            return "set sandbox.backend to process in the policy, or leave it out"
