"""What this machine can hold plugins to: every control of a back end, proved by a plugin that tries to get past it."""

from __future__ import annotations

import contextlib
import functools
import io
import secrets
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias

import dativo_ingest
from dativo_ingest.plugin_process.finding import plugin_of_file
from dativo_ingest.plugin_process.records import PluginRecord
from dativo_ingest.plugin_process.remote_reader import RemoteReader
from dativo_ingest.plugin_process.starting import Hosted, Starter
from dativo_ingest.run import exit_codes
from dativo_ingest.run.error_document import error_document
from dativo_ingest.sandbox import doctor
from dativo_ingest.sandbox.choice import BACKENDS, Wanted, backend_of, missing
from dativo_ingest.sandbox.confinement import Confinement
from dativo_ingest.sandbox.controls import CONTROLS, SANDBOX_UNAVAILABLE, Control, Finding
from dativo_ingest.sandbox.doctor.machine import machine
from dativo_ingest.sandbox.grant import Grant
from dativo_ingest.sandbox.levels import Backend, Mode
from dativo_ingest.sandbox.terms import Said, Terms
from dativo_ingest.sandbox.unconfined import Unconfined
from dativo_plugin_sdk.config import SourceConfig
from dativo_plugin_sdk.errors import DativoError, SandboxError

DOCUMENT: Final = "dativo.doctor/1"

Outcome: TypeAlias = Literal["blocked", "through", "unproven"]

_PLUGIN: Final = Path(doctor.__file__).with_name("plugin") / "trial.py"
_MIB: Final = 2**20
_GRANT: Final = Grant(
    subprocess=True,
    memory_bytes=384 * _MIB,
    cpu=0.5,
    pids=48,
    wall_s=120.0,
    tmp_bytes=16 * _MIB,
    log_bytes=256 * 2**10,
)
_VICTIM: Final = "import sys; sys.stdin.read()"


@dataclass(frozen=True)
class _Attempt:
    """One attempt: of which control, and what is tried, as people are told."""

    control: Control
    what: str
    is_known: bool = True
    """Whether it must get through without a sandbox to prove anything."""


_ATTEMPTS: Final[Mapping[str, _Attempt]] = {
    "read_file": _Attempt("files", "read a file of another's"),
    "write_file": _Attempt("files", "write into a folder of another's"),
    "see_process": _Attempt("processes", "see a process of another's"),
    "signal_process": _Attempt("processes", "send it a signal"),
    "outlive": _Attempt("processes", "leave a process that goes on", is_known=False),
    "fork": _Attempt("processes", "start a process that it is not granted"),
    "start_program": _Attempt("processes", "start a program that it is not granted"),
    "connect": _Attempt("network", "connect to a server of this machine"),
    "connect_abstract": _Attempt("network", "connect to an abstract socket of this machine"),
    "have_interface": _Attempt("network", "have a network interface that leads anywhere"),
    "trace": _Attempt("system_calls", "call ptrace"),
    "new_namespace": _Attempt("system_calls", "make a user namespace"),
    "gain_rights": _Attempt("privileges", "have a capability, or get one"),
    "restrict_further": _Attempt("landlock", "have no layer of it"),
    "take_memory": _Attempt("memory", "take 640 MiB where it may have 384"),
    "start_many": _Attempt("pids", "have 96 processes where it may have 48"),
    "spin": _Attempt("cpu", "use two processors where it may use half of one"),
    "fill_temporary": _Attempt("disk", "keep 32 MiB in its temporary folder where it may keep 16"),
    "fill_home": _Attempt("disk", "keep 32 MiB in its home"),
    "stay": _Attempt("wall", "stay longer than it may", is_known=False),
    "print_much": _Attempt("output", "print more than it may", is_known=False),
}
_ENDING: Final[Mapping[str, Grant]] = {
    "take_memory": _GRANT,
    "stay": replace(_GRANT, wall_s=3.0, cpu=1.0),
    "print_much": _GRANT,
}
"""What may end the plugin's process, and so has one of its own."""
_UNGRANTED: Final = ("fork", "start_program")
_KNOWN: Final = tuple(name for name, attempt in _ATTEMPTS.items() if attempt.is_known)


@dataclass(frozen=True)
class _Try:
    """What came of an attempt."""

    attempt: str
    outcome: Outcome
    why: str | None = None
    count: int = 0

    def document(self) -> dict[str, Any]:
        return {"attempt": _ATTEMPTS[self.attempt].what, "outcome": self.outcome, "why": self.why}


def examine(terms: Terms, mode: Mode, only: Backend | None = None) -> dict[str, Any]:
    """Try what holds plugins here, and give the doctor's document.

    Args:
        terms: What the operator says.
        mode: Where Dativo runs.
        only: The back end to try, which then is the one that must work; None tries all, and the default one must.
    """
    said = terms.sandbox
    wanted = Wanted("the doctor's trial", said, mode, Said(None), lambda: "")
    chosen = only or backend_of(wanted)
    names: Sequence[Backend] = ("process", "container") if only is None else (only,)
    # What it tries is no concern of whoever runs it: what its processes print is left out.
    with _scene() as scene, contextlib.redirect_stderr(io.StringIO()):
        found = [_backend(name, wanted, scene) for name in names if name != "none"]
    backends = [{**each, "default": each["name"] == chosen} for each in found]
    works = chosen == "none" or any(each["default"] and each["works"] for each in backends)
    return {
        "schema": DOCUMENT,
        "status": "succeeded" if works else "failed",
        "mode": mode,
        "tenant": terms.tenant,
        "default": chosen,
        "machine": {"dativo": dativo_ingest.__version__, **machine(said.engine.value)},
        "backends": backends,
        "exit_code": exit_codes.OK if works else exit_codes.UNAVAILABLE,
    }


def _backend(name: Backend, wanted: Wanted, scene: _Scene) -> dict[str, Any]:
    document: dict[str, Any] = {"name": name, "isolation": None, "works": False, "error": None, "controls": []}
    try:
        confinement = BACKENDS[name](wanted)
        tried = _tried(scene, confinement)
    except SandboxError as error:
        return {**document, "error": error_document(error)}
    proved = [_proved(finding, tried) for finding in confinement.findings]
    unmet = {each.control for each in missing(confinement.isolation, proved, wanted.mode, wanted.terms)}
    return {
        **document,
        "isolation": confinement.isolation,
        "works": not unmet,
        "controls": [
            {
                "control": each.control,
                "state": each.state,
                "enough": each.control not in unmet,
                "how": each.how,
                "remedy": each.remedy,
                "tried": [trial.document() for trial in tried if _ATTEMPTS[trial.attempt].control == each.control],
            }
            for each in sorted(proved, key=lambda each: CONTROLS.index(each.control))
        ],
    }


def _tried(scene: _Scene, confinement: Confinement) -> list[_Try]:
    """Make every attempt in a back end's sandbox; nothing where it cannot hold a process at all."""
    if any(each.state == "absent" for each in confinement.findings if each.control in {"files", "processes"}):
        return []
    without = scene.without
    left = f"dativo-{secrets.token_hex(4)}"
    layers = without["restrict_further"].count
    together = [name for name in _ATTEMPTS if name not in (*_ENDING, *_UNGRANTED)]
    places = {"left": left, "layers": layers or None}
    sessions = [(tuple(together), _GRANT), (_UNGRANTED, replace(_GRANT, subprocess=False))]
    sessions += [((name,), grant) for name, grant in _ENDING.items()]
    with ThreadPoolExecutor(len(sessions)) as pool:
        made = [pool.submit(_outcomes, scene, confinement, names, places, grant) for names, grant in sessions]
        found = {name: each for one in made for name, each in one.result().items()}
    if _goes_on(left):
        found["outlive"] = replace(found["outlive"], outcome="through")
    return [_judged(found[name], without.get(name)) for name in _ATTEMPTS]


def _judged(found: _Try, without: _Try | None) -> _Try:
    """Say of an attempt that gets nowhere without a sandbox either that it proves nothing."""
    if without is None or without.outcome == "through" or found.outcome == "through":
        return found
    return replace(found, outcome="unproven", why=f"it gets nowhere without a sandbox either: {without.why}")


def _proved(finding: Finding, tried: Sequence[_Try]) -> Finding:
    """Hold what a back end says of a control against what came of the attempts."""
    through = [
        each for each in tried if each.outcome == "through" and _ATTEMPTS[each.attempt].control == finding.control
    ]
    if finding.state != "enforced" or not through:
        return finding
    what = ", ".join(_ATTEMPTS[each.attempt].what for each in through)
    return Finding(
        finding.control,
        "absent",
        f"it should be enforced ({finding.how}), and a plugin could {what}",
        "run no plugin here that you do not trust, and report this: see SECURITY.md",
    )


def _outcomes(
    scene: _Scene, confinement: Confinement, names: Sequence[str], places: Mapping[str, Any], grant: Grant = _GRANT
) -> dict[str, _Try]:
    """Make attempts in one process; what ends it stopped the attempt that was being made.

    Raises:
        SandboxError: There can be no such process.
    """
    config = SourceConfig(type="trial", connection={**scene.places, **places, "attempts": list(names)})
    plugin = plugin_of_file("reader", f"{_PLUGIN}:Trial")
    record = PluginRecord.of("source", plugin, grant, confinement)
    reader = RemoteReader(config, Starter(plugin, config, Hosted(record, confinement=confinement)))
    found: dict[str, _Try] = {}
    try:
        for step in reader.check(()):
            details = step.run().details or {}
            outcome: Outcome = "through" if details["through"] else "blocked"
            found[step.step] = _Try(step.step, outcome, details.get("why"), details.get("count", 0))
    except DativoError as error:
        if isinstance(error, SandboxError) and error.error_code == SANDBOX_UNAVAILABLE:
            raise
        ended = next((name for name in names if name not in found), names[-1])
        found[ended] = _Try(ended, "blocked", f"{error.error_code}: {error.message}")
    finally:
        reader.close()
    missed = "the process ended before"
    return {name: found.get(name, _Try(name, "unproven", missed)) for name in names}


def _goes_on(name: str) -> bool:
    """Say whether a process of this name is there."""
    for path in Path("/proc").glob("[0-9]*/comm"):
        with contextlib.suppress(OSError):
            if path.read_text(errors="replace").strip() == name[:15]:
                return True
    return False


@dataclass(frozen=True)
class _Scene:
    """What is worth reaching, and where it is, as the plugin is told."""

    places: Mapping[str, Any]

    @functools.cached_property
    def without(self) -> Mapping[str, _Try]:
        """What comes of the attempts without a sandbox."""
        return _outcomes(self, Unconfined(), _KNOWN, {})


@contextlib.contextmanager
def _scene() -> Iterator[_Scene]:
    """Make a file, a process and two servers that are nobody's."""
    mark = f"dativo-doctor-{secrets.token_hex(8)}"
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dativo-doctor-")))
        folder.chmod(0o777)
        (folder / "canary").write_text(mark, encoding="utf-8")
        server = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        abstract = stack.enter_context(socket.socket(socket.AF_UNIX))
        abstract.bind(f"\0{mark}")
        abstract.listen()
        victim = stack.enter_context(
            subprocess.Popen(  # noqa: S603  our own
                [sys.executable, "-I", "-S", "-c", _VICTIM, mark], stdin=subprocess.PIPE, env={}, start_new_session=True
            )
        )
        stack.callback(victim.kill)
        yield _Scene(
            {
                "canary": str(folder / "canary"),
                "folder": str(folder),
                "mark": mark,
                "pid": victim.pid,
                "port": server.getsockname()[1],
                "left": "",
                "much_mib": 640,
                "much_disk_mib": 32,
                "much_text_kib": 1024,
                "many": 96,
                "cpu": _GRANT.cpu,
            }
        )
