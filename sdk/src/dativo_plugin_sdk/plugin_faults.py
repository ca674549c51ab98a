"""Where in a plugin's own code it failed, and what its author can do about it."""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from types import TracebackType

_SDK = str(Path(__file__).parent)
_OUTERMOST, _INNERMOST = 3, 2


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


def _is_of_environment(trace: TracebackType | None) -> bool:
    """Say whether the innermost frame is that of ``os.environ``."""
    frames = traceback.extract_tb(trace)
    return bool(frames) and frames[-1].name == "__getitem__" and frames[-1].filename in {"<frozen os>", os.__file__}
