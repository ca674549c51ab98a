"""Plugin classes from files, as users of the engine load them: ``path/to/file.py:ClassName``."""

from __future__ import annotations

from typing import TypeVar

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

import dativo_plugin_sdk
from dativo_plugin_sdk.errors import PluginVersionError
from dativo_plugin_sdk.loading import class_from_path
from dativo_plugin_sdk.reader import BaseReader
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
        check_versions(found, where=plugin_path)
        return found

    @staticmethod
    def load_reader(plugin_path: str) -> type[BaseReader]:
        """Give the reader class that ``plugin_path`` names."""
        return PluginLoader.load_class_from_path(plugin_path, BaseReader)  # type: ignore[type-abstract]  # a subclass

    @staticmethod
    def load_writer(plugin_path: str) -> type[BaseWriter]:
        """Give the writer class that ``plugin_path`` names."""
        return PluginLoader.load_class_from_path(plugin_path, BaseWriter)  # type: ignore[type-abstract]  # a subclass


def check_versions(plugin: type, *, where: str) -> None:
    """Refuse a plugin that asks for another SDK, before any of its methods run.

    Raises:
        PluginVersionError: Naming both versions and the way out.
    """
    version = str(getattr(plugin, "__version__", "1.0.0"))
    try:
        Version(version)
    except InvalidVersion as error:
        raise PluginVersionError(f"{where} has the version {version!r}, which is no PEP 440 version") from error
    required = getattr(plugin, "requires_sdk", None)
    if required is None:
        return
    try:
        fits = SpecifierSet(required).contains(dativo_plugin_sdk.__version__, prereleases=True)
    except InvalidSpecifier as error:
        raise PluginVersionError(f"{where} requires the SDK {required!r}, which is no PEP 440 specifier") from error
    if not fits:
        raise PluginVersionError(
            f"{where} {version} requires dativo-plugin-sdk {required}, this engine has {dativo_plugin_sdk.__version__}",
            details={"requires_sdk": required, "sdk": dativo_plugin_sdk.__version__, "plugin": version},
            hint="install a release of the plugin for this SDK, or the engine's release that has the SDK it asks for",
        )
