"""Plugin classes by name: ``path/to/file.py:ClassName``, or ``module:Class`` as an entry point says it."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import sys
from functools import reduce
from pathlib import Path
from types import ModuleType
from typing import Any

from dativo_plugin_sdk.errors import PluginLoadError
from dativo_plugin_sdk.plugin_faults import places, way_out


def class_from_path(plugin_path: str, *bases: type, keeps_folder: bool = False) -> type[Any]:
    """Import the file of ``path/to/file.py:ClassName`` and give its class.

    The folder of the file is importable while it loads, as it is when the file is run as a script.

    Args:
        plugin_path: File and class.
        bases: What the class must be one of.
        keeps_folder: Leave the folder importable, for a process that is the plugin's own.

    Raises:
        PluginLoadError: There is no such file or class, importing it failed, or the class is none of ``bases``.
    """
    file_name, separator, class_name = plugin_path.rpartition(":")
    if not separator or not class_name.isidentifier():
        raise PluginLoadError(f"{plugin_path!r} does not name a plugin", hint="write it as path/to/file.py:ClassName")
    path = Path(file_name)
    if not path.is_file():
        raise PluginLoadError(f"plugin file {file_name} does not exist", details={"file": file_name})
    return plugin_class(_module_of_file(path, keeps_folder=keeps_folder), class_name, *bases, where=file_name)


def class_from_entry_point(entry_point: str, *bases: type) -> type[Any]:
    """Import the module of ``module:Class`` and give its class.

    Raises:
        PluginLoadError: As `class_from_path`.
    """
    module_name, _, attribute = entry_point.partition(":")
    try:
        module = importlib.import_module(module_name)
        owner, _, class_name = attribute.rpartition(".")
        holder: Any = reduce(getattr, owner.split("."), module) if owner else module
    except (Exception, SystemExit) as error:  # foreign code: whatever importing it raises, it is the plugin that failed
        raise _failed(f"importing {entry_point}", error, entry_point) from error
    return plugin_class(holder, class_name, *bases, where=module_name)


def plugin_class(holder: object, class_name: str, *bases: type, where: str) -> type[Any]:
    """Pick a class out of a plugin's module and see that the engine can work with it.

    Raises:
        PluginLoadError: It is not there, is none of ``bases``, or leaves a method out.
    """
    found = getattr(holder, class_name, None)
    details = {"file": where, "class": class_name}
    if found is None:
        classes = sorted(
            name
            for name, value in vars(holder).items()
            if inspect.isclass(value) and issubclass(value, bases) and value.__module__ == holder.__name__  # type: ignore[attr-defined]  # a module
        )
        there_is = f"; it has {', '.join(classes)}" if classes else ""
        hint = "let the job name the plugin's class behind the colon" if classes else None
        raise PluginLoadError(f"{where} has no class {class_name}{there_is}", details=details, hint=hint)
    if not inspect.isclass(found) or not issubclass(found, bases):
        names = [base.__name__ for base in bases]
        raise PluginLoadError(
            f"{class_name} in {where} is no {' or '.join(names)}",
            details=details,
            hint=f"subclass dativo_plugin_sdk.{names[0]}",
        )
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise PluginLoadError(f"{class_name} in {where} does not implement {', '.join(missing)}", details=details)
    return found


def _module_of_file(path: Path, *, keeps_folder: bool) -> ModuleType:
    resolved = path.resolve()
    name = f"_dativo_plugin_{hashlib.sha256(str(resolved).encode()).hexdigest()[:12]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise PluginLoadError(f"{path} is no Python file", details={"file": str(path)}, hint="name a .py file")
    module = importlib.util.module_from_spec(spec)
    folder = str(resolved.parent)
    sys.modules[name] = module
    sys.path.insert(0, folder)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # foreign code: whatever it raises, it is the plugin that failed
        del sys.modules[name]
        raise _failed(f"importing {path}", error, str(path)) from error
    finally:
        if not keeps_folder and folder in sys.path:
            sys.path.remove(folder)
    return module


def _failed(what: str, error: BaseException, file: str) -> PluginLoadError:
    details: dict[str, Any] = {"file": file, "original_error": type(error).__name__, "original_message": str(error)}
    if at := places(error):
        details["at"] = at
    return PluginLoadError(f"{what} failed: {type(error).__name__}: {error}", details=details, hint=way_out(error))
