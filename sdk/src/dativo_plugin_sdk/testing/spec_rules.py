"""What a plugin's class says of itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterable

import dativo_plugin_sdk
from dativo_plugin_sdk.capabilities import Capability
from dativo_plugin_sdk.testing.ends import Plugin
from dativo_plugin_sdk.versioned import own_version
from dativo_plugin_sdk.versions import check_plugin


def inspect_plugin(plugin: Plugin, version: str | None) -> None:
    """See that a plugin says what it is, in terms that an engine understands.

    Args:
        plugin: A class; of a plugin that is only named, the engine sees to that when it starts it.
        version: The version, where the class does not say it itself.

    Raises:
        PluginVersionError: Its version is none, or it is not made for this SDK.
    """
    if isinstance(plugin, str):
        return
    assert own_version(plugin) or version, f'{plugin.__name__} does not say its version: __version__ = "1.0.0"'
    check_plugin(plugin, where=plugin.__name__, sdk=dativo_plugin_sdk.__version__, whose="this environment")
    inspect_capabilities(getattr(plugin, "capabilities", frozenset()))
    assert not inspect.isabstract(plugin), f"{plugin.__name__} lacks {', '.join(sorted(plugin.__abstractmethods__))}"
    assert plugin.__doc__, f"{plugin.__name__} has no docstring: one line that says what it reads or writes"


def inspect_capabilities(capabilities: Iterable[object]) -> None:
    """See that each is one of `Capability`."""
    unknown = [each for each in capabilities if not isinstance(each, Capability)]
    assert not unknown, f"unknown capabilities: {unknown}; there are: {', '.join(map(repr, Capability))}"
