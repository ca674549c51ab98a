"""A process around a `Session`: its end, its forks, and its standard streams, which are the plugin's alone."""

from __future__ import annotations

import atexit
import faulthandler
import io
import logging
import os
import socket
import sys
import traceback
from contextlib import suppress

from dativo_plugin_sdk.host.session import Session

_ENGINE_GONE = 75
_BROKEN = 70


def run(control: socket.socket, data: socket.socket) -> int:
    """Serve until the end and give the exit code; where the engine is gone, the process ends within."""
    faulthandler.enable()  # a crash in a library says where
    logging.captureWarnings(capture=True)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # a pipe would keep lines back, and a killed process loses them
    session = Session(control, data, gone=_end, at_end=_run_exit_functions)
    os.register_at_fork(after_in_child=session.forget)
    code = 0
    try:
        session.serve()
    except BaseException:  # noqa: BLE001  the process ends, whatever it was
        traceback.print_exc()
        code = _BROKEN
    # Not through the interpreter's own end: threads and libraries of the plugin may hang there, or crash.
    os._exit(code)


def _end() -> None:
    os._exit(_ENGINE_GONE)


def _run_exit_functions() -> None:
    atexit._run_exitfuncs()  # noqa: SLF001  there is no public one
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):  # the plugin closed or replaced it
            stream.flush()
