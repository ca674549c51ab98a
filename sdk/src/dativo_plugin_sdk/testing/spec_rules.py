"""What a plugin's class says of itself."""

from __future__ import annotations

import inspect
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import InvalidVersion, Version

import dativo_plugin_sdk
from dativo_plugin_sdk.capabilities import Capability
from dativo_plugin_sdk.testing.ends import Plugin


def inspect_class(plugin: Plugin) -> None:
    """See that a class says what it is, in terms that an engine understands."""
    assert isinstance(plugin, type), f"{plugin!r} is no class"
    version = getattr(plugin, "__version__", None)
    assert isinstance(version, str), f'{plugin.__name__} has no __version__ = "1.0.0"'
    try:
        Version(version)
    except InvalidVersion as error:
        raise AssertionError(f"{plugin.__name__}.__version__ is {version!r}, which is no PEP 440 version") from error
    _fits_the_sdk(plugin)
    capabilities: Any = getattr(plugin, "capabilities", frozenset())
    unknown = [each for each in capabilities if not isinstance(each, Capability)]
    assert not unknown, f"{plugin.__name__}.capabilities has {unknown}; known are: {', '.join(map(repr, Capability))}"
    assert not inspect.isabstract(plugin), f"{plugin.__name__} lacks {', '.join(sorted(plugin.__abstractmethods__))}"
    assert plugin.__doc__, f"{plugin.__name__} has no docstring: one line that says what it reads or writes"


def _fits_the_sdk(plugin: type) -> None:
    required = getattr(plugin, "requires_sdk", None)
    if required is None:
        return
    try:
        accepted = SpecifierSet(required)
    except InvalidSpecifier as error:
        raise AssertionError(f"{plugin.__name__}.requires_sdk is {required!r}, which is no specifier") from error
    here = dativo_plugin_sdk.__version__
    assert accepted.contains(here, prereleases=True), f"{plugin.__name__} requires the SDK {required}, this is {here}"
