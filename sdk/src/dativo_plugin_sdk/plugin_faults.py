"""Where in a plugin's own code it failed, and what its author can do about it."""

from __future__ import annotations

import errno
import os
import socket
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

_SDK = str(Path(__file__).parent)
_OUTERMOST, _INNERMOST = 3, 2
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_STARTERS = ("subprocess.py", "multiprocessing/popen_fork.py", "multiprocessing/util.py")
_UNREACHED = frozenset({errno.EACCES, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPERM})
_NO_THREAD = "can't start new thread"


def places(error: BaseException) -> list[str]:
    """List the lines of foreign code that an error came through, outermost first: ``shop.py:7 in extract``.

    Of many, the first ones are kept, which are the plugin's, and the last ones.
    """
    found = [
        f"{frame.filename}:{frame.lineno} in {frame.name}"
        for frame in traceback.extract_tb(error.__traceback__)
        if is_foreign(frame.filename)
    ]
    if isinstance(error, SyntaxError) and error.filename is not None:
        found.append(f"{error.filename}:{error.lineno}")
    if len(found) <= _OUTERMOST + _INNERMOST:
        return found
    return [*found[:_OUTERMOST], "…", *found[-_INNERMOST:]]


def is_foreign(filename: str) -> bool:
    """Say whether a file is neither the SDK's nor a part of how Python imports."""
    return not filename.startswith((_SDK, "<frozen "))


def way_out(error: BaseException) -> str | None:
    """Give the hint for what often goes wrong once a plugin runs somewhere else than where it was written."""
    if isinstance(error, ModuleNotFoundError) and error.name is not None:
        package = error.name.partition(".")[0]
        return (
            f"install {package} where the plugin runs ({sys.executable} -m pip install {package}), or give the plugin "
            "a .venv beside its file, with dativo-plugin-sdk and all that it imports"
        )
    if isinstance(error, KeyError) and _is_of_environment(error.__traceback__):
        name = error.args[0]
        return (
            f"a plugin gets nothing of the engine's environment: let the job say it in options, or the operator's "
            f"policy environment: [{name}]"
        )
    return None


def limit_of(error: BaseException) -> str | None:
    """Give the code of the limit that foreign code ran into: of memory, of processes and threads, or of space."""
    if isinstance(error, MemoryError):  # Arrow's are, too
        return "RESOURCE_MEMORY"
    if isinstance(error, RuntimeError) and str(error) == _NO_THREAD:
        return "RESOURCE_PIDS"
    if isinstance(error, OSError) and error.errno == errno.EAGAIN and is_of_start(error):
        return "RESOURCE_PIDS"
    return "RESOURCE_DISK" if isinstance(error, OSError) and error.errno in _FULL else None


def of_system(error: BaseException) -> dict[str, str]:
    """Give what the system said no with, by name, and to what; nothing of other errors."""
    if any(map(_is_of_host, _chain(error))):
        return {"wanted": "a host"}
    name = errno.errorcode.get(error.errno or 0) if isinstance(error, OSError) else None
    if not isinstance(error, OSError) or name is None:
        return {}
    facts = {"errno": name}
    if is_of_start(error):
        facts["wanted"] = "a process"
    if isinstance(error.filename, str):
        facts["path"] = error.filename
    return facts


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Give an error and those that it came of."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def _is_of_host(error: BaseException) -> bool:
    """Say whether it was a host that could not be found or reached."""
    if isinstance(error, socket.gaierror):
        return True
    if not isinstance(error, OSError) or error.errno not in _UNREACHED:
        return False
    frames = traceback.extract_tb(error.__traceback__)
    return bool(frames) and "connect(" in (frames[-1].line or "")


def is_of_start(error: BaseException) -> bool:
    """Say whether it was a process that could not be started."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return False
    last = frames[-1]
    return last.filename.endswith(_STARTERS) or "fork(" in (last.line or "")


def _is_of_environment(trace: TracebackType | None) -> bool:
    """Say whether the innermost frame is that of ``os.environ``."""
    frames = traceback.extract_tb(trace)
    return bool(frames) and frames[-1].name == "__getitem__" and frames[-1].filename in {"<frozen os>", os.__file__}
