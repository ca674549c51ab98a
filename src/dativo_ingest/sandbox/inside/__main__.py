"""Restrict this process, make sure that the sandbox is what it should be, then become what runs the plugin.

PLAN, the only argument, is a JSON object; `dativo_ingest.sandbox.inside_plan` makes it. Where something is not as it
should be the process ends with 125, before any code of the plugin's has run, and says what on stderr.
"""

from __future__ import annotations

import base64
import contextlib
import ctypes
import json
import os
import resource
import sys
from typing import TYPE_CHECKING, Any, Final, NoReturn

if not __package__:  # run as a folder: the package is found by the folder it lies in
    sys.path[0] = os.path.dirname(sys.path[0])  # noqa: PTH120  pathlib takes long to import
    __package__ = "inside"

from .call_names import CALLS
from .filters import hold_to
from .first import be_first
from .landlock import restrict
from .programs import deny_programs
from .sigsys import install
from .verify import WrongError, verify

if TYPE_CHECKING:
    from .forwards import Forwards

REFUSED: Final = 125
_PR_SET_DUMPABLE = 4
_PREFIX = "dativo-sandbox: "


def main(arguments: list[str]) -> NoReturn:
    """Do what the plan says."""
    try:
        plan = json.loads(arguments[0])
        os.closerange(3, _most_files())
        be_first()
        _start_forwards(plan)
        _limit(plan)
        restrict(
            read=plan["read"],
            write=plan["write"],
            execute=plan["execute"],
            is_needed=plan["landlock"],
            denies_tcp=not plan["hosts"],
        )
        _hide_memory()
        if plan["filter"] is not None:
            hold_to(base64.b64decode(plan["filter"]), "the list of system calls")
        if not plan["programs"]:
            deny_programs(also_exec=plan["module"] is not None)
        verify(plan)
        install(CALLS[os.uname().machine])
    except (OSError, WrongError, ValueError, TypeError, LookupError) as error:
        os.write(2, f"{_PREFIX}{error}\n".encode(errors="replace"))
        os._exit(REFUSED)
    os.environ.pop("PWD", None)  # bubblewrap's
    if plan["module"] is None:
        _execute(plan["command"])
    _host(plan["module"])


def _most_files() -> int:
    return min(resource.getrlimit(resource.RLIMIT_NOFILE)[1], 2**16)


def _limit(plan: dict[str, Any]) -> None:
    """Limit what counts by user namespace, which is the sandbox's own only here."""
    if plan["processes"] is not None:
        resource.setrlimit(resource.RLIMIT_NPROC, (plan["processes"], plan["processes"]))


def _hide_memory() -> None:
    """Have no core dump made of this process, also where the system gives them to a program: it will have secrets."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "the process cannot be kept from leaving its memory behind")


def _start_forwards(plan: dict[str, Any]) -> None:
    """Start what carries connections to the granted hosts: a process of its own, which the plugin cannot touch.

    Where none is granted it tells the proxy which names were looked up. Nobody waits for it then, or misses it.
    """
    hosts, proxy = plan["hosts"], plan["proxy"]
    if hosts:
        from .forwards import Forwards  # noqa: PLC0415  it takes time to load

        forwards = Forwards(hosts, proxy)
        os.environ.update(forwards.variables())
        if os.fork() == 0:
            _serve(forwards, plan)
        forwards.close()
    elif os.path.exists(proxy) and os.fork() == 0:  # noqa: PTH110  pathlib takes long to import
        from .forwards import Forwards  # noqa: PLC0415

        with contextlib.suppress(OSError):
            _serve(Forwards(hosts, proxy), plan)
        os._exit(0)


def _serve(forwards: Forwards, plan: dict[str, Any]) -> NoReturn:
    """Answer, with no more system calls than the plugin has, and no other program."""
    try:
        if plan["filter"] is not None:
            hold_to(base64.b64decode(plan["filter"]), "the list of system calls")
        deny_programs(also_exec=True)
        _hide_memory()
        forwards.serve()
    finally:
        os._exit(1)


def _execute(command: list[str]) -> NoReturn:
    try:
        os.execvpe(command[0], command, os.environ)  # noqa: S606  the plugin that the job names
    except OSError as error:
        os.write(2, f"{command[0]}: {error.strerror}\n".encode(errors="replace"))
    os._exit(127)


def _host(module: str) -> NoReturn:
    """Run a module as Python does, with the packages of its environment, and nothing of this folder."""
    del sys.path[0]
    sys.argv[:] = [module]

    import faulthandler  # noqa: PLC0415  what follows costs time that a refusal does not need
    import runpy  # noqa: PLC0415
    import site  # noqa: PLC0415

    faulthandler.enable()
    site.main()
    runpy.run_module(module, run_name="__main__", alter_sys=True)
    sys.exit(0)


if __name__ == "__main__":
    main(sys.argv[1:])
