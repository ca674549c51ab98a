"""Plugin classes from files, as users of the engine load them: ``path/to/file.py:ClassName``."""

from __future__ import annotations

from typing import TypeVar

import dativo_plugin_sdk
from dativo_plugin_sdk.loading import class_from_path
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
        found = class_from_path(plugin_path, base_class)
        check_plugin(found, where=plugin_path, sdk=dativo_plugin_sdk.__version__)
        return found

    @staticmethod
    def load_reader(plugin_path: str) -> type[BaseReader]:
        """Give the reader class that ``plugin_path`` names."""
        return PluginLoader.load_class_from_path(plugin_path, BaseReader)  # type: ignore[type-abstract]  # a subclass

    @staticmethod
    def load_writer(plugin_path: str) -> type[BaseWriter]:
        """Give the writer class that ``plugin_path`` names."""
        return PluginLoader.load_class_from_path(plugin_path, BaseWriter)  # type: ignore[type-abstract]  # a subclass
