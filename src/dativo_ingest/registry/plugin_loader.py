"""Plugin classes from files: ``path/to/file.py:ClassName``."""

from __future__ import annotations

import hashlib
import importlib.util
import inspect
import sys
from pathlib import Path
from typing import TypeVar

import dativo_plugin_sdk
from dativo_plugin_sdk.errors import PluginLoadError
from dativo_plugin_sdk.reader import BaseReader
from dativo_plugin_sdk.versions import check_plugin
from dativo_plugin_sdk.writer import BaseWriter

Plugin = TypeVar("Plugin")


class PluginLoader:
    """Loads the class that a job names by file."""

    @staticmethod
    def load_class_from_path(plugin_path: str, base_class: type[Plugin]) -> type[Plugin]:
        """Import ``file.py`` and give its class.

        The folder of the file is importable while it loads, as it is when the file is run as a script.

        Raises:
            PluginLoadError: There is no such file or class, importing it failed, or the class is no ``base_class``.
            PluginVersionError: Its ``requires_sdk`` leaves out this SDK, or its version is no PEP 440 version.
        """
        file_name, separator, class_name = plugin_path.rpartition(":")
        if not separator or not class_name.isidentifier():
            raise PluginLoadError(
                f"{plugin_path!r} does not name a plugin", hint="write it as path/to/file.py:ClassName"
            )
        path = Path(file_name)
        if not path.is_file():
            raise PluginLoadError(f"plugin file {file_name} does not exist", details={"file": file_name})
        return plugin_class(_module_from(path), class_name, base_class, where=file_name)

    @staticmethod
    def load_reader(plugin_path: str) -> type[BaseReader]:
        """Give the reader class that ``plugin_path`` names."""
        return PluginLoader.load_class_from_path(plugin_path, BaseReader)  # type: ignore[type-abstract]  # a subclass

    @staticmethod
    def load_writer(plugin_path: str) -> type[BaseWriter]:
        """Give the writer class that ``plugin_path`` names."""
        return PluginLoader.load_class_from_path(plugin_path, BaseWriter)  # type: ignore[type-abstract]  # a subclass


def plugin_class(module: object, class_name: str, base_class: type[Plugin], *, where: str) -> type[Plugin]:
    """Pick a class out of a plugin's module and see that the engine can work with it."""
    found = getattr(module, class_name, None)
    if found is None:
        classes = sorted(
            name
            for name, value in vars(module).items()
            if inspect.isclass(value) and issubclass(value, base_class) and value.__module__ == module.__name__  # type: ignore[attr-defined]  # a module
        )
        there_is = f"; it has {', '.join(classes)}" if classes else ""
        raise PluginLoadError(
            f"{where} has no class {class_name}{there_is}", details={"file": where, "class": class_name}
        )
    if not inspect.isclass(found) or not issubclass(found, base_class):
        raise PluginLoadError(
            f"{class_name} in {where} is no {base_class.__name__}",
            details={"file": where, "class": class_name},
            hint=f"subclass dativo_plugin_sdk.{base_class.__name__}",
        )
    missing = sorted(getattr(found, "__abstractmethods__", ()))
    if missing:
        raise PluginLoadError(
            f"{class_name} in {where} does not implement {', '.join(missing)}",
            details={"file": where, "class": class_name},
        )
    check_plugin(found, where=f"{where}:{class_name}", sdk=dativo_plugin_sdk.__version__)
    return found


def _module_from(path: Path) -> object:
    resolved = path.resolve()
    name = f"_dativo_plugin_{hashlib.sha256(str(resolved).encode()).hexdigest()[:12]}_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, resolved)
    if spec is None or spec.loader is None:
        raise PluginLoadError(f"{path} is no Python file", details={"file": str(path)}, hint="name a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    sys.path.insert(0, str(resolved.parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # foreign code: whatever it raises, it is the plugin that failed
        del sys.modules[name]
        raise PluginLoadError(
            f"importing {path} failed: {type(error).__name__}: {error}",
            details={"file": str(path), "original_error": type(error).__name__, "original_message": str(error)},
        ) from error
    finally:
        sys.path.remove(str(resolved.parent))
    return module
